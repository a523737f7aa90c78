"""How often something may be done: a token bucket per name."""

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address

IPV6_PREFIX = 64
"""One customer has at least this many bits of addresses to choose from: they count as one."""


class RateLimiter:
    """``burst`` at once, ``rate`` a second from then on, for each name. Of more than ``max_keys`` names, those not asked about
    for longest are forgotten: memory is bounded, whatever names clients think of.

    For one thread. ``now`` is any clock that does not go back.
    """

    def __init__(self, *, rate: float, burst: float, max_keys: int = 10_000) -> None:
        self._rate = rate
        self._burst = burst
        self._max_keys = max_keys
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """Names that are remembered."""
        return len(self._buckets)

    def take(self, key: str, now: float, cost: float = 1.0) -> float:
        """Take from the bucket: 0.0 where that was allowed, else the seconds until it will be (and nothing is taken)."""
        tokens = self._tokens(key, now)
        wait_s = max(0.0, (cost - tokens) / self._rate)
        self._keep(key, tokens if wait_s else tokens - cost, now)
        return wait_s

    def wait_s(self, key: str, now: float, cost: float = 1.0) -> float:
        """What ``take`` would answer, without taking."""
        return max(0.0, (cost - self._tokens(key, now)) / self._rate)

    def _tokens(self, key: str, now: float) -> float:
        tokens, at = self._buckets.get(key, (self._burst, now))
        return min(self._burst, tokens + max(0.0, now - at) * self._rate)

    def _keep(self, key: str, tokens: float, now: float) -> None:
        self._buckets[key] = (tokens, now)
        self._buckets.move_to_end(key)
        while len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)


def is_loopback(address: str) -> bool:
    """Whether it is this machine's own."""
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def address_key(address: str) -> str:
    """The name that an address is counted by: itself, or its network for IPv6."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    shift = 128 - IPV6_PREFIX
    return f"{IPv6Address(int(parsed) >> shift << shift)}/{IPV6_PREFIX}"
