"""What ``ssh_config`` says about a VM, with OpenSSH's client and without it."""

import getpass
import shutil
import socket
from pathlib import Path

import pytest

from waa.core.error import LinkError
from waa.core.spec import VmSpec
from waa.core.status import Reason
from waa.probes.ssh_config import Hop, Route, SshConfig

SSH = shutil.which("ssh")


@pytest.fixture(params=[pytest.param("ssh", marks=pytest.mark.skipif(SSH is None, reason="no ssh")), "own"])
def program(request: pytest.FixtureRequest) -> str | None:
    return SSH if request.param == "ssh" else None


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    monkeypatch.setenv("PLACE", "there")


def route(home: Path, program: str | None, config: str | None, **fields: object) -> Route:
    if config is not None:
        (home / ".ssh").mkdir(exist_ok=True)
        (home / ".ssh" / "config").write_text(config)
    spec = VmSpec(name="vm", **{"ssh_host": "vm1", **fields})  # type: ignore[arg-type]
    return SshConfig(home=home, program=program).route(spec)


def only(way: Route) -> Hop:
    (hop,) = way
    return hop


def test_without_a_configuration_the_defaults_hold(tmp_path: Path, program: str | None) -> None:
    hop = only(route(tmp_path, program, None))
    assert (hop.host, hop.port, hop.user, hop.key_name, hop.agent) == ("vm1", 22, "azureuser", "vm1", "/run/agent")
    assert hop.default_identities
    assert tmp_path / ".ssh" / "id_ed25519" in hop.identities
    assert hop.known_hosts[0] == tmp_path / ".ssh" / "known_hosts"
    assert hop.proxy_command is None


CONFIG = """
Host vm1
    HostName 10.0.0.%h
    Port 2200
    User bench
    AddressFamily inet
Host vm*
    Port 99
    IdentityFile ~/.ssh/key_%h_%r
    IdentityFile /keys/${PLACE}
    IdentitiesOnly yes
    CertificateFile ~/.ssh/key-cert.pub
    UserKnownHostsFile ~/.ssh/hosts_a /etc/hosts_b
    IdentityAgent /agents/%r.sock
"""


def test_values_of_the_configuration_are_taken_the_first_one_first(tmp_path: Path, program: str | None) -> None:
    hop = only(route(tmp_path, program, CONFIG.replace("~/.ssh/hosts_a", str(tmp_path / ".ssh/hosts_a"))))
    assert (hop.host, hop.port, hop.user, hop.family) == ("10.0.0.vm1", 2200, "bench", socket.AF_INET)
    assert hop.key_name == "[10.0.0.vm1]:2200"
    assert hop.plain_key_name == "10.0.0.vm1"
    assert hop.identities == (tmp_path / ".ssh/key_10.0.0.vm1_bench", Path("/keys/there"))
    assert hop.identities_only
    assert not hop.default_identities
    assert hop.certificates == (tmp_path / ".ssh/key-cert.pub",)
    assert hop.known_hosts[:2] == (tmp_path / ".ssh/hosts_a", Path("/etc/hosts_b"))
    assert hop.agent == "/agents/bench.sock"


def test_what_is_said_about_the_vm_wins(tmp_path: Path, program: str | None) -> None:
    fields = {"ssh_user": "me", "ssh_port": 22, "ssh_key": "~/k", "known_hosts": "/known", "trust_first": True}
    hop = only(route(tmp_path, program, CONFIG, **fields))
    assert (hop.host, hop.port, hop.user) == ("10.0.0.vm1", 22, "me")
    assert (hop.only_key, hop.known_hosts, hop.trust_first) == (tmp_path / "k", (Path("/known"),), True)


def test_a_host_key_alias_replaces_the_name(tmp_path: Path, program: str | None) -> None:
    hop = only(route(tmp_path, program, "Host *\n  HostKeyAlias fleet\n  Port 2222\n"))
    assert (hop.key_name, hop.plain_key_name) == ("fleet", None)


def test_a_proxy_command_gets_its_values_quoted(tmp_path: Path, program: str | None) -> None:
    hop = only(route(tmp_path, program, "Host *\n  ProxyCommand nc -X 5 %h %p %% %r\n", ssh_user="do\\main"))
    assert hop.proxy_command == "nc -X 5 vm1 22 % 'do\\main'"
    assert only(route(tmp_path, program, "Host *\n  ProxyCommand none\n")).proxy_command is None


def test_an_agent_can_be_ruled_out(tmp_path: Path, program: str | None) -> None:
    assert only(route(tmp_path, program, "IdentityAgent none\n")).agent is None
    assert only(route(tmp_path, program, "IdentityAgent SSH_AUTH_SOCK\n")).agent == "/run/agent"
    assert only(route(tmp_path, program, "IdentityAgent $PLACE\n")).agent == "there"


def test_included_files_stand_in_their_place(tmp_path: Path, program: str | None) -> None:
    (tmp_path / "a.conf").write_text("Host other\n  User wrong\nHost vm1\n  User included\n")
    (tmp_path / "b.conf").write_text("Port 2201\n")
    hop = only(route(tmp_path, program, f"Include {tmp_path}/?.conf {tmp_path}/none\nHost *\n  User late\n  Port 9\n"))
    assert (hop.user, hop.port) == ("included", 2201)


def test_an_include_below_a_host_counts_for_it_only(tmp_path: Path, program: str | None) -> None:
    (tmp_path / "inner").write_text("User included\n")
    config = f"Host other\n  Include {tmp_path}/inner\n  Port 1\nHost vm1\n  Port 2\n"
    assert (only(route(tmp_path, program, config)).user, only(route(tmp_path, program, config, ssh_host="other")).user) == (
        "azureuser",
        "included",
    )


def test_a_match_that_cannot_be_judged_does_not_match(tmp_path: Path, program: str | None) -> None:
    config = "Match localnetwork 203.0.113.0/24\n  User wrong\nMatch exec false\n  User wrong\nMatch host vm1\n  User right\n"
    if program:  # not every OpenSSH knows localnetwork
        config = config.partition("\n  User wrong\n")[2]
    assert only(route(tmp_path, program, config)).user == "right"


def test_jump_hosts_are_resolved_in_order(tmp_path: Path, program: str | None) -> None:
    config = """
Host vm1
  ProxyJump first,me@second:2222
  ProxyCommand ignored
Host first
  HostName 192.0.2.1
  User gate
  ProxyCommand nc %h %p
Host second
  ProxyJump nowhere
  ProxyCommand ignored
"""
    first, second, vm = route(tmp_path, program, config, known_hosts="/known", ssh_key="/key")
    assert (first.user, first.host, first.proxy_command) == ("gate", "192.0.2.1", "nc 192.0.2.1 22")
    assert (second.user, second.host, second.port, second.proxy_command) == ("me", "second", 2222, None)
    assert vm.through == ("gate@192.0.2.1", "me@second:2222")
    assert vm.command == "ssh -J gate@192.0.2.1,me@second:2222 -i /key azureuser@vm1"
    assert all(hop.known_hosts == (Path("/known"),) for hop in (first, second, vm))
    assert Path("/key") in first.identities
    assert first.only_key is None


def test_the_jump_host_of_the_vm_wins_and_none_means_direct(tmp_path: Path, program: str | None) -> None:
    config = "Host vm1\n  ProxyJump other\n"
    first, vm = route(tmp_path, program, config, proxy_jump="gate")
    assert (first.host, first.user, vm.through) == ("gate", getpass.getuser(), (f"{getpass.getuser()}@gate",))
    assert only(route(tmp_path, program, config, proxy_jump="none")).through == ()


def test_jump_hosts_that_form_a_loop_are_a_config_failure(tmp_path: Path, program: str | None) -> None:
    with pytest.raises(LinkError) as caught:
        route(tmp_path, program, "Host *\n  ProxyJump gate\n")
    assert caught.value.failure.reason is Reason.CONFIG
    assert "loop" in caught.value.failure.message


@pytest.mark.parametrize("config", ["Host *\n  IdentityFile ~/%Q\n", "Host *\n  IdentityFile ${NO_SUCH_THING}\n", "Port\n"])
def test_what_cannot_be_understood_is_a_config_failure(config: str, tmp_path: Path, program: str | None) -> None:
    with pytest.raises(LinkError) as caught:
        route(tmp_path, program, config)
    assert caught.value.failure.reason is Reason.CONFIG
    assert caught.value.failure.remedy


def test_an_unfollowable_include_is_refused_rather_than_guessed(tmp_path: Path) -> None:
    (tmp_path / "inner").write_text("Host x\n  User x\n")
    with pytest.raises(LinkError) as caught:
        route(tmp_path, None, f"Host vm1\n  Include {tmp_path}/inner\n")
    assert caught.value.failure.reason is Reason.CONFIG


def test_known_hosts_files_with_spaces_are_told_apart(tmp_path: Path, program: str | None) -> None:
    hop = only(route(tmp_path, program, 'UserKnownHostsFile "/a b/known" /c\n'))
    assert hop.known_hosts[:2] == (Path("/a b/known"), Path("/c"))
    assert only(route(tmp_path, program, "UserKnownHostsFile none\nGlobalKnownHostsFile none\n")).known_hosts == ()
