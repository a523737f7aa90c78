"""What a proxy in front says about its clients, taken from trusted proxies only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from waa.core.error import Invalid

MAX_HOPS = 20
"""Addresses of X-Forwarded-For that are looked at, from its end."""


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The networks whose word counts. None: nobody's."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def trusts(self, peer: str) -> bool:
        """Whether this address, as TCP knows it, is that of a trusted proxy."""
        address = _address(peer)
        return address is not None and any(address in network for network in self.networks)

    def client(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """The address of the client behind the proxies: the last one in X-Forwarded-For that is not itself a trusted proxy.

        What stands before it was written by the client and means nothing. ``peer`` itself where it is not trusted, or says
        nothing that is an address.
        """
        client = peer
        hops = [hop.strip() for line in forwarded_for for hop in line.split(",")]
        for hop in reversed(hops[-MAX_HOPS:]):
            if not self.trusts(client):
                break
            address = _address(_without_port(hop))
            if address is None:
                break
            client = str(address)
        return client

    def is_https(self, peer: str, forwarded_proto: str) -> bool:
        """Whether a trusted proxy says that its client speaks TLS: the last word counts, it is the nearest proxy's."""
        return self.trusts(peer) and forwarded_proto.rpartition(",")[2].strip().lower() == "https"


def parse_proxies(texts: Iterable[str]) -> TrustedProxies:
    """From addresses and networks. Raises Invalid (``trusted_proxies``)."""
    networks = []
    for text in texts:
        try:
            networks.append(ip_network(text))
        except ValueError as error:
            raise Invalid("trusted_proxies", f"{text!r} is not an address or a network such as 10.0.0.0/8 ({error})") from error
    return TrustedProxies(tuple(networks))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _without_port(text: str) -> str:
    """``[::1]:80`` and ``10.0.0.1:80`` lose their port, an IPv6 address by itself stays."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
