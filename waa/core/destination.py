"""Where this server may connect to: what is denied to everybody, and what the operator allows or denies.

Two looks, both needed: one at what was written (a name, or an address in any form that the system's resolver reads: decimal, octal,
hexadecimal, IPv4 inside IPv6), when a machine is registered; and one at each address that a name turned out to have, on the very address
that is then connected to. The second one cannot be deceived by a name that points elsewhere the next time it is asked for.

Denied unless the operator allows the very network: addresses that no benchmark machine has, but a cloud's metadata service does.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from waa.core.error import Invalid
from waa.core.logs.mask import mask
from waa.core.spec import Origin, Transport, VmSpec

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_METADATA = "where clouds keep the credentials of their machines"
_DENIED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "no machine's address"),
        ("169.254.0.0/16", f"a link-local address, {_METADATA}"),
        ("168.63.129.16/32", "an address of Azure's own services"),
        ("100.100.100.200/32", f"a metadata address, {_METADATA}"),
        ("192.0.0.192/32", f"a metadata address, {_METADATA}"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved or broadcast address"),
        ("::/128", "no machine's address"),
        ("fe80::/10", "a link-local address"),
        ("ff00::/8", "a multicast address"),
        ("fd00:ec2::254/128", f"a metadata address, {_METADATA}"),
        ("fd20:ce::254/128", f"a metadata address, {_METADATA}"),
        ("fd00:42::42/128", f"a metadata address, {_METADATA}"),
    )
)
_DENIED_NAMES = (
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "metadata.azure.com",
    "metadata.azure.internal",
    "metadata.tencentyun.com",
    "metadata.oraclecloud.com",
    "instance-data",
    "instance-data.ec2.internal",
)
_FROM_OUTSIDE = (Origin.API, Origin.AZURE)
"""Who names machines without being the operator."""
_LOCAL_NAMES = ("localhost", "localhost.localdomain", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback")
_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")
_RULE_NAME = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9._-]{0,250}[a-z0-9_])?")
_PART = re.compile(r"0x[0-9a-f]{0,80}|[0-9]{1,80}")
_JUMP_HOST = re.compile(r"(?:ssh://)?(?:[^@/,]*@)?(?:\[([^\]]*)\]|([^:/,\[\]]*))(?::\d*)?/?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One entry of ``allow_hosts`` or ``deny_hosts``: a network, or else a name (``*.example.org``: all below it)."""

    network: Network | None = None
    name: str = ""

    def names(self, host: str) -> bool:
        """Whether it is about this name."""
        return bool(self.name) and (host == self.name or (self.name.startswith("*.") and host.endswith(self.name[1:])))

    def covers(self, address: Address) -> bool:
        """Whether it is about this address."""
        return self.network is not None and address.version == self.network.version and address in self.network


@dataclass(frozen=True, slots=True, kw_only=True)
class Destinations:
    """The operator's decisions. ``allow`` empty: everything that is not denied. ``deny`` wins over all.

    ``clients_reach_loopback``: whether who registers machines over the network may name this one, which is so where nobody but this
    machine's users can.
    """

    allow: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()
    clients_reach_loopback: bool = True

    def refusal(self, host: str, *, origin: Origin, alias: str = "", is_beyond: bool = False) -> str | None:
        """Why a host may not be connected to, as far as its name tells (``alias``: what it was called before ``ssh_config``); None
        where it may, or where its addresses decide. ``is_beyond``: another machine resolves the name and connects."""
        found = literal(host)
        if found is not None:
            return self.refusal_of(found, host=host, origin=origin, alias=alias, is_beyond=is_beyond)
        names = (_plain(host), _plain(alias))
        forbidden = self._forbidden_name(names, told=host)
        if forbidden is not None:
            return forbidden
        if not is_beyond and not self._may_loop(origin) and any(_is_local_name(name) for name in names):
            return f"{host} is the dashboard's own machine"
        is_decided_later = not is_beyond and any(each.network is not None for each in self.allow)
        return f"{host} is not in allow_hosts" if self.allow and not is_decided_later and not self._is_named(names) else None

    def refusal_of(self, address: str | Address, *, host: str, origin: Origin, alias: str = "", is_beyond: bool = False) -> str | None:
        """Why an address of a host may not be connected to; None where it may."""
        whole = address if isinstance(address, IPv4Address | IPv6Address) else _address(address)
        if whole is None:
            return f"{address} is not an address"
        told = host if literal(host) == whole else f"{whole} (of {host})"
        forms = tuple(_forms(whole))
        forbidden = self._forbidden(forms, told=told)
        if forbidden is not None:
            return forbidden
        if not is_beyond and not self._may_loop(origin) and any(form.is_loopback for form in forms):
            return f"{told} is the dashboard's own machine"
        is_allowed = not self.allow or self._is_named((_plain(host), _plain(alias))) or _is_covered(self.allow, forms)
        return None if is_allowed else f"{told} is not in allow_hosts"

    def permitted(self, addresses: Iterable[str], *, host: str, origin: Origin, alias: str = "") -> tuple[list[bool], str | None]:
        """For each address of a host whether it may be connected to, and why not where none may. What a resolver gives is to be passed
        through this before it is connected to, by SSH or by HTTP."""
        refusals = [self.refusal_of(address, host=host, origin=origin, alias=alias) for address in addresses]
        is_any = any(refusal is None for refusal in refusals)
        return [refusal is None for refusal in refusals], None if is_any else next(iter(refusals), None)

    def check(self, spec: VmSpec) -> None:
        """Judge what is written about a VM. Raises Invalid that names the field."""
        is_client = spec.origin in _FROM_OUTSIDE and not self.clients_reach_loopback
        if is_client and spec.transport is Transport.LOCAL:
            raise Invalid("transport", "'local' is for waa.toml only, since this server serves other machines")
        if spec.transport is Transport.SSH:
            self._need("ssh_host", self.refusal(spec.ssh_host, origin=spec.origin, is_beyond=bool(spec.proxy_jump)))
        for place, host in enumerate(jump_hosts(spec.proxy_jump)):
            self._need("proxy_jump", self.refusal(host, origin=spec.origin, is_beyond=place > 0))
        # The guest is asked by its VM, and the screen by a browser: only what is forbidden to everybody is forbidden there.
        self._need("guest_ip", self._forbidden_host(spec.guest_ip))
        if spec.vnc_url is not None:
            self._need("vnc_url", self._forbidden_host(_host_of(spec.vnc_url)))

    def _need(self, field: str, refusal: str | None) -> None:
        if refusal is not None:
            raise Invalid(field, f"{refusal}; {REMEDY}")

    def _may_loop(self, origin: Origin) -> bool:
        return origin not in _FROM_OUTSIDE or self.clients_reach_loopback

    def _is_named(self, names: Iterable[str]) -> bool:
        return any(each.names(name) for each in self.allow for name in names)

    def _forbidden_host(self, host: str) -> str | None:
        found = literal(host)
        return self._forbidden(tuple(_forms(found)), told=host) if found is not None else self._forbidden_name((_plain(host),), told=host)

    def _forbidden_name(self, names: Iterable[str], *, told: str) -> str | None:
        if any(each.names(name) for each in self.deny for name in names):
            return f"{told} is in deny_hosts"
        if any(name in _DENIED_NAMES for name in names) and not self._is_named(names):
            return f"{told} is the name of a metadata service, {_METADATA}"
        return None

    def _forbidden(self, forms: tuple[Address, ...], *, told: str) -> str | None:
        if _is_covered(self.deny, forms):
            return f"{told} is in deny_hosts"
        for form in forms:
            for network, reason in _DENIED:
                is_meant = any(_is_within(each.network, network) and each.covers(form) for each in self.allow)
                if form.version == network.version and form in network and not is_meant:
                    return f"{told} is {reason}"
        return None


REMEDY = "whoever runs this server can allow it by the setting allow_hosts (README, Where the server may connect to)"


def rule(text: str) -> Rule:
    """An entry of ``allow_hosts`` or ``deny_hosts``. Raises ValueError."""
    try:
        return Rule(network=ip_network(text))
    except ValueError:
        name = _plain(text)
        if not _RULE_NAME.fullmatch(name) or literal(name) is not None or "/" in text:
            raise ValueError(f"{text!r} is not a name, an address or a network such as 10.0.0.0/8, without bits beyond its mask") from None
        return Rule(name=name)


def literal(host: str) -> Address | None:
    """The address that a text is, in any form that C libraries read; None for a name."""
    return _address(host) or _loose_ipv4(host.lower())


def jump_hosts(jumps: str | None) -> list[str]:
    """The hosts of ``[user@]host[:port],...``; what cannot be read stands as it is, and is refused when it is connected to."""
    found = [(_JUMP_HOST.fullmatch(part.strip()), part.strip()) for part in (jumps or "").split(",")]
    hosts = [(match[1] or match[2] or "") if match is not None else part for match, part in found]
    return [host for host in hosts if host and host.lower() != "none"]


def _address(text: str) -> Address | None:
    try:
        return ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _loose_ipv4(text: str) -> IPv4Address | None:
    """As ``inet_aton`` reads it: one to four parts, each decimal, octal or hexadecimal, the last one filling what is left."""
    parts = text.split(".")
    if not 1 <= len(parts) <= 4 or not all(_PART.fullmatch(part) for part in parts):
        return None
    try:
        numbers = [int(part[2:] or "0", 16) if part.startswith("0x") else int(part, 8 if part[0] == "0" else 10) for part in parts]
    except ValueError:  # an 8 or 9 in an octal number
        return None
    *heads, last = numbers
    if any(head > 255 for head in heads) or last >= 256 ** (4 - len(heads)):
        return None
    return IPv4Address(sum(head << (24 - 8 * place) for place, head in enumerate(heads)) + last)


def _forms(address: Address) -> Iterator[Address]:
    """The address, and the ones of the older Internet that it leads to."""
    yield address
    if not isinstance(address, IPv6Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        yield IPv4Address(int(address) & 0xFFFFFFFF)


def _is_covered(rules: Iterable[Rule], forms: Iterable[Address]) -> bool:
    return any(each.covers(form) for each in rules for form in forms)


def _host_of(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        raise Invalid("vnc_url", f"is not an address: {error}") from error
    if parts.username is not None or parts.password is not None or mask(url) != url:
        raise Invalid("vnc_url", "must not hold a user name, password or token: everybody who sees the page would see it")
    return host


def _is_within(network: Network | None, wider: Network) -> bool:
    if isinstance(network, IPv4Network) and isinstance(wider, IPv4Network):
        return network.subnet_of(wider)
    return isinstance(network, IPv6Network) and isinstance(wider, IPv6Network) and network.subnet_of(wider)


def _is_local_name(name: str) -> bool:
    return name in _LOCAL_NAMES or name.endswith(".localhost")


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")
