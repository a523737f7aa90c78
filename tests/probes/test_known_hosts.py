"""Host keys: which files say what about a host."""

import base64
import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from waa.probes.known_hosts import HostKeyMemory, KnownHosts, Verdict, fingerprint, parse


def a_blob(kind: str, seed: str) -> bytes:
    name = kind.encode()
    return len(name).to_bytes(4, "big") + name + hashlib.sha256(seed.encode()).digest()


def a_line(names: str, kind: str = "ssh-ed25519", seed: str = "one", marker: str = "") -> str:
    return f"{marker} {names} {kind} {base64.b64encode(a_blob(kind, seed)).decode()} a comment".strip()


def hashed(name: str) -> str:
    salt = b"0123456789abcdef0123"
    digest = hmac.digest(salt, name.encode(), "sha1")
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def verdict(text: str, name: str, *, kind: str = "ssh-ed25519", seed: str = "one", plain_name: str | None = None) -> Verdict:
    return KnownHosts(parse(text)).judge(name, kind, a_blob(kind, seed), plain_name=plain_name).verdict


@pytest.mark.parametrize(
    ("names", "name"),
    [
        ("vm", "vm"),
        ("other,vm", "vm"),
        ("VM", "vm"),
        ("vm", "VM"),
        ("[vm]:2222", "[vm]:2222"),
        ("*.example.org", "vm.example.org"),
        ("10.0.0.?", "10.0.0.4"),
        ("[*.example.org]:2222", "[vm.example.org]:2222"),
        (hashed("vm"), "vm"),
        (hashed("[10.0.0.4]:2222"), "[10.0.0.4]:2222"),
    ],
)
def test_a_key_is_known_by_each_way_to_write_a_name(names: str, name: str) -> None:
    assert verdict(a_line(names), name) is Verdict.KNOWN


@pytest.mark.parametrize(
    ("names", "name"),
    [
        ("vm", "vm2"),
        ("vm", "[vm]:2222"),
        ("*.example.org,!bad.example.org", "bad.example.org"),
        ("!bad.example.org", "good.example.org"),
        ("10.0.0.?", "10.0.0.40"),
        ("1[02].0.0.4", "12.0.0.4"),
        (hashed("vm"), "vm2"),
    ],
)
def test_a_key_says_nothing_about_other_names(names: str, name: str) -> None:
    assert verdict(a_line(names), name) is Verdict.UNKNOWN


def test_another_key_of_the_same_type_is_a_change() -> None:
    judgement = KnownHosts(parse("\n# note\n" + a_line("vm"), file="/f")).judge("vm", "ssh-ed25519", a_blob("ssh-ed25519", "two"))
    assert judgement.verdict is Verdict.CHANGED
    assert judgement.where == "/f:3"


def test_a_key_of_a_type_that_is_not_known_is_not_taken_for_new() -> None:
    assert verdict(a_line("vm", kind="ssh-rsa"), "vm") is Verdict.OTHER_TYPE


def test_one_fitting_line_among_others_suffices() -> None:
    assert verdict(f"{a_line('vm', seed='old')}\n{a_line('vm')}", "vm") is Verdict.KNOWN


def test_a_revoked_key_is_refused_even_where_another_line_knows_it() -> None:
    assert verdict(f"{a_line('vm')}\n{a_line('*', marker='@revoked')}", "vm") is Verdict.REVOKED


def test_the_revocation_of_another_key_says_nothing() -> None:
    assert verdict(f"{a_line('vm')}\n{a_line('*', seed='stolen', marker='@revoked')}", "vm") is Verdict.KNOWN
    assert verdict(a_line("*", seed="stolen", marker="@revoked"), "vm") is Verdict.UNKNOWN


def test_a_key_of_the_host_without_port_is_good_for_any_port_but_a_different_one_says_nothing() -> None:
    assert verdict(a_line("vm"), "[vm]:2222", plain_name="vm") is Verdict.KNOWN
    assert verdict(a_line("vm", seed="old"), "[vm]:2222", plain_name="vm") is Verdict.UNKNOWN


def test_damaged_lines_and_authorities_are_passed_over() -> None:
    text = "\n".join(
        [
            "vm",
            "vm ssh-ed25519",
            "vm ssh-ed25519 !!!notbase64",
            "vm ssh-rsa " + base64.b64encode(a_blob("ssh-ed25519", "one")).decode(),
            "|1|damaged ssh-ed25519 AAAA",
            "|1|!|! ssh-ed25519 AAAA",
            a_line("vm", seed="authority", marker="@cert-authority"),
            a_line("vm", marker="@newmarker"),
            "vm 1024 35 1234567890",
            a_line("vm"),
        ]
    )
    assert verdict(text, "vm") is Verdict.KNOWN
    assert len(parse(text)) == 1


def test_the_types_of_the_known_keys_are_told_in_order() -> None:
    text = "\n".join(
        [a_line("vm", "ssh-rsa"), a_line("other"), a_line("vm"), a_line("vm", "ssh-rsa", "two"), a_line("vm", "x", marker="@revoked")]
    )
    assert KnownHosts(parse(text)).key_types("vm") == ("ssh-rsa", "ssh-ed25519")


def test_missing_files_are_empty_and_unreadable_ones_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "bytes").write_bytes(b"\xff\xfe bad\n" + a_line("vm").encode())
    known = KnownHosts.load([tmp_path / "none", tmp_path / "folder", tmp_path / "bytes"])
    assert known.judge("vm", "ssh-ed25519", a_blob("ssh-ed25519", "one")).verdict is Verdict.KNOWN
    assert len(known.unreadable) == 1
    assert "folder" in known.unreadable[0]


def test_a_fingerprint_reads_like_openssh() -> None:
    assert fingerprint(b"") == "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"


def test_the_memory_keeps_new_keys_for_its_owner_only(tmp_path: Path) -> None:
    memory = HostKeyMemory(tmp_path / "data" / "known_hosts")
    for name in ("vm1", "[vm2]:2222"):
        assert memory.remember(name, "ssh-ed25519", a_blob("ssh-ed25519", name)).verdict is Verdict.KNOWN
    known = KnownHosts.load([memory.path])
    for name in ("vm1", "[vm2]:2222"):
        assert known.judge(name, "ssh-ed25519", a_blob("ssh-ed25519", name)).verdict is Verdict.KNOWN
    assert stat.S_IMODE(memory.path.stat().st_mode) == 0o600
    assert [path.name for path in memory.path.parent.iterdir()] == ["known_hosts"]


def test_the_memory_never_replaces_a_key(tmp_path: Path) -> None:
    memory = HostKeyMemory(tmp_path / "known_hosts")
    memory.path.write_text(a_line("vm"))  # without a line break at its end
    assert memory.remember("vm", "ssh-ed25519", a_blob("ssh-ed25519", "two")).verdict is Verdict.CHANGED
    assert memory.remember("vm", "ssh-rsa", a_blob("ssh-rsa", "two")).verdict is Verdict.OTHER_TYPE
    assert memory.remember("new", "ssh-rsa", a_blob("ssh-rsa", "two")).verdict is Verdict.KNOWN
    assert len(parse(memory.path.read_text())) == 2


def test_a_memory_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        HostKeyMemory(tmp_path / "file" / "known_hosts").remember("vm", "ssh-rsa", a_blob("ssh-rsa", "one"))
