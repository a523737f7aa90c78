"""What a log says of a span of time, printed by the programs of a machine, in every shell and awk."""

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.probes.test_task_folder import a_watch
from tests.support.winarena_watch import busybox_folder
from waa.core.error import LinkError
from waa.core.logs.excerpt import Excerpt, stamp
from waa.core.logs.record import HEADER, epoch
from waa.core.observation import LogKind, LogSource
from waa.probes.log_range import MAX_SEARCHED_BYTES

CORPUS = Path(__file__).parents[1] / "corpus" / "generated"
LOGS = (
    "waa_up_normal.plain.log",
    "waa_up_normal.pty.log",
    "waa_up_exception.plain.log",
    "waa_up_par3.merged.log",
    "waa_v1_sep2024.plain.log",
    "waa_v2_loop_instance1_run1.log",
    "waa_container_docker_logs_full_run.log",
    "osworld_multienv3.plain.log",
)
BOUND = 1_000_000
NAMES = {"dash": "dash", "busybox": "busybox", "gawk": "bash"}


@pytest.fixture(params=["dash", "busybox", "gawk"])
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A shell and its PATH, each with an awk of its own: mawk, busybox's, gawk."""
    kind: str = request.param
    if kind == "busybox":
        programs = busybox_folder(tmp_path_factory.mktemp("programs"))
        return f"{programs}/sh", str(programs)
    found = shutil.which(NAMES[kind])
    if found is None or (kind == "gawk" and shutil.which("gawk") is None):
        pytest.skip(f"no {kind} here")
    if kind != "gawk":
        return found, os.environ["PATH"]
    folder = tmp_path_factory.mktemp("gawk")
    (folder / "awk").symlink_to(shutil.which("gawk") or "")
    return found, f"{folder}:{os.environ['PATH']}"


async def excerpt(shell: tuple[str, str], path: Path, from_at: float, until_at: float, *, max_bytes: int = BOUND) -> Excerpt | None:
    source = LogSource(kind=LogKind.FILE, path=str(path))
    return await a_watch(shell).read_log_range(source, from_at=from_at, until_at=until_at, max_bytes=max_bytes)


def records(data: bytes) -> list[tuple[float, bytes]]:
    """The lines of a log with the moment of the record that each belongs to; those before the first one are left out."""
    found: list[tuple[float, bytes]] = []
    for line in data.split(b"\n"):
        stamps = [at for match in HEADER.finditer(line.decode("utf-8", "replace")) if (at := epoch(match[2])) is not None]
        if stamps or found:
            found.append((stamps[0] if stamps else found[-1][0], line))
    return found


@pytest.mark.parametrize("name", LOGS)
async def test_each_span_gives_the_lines_of_its_records(name: str, shell: tuple[str, str]) -> None:
    path = CORPUS / name
    lines = records(path.read_bytes())
    moments = sorted({at for at, _ in lines})
    assert len(moments) > 20
    spans = [(moments[0], moments[-1] + 1), (moments[3], moments[9]), (moments[-4], moments[-1]), (moments[5], moments[5])]
    for from_at, until_at in spans:
        found = await excerpt(shell, path, from_at, until_at)
        assert found is not None
        expected = b"\n".join(line for at, line in lines if from_at <= at < until_at)
        assert found.data.rstrip(b"\n") == expected.rstrip(b"\n")
        assert (found.is_cut, found.is_end_only) == (False, False)


async def test_the_steps_of_a_task_have_their_own_lines(shell: tuple[str, str]) -> None:
    path = CORPUS / "waa_up_normal.plain.log"
    text = path.read_text(encoding="utf-8")
    steps = [(epoch(match[2]) or 0.0, match.end()) for match in HEADER.finditer(text) if text.startswith("Step ", match.end())]
    (first, at), (second, _) = steps[0], steps[1]
    found = await excerpt(shell, path, first, second)
    assert found is not None
    told = found.data.decode()
    assert text[at:].splitlines()[0] in told
    assert len(re.findall(r"Step \d+:", told)) == 1
    assert "Agent: Thinking..." in told


async def test_more_than_the_bound_is_cut_at_a_line(shell: tuple[str, str]) -> None:
    path = CORPUS / "waa_up_normal.plain.log"
    found = await excerpt(shell, path, 0.0, 2e9, max_bytes=1000)
    assert found is not None
    assert found.is_cut
    assert 500 < len(found.data) <= 1000
    assert found.data.endswith(b"\n")
    whole = await excerpt(shell, path, 0.0, 2e9)
    assert whole is not None
    assert whole.data.startswith(found.data)


async def test_a_time_that_the_log_does_not_tell_of_is_empty(shell: tuple[str, str]) -> None:
    path = CORPUS / "waa_up_normal.plain.log"
    for from_at, until_at in ((0.0, 10.0), (4e9, 4.1e9)):
        assert await excerpt(shell, path, from_at, until_at) == Excerpt(data=b"")
    assert await excerpt(shell, CORPUS / "dockur_v4.35_no_kvm.log", 0.0, 4e9) == Excerpt(data=b"")


async def test_records_that_a_model_prints_do_not_end_the_reading(shell: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "it's $(a) log"
    future = f"[{stamp(4e9)} INFO run/1-MainProcess] forged\n"
    lines = [f"[{stamp(1e9 + number)} INFO run/1-MainProcess] line {number}\n" for number in range(10)]
    path.write_text("".join([*lines[:5], future * 20, *lines[5:]]), encoding="utf-8")
    found = await excerpt(shell, path, 1e9 + 7, 1e9 + 9)
    assert found is not None
    assert found.data.decode() == "".join(lines[7:9])


async def test_bytes_are_given_as_they_are(shell: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "log"
    body = b"[2026-02-04 12:31:31,288 INFO run/1-MainProcess] \xff\xfe \x1b[31m %s %d \\n \xe2\x9d\xaf\r\n" + b"x" * 100_000 + b"\n"
    path.write_bytes(b"before\n" + body + b"[2026-02-04 12:31:32,000 INFO run/1-MainProcess] after\n")
    at = epoch("2026-02-04 12:31:31,288")
    assert at is not None
    found = await excerpt(shell, path, at, at + 0.1)
    assert found is not None
    assert found.data == body


async def test_of_a_very_long_log_the_end_is_searched(shell: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "log"
    filler = b"x" * 9999 + b"\n"
    early, late = (f"[{stamp(at)} INFO run/1-MainProcess] {word}\n".encode() for at, word in ((1e9, "early"), (1e9 + 5, "late")))
    path.write_bytes(early + filler * (MAX_SEARCHED_BYTES // len(filler) + 1) + late)
    found = await excerpt(shell, path, 1e9, 1e9 + 10)
    assert found is not None
    assert found.is_end_only
    assert b"late" in found.data
    assert b"early" not in found.data


async def test_a_log_that_is_not_there_or_cannot_be_asked_for(shell: tuple[str, str], tmp_path: Path) -> None:
    assert await excerpt(shell, tmp_path / "nothing", 0.0, 1e9) is None
    assert await excerpt(shell, tmp_path, 0.0, 1e9) is None
    for kind in (LogKind.INNER, LogKind.CONTAINER):
        with pytest.raises(LinkError):
            await a_watch(shell).read_log_range(LogSource(kind=kind, path="/log"), from_at=0.0, until_at=1.0, max_bytes=10)


async def test_without_awk_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    with pytest.raises(LinkError, match="no awk"):
        await excerpt((shutil.which("dash") or "/bin/sh", str(tmp_path)), tmp_path / "log", 0.0, 1.0)


async def test_the_first_file_that_is_there_is_given(shell: tuple[str, str], tmp_path: Path) -> None:
    watch = a_watch(shell)
    path = tmp_path / "it's $(touch gone) = [1].json"
    path.write_bytes(b"=12=\x00\xff")
    gone = Path("gone")
    (tmp_path / "link.json").symlink_to("/etc/passwd")
    names = [str(tmp_path / "nothing"), "relative", str(tmp_path), str(tmp_path / "link.json"), str(path), "/etc/passwd"]
    assert await watch.read_first(names, inner=False, max_bytes=100) == (str(path), b"=12=\x00\xff")
    assert await watch.read_first(names, inner=False, max_bytes=2) == (str(path), b"=1")
    assert await watch.read_first(names[:4], inner=False, max_bytes=100) is None
    assert await watch.read_first([], inner=False, max_bytes=100) is None
    with pytest.raises(LinkError):
        await watch.read_first(names, inner=True, max_bytes=100)
    assert not gone.exists()  # noqa: ASYNC240 - a look at this disk
