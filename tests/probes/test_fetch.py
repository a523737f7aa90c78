"""Result trees fetched from a machine: by its own shell and tar, over SSH, interrupted, while they change, and by a hostile one."""

import asyncio
import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.core.results.tree import CORPUS
from tests.support.sshd import Sshd, has_sshd
from tests.support.winarena_watch import ShellLink, busybox_folder
from waa.core.error import Failure, Invalid, LinkError, Unavailable
from waa.core.port import CommandResult, Link, RemoteProcess
from waa.core.results.tree import FileListed, find_runs, matters
from waa.core.spec import VmSpec
from waa.core.status import Reason
from waa.probes import fetch
from waa.probes.fetch import fetch_results, list_results
from waa.probes.host import HostWatch
from waa.probes.local import LocalLink
from waa.probes.results import list_tree
from waa.probes.ssh import SshOpener

RESULTS = CORPUS / "results"
SHELLS = ["dash", "bash", "busybox", "bare"]
ODD = 'it\'s $(touch gone) *?[1] "x" -T'


MakeLink = Callable[[], Link]


@pytest.fixture(params=SHELLS)
def a_link(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MakeLink:
    """Makes a link to this machine with another shell; "bare" is busybox without stat."""
    kind: str = request.param
    if kind in ("busybox", "bare"):
        programs = busybox_folder(tmp_path_factory.mktemp("programs"), without=("stat",) if kind == "bare" else ())
        return lambda: ShellLink(LocalLink("here"), shell=f"{programs}/sh", path=str(programs))
    found = shutil.which(kind)
    if found is None:
        pytest.skip(f"no {kind} here")
    return lambda: ShellLink(LocalLink("here"), shell=found, path=os.environ["PATH"])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A recorded tree with an odd name, as a machine has it."""
    root = tmp_path / "vm" / "results of mine"
    shutil.copytree(RESULTS / "waa_up_normal", root)
    shutil.copytree(next(root.glob("*/*/*/*/clock/*-2-WOS")), root / "pyautogui/a11y_tree/gpt-4o/0/clock" / ODD)
    return root


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), int(path.stat().st_mtime)) for path in found}


def has_run(folder: Path) -> bool:
    """Whether an odd name was taken for a command."""
    return bool(list(folder.glob("**/gone"))) or Path("gone").exists()


def trajectories(tree: Path) -> list[Path]:
    return sorted(tree.glob("**/traj.jsonl"))


def an_odd_tree(root: Path, secret: Path) -> None:
    """One file that counts among links, pipes and names that are no text, or forge lines of the listing."""
    folder = root / "m/0/d/t"
    for path in (folder, secret / "m/0/d/t", root / "evil\n1 1 .", root / ".hidden/0/d/t"):
        path.mkdir(parents=True)
        (path / "traj.jsonl").write_text("x")
    (folder / "result.txt").symlink_to("/etc/passwd")
    (root / "link").symlink_to(secret)
    (folder / "back\\slash.png").write_bytes(b"x")
    (folder / "accessibility_tree-step_0.txt").write_bytes(b"x")
    (folder / "window_image-step_0_x.png").write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png")).write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(folder) + b"/a\n9 9 .")).mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/a\n9 9 ./x.png")).write_bytes(b"x")
    os.mkfifo(folder / "error.txt")


class CountingLink:
    """A link that counts the files that are asked for, and breaks when it is told to."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.asked: list[list[str]] = []
        self.breaks_at: int | None = None
        self.before: Callable[[], None] = lambda: None
        self.answer: Callable[[CommandResult], CommandResult] = lambda result: result

    async def run(self, command: str, *, timeout_s: float = 10.0, max_bytes: int = 1_000_000) -> CommandResult:
        if "tar -cf" not in command:
            return await self._link.run(command, timeout_s=timeout_s, max_bytes=max_bytes)
        if self.breaks_at == len(self.asked):
            raise LinkError(Failure(reason=Reason.CLOSED, message="broken"))
        self.asked.append(command.split("./")[1:])
        self.before()
        return self.answer(await self._link.run(command, timeout_s=timeout_s, max_bytes=max_bytes))

    async def start(
        self,
        command: str,
        *,
        on_stdout: Callable[[bytes], None],
        on_stderr: Callable[[bytes], None],
        on_end: Callable[[int | None], None],
    ) -> RemoteProcess:
        return await self._link.start(command, on_stdout=on_stdout, on_stderr=on_stderr, on_end=on_end)

    async def wait_closed(self) -> LinkError:
        return await self._link.wait_closed()

    async def close(self) -> None:
        await self._link.close()


# --- whole trees ---


async def test_a_tree_comes_as_it_lies_there(a_link: MakeLink, tree: Path, tmp_path: Path) -> None:
    link = a_link()
    files = await list_results(link, str(tree))
    there = {path: found for path, found in content(tree).items() if matters(path)}
    assert {file.path: file.size for file in files} == {path: len(data) for path, (data, _) in there.items()}
    assert all(file.modified_at in (0, there[file.path][1]) for file in files)
    told: list[tuple[int, int]] = []
    await fetch_results(link, str(tree), files, into=str(tmp_path / "here"), on_progress=lambda done, total: told.append((done, total)))
    assert content(tmp_path / "here") == there
    assert told == sorted(told)
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1] == sum(file.size for file in files)
    assert [run.tasks for run in find_runs(list_tree(str(tmp_path / "here")), base="/r")] == [
        run.tasks for run in find_runs(list_tree(str(tree)), base="/r")
    ]
    assert not has_run(tmp_path)


async def test_what_is_here_is_not_fetched_again(a_link: MakeLink, tree: Path, tmp_path: Path) -> None:
    link = a_link()
    counting = CountingLink(link)
    here = tmp_path / "here"
    await fetch_results(counting, str(tree), await list_results(link, str(tree)), into=str(here))
    assert len(counting.asked) == 1
    await fetch_results(counting, str(tree), await list_results(link, str(tree)), into=str(here))
    assert len(counting.asked) == 1
    grown = trajectories(tree)[0]
    with grown.open("a") as file:
        file.write('{"step_num": 99}\n')
    await fetch_results(counting, str(tree), await list_results(link, str(tree)), into=str(here))
    assert [len(batch) for batch in counting.asked[1:]] == [1]
    assert (here / grown.relative_to(tree)).read_bytes() == grown.read_bytes()


async def test_links_and_names_that_are_no_text_stay_there(a_link: MakeLink, tmp_path: Path) -> None:
    link = a_link()
    root = tmp_path / "root"
    an_odd_tree(root, tmp_path / "secret")
    (tmp_path / "way").symlink_to(root)
    for way in (root, tmp_path / "way"):
        assert [file.path for file in await list_results(link, str(way))] == ["m/0/d/t/traj.jsonl"]


@pytest.mark.parametrize("path", ["/nonexistent/results", "results", "/a\0b", "file"])
async def test_a_folder_that_is_not_there_is_named(a_link: MakeLink, path: str, tmp_path: Path) -> None:
    link = a_link()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Invalid) as error:
        await list_results(link, str(tmp_path / path) if path == "file" else path)
    assert error.value.field == "path"


async def test_too_large_a_tree_is_said_to_be(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = LocalLink("here")
    monkeypatch.setattr(fetch, "MAX_FILES", 10)
    with pytest.raises(Invalid, match="more than 10 files"):
        await list_results(link, str(tree))
    monkeypatch.setattr(fetch, "MAX_LIST_BYTES", 1000)
    with pytest.raises(Invalid, match="too many files"):
        await list_results(link, str(tree))


# --- interrupted, and while it changes ---


async def test_an_interrupted_fetch_goes_on_where_it_stopped(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "BATCH_FILES", 7)
    counting = CountingLink(LocalLink("here"))
    files = await list_results(counting, str(tree))
    counting.breaks_at = 3
    with pytest.raises(LinkError):
        await fetch_results(counting, str(tree), files, into=str(tmp_path / "here"))
    assert len(content(tmp_path / "here")) == 21
    counting.breaks_at = None
    await fetch_results(counting, str(tree), files, into=str(tmp_path / "here"))
    assert sum(len(batch) for batch in counting.asked) == len(files)
    assert set(content(tmp_path / "here")) == {file.path for file in files}


async def test_a_cancelled_fetch_leaves_whole_files_only(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "BATCH_FILES", 5)
    counting = CountingLink(LocalLink("here"))
    files = await list_results(counting, str(tree))
    task = asyncio.ensure_future(fetch_results(counting, str(tree), files, into=str(tmp_path / "here")))

    def cancel() -> None:
        if len(counting.asked) == 4:
            task.cancel()

    counting.before = cancel
    with pytest.raises(asyncio.CancelledError):
        await task
    there = content(tree)
    kept = {path: found for path, found in content(tmp_path / "here").items() if not path.startswith(".")}
    assert kept
    assert all(there[path] == found for path, found in kept.items())
    await fetch_results(LocalLink("here"), str(tree), files, into=str(tmp_path / "here"))
    assert set(content(tmp_path / "here")) == {file.path for file in files}


async def test_batches_are_bounded_by_files_bytes_and_names(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = LocalLink("here")
    files = await list_results(link, str(tree))
    for name, value in (("BATCH_BYTES", 20_000), ("MAX_NAMES_BYTES", 1_000), ("BATCH_FILES", 3)):
        with monkeypatch.context() as patch:
            patch.setattr(fetch, name, value)
            counting = CountingLink(link)
            await fetch_results(counting, str(tree), files, into=str(tmp_path / name))
        assert len(counting.asked) > 3
        assert set(content(tmp_path / name)) == {file.path for file in files}


async def test_what_vanishes_or_grows_meanwhile_does_no_harm(a_link: MakeLink, tree: Path, tmp_path: Path) -> None:
    link = a_link()
    counting = CountingLink(link)
    files = await list_results(link, str(tree))
    first, second = trajectories(tree)[:2]

    def change() -> None:
        shutil.rmtree(first.parent)
        with second.open("ab") as file:
            file.write(b"x" * 50_000)

    counting.before = change
    await fetch_results(counting, str(tree), files, into=str(tmp_path / "here"))
    here = content(tmp_path / "here")
    assert set(here) == {file.path for file in files if not file.path.startswith(first.parent.relative_to(tree).as_posix() + "/")}
    assert here[second.relative_to(tree).as_posix()][0] == second.read_bytes()


async def test_a_tree_that_vanishes_meanwhile_is_an_error(a_link: MakeLink, tree: Path, tmp_path: Path) -> None:
    link = a_link()
    files = await list_results(link, str(tree))
    shutil.rmtree(tree)
    with pytest.raises(LinkError):
        await fetch_results(link, str(tree), files, into=str(tmp_path / "here"))


# --- a machine that means harm ---


def a_tar(*members: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return out.getvalue()


def a_member(name: str, **fields: object) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(member, key, value)
    return member


@pytest.mark.parametrize(
    "data",
    [
        a_tar(a_member("../../evil.png", size=3)),
        a_tar(a_member("m", type=tarfile.SYMTYPE, linkname="/tmp")),
        a_tar(a_member("m/0/d/t/traj.jsonl", type=tarfile.LNKTYPE, linkname="/etc/passwd")),
        a_tar(a_member("m/0/d/t/traj.jsonl", size=5))[:700],
        b"garbage",
    ],
    ids=["escape", "link", "hard link", "cut", "garbage"],
)
async def test_what_a_machine_sends_instead_is_refused(data: bytes, tmp_path: Path) -> None:
    counting = CountingLink(LocalLink("here"))
    counting.answer = lambda _: CommandResult(exit_status=0, stdout=data, stderr=b"")
    asked = [FileListed("m/0/d/t/traj.jsonl", 5, 1.0)]
    with pytest.raises(LinkError) as error:
        await fetch_results(counting, str(tmp_path), asked, into=str(tmp_path / "here"))
    assert error.value.failure.reason is Reason.PARSE
    assert os.listdir(tmp_path) == ["here"]
    assert not os.listdir(tmp_path / "here")


async def test_what_was_not_asked_for_is_not_kept(tmp_path: Path) -> None:
    counting = CountingLink(LocalLink("here"))
    sent = a_tar(a_member("m/0/d/t/traj.jsonl", size=5), a_member("m/0/d/t/evil.png", size=5))
    counting.answer = lambda _: CommandResult(exit_status=0, stdout=sent, stderr=b"")
    asked = [FileListed("m/0/d/t/traj.jsonl", 5, 1.0), FileListed("m/0/d/t/result.txt", 5, 1.0)]
    await fetch_results(counting, str(tmp_path), asked, into=str(tmp_path / "here"))
    assert set(content(tmp_path / "here")) == {"m/0/d/t/traj.jsonl"}


async def test_where_nothing_can_be_written_it_says_so(tree: Path, tmp_path: Path) -> None:
    link = LocalLink("here")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable):
        await fetch_results(link, str(tree), await list_results(link, str(tree)), into=str(tmp_path / "file"))


# --- the watch: host, container, SSH ---


def a_watch(link: Link, engine: Path) -> HostWatch:
    spec = VmSpec(name="vm", container="winarena", engine=str(engine))
    return HostWatch(link, spec, clock=lambda: 0.0, on_status=print, on_alive=print, on_logs=print)


async def test_a_container_is_asked_by_its_engine(tree: Path, tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    engine.write_text(f'#!/bin/sh\n[ "$1 $2" = "exec winarena" ] || exit 9\nshift 2\ncd {tmp_path}\nexec "$@"\n')
    engine.chmod(0o755)
    watch = a_watch(LocalLink("here"), engine)
    files = await watch.list_results(str(tree), inner=True)
    await watch.fetch_results(str(tree), files, inner=True, into=str(tmp_path / "here"), on_progress=lambda done, total: None)
    assert set(content(tmp_path / "here")) == {file.path for file in files}
    for way in (
        watch.list_results("/x", inner=True),
        watch.fetch_results("/x", files, inner=True, into=str(tmp_path / "b"), on_progress=lambda done, total: None),
    ):
        engine.write_text("#!/bin/sh\necho permission denied >&2\nexit 1\n")
        with pytest.raises(LinkError, match="no permission"):
            await way


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if not has_sshd():
        pytest.skip("OpenSSH is not installed")
    with Sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.mark.sshd
async def test_a_tree_comes_over_ssh_and_goes_on_after_the_connection_was_cut(
    sshd: Sshd, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "BATCH_FILES", 10)
    here = str(tmp_path / "here")
    opener = SshOpener(data_dir=tmp_path, home=tmp_path)
    link = await opener.open(VmSpec(name="there", **sshd.spec_fields()))
    files = await list_results(link, str(tree))
    counting = CountingLink(link)
    counting.before = lambda: sshd.kill_sessions() if len(counting.asked) == 3 else None
    with pytest.raises(LinkError):
        await fetch_results(counting, str(tree), files, into=here)
    await link.close()
    assert 0 < len(content(Path(here))) < len(files)
    link = await opener.open(VmSpec(name="there", **sshd.spec_fields()))
    counting = CountingLink(link)
    await fetch_results(counting, str(tree), files, into=here)
    await link.close()
    await opener.close()
    assert {path: data for path, (data, _) in content(Path(here)).items()} == {
        path: data for path, (data, _) in content(tree).items() if matters(path)
    }
    assert sum(len(batch) for batch in counting.asked) == len(files) - 20
