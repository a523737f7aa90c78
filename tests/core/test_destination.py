"""Where VMs may be: forms of addresses, the operator's lists, who asks, and what is said."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waa.core.destination import Destinations, jump_hosts, literal, rule
from waa.core.error import Invalid
from waa.core.spec import Origin, Transport, VmSpec

OPEN = Destinations()
SERVING = Destinations(clients_reach_loopback=False)


def ruled(*, allow: str = "", deny: str = "") -> Destinations:
    return Destinations(allow=tuple(rule(text) for text in allow.split()), deny=tuple(rule(text) for text in deny.split()))


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.170.2",
        "2852039166",
        "0xA9FEA9FE",
        "0xa9.0xfe.0xa9.0xfe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "169.16689662",
        "::ffff:169.254.169.254",
        "::ffff:a9fe:a9fe",
        "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "::169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "168.63.129.16",
        "100.100.100.200",
        "fd00:ec2::254",
        "metadata.google.internal",
        "METADATA.google.internal.",
        "metadata",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "0.0.0.0",
        "0",
        "::",
    ],
)
@pytest.mark.parametrize("origin", [Origin.API, Origin.CONFIG])
def test_metadata_and_addresses_of_no_machine_are_denied_to_everybody(host: str, origin: Origin) -> None:
    assert OPEN.refusal(host, origin=origin) is not None
    assert OPEN.refusal(host, origin=origin, is_beyond=True) is not None
    assert ruled(allow="0.0.0.0/0 ::/0").refusal(host, origin=origin) is not None


@pytest.mark.parametrize("host", ["10.0.0.4", "192.168.1.9", "172.16.0.1", "100.64.0.7", "8.8.8.8", "fd12::1", "gpu-1", "vm.example.org"])
def test_private_and_public_machines_are_allowed(host: str) -> None:
    assert SERVING.refusal(host, origin=Origin.API) is None
    assert SERVING.refusal(host, origin=Origin.CONFIG) is None


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "::1", "::ffff:127.0.0.1", "localhost", "a.localhost", "LOCALHOST."]
)
def test_clients_from_elsewhere_may_not_name_this_machine(host: str) -> None:
    assert SERVING.refusal(host, origin=Origin.API) is not None
    for origin in (Origin.CONFIG, Origin.DEMO):
        assert SERVING.refusal(host, origin=origin) is None
    assert OPEN.refusal(host, origin=Origin.API) is None
    assert SERVING.refusal(host, origin=Origin.API, is_beyond=True) is None  # the jump host's own


@pytest.mark.parametrize(
    ("addresses", "verdicts"),
    [
        (["10.0.0.4"], [True]),
        (["10.0.0.4", "169.254.169.254"], [True, False]),
        (["169.254.169.254"], [False]),
        (["::1", "127.0.0.1"], [False, False]),
        (["fe80::1%eth0", "2001:db8::1"], [False, True]),
        (["nonsense"], [False]),
    ],
)
def test_each_address_of_a_name_is_judged(addresses: list[str], verdicts: list[bool]) -> None:
    """A name that points elsewhere the next time it is asked for (DNS rebinding)."""
    found, refusal = SERVING.permitted(addresses, host="vm.example.org", origin=Origin.API)
    assert found == verdicts
    assert (refusal is None) == any(verdicts)
    if refusal is not None:
        assert "vm.example.org" in refusal or "nonsense" in refusal


def test_an_allow_list_leaves_the_rest_out() -> None:
    listed = ruled(allow="10.1.0.0/16 *.lab.example.org bastion")
    assert listed.refusal("10.1.2.3", origin=Origin.CONFIG) is None
    assert listed.refusal("10.2.2.3", origin=Origin.CONFIG) == "10.2.2.3 is not in allow_hosts"
    assert listed.refusal("a.b.lab.example.org", origin=Origin.API) is None
    assert listed.refusal_of("203.0.113.9", host="a.lab.example.org", origin=Origin.API) is None
    assert listed.refusal_of("169.254.169.254", host="a.lab.example.org", origin=Origin.API) is not None
    assert listed.refusal("Bastion", origin=Origin.API) is None
    assert listed.refusal("198.51.100.7", alias="bastion", origin=Origin.API) is None
    assert listed.refusal("lab.example.org.evil.org", origin=Origin.API) is None  # its addresses decide ...
    assert listed.refusal_of("203.0.113.9", host="lab.example.org.evil.org", origin=Origin.API) is not None
    assert listed.refusal("other", origin=Origin.API, is_beyond=True) == "other is not in allow_hosts"  # ... where we see them


def test_an_allow_list_of_names_decides_by_the_name() -> None:
    assert ruled(allow="gpu-1").refusal("gpu-2", origin=Origin.CONFIG) == "gpu-2 is not in allow_hosts"


def test_what_is_denied_wins() -> None:
    listed = ruled(allow="10.0.0.0/8 vm.example.org", deny="10.0.0.5 *.example.org")
    assert listed.refusal("10.0.0.4", origin=Origin.CONFIG) is None
    assert listed.refusal("10.0.0.5", origin=Origin.CONFIG) == "10.0.0.5 is in deny_hosts"
    assert listed.refusal("::ffff:10.0.0.5", origin=Origin.CONFIG) == "::ffff:10.0.0.5 is in deny_hosts"
    assert listed.refusal("vm.example.org", origin=Origin.CONFIG) == "vm.example.org is in deny_hosts"


def test_only_the_very_network_lifts_what_is_denied_to_everybody() -> None:
    assert ruled(allow="169.254.7.0/24").refusal("169.254.7.9", origin=Origin.CONFIG) is None
    assert ruled(allow="169.254.7.0/24").refusal("169.254.169.254", origin=Origin.CONFIG) is not None
    assert ruled(allow="metadata").refusal("metadata", origin=Origin.CONFIG) is None
    assert ruled(allow="vm.example.org").refusal_of("169.254.169.254", host="vm.example.org", origin=Origin.CONFIG) is not None


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"ssh_host": "169.254.169.254"}, "ssh_host"),
        ({"ssh_host": "10.0.0.4", "proxy_jump": "me@127.0.0.1:22"}, "proxy_jump"),
        ({"ssh_host": "10.0.0.4", "proxy_jump": "ok.example.org,me@[fe80::1]:22"}, "proxy_jump"),
        ({"ssh_host": "10.0.0.4", "vnc_url": "http://169.254.169.254/latest/meta-data"}, "vnc_url"),
        ({"ssh_host": "10.0.0.4", "vnc_url": "http://user:pa55@10.0.0.4:8006/"}, "vnc_url"),
        ({"ssh_host": "10.0.0.4", "vnc_url": "http://10.0.0.4:6080/vnc.html?password=pa55"}, "vnc_url"),
        ({"ssh_host": "10.0.0.4", "vnc_url": "http://[::1/"}, "vnc_url"),
        ({"ssh_host": "10.0.0.4", "guest_ip": "169.254.169.254"}, "guest_ip"),
        ({"ssh_host": "10.0.0.4", "transport": Transport.LOCAL}, "transport"),
    ],
)
def test_a_registration_names_the_field(fields: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        SERVING.check(VmSpec(name="vm", origin=Origin.API, **fields))  # type: ignore[arg-type]
    assert caught.value.field == field
    assert "pa55" not in str(caught.value)


def test_usual_registrations_pass() -> None:
    SERVING.check(
        VmSpec(
            name="vm", origin=Origin.API, ssh_host="127.0.0.1", proxy_jump="me@bastion.example.org:2222", vnc_url="http://127.0.0.1:8006"
        )
    )
    ruled(allow="10.0.0.0/8").check(VmSpec(name="vm", origin=Origin.API, ssh_host="10.0.0.4"))  # its guest is elsewhere
    SERVING.check(VmSpec(name="vm", origin=Origin.CONFIG, transport=Transport.LOCAL))


@pytest.mark.parametrize("text", ["", "10.0.0.0/99", "10.0.0.1/8", "a b", "-x", "*", "*.", "http://x", "a/b", "0x7f.1", "999.1.1.1.1 "])
def test_entries_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a name"):
        rule(text)


def test_the_hosts_of_a_jump_are_found() -> None:
    assert jump_hosts("me@a:22, [::1]:2222,ssh://you@b") == ["a", "::1", "b"]
    assert jump_hosts(None) == jump_hosts("none") == []


@given(st.integers(min_value=0, max_value=2**32 - 1), st.data())
def test_every_form_of_an_ipv4_address_is_the_address(number: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(min_value=1, max_value=4))
    heads = [(number >> (24 - 8 * place)) & 255 for place in range(count - 1)]
    parts = [*heads, number & (256 ** (5 - count) - 1)]
    written = ".".join(data.draw(st.sampled_from([str(part), f"0{part:o}", f"0x{part:x}", f"0X{part:X}"])) for part in parts)
    assert literal(written) == IPv4Address(number)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_a_wrapped_address_is_never_more_allowed(address: IPv4Address | IPv6Address) -> None:
    if isinstance(address, IPv4Address) and SERVING.refusal(str(address), origin=Origin.API) is not None:
        for wrapped in (f"::ffff:{address}", f"64:ff9b::{address}"):
            assert SERVING.refusal(str(ip_address(wrapped)), origin=Origin.API) is not None
    assert ruled(deny=str(address)).refusal(str(address), origin=Origin.CONFIG) is not None


@given(st.text(max_size=60))
def test_nothing_that_is_typed_breaks_it(text: str) -> None:
    OPEN.refusal(text, origin=Origin.API)
    OPEN.refusal_of(text, host=text, origin=Origin.API)
    jump_hosts(text)
