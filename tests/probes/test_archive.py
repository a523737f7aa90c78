"""Archives of results: honest ones are unpacked exactly, hostile ones are refused and leave nothing behind."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import stat
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.results.tree import CORPUS
from waa.core.error import Cancelled, Invalid, Unavailable
from waa.core.results.tree import ExtractLimits, ExtractReport, find_runs, matters
from waa.probes import archive, packed
from waa.probes.archive import checked_path, extract, extract_tar_stream
from waa.probes.results import list_tree

RESULTS = CORPUS / "results"
TRAJ = "m/0/d/t/traj.jsonl"
SMALL = ExtractLimits(max_files=50, max_bytes=1_000_000, max_file_bytes=300_000, max_ratio=50)

Packer = Callable[[bytes], bytes]
PACKERS: dict[str, Packer] = {"tar": bytes, "tar.gz": gzip.compress, "tar.bz2": bz2.compress, "tar.xz": lzma.compress}


def a_tar(files: Mapping[str, bytes], *, kind: int = tarfile.GNU_FORMAT, **fields: Any) -> bytes:
    """A tar with these files; ``fields`` are set on every header."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 1_770_206_400
            for field, value in fields.items():
                setattr(member, field, value)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def a_zip(files: Mapping[str, bytes], **fields: Any) -> bytes:
    """A zip with these files; ``fields`` are set on every entry."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, date_time=(2026, 2, 4, 12, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            for field, value in fields.items():
                setattr(entry, field, value)
            zipped.writestr(entry, data)
    return out.getvalue()


def unpack(folder: Path, data: bytes, limits: ExtractLimits = SMALL) -> ExtractReport:
    """Unpack into ``folder/out``."""
    (folder / "upload").write_bytes(data)
    return extract(str(folder / "upload"), str(folder / "out"), limits=limits)


def refused(folder: Path, data: bytes, limits: ExtractLimits = SMALL) -> str:
    """Why it is refused; nothing is left behind, inside and outside of the folder."""
    with pytest.raises(Invalid) as error:
        unpack(folder, data, limits)
    assert error.value.field == "archive"
    assert [path.name for path in folder.iterdir()] == ["upload"]
    return str(error.value)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- honest ones ---


@pytest.mark.parametrize("kind", [*PACKERS, "zip", "tar (pax)", "tar by the program", "zip by the program"])
def test_a_recorded_tree_comes_out_as_it_went_in(kind: str, tmp_path: Path) -> None:
    source = {f"results/{name}": data for name, data in content(RESULTS / "waa_up_normal").items()}
    source |= {f"run/{name}": data for name, data in content(RESULTS / "openadapt_evals").items()}
    source |= {"results/pyautogui/recording.mp4": b"x" * 1000, "nested.zip": a_zip({TRAJ: b"x"}), "README.md": b"read me"}
    if kind.endswith("by the program"):
        data = by_program(kind.split()[0], source, tmp_path / "source")
    elif kind == "zip":
        data = a_zip(source)
    elif kind == "tar (pax)":
        data = a_tar(source, kind=tarfile.PAX_FORMAT, mtime=1_770_206_400.25)
    else:
        data = PACKERS[kind](a_tar(source))
    (tmp_path / "here").mkdir()
    report = unpack(tmp_path / "here", data, ExtractLimits())
    expected = {name: data for name, data in source.items() if matters(name)}
    out = tmp_path / "here" / "out"
    assert content(out) == expected
    assert (report.files, report.bytes) == (len(expected), sum(map(len, expected.values())))
    assert report.passed_over >= 3
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in [out, *out.rglob("*.*")])
    if "program" not in kind:
        assert {path.stat().st_mtime for path in out.rglob("*.jsonl")} == {1_770_206_400}
    assert len(find_runs(list_tree(str(out)), base="")) == 2


def by_program(kind: str, files: Mapping[str, bytes], folder: Path) -> bytes:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    command = ["tar", "-cf", "-", "."] if kind == "tar" else ["zip", "-qr", "-", "."]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout


def test_names_may_be_long_and_written_in_any_letters(tmp_path: Path) -> None:
    name = f"{'model-' * 30}/0/домен/{'задача-' * 12}/traj.jsonl"
    for number, data in enumerate((a_tar({name: b"x"}), a_tar({name: b"x"}, kind=tarfile.PAX_FORMAT), a_zip({name: b"x"}))):
        folder = tmp_path / str(number)
        folder.mkdir()
        unpack(folder, data)
        assert content(folder / "out") == {name: b"x"}


def test_several_packed_streams_in_a_row_are_one(tmp_path: Path) -> None:
    data = a_tar({TRAJ: random.Random(1).randbytes(100_000)})
    for kind in ("tar.gz", "tar.bz2", "tar.xz"):
        folder = tmp_path / kind
        folder.mkdir()
        unpack(folder, b"".join(PACKERS[kind](data[at : at + 7_000]) for at in range(0, len(data), 7_000)))
        assert content(folder / "out") == {TRAJ: data[512 : 512 + 100_000]}


def test_unpacking_again_replaces_and_takes_away_what_was_left_behind(tmp_path: Path) -> None:
    (tmp_path / ".out.killed.part").mkdir()
    unpack(tmp_path, a_tar({TRAJ: b"1", "m/0/d/u/traj.jsonl": b"1"}))
    unpack(tmp_path, a_tar({TRAJ: b"2"}))
    assert content(tmp_path / "out") == {TRAJ: b"2"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "upload"]
    with pytest.raises(Invalid):
        unpack(tmp_path, b"no archive")
    assert content(tmp_path / "out") == {TRAJ: b"2"}


def test_the_same_file_twice_is_one(tmp_path: Path) -> None:
    one = a_tar({TRAJ: b"same"})[:1024]
    assert unpack(tmp_path, one + one + bytes(1024)).files == 1


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_progress_rises_and_it_can_be_cancelled(kind: str, tmp_path: Path) -> None:
    files = {f"m/0/d/{number}/traj.jsonl": random.Random(number).randbytes(50_000) for number in range(10)}
    (tmp_path / "upload").write_bytes(a_zip(files) if kind == "zip" else gzip.compress(a_tar(files)))
    shares: list[float] = []
    extract(str(tmp_path / "upload"), str(tmp_path / "out"), on_progress=shares.append)
    assert len(shares) > 5
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    calls = iter(range(100))
    with pytest.raises(Cancelled):
        extract(str(tmp_path / "upload"), str(tmp_path / "other"), is_cancelled=lambda: next(calls) > 8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "upload"]


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(a_tar({TRAJ: b"x"}))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable):
        extract(str(tmp_path / "upload"), str(tmp_path / "file" / "out"))
    with pytest.raises(Invalid, match="cannot be read"):
        extract(str(tmp_path / "nothing"), str(tmp_path / "out"))


# --- names ---

BAD_NAMES = [
    "/etc/passwd/traj.jsonl",
    "../traj.jsonl",
    "a/../../traj.jsonl",
    "m/0/d/t/..",
    "m\\0\\traj.jsonl",
    "..\\..\\traj.jsonl",
    "C:/m/traj.jsonl",
    "c:traj.jsonl",
    "//server/share/traj.jsonl",
    "a/" * 1100 + "traj.jsonl",
    "x" * 300 + "/traj.jsonl",
    "../README.md",
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: name[:30])
@pytest.mark.parametrize("kind", ["gnu", "pax", "zip"])
def test_names_that_lead_elsewhere_are_refused(kind: str, name: str, tmp_path: Path) -> None:
    files = {TRAJ: b"x", name: b"evil"}
    data = a_zip(files) if kind == "zip" else a_tar(files, kind=tarfile.GNU_FORMAT if kind == "gnu" else tarfile.PAX_FORMAT)
    assert "name" in refused(tmp_path, data)


def test_a_name_with_nul_is_refused(tmp_path: Path) -> None:
    data = a_zip({"m/0/d/t/traj.jsonlX.png": b"x"}).replace(b"jsonlX", b"jsonl\0")
    assert "name" in refused(tmp_path, data)
    pax = a_tar({"m/" + "é" * 100 + "X/traj.jsonl": b"x"}, kind=tarfile.PAX_FORMAT).replace("éX/".encode(), "é\0/".encode())
    assert "name" in refused(tmp_path, pax)


def test_names_that_are_no_text_are_passed_over(tmp_path: Path) -> None:
    data = a_tar({TRAJ: b"x", "m/0/d/t/a\nb.png": b"x", os.fsdecode(b"m/0/d/t/\xff.png"): b"x", "m/0/d/t/\x1b[31m.png": b"x"})
    assert (unpack(tmp_path, data).passed_over, set(content(tmp_path / "out"))) == (3, {TRAJ})


@given(name=st.lists(st.sampled_from([*"./\\:a\0\x1bCé", ".."]), max_size=12).map("".join))
def test_no_name_is_written_outside(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    try:
        path = checked_path(name)
    except Invalid:
        return
    assert not Path(path).is_absolute()
    assert ".." not in Path(path).parts
    folder = tmp_path_factory.mktemp("any")
    (folder / "upload").write_bytes(a_tar({f"{name}/traj.jsonl": b"x"} if name else {TRAJ: b"x"}, kind=tarfile.PAX_FORMAT))
    (folder / "in").mkdir()
    with contextlib.suppress(Invalid):
        extract(str(folder / "upload"), str(folder / "in" / "out"))
    assert {path.name for path in folder.iterdir()} <= {"upload", "in"}
    assert {path.name for path in (folder / "in").iterdir()} <= {"out"}


# --- what is no file ---


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "link"),
        (tarfile.LNKTYPE, "link"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
        (tarfile.FIFOTYPE, "device"),
        (tarfile.GNUTYPE_SPARSE, "neither"),
        (b"Z", "neither"),
    ],
)
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, word: str, tmp_path: Path) -> None:
    assert word in refused(tmp_path, a_tar({TRAJ: b""}, type=kind, linkname="/etc/passwd"))
    if word == "link":
        assert word in refused(tmp_path, a_tar({"m/x": b""}, type=kind, linkname="../" * 60))


def test_a_file_through_a_link_is_never_written(tmp_path: Path) -> None:
    """A link to a folder, then a file in it: the classic."""
    first = a_tar({"m": b""}, type=tarfile.SYMTYPE, linkname=str(tmp_path))[:512]
    assert "link" in refused(tmp_path, first + a_tar({"m/traj.jsonl": b"evil"}))


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_are_refused(mode: int, tmp_path: Path) -> None:
    assert "link" in refused(tmp_path, a_zip({TRAJ: b"/etc/passwd"}, external_attr=(mode | 0o777) << 16, create_system=3))


def test_sparse_files_of_pax_are_refused(tmp_path: Path) -> None:
    data = a_tar({TRAJ: b"x"}, kind=tarfile.PAX_FORMAT, pax_headers={"GNU.sparse.major": "1", "GNU.sparse.realsize": "99999999999"})
    assert "sparse" in refused(tmp_path, data)


def test_encrypted_entries_are_refused(tmp_path: Path) -> None:
    data = bytearray(a_zip({TRAJ: b"x" * 100}))
    data[6] |= 1
    data[data.find(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in refused(tmp_path, bytes(data))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_without_bounded_memory_are_refused(method: int, tmp_path: Path) -> None:
    assert "method" in refused(tmp_path, a_zip({TRAJ: b"x" * 100}, compress_type=method))


# --- too much ---


@pytest.mark.parametrize("pack", [a_tar, a_zip])
def test_files_that_are_there_twice_and_differ_are_refused(pack: Callable[..., bytes], tmp_path: Path) -> None:
    for twin in (f"./{TRAJ}", TRAJ.replace("/d/", "/d//"), TRAJ.replace("/d/", "/./d/")):
        assert "twice" in refused(tmp_path, pack({TRAJ: b"one", twin: b"two"}))
        assert "twice" in refused(tmp_path, pack({TRAJ: b"one", twin: b"one more"}))
        assert "twice" in refused(tmp_path, pack({TRAJ: b"one", twin: b"on"}))
    assert "a file and a folder" in refused(tmp_path, pack({"m/a.png": b"x", "m/a.png/b.png": b"x"}))
    assert "twice" in refused(tmp_path, pack({"m/a.png/b.png": b"x", "m/a.png": b"x"}))


@pytest.mark.parametrize("pack", [a_tar, a_zip])
def test_more_than_the_limits_is_refused(pack: Callable[..., bytes], tmp_path: Path) -> None:
    def noise(size: int) -> bytes:
        return random.Random(size).randbytes(size)

    assert "more than 50 entries" in refused(tmp_path, pack({f"m/{number}.txt": b"" for number in range(51)}))
    assert "longer than" in refused(tmp_path, pack({TRAJ: noise(300_001)}))
    assert "more than" in refused(tmp_path, pack({f"m/0/d/{number}/traj.jsonl": noise(250_000) for number in range(5)}))
    assert unpack(tmp_path, pack({f"m/0/d/{number}/traj.jsonl": noise(250_000) for number in range(4)})).bytes == 1_000_000


@pytest.mark.parametrize(
    ("kind", "name"),
    [("zip", TRAJ), *((kind, name) for kind in ("tar.gz", "tar.bz2", "tar.xz") for name in (TRAJ, "m/0/d/t/recording.mp4"))],
)
def test_bombs_are_refused(kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "RATIO_FROM_BYTES", 100_000)
    files = {name: bytes(3_000_000)}
    data = a_zip(files) if kind == "zip" else PACKERS[kind](a_tar(files))
    assert "times its size" in refused(tmp_path, data, ExtractLimits(max_ratio=50))


def test_what_headers_claim_is_not_believed(tmp_path: Path) -> None:
    data = a_zip({TRAJ: bytes(2_000_000)})
    small = struct.pack("<I", 10)
    for at in (22, data.find(b"PK\x01\x02") + 24):
        data = data[:at] + small + data[at + 4 :]
    assert "damaged" in refused(tmp_path, data)
    huge = bytearray(a_tar({TRAJ: b"x"}))
    huge[124:136] = b"77777777777\0"
    assert refused(tmp_path, summed(huge))
    huge[124:136] = b"\x80" + b"\xff" * 11
    assert "size" in refused(tmp_path, summed(huge))
    huge[124:136] = b"\xff" * 12
    assert "damaged" in refused(tmp_path, summed(huge))


def summed(data: bytearray) -> bytes:
    """With a right checksum in its first header."""
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


def test_long_headers_are_refused_before_they_are_held(tmp_path: Path) -> None:
    long = bytearray(a_tar({"x" * 101 + "/traj.jsonl": b"x"}))
    assert long[156:157] == b"L"
    long[124:136] = b"%011o\0" % (1 << 30)
    assert "too long" in refused(tmp_path, summed(long))


def test_a_directory_of_many_entries_is_refused_before_it_is_read(tmp_path: Path) -> None:
    data = bytearray(a_zip({TRAJ: b"x"}))
    at = data.rfind(b"PK\x05\x06")
    data[at + 12 : at + 16] = struct.pack("<I", 50 * 512 + 1)
    assert "more than 50 entries" in refused(tmp_path, bytes(data))


def test_xz_that_asks_for_much_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "MAX_XZ_MEMORY", 8 * 1024 * 1024)
    assert "damaged" in refused(tmp_path, lzma.compress(a_tar({TRAJ: b"x"}), preset=9))


# --- damage ---


@pytest.mark.parametrize("kind", [*PACKERS, "zip"])
def test_a_truncated_archive_is_refused(kind: str, tmp_path: Path) -> None:
    files = {f"m/0/d/{number}/traj.jsonl": random.Random(number).randbytes(3_000) for number in range(4)}
    data = a_zip(files) if kind == "zip" else PACKERS[kind](a_tar(files))
    ends = [1, 100, 513, len(data) // 3, len(data) // 2, len(data) - 10]
    if kind == "tar":  # an end of zeros may be shorter than the program makes it
        ends[-1] = len(data.rstrip(b"\0"))
    for end in ends:
        refused(tmp_path, data[:end])


@pytest.mark.parametrize("kind", [*PACKERS, "zip"])
def test_damage_is_refused_or_harmless(kind: str, tmp_path: Path) -> None:
    files = {f"m/0/d/{number}/traj.jsonl": random.Random(number).randbytes(600) for number in range(3)}
    data = a_zip(files) if kind == "zip" else PACKERS[kind](a_tar(files))
    chance = random.Random(7)
    for _ in range(50):
        broken = bytearray(data)
        broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            unpack(tmp_path, bytes(broken))
        except Invalid:
            continue
        assert all(path.is_relative_to(tmp_path) for path in (tmp_path / "out").rglob("*"))
    assert sorted(path.name for path in tmp_path.iterdir()) in (["out", "upload"], ["upload"])


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    for data in (
        b"",
        b"hello",
        bytes(4096),
        b"PK\x03\x04",
        b"\x1f\x8b",
        gzip.compress(b"hello"),
        gzip.compress(a_zip({TRAJ: b"x"})),
        b"BZh9",
    ):
        refused(tmp_path, data)
    assert "goes on after its end" in refused(tmp_path, a_tar({TRAJ: b"x"}) + a_tar({TRAJ: b"y"}))


@given(tail=st.binary(max_size=2000))
@settings(max_examples=80)
def test_any_bytes_behind_a_beginning_are_refused_or_harmless(tail: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    for data in (a_tar({TRAJ: b"x"})[:512] + tail, a_zip({TRAJ: b"x"})[:60] + tail + a_zip({TRAJ: b"x"})[-60:]):
        with contextlib.suppress(Invalid):
            unpack(folder, data)
        assert {path.name for path in folder.iterdir()} <= {"upload", "out"}


# --- a stream from a machine ---


def test_a_stream_gives_only_what_was_asked_for(tmp_path: Path) -> None:
    data = a_tar({TRAJ: b"x", "m/0/d/u/traj.jsonl": b"unasked"})
    report = extract_tar_stream(io.BytesIO(data), str(tmp_path / "out"), wanted={TRAJ})
    assert (report.files, report.passed_over) == (1, 1)
    assert content(tmp_path / "out") == {TRAJ: b"x"}
    with pytest.raises(Invalid, match="leads out of it"):
        extract_tar_stream(io.BytesIO(a_tar({"../x.png": b"evil"})), str(tmp_path / "other"), wanted={"../x.png"})
    with pytest.raises(Invalid, match="cut off"):
        extract_tar_stream(io.BytesIO(data[:1024]), str(tmp_path / "third"), wanted={TRAJ})
