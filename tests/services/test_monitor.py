"""The probe loop over a played link: what is recorded, what is remembered, and what is asked again."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from tests.support.wait import PATIENCE_S, until
from waa.core.entity import RunId, Task, Vm
from waa.core.error import Failure, LinkError, NotFound, Unavailable
from waa.core.logs.excerpt import Excerpt
from waa.core.observation import Container, GuestProbe, LogCursor, LogFound, LogKind, LogSource, StatusSeen
from waa.core.port import CommandResult, Link, LogFollower, RemoteProcess, Watch
from waa.core.results.folder import FolderFound, FolderLacking, Lack
from waa.core.results.tree import FileListed
from waa.core.spec import VmSpec
from waa.core.status import ContainerStatus, Phase, Reason, TaskStatus
from waa.core.transition import Rules
from waa.services.monitor import Monitor, result_roots
from waa.services.recorder import Recorder
from waa.services.supervise import Supervisor
from waa.store.memory import MemoryStore

SOURCE = LogSource(kind=LogKind.FILE, path="/tmp/waa_benchmark.log", identity="1:1")
NOW = 1_770_000_000.0


def record(message: str, module: str = "run/1", second: int = 0) -> bytes:
    return f"\x1b[1;33m[2026-02-02 02:40:{second:02d},000 \x1b[31mINFO \x1b[32m{module}-MainProcess\x1b[1;33m] \x1b[0m{message}\n".encode()


BEGIN = (
    record("\nTESTING ON TASK JSON PATH: all.json")
    + record("Left tasks:\nnotepad: 2\n")
    + record("Worker 0 is doing tasks: [('notepad', 'a-WOS'), ('notepad', 'b-WOS')]", second=1)
    + record("Args: Namespace(max_steps=15, model='gpt-4o', result_dir='/results', num_workers=1)", second=1)
)


def task_log(task_id: str, score: str, second: int) -> bytes:
    return (
        record("[Domain]: notepad", "run/224", second)
        + record(f"[Example ID]: {task_id}", "run/225", second)
        + record("[Instruction]: Write a note", "run/229", second)
        + record("Agent: Thinking...", "lib_run_single/41", second)
        + record("Step 1: computer.mouse.click()", "lib_run_single/56", second)
        + record("Done: True", "lib_run_single/61", second)
        + record("Running evaluator(s)...", "lib_run_single/82", second)
        + record(f"Result: {score}", "lib_run_single/84", second)
        + record(f"Finished notepad/{task_id}", "run/280", second)
    )


class NoLink:
    """A link of which only the end matters; everything else is played by the watch."""

    def __init__(self) -> None:
        self.is_closed = False

    async def start(
        self,
        command: str,
        *,
        on_stdout: Callable[[bytes], None],
        on_stderr: Callable[[bytes], None],
        on_end: Callable[[int | None], None],
    ) -> RemoteProcess:
        raise NotImplementedError

    async def run(self, command: str, *, timeout_s: float = 10.0, max_bytes: int = 1_000_000) -> CommandResult:
        raise NotImplementedError

    async def wait_closed(self) -> LinkError:
        raise NotImplementedError

    async def close(self) -> None:
        self.is_closed = True


class PlayedFollower:
    def __init__(self) -> None:
        self.is_paused = False
        self.pauses = 0

    def pause(self) -> None:
        self.is_paused = True
        self.pauses += 1

    def resume(self) -> None:
        self.is_paused = False

    def close(self) -> None:
        self.is_paused = False


@dataclass
class Following:
    source: LogSource
    offset: int
    on_data: Callable[[bytes], None]
    on_reset: Callable[[LogSource], None]
    on_end: Callable[[Failure | None], None]
    follower: PlayedFollower = field(default_factory=PlayedFollower)


class PlayedVm:
    """Opener, watch and VM in one: the test says what happens."""

    def __init__(self) -> None:
        self.refusals: list[Failure] = []
        self.opened = 0
        self.links: list[NoLink] = []
        self.following: list[Following] = []
        self.results: dict[str, bytes] = {}
        self.pictures: list[bytes] = []
        self.folders: dict[str, FolderFound] = {}
        self.texts: dict[str, bytes] = {}
        self.asked: list[tuple[str, tuple[str, ...], bool]] = []
        self._ended: asyncio.Future[None] | None = None
        self.on_status: Callable[[StatusSeen], None]
        self.on_alive: Callable[[float], None]
        self.on_logs: Callable[[tuple[LogFound, ...]], None]

    async def open(self, spec: VmSpec) -> Link:
        self.opened += 1
        if self.refusals:
            raise LinkError(self.refusals.pop(0))
        self.links.append(NoLink())
        return self.links[-1]

    async def close(self) -> None:
        """Nothing is held."""

    def make(
        self,
        link: Link,
        spec: VmSpec,
        *,
        on_status: Callable[[StatusSeen], None],
        on_alive: Callable[[float], None],
        on_logs: Callable[[tuple[LogFound, ...]], None],
    ) -> Watch:
        self.on_status, self.on_alive, self.on_logs = on_status, on_alive, on_logs
        return self

    async def run(self) -> None:
        self._ended = asyncio.get_running_loop().create_future()
        self.on_alive(NOW)
        await self._ended

    def break_link(self, failure: Failure) -> None:
        assert self._ended is not None
        self._ended.set_exception(LinkError(failure))

    async def follow(
        self,
        source: LogSource,
        offset: int,
        *,
        on_data: Callable[[bytes], None],
        on_reset: Callable[[LogSource], None],
        on_end: Callable[[Failure | None], None],
    ) -> LogFollower:
        following = Following(source, offset, on_data, on_reset, on_end)
        self.following.append(following)
        return following.follower

    async def read_result(self, *, domain: str, task_id: str, roots: Sequence[str], inner: bool) -> bytes | None:
        self.asked.append((task_id, tuple(roots), inner))
        return self.results.get(task_id)

    async def read_screenshot(self, *, domain: str, task_id: str, roots: Sequence[str], inner: bool) -> bytes | None:
        return self.pictures.pop(0) if self.pictures else None

    async def read_screen_sums(self, *, domain: str, task_id: str, roots: Sequence[str], inner: bool, newest: int) -> tuple[str, ...]:
        return ()

    async def read_task(self, *, domain: str, task_id: str, roots: Sequence[str], inner: bool, within: str = "") -> FolderFound | None:
        self.asked.append((f"{domain}/{task_id} of {within!r}", tuple(roots), inner))
        return self.folders.get(task_id)

    async def read_task_file(self, *, folder: str, name: str, inner: bool, max_bytes: int) -> bytes | None:
        if name == "broken":
            raise LinkError(Failure(reason=Reason.TIMEOUT, message="too slow"))
        return f"{folder}/{name}".encode()[:max_bytes]

    async def read_log_range(self, source: LogSource, *, from_at: float, until_at: float, max_bytes: int) -> Excerpt | None:
        self.asked.append((f"{source.path} from {from_at:g} until {until_at:g}", (), source.kind is LogKind.INNER))
        return Excerpt(data=b"a line\n"[:max_bytes])

    async def read_first(self, paths: Sequence[str], *, inner: bool, max_bytes: int) -> tuple[str, bytes] | None:
        self.asked.append(("the first", tuple(paths), inner))
        return next(((path, self.texts[path][:max_bytes]) for path in paths if path in self.texts), None)

    async def list_results(self, path: str, *, inner: bool) -> Sequence[FileListed]:
        return [FileListed(f"{path[1:]}/traj.jsonl", 100, 1.0)]

    async def fetch_results(
        self, path: str, files: Sequence[FileListed], *, inner: bool, into: str, on_progress: Callable[[int, int], None]
    ) -> None:
        on_progress(0, 100)
        if path == "/broken":
            raise LinkError(Failure(reason=Reason.CLOSED, message="broken"))
        self.asked.append((into, tuple(file.path for file in files), inner))
        on_progress(100, 100)


class House:
    """A monitor with one played VM."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.vm = PlayedVm()
        self.store = store or MemoryStore()
        self.recorder = Recorder(store=self.store, rules=Rules(), clock=lambda: NOW)
        self.supervisor = Supervisor()
        self.log: list[bytes] = []
        self.monitor = Monitor(
            recorder=self.recorder,
            opener=self.vm,
            make_watch=self.vm.make,
            supervisor=self.supervisor,
            on_log=lambda _vm, _source, data: self.log.append(data),
            clock=lambda: NOW,
            spread=lambda: 1.0,
        )

    async def __aenter__(self) -> "House":
        await self.recorder.open()
        self.monitor.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.monitor.close()
        await self.supervisor.close()
        await self.recorder.close()

    @property
    def state(self) -> Vm:
        return self.recorder.state.vms["vm"]

    def tasks(self) -> list[Task]:
        return [task for tasks in self.recorder.state.tasks.values() for task in tasks.values()]

    async def watch(self) -> None:
        await self.monitor.name(VmSpec(name="vm", ssh_host="10.0.0.4"))
        await until(lambda: self.state.connection.connected)

    async def follow_log(self) -> Following:
        count = len(self.vm.following)
        self.vm.on_logs((LogFound(source=SOURCE, size=0),))
        await until(lambda: len(self.vm.following) > count)
        return self.vm.following[-1]


async def test_a_refused_vm_is_unreachable_with_reason_and_next_try() -> None:
    """B4, B5."""
    async with House() as house:
        house.vm.refusals = [Failure(reason=Reason.REFUSED, message="port 22 refuses", remedy="start sshd")]
        await house.monitor.name(VmSpec(name="vm"))
        await until(lambda: house.state.phase is Phase.UNREACHABLE)
        failure = house.state.connection.failure
        assert failure is not None
        assert (failure.reason, failure.remedy) == (Reason.REFUSED, "start sshd")
        assert house.monitor.retry_at["vm"] == NOW + 0.5
        house.monitor.retry_now("vm")
        await until(lambda: house.state.connection.connected)
        assert house.vm.opened == 2


async def test_a_lost_link_keeps_the_last_values_and_is_opened_again() -> None:
    async with House() as house:
        await house.watch()
        house.vm.on_status(StatusSeen(vm="vm", at=NOW, probe=GuestProbe(ready=True, status="ok")))
        await until(lambda: house.state.probe.value)
        house.vm.break_link(Failure(reason=Reason.SILENT, message="nothing heard for 8 s"))
        await until(lambda: house.state.connection.connected is False)
        assert house.state.probe.value == GuestProbe(ready=True, status="ok")
        assert house.vm.links[0].is_closed
        house.monitor.retry_now("vm")
        await until(lambda: house.state.connection.connected)


async def test_parts_of_a_status_that_come_in_a_burst_are_all_kept() -> None:
    async with House() as house:
        await house.watch()
        container = Container(status=ContainerStatus.RUNNING, container_id="c1")
        house.vm.on_status(StatusSeen(vm="vm", at=NOW, container=container))
        house.vm.on_status(StatusSeen(vm="vm", at=NOW, probe=GuestProbe(ready=False, status="refused")))
        house.vm.on_status(StatusSeen(vm="vm", at=NOW, probe=GuestProbe(ready=True, status="ok")))
        await until(lambda: house.state.probe.value)
        assert house.state.container.value == container
        assert house.state.probe.value == GuestProbe(ready=True, status="ok")


async def test_a_log_is_read_on_from_its_cursor_after_a_restart() -> None:
    """A line is never parsed twice or lost."""
    store = MemoryStore()
    text = BEGIN + task_log("a-WOS", "1.00", 5)
    async with House(store) as house:
        await house.watch()
        following = await house.follow_log()
        assert following.offset == 0
        following.on_data(text[:-7])
        await until(lambda: house.tasks() and house.tasks()[0].score == 1.0)
        await house.recorder.flush()
        cursor: LogCursor = house.recorder.state.cursors["vm", SOURCE.key]
        assert cursor.offset <= len(text) - 7
    async with House(store) as house:
        await until(lambda: house.vm.links and house.state.connection.connected)
        following = await house.follow_log()
        following.on_data((text + task_log("b-WOS", "0.00", 9))[following.offset :])
        await until(lambda: len(house.tasks()) == 2 and all(task.is_over for task in house.tasks()))
        assert [task.status for task in house.tasks()] == [TaskStatus.PASSED, TaskStatus.FAILED]
        assert [task.attempt for task in house.tasks()] == [1, 1]


async def test_a_rotation_in_the_middle_of_a_task_cuts_nothing() -> None:
    async with House() as house:
        await house.watch()
        following = await house.follow_log()
        text = task_log("a-WOS", "1.00", 5)
        cut = text.index(b"Running evaluator")
        cut = text.rindex(b"\n", 0, cut) + 1
        following.on_data(BEGIN + text[:cut])
        following.on_reset(LogSource(kind=LogKind.FILE, path=SOURCE.path, identity="1:2"))
        following.on_data(text[cut:])
        await until(lambda: house.tasks() and house.tasks()[0].is_over)
        assert house.tasks()[0].status is TaskStatus.PASSED
        await house.recorder.flush()
        cursor = house.recorder.state.cursors["vm", SOURCE.key]
        assert (cursor.source.identity, cursor.offset) == ("1:2", len(text) - cut)


async def test_a_flood_pushes_the_machine_back_and_loses_nothing() -> None:
    async with House() as house:
        await house.watch()
        following = await house.follow_log()
        for _ in range(40):
            following.on_data(b"x" * 32_767 + b"\n")
        assert following.follower.is_paused
        following.on_data(BEGIN + task_log("a-WOS", "1.00", 5))
        await until(lambda: house.tasks() and house.tasks()[0].is_over)
        assert not following.follower.is_paused
        assert following.follower.pauses == 1


async def test_a_log_that_ends_is_followed_again_where_it_stood() -> None:
    async with House() as house:
        await house.watch()
        following = await house.follow_log()
        following.on_data(BEGIN)
        following.on_end(None)
        await until(lambda: len(house.vm.following) == 2)
        assert house.vm.following[1].offset == len(BEGIN)


async def test_the_exact_score_comes_from_the_result_file() -> None:
    """The log has 0.86; result.txt settles it."""
    async with House() as house:
        await house.watch()
        house.vm.results["a-WOS"] = b"0.8571428571428571\n"
        following = await house.follow_log()
        following.on_data(BEGIN + task_log("a-WOS", "0.86", 5))
        await until(lambda: house.tasks() and not house.tasks()[0].provisional)
        assert house.tasks()[0].score == 0.8571428571428571
        assert house.vm.asked[0] == ("a-WOS", ("/results",), False)


async def test_a_result_that_is_late_keeps_no_other_waiting() -> None:
    async with House() as house:
        await house.watch()
        following = await house.follow_log()
        house.vm.results["b-WOS"] = b"0.0\n"
        following.on_data(BEGIN + task_log("a-WOS", "1.00", 5) + task_log("b-WOS", "0.00", 9))
        await until(lambda: len(house.tasks()) == 2 and not house.tasks()[1].provisional)
        assert house.tasks()[0].provisional
        house.vm.results["a-WOS"] = b"1.0\n"
        await until(lambda: not house.tasks()[0].provisional)
        assert [asked for asked, _, _ in house.vm.asked] == ["a-WOS", "b-WOS", "a-WOS"]


async def test_a_screenshot_is_asked_for_once_per_step() -> None:
    async with House() as house:
        await house.watch()
        assert await house.monitor.screenshot("vm") is None
        following = await house.follow_log()
        following.on_data(BEGIN + task_log("a-WOS", "1.00", 5))
        await until(lambda: house.tasks() and house.tasks()[0].is_over)
        house.vm.pictures = [b"first", b"second"]
        assert [await house.monitor.screenshot("vm") for _ in range(3)] == [b"first"] * 3
        with pytest.raises(NotFound):
            await house.monitor.screenshot("other")


async def test_a_forgotten_vm_is_left_alone() -> None:
    async with House() as house:
        await house.watch()
        await house.monitor.forget("vm")
        assert house.vm.links[0].is_closed
        assert "vm" not in house.recorder.state.vms
        assert "vm" not in house.monitor.seen_at


@pytest.mark.parametrize("turns", range(6))
async def test_a_vm_can_be_forgotten_at_every_moment_of_the_end_of_its_link(turns: int) -> None:
    async with House() as house:
        await house.watch()
        house.vm.break_link(Failure(reason=Reason.CLOSED, message="gone"))
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_S):
            await house.monitor.forget("vm")
        assert "vm" not in house.recorder.state.vms


def test_result_folders_are_configured_or_printed() -> None:
    spec = VmSpec(name="vm")
    assert result_roots(VmSpec(name="vm", results_dir="/r"), {"result_dir": "'/x'"}, inner=False) == ["/r"]
    assert result_roots(spec, {"result_dir": "'/x'"}, inner=False) == ["/x"]
    assert result_roots(spec, {"result_dir": "./results"}, inner=True) == ["/client/results"]
    assert result_roots(spec, {"result_dir": "./results"}, inner=False) == []
    assert result_roots(spec, {}, inner=True) == []


async def test_a_tasks_folder_is_asked_where_the_run_said_that_its_results_lie() -> None:
    async with House() as house:
        await house.watch()
        following = await house.follow_log()
        following.on_data(BEGIN.replace(b"num_workers=1", b"trial_id='7'") + task_log("a-WOS", "1.00", 5))
        await until(house.tasks)
        run_id = house.tasks()[0].run_id
        found = house.vm.folders["a-WOS"] = FolderFound(path="/results/x/7/notepad/a-WOS")
        assert await house.monitor.task_record(run_id, "notepad", "a-WOS") == found
        assert ("notepad/a-WOS of '7'", ("/results",), False) in house.vm.asked
        absent = await house.monitor.task_record(run_id, "notepad", "b-WOS")
        assert isinstance(absent, FolderLacking)
        assert (absent.lack, absent.where) == (Lack.ABSENT, ("/results",))
        assert await house.monitor.task_file(run_id, found, "a.png", max_bytes=100) == b"/results/x/7/notepad/a-WOS/a.png"
        with pytest.raises(Unavailable, match="too slow"):
            await house.monitor.task_file(run_id, found, "broken", max_bytes=100)
        with pytest.raises(NotFound):
            await house.monitor.task_record(RunId("nobody"), "notepad", "a-WOS")
        await house.monitor.forget("vm")
        gone = await house.monitor.task_record(run_id, "notepad", "a-WOS")
        assert isinstance(gone, FolderLacking)
        assert gone.lack is Lack.OUT_OF_REACH
        with pytest.raises(Unavailable):
            await house.monitor.task_file(run_id, found, "a.png", max_bytes=100)


async def test_a_tasks_log_and_specification_are_asked_of_the_vm() -> None:
    async with House() as house:
        await house.watch()
        following = await house.follow_log()
        following.on_data(BEGIN + task_log("a-WOS", "1.00", 5))
        await until(house.tasks)
        run_id = house.tasks()[0].run_id
        found = await house.monitor.task_log(run_id, "notepad", "a-WOS", from_at=5, until_at=7, max_bytes=4)
        assert found == Excerpt(data=b"a li")
        assert (f"{SOURCE.path} from 5 until 7", (), False) in house.vm.asked
        lacking = await house.monitor.task_specification(run_id, "notepad", "a-WOS", max_bytes=100)
        beside = "/evaluation_examples_windows/examples/notepad/a-WOS.json"
        assert (lacking.data, lacking.searched[0]) == (None, beside)
        assert f"/client{beside} (in the container)" in lacking.searched
        house.vm.texts = {f"/client{beside}": b"{}"}
        read = await house.monitor.task_specification(run_id, "notepad", "a-WOS", max_bytes=100)
        assert (read.path, read.data) == (f"/client{beside}", b"{}")
        with pytest.raises(NotFound):
            await house.monitor.task_log(RunId("nobody"), "notepad", "a-WOS", from_at=5, until_at=7, max_bytes=4)
        house.vm.refusals = [Failure(reason=Reason.REFUSED, message="port 22 refuses", remedy="start sshd")]
        house.vm.break_link(Failure(reason=Reason.CLOSED, message="gone"))
        await until(lambda: not house.state.connection.connected)
        with pytest.raises(LinkError) as told:
            await house.monitor.task_log(run_id, "notepad", "a-WOS", from_at=5, until_at=7, max_bytes=4)
        assert told.value.failure == house.state.connection.failure
        await house.monitor.forget("vm")
        with pytest.raises(LinkError, match="not watched"):
            await house.monitor.task_specification(run_id, "notepad", "a-WOS", max_bytes=100)


async def test_a_run_that_did_not_say_where_its_results_lie_says_so() -> None:
    async with House() as house:
        await house.watch()
        following = await house.follow_log()
        following.on_data(BEGIN.replace(b"result_dir='/results'", b"result_dir='./results'") + task_log("a-WOS", "1.00", 5))
        await until(house.tasks)
        lacking = await house.monitor.task_record(house.tasks()[0].run_id, "notepad", "a-WOS")
        assert isinstance(lacking, FolderLacking)
        assert lacking.lack is Lack.UNSET


async def test_a_result_tree_is_fetched_from_a_vm_by_its_name() -> None:
    async with House() as house:
        await house.watch()
        told: list[tuple[float, str]] = []

        async def get(name: str, path: str) -> Sequence[FileListed]:
            return await house.monitor.fetch_results(
                name, path, inner=True, into="/kept", on_progress=lambda share, detail: told.append((share, detail))
            )

        assert [file.path for file in await get("vm", "/results")] == ["results/traj.jsonl"]
        assert ("/kept", ("results/traj.jsonl",), True) in house.vm.asked
        assert [share for share, _ in told] == [0.0, 0.0, 1.0]
        assert all(detail for _, detail in told)
        with pytest.raises(Unavailable, match="broken"):
            await get("vm", "/broken")
        with pytest.raises(NotFound):
            await get("nobody", "/results")
        house.vm.refusals.append(Failure(reason=Reason.REFUSED, message="no"))
        house.vm.break_link(Failure(reason=Reason.CLOSED, message="gone"))
        await until(lambda: bool(house.monitor.retry_at))
        with pytest.raises(Unavailable, match="cannot be reached"):
            await get("vm", "/results")
