"""The programs by themselves, in every shell: dead-man, clean end, quoting, other programs missing."""

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.wait import PATIENCE_S, wait_for
from tests.support.winarena_watch import Seen, ShellLink, busybox_folder, session_members, watching
from waa.core.error import Failure
from waa.core.observation import Container, LogKind, LogSource, Machine, Runner
from waa.core.spec import LogSide, VmSpec
from waa.core.status import ContainerStatus, Reason
from waa.probes import script
from waa.probes.frame import Frame, FrameDecoder
from waa.probes.local import LocalLink
from waa.probes.section import read_logs

PROGRAMS = {"status": script._STATUS, "inner": script._INNER, "follow": script._FOLLOW, "container": script._CONTAINER_LOG}
SHELLS = ["dash", "bash", "busybox"]


class Place:
    """A shell and the programs it finds."""

    def __init__(self, shell: str, path: str) -> None:
        self.shell = shell
        self.path = path

    def link(self) -> ShellLink:
        return ShellLink(LocalLink("here"), shell=self.shell, path=self.path)


def place(kind: str, folder: Path) -> Place:
    if kind == "busybox":
        programs = busybox_folder(folder)
        return Place(f"{programs}/sh", str(programs))
    if kind == "bare":  # neither timeout nor pgrep
        programs = busybox_folder(folder, without=("timeout", "pgrep", "stat"))
        return Place(f"{programs}/sh", str(programs))
    found = shutil.which(kind)
    if found is None:
        pytest.skip(f"no {kind} here")
    return Place(found, os.environ["PATH"])


def a_spec(**fields: object) -> VmSpec:
    """A VM without a container whose runner is nobody's."""
    return VmSpec(**{"name": "vm", "container": "", "process": f"never-{uuid.uuid4().hex}", "log_path": "/nonexistent/x.log", **fields})  # type: ignore[arg-type]


@contextlib.contextmanager
def running(command: str, data: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a session of its own, told ``data``; killed with the block."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(data)
    process.stdin.flush()
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdin.close()
        process.stdout.close()
        process.wait()


@contextlib.contextmanager
def waiting(command: list[str]) -> Iterator[int]:
    """A process that waits for a line, until the end of the block; gives its id."""
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            yield process.pid
        finally:
            process.communicate(b"\n")


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])


def frames_of(process: subprocess.Popen[bytes]) -> Iterator[Frame]:
    """What it says, until it ends."""
    decoder = FrameDecoder(first="hello")
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(PATIENCE_S):
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                return
            yield from decoder.feed(data)
    raise AssertionError("the program says nothing")


def frame_of(process: subprocess.Popen[bytes], name: str) -> Frame:
    return next(frame for frame in frames_of(process) if frame.name == name)


def input_for(spec: VmSpec, *, dead_s: int = 60, paths: tuple[str, ...] = ()) -> bytes:
    return script.status_input(spec, tick_s=0.1, every=1, slow_s=1, host_logs=paths, inner_log="", dead_s=dead_s)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("shell", [["dash"], ["bash", "--posix"], ["busybox", "sh"]], ids=SHELLS)
def test_every_shell_accepts_every_program(program: str, shell: list[str]) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} here")
    checked = subprocess.run([*shell, "-n"], input=PROGRAMS[program].encode(), capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, b"")


def test_a_command_line_is_one_line_and_says_nothing_of_the_configuration() -> None:
    assert "\n" not in script.launch_command()
    assert "\n" not in script.result_command(domain="a", task_id="b", roots=["/r"])


def test_without_a_ping_the_program_ends_by_itself_with_all_it_started() -> None:
    with running(script.launch_command(), input_for(a_spec(), dead_s=1)) as process:
        assert sum(frame.name == "beat" for frame in frames_of(process)) >= 1
        process.wait(PATIENCE_S)
        assert session_members(process.pid) == []


def test_the_end_of_the_input_ends_it_at_once_with_all_it_started() -> None:
    with running(script.launch_command(), input_for(a_spec(engine="/bin/false", container="x"))) as process:
        assert frame_of(process, "beat")
        assert process.stdin is not None
        process.stdin.close()
        process.wait(PATIENCE_S)
        # Killed by their leader, which has ended: the kernel takes them away soon.
        wait_for(lambda: not [line for line in session_members(process.pid) if script.MARK in line], what="the end of what it started")


def test_without_a_process_group_of_its_own_it_takes_one() -> None:
    with running(f"{script.launch_command()[5:]}; echo survived", input_for(a_spec(), dead_s=1)) as process:
        assert process.stdout is not None
        assert process.stdout.read().endswith(b"survived\n")


HOSTILE = st.text(st.sampled_from("'\"`$();&|<>\\ *?[]{}!#~%\t-=abé\U0001f600"), min_size=1, max_size=24).map(
    lambda text: text.replace("\t", " ")
)


@settings(max_examples=10)
@given(
    hostile=HOSTILE | st.sampled_from(["$(touch pwned)", "`touch pwned`", "'; touch pwned; '", '"; touch pwned; "', "-n", "a\\nb", "%s%n"])
)
def test_no_name_is_ever_run_and_every_file_is_found_under_it(hostile: str, tmp_path: Path) -> None:
    folder = tmp_path / uuid.uuid4().hex
    folder.mkdir()
    path = f"{folder}/{hostile}"
    with open(path, "w") as file:
        file.write("log\n")
    data = input_for(a_spec(process="".join(c for c in hostile if c not in "\\*?[]{}()|+") or "x", log_path=path), paths=(path,))
    with running(f"cd {folder} && {script.launch_command()}", data) as process:
        found = read_logs(frame_of(process, "logs").body)
    assert [line.size for line in found] == [4]
    nonce = "f" * 32
    follow = script.follow_input(nonce=nonce, path=path, identity="", offset=0, tick_s=0.1)
    with running(f"cd {folder} && {script.launch_command()}", follow) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(3)][2] == b"log\n"  # after two marks
    assert os.listdir(folder) == [hostile]


@settings(max_examples=12)
@given(domain=HOSTILE, task_id=HOSTILE)
def test_a_result_is_found_by_exactly_its_names(domain: str, task_id: str, tmp_path: Path) -> None:
    root = tmp_path / uuid.uuid4().hex
    wanted = root / "model" / "with slash" / domain / task_id
    other = root / "model" / "x" / "y"
    for folder, text in ((wanted, "0.5\n"), (other, "1\n")):
        folder.mkdir(parents=True)
        (folder / "result.txt").write_text(text)
    command = script.result_command(domain=domain, task_id=task_id, roots=[str(root), "/nonexistent"])
    for shell in ("dash", "bash", "busybox sh"):
        done = subprocess.run(["/bin/sh", "-c", command.replace("/bin/sh", shell, 1)], cwd=root, capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (0, b"=0.5\n")
    assert [entry.name for entry in root.iterdir()] == ["model"]


def test_the_newest_of_several_results_counts(tmp_path: Path) -> None:
    for age, trial in enumerate(("0", "1", "2")):
        folder = tmp_path / trial / "d" / "t"
        folder.mkdir(parents=True)
        (folder / "result.txt").write_text(f"{trial}\n")
        os.utime(folder / "result.txt", (1000 - age, 1000 - age))
    command = script.result_command(domain="d", task_id="t", roots=[str(tmp_path)])
    assert subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=True).stdout == b"=0\n"
    assert subprocess.run(["/bin/sh", "-c", command.replace("*/d/t", "*/d/u")], capture_output=True, check=True).stdout == b""


@pytest.mark.parametrize("kind", SHELLS)
def test_a_record_is_one_write_in_every_shell(kind: str, tmp_path: Path) -> None:
    where = place(kind, tmp_path)
    read_end, write_end = os.pipe2(os.O_DIRECT)  # keeps each write apart
    command = script.launch_command().replace("/bin/sh", where.shell)
    environment = {**os.environ, "PATH": where.path}
    with subprocess.Popen(
        ["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=write_end, env=environment, start_new_session=True
    ) as process:
        os.close(write_end)
        assert process.stdin is not None
        process.stdin.write(input_for(a_spec(log_path="/" + "x" * 1000)))
        process.stdin.flush()
        writes = [os.read(read_end, 65536) for _ in range(8)]
        process.stdin.close()
    os.close(read_end)
    assert all(text[:1] == b"@" and text[-1:] == b"\n" for text in writes), writes


async def test_a_watch_keeps_its_programs_alive(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with watching(LocalLink("here"), a_spec(), dead_s=2) as seen:
        tail = await seen.follow(LogSource(kind=LogKind.FILE, path=str(log)))
        await seen.beats(18)
        with log.open("w") as file:
            file.write("still here\n")
        await tail.until(b"", b"still here\n")
        assert seen.error is None


@pytest.mark.parametrize("kind", [*SHELLS, "bare"])
async def test_machine_runner_and_logs_are_seen_and_then_it_is_quiet(kind: str, tmp_path: Path) -> None:
    name = f"python_run_{uuid.uuid4().hex}.py"
    log = tmp_path / "run.log"
    spec = a_spec(process=f"^[^ ]*python.*{name[:-3]}\\.py( |$)", log_path=str(log), log_side=LogSide.HOST)
    async with watching(place(kind, tmp_path).link(), spec) as seen:
        await seen.until(lambda: isinstance(seen.machine, Machine) and seen.runner == Runner() and seen.setup_page is not None)
        told = len(seen.statuses), len(seen.log_calls)
        await seen.beats(6)
        assert (len(seen.statuses), len(seen.log_calls)) == told
        log.write_text("hello\n")
        await seen.until(lambda: [(found.source.path, found.size) for found in seen.logs] == [(str(log), 6)], "log")
        with waiting([sys.executable, "-c", "input()", name]) as pid:
            await seen.until(lambda: seen.pid == pid, "runner")
            assert isinstance(seen.runner, Runner)
            assert seen.runner.where == "host"
            assert seen.runner.command.endswith(name)
            assert seen.runner.started_at is not None
            await seen.beats(3)
        await seen.until(lambda: seen.runner == Runner(), "end of the runner")
        log.unlink()
        await seen.until(lambda: seen.logs == (), "end of the log")
    assert isinstance(seen.machine, Machine)
    assert seen.machine.boot_id == boot_id()
    assert seen.machine.clock_skew_s is None


async def test_our_own_shells_are_never_taken_for_the_runner(tmp_path: Path) -> None:
    async with watching(LocalLink("here"), a_spec(process="sh.*waa-live-watch")) as seen:
        await seen.until(lambda: seen.runner is not None)
        await seen.beats(3)
        assert seen.runner == Runner()


async def test_of_wrapper_and_runner_the_runner_counts(tmp_path: Path) -> None:
    name = f"python_run_{uuid.uuid4().hex}.py"
    with waiting(["/bin/sh", "-c", f"{sys.executable} -c 'input()' {name}; :"]) as wrapper:
        async with watching(LocalLink("here"), a_spec(process=f"python.*{name}")) as seen:
            await seen.until(lambda: seen.pid is not None, "runner")
            assert seen.pid is not None
            assert parent_of(seen.pid) == wrapper


async def test_a_bad_pattern_is_a_failure_of_the_runner_alone(tmp_path: Path) -> None:
    async with watching(LocalLink("here"), a_spec(process="x(?!y)")) as seen:
        await seen.until(lambda: isinstance(seen.runner, Failure) and seen.machine is not None)


def shim(folder: Path, text: str) -> str:
    """A container engine that does only this."""
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return str(program)


def container_failure(seen: Seen) -> Failure | None:
    return seen.container if isinstance(seen.container, Failure) else None


async def test_a_missing_engine_is_a_named_failure_and_the_rest_is_seen() -> None:
    async with watching(LocalLink("here"), a_spec(container="winarena", engine="no-such-engine")) as seen:
        await seen.until(lambda: container_failure(seen) is not None and seen.machine is not None and seen.runner is not None)
        failure = container_failure(seen)
        assert failure is not None
        assert "not installed" in failure.message
        assert seen.probe == failure


async def test_a_missing_permission_says_how_to_get_it(tmp_path: Path) -> None:
    engine = shim(tmp_path, "echo 'permission denied while trying to connect to the Docker daemon socket' >&2; exit 1")
    async with watching(LocalLink("here"), a_spec(container="winarena", engine=engine)) as seen:
        await seen.until(lambda: container_failure(seen) is not None)
        failure = container_failure(seen)
        assert failure is not None
        assert "usermod -aG docker" in failure.remedy


@pytest.mark.parametrize("kind", ["dash", "bare"])
async def test_a_hanging_engine_is_a_timeout_and_no_false_alarm(kind: str, tmp_path: Path) -> None:
    engine = shim(tmp_path, "exec sleep 30")
    async with watching(place(kind, tmp_path).link(), a_spec(container="winarena", engine=engine), silence_s=4) as seen:
        await seen.until(lambda: container_failure(seen) is not None, "time-out")
        failure = container_failure(seen)
        assert failure is not None
        assert failure.reason is Reason.TIMEOUT
        assert seen.error is None
        assert seen.machine is not None


async def test_an_absent_container_is_seen_as_such(tmp_path: Path) -> None:
    engine = shim(tmp_path, "echo 'Error: No such object: winarena' >&2; exit 1")
    async with watching(LocalLink("here"), a_spec(container="winarena", engine=engine)) as seen:
        await seen.until(lambda: seen.container == Container(status=ContainerStatus.ABSENT))


async def test_a_program_that_stops_speaking_ends_the_watch(tmp_path: Path) -> None:
    async with watching(LocalLink("here"), a_spec(log_path=str(tmp_path / "x")), silence_s=1) as seen:
        await seen.beats(2)
        assert seen.watch is not None
        ours = [pid for pid in _sessions() if script.MARK in _command(pid)]
        for pid in ours:
            os.kill(pid, signal.SIGSTOP)
        try:
            await seen.until(lambda: seen.error is not None, "silence")
        finally:
            for pid in ours:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        assert seen.error is not None
        assert seen.error.failure.reason is Reason.SILENT


async def test_a_program_that_is_killed_ends_the_watch(tmp_path: Path) -> None:
    async with watching(LocalLink("here"), a_spec(log_path=str(tmp_path / "x"))) as seen:
        await seen.beats(1)
        for pid in [pid for pid in _sessions() if script.MARK in _command(pid)]:  # other tests have children too
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await seen.until(lambda: seen.error is not None, "end")
        assert seen.error is not None
        assert seen.error.failure.reason is Reason.CLOSED


def _sessions() -> list[int]:
    """Processes of the sessions that this process's children lead."""
    children = set()
    for task in Path("/proc/self/task").iterdir():
        children |= {int(pid) for pid in (task / "children").read_text().split()}
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            if int((entry / "stat").read_text().rpartition(") ")[2].split()[3]) in children:
                found.append(int(entry.name))
    return found


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""
