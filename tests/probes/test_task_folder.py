"""Reading a task's folder by the programs of a machine, in every shell: what is found, and what is never given."""

import os
import shutil
from pathlib import Path

import pytest

from tests.core.results.tree import LONGEST_WAA, V2
from tests.support.winarena_watch import ShellLink, busybox_folder
from waa.core.error import LinkError
from waa.core.results.record import read_record
from waa.core.spec import VmSpec
from waa.probes.host import HostWatch
from waa.probes.local import LocalLink
from waa.probes.task_folder import MAX_TRAJECTORY_BYTES

SHELLS = ["dash", "bash", "busybox", "bare"]
TASK = 'it\'s $(touch gone) *?[1] \\ "x"'
"""A task's id is any text."""


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A shell and its PATH; "bare" has no stat."""
    kind: str = request.param
    if kind in ("busybox", "bare"):
        programs = busybox_folder(tmp_path_factory.mktemp("programs"), without=("stat",) if kind == "bare" else ())
        return f"{programs}/sh", str(programs)
    found = shutil.which(kind)
    if found is None:
        pytest.skip(f"no {kind} here")
    return found, os.environ["PATH"]


def a_watch(shell: tuple[str, str]) -> HostWatch:
    link = ShellLink(LocalLink("here"), shell=shell[0], path=shell[1])
    spec = VmSpec(name="vm", container="", engine="/nonexistent/engine")
    return HostWatch(link, spec, clock=lambda: 0.0, on_status=print, on_alive=print, on_logs=print)


def a_tree(root: Path, *, trial: str = "0", task: str = TASK, source: Path = LONGEST_WAA) -> Path:
    folder = root / "pyautogui" / "a11y_tree" / "gpt/4o" / trial / "clock" / task
    shutil.copytree(source, folder)
    return folder


def has_run(root: Path) -> bool:
    """Whether the task's id was taken for a command."""
    return bool(list(root.glob("**/gone"))) or Path("gone").exists()


async def test_a_folder_is_read_as_it_is_on_the_disk(shell: tuple[str, str], tmp_path: Path) -> None:
    folder = a_tree(tmp_path)
    found = await a_watch(shell).read_task(domain="clock", task_id=TASK, roots=["/nonexistent", str(tmp_path)], inner=False)
    assert found is not None
    assert Path(found.path) == folder.resolve()
    assert {file.name: file.size for file in found.files} == {file.name: file.stat().st_size for file in folder.iterdir()}
    assert found.trajectory == (folder / "traj.jsonl").read_bytes()
    assert found.result == (folder / "result.txt").read_bytes()
    assert (found.error, found.is_cut) == (None, False)
    assert found.texts == {file.name: file.read_bytes() for file in folder.glob("plan_result-*")}
    assert found.heads == {file.name: file.read_bytes()[:24] for file in folder.glob("screenshot-*")}
    record = read_record(found)
    assert all(step.thought and step.before and step.after for step in record.steps)
    assert not has_run(tmp_path)


async def test_the_folder_of_screenshots_belongs_to_it(shell: tuple[str, str], tmp_path: Path) -> None:
    folder = a_tree(tmp_path, source=V2)
    watch = a_watch(shell)
    found = await watch.read_task(domain="clock", task_id=TASK, roots=[str(tmp_path)], inner=False)
    assert found is not None
    names = sorted(f"screenshot/{file.name}" for file in (folder / "screenshot").iterdir())
    assert sorted(file.name for file in found.files if "/" in file.name) == names
    assert sorted(found.heads) == names
    data = await watch.read_task_file(folder=found.path, name=names[0], inner=False, max_bytes=10_000)
    assert data == (folder / names[0]).read_bytes()


async def test_the_newest_folder_counts_and_the_trial_comes_first(shell: tuple[str, str], tmp_path: Path) -> None:
    old, new = a_tree(tmp_path, trial="1"), a_tree(tmp_path, trial="2")
    os.utime(old / "traj.jsonl", (1000, 1000))
    os.utime(new / "traj.jsonl", (2000, 2000))
    watch = a_watch(shell)
    for within, expected in (("", new), ("1", old), ("2", new), ("3", new), ("*", new)):
        found = await watch.read_task(domain="clock", task_id=TASK, roots=[str(tmp_path)], inner=False, within=within)
        assert found is not None
        assert Path(found.path) == expected.resolve(), within


async def test_a_root_may_be_a_link_but_nothing_in_it_leads_out(shell: tuple[str, str], tmp_path: Path) -> None:
    real, secret = tmp_path / "real", tmp_path / "secret"
    secret.mkdir()
    (secret / "screenshot-step_9_x.png").write_bytes(b"secret")
    folder = a_tree(real)
    (folder / "result.txt").unlink()
    (folder / "result.txt").symlink_to("/etc/passwd")
    (folder / "screenshot-step_8_x.png").symlink_to("/etc/passwd")
    (folder / "screenshot").symlink_to(secret)
    (folder / "new\nline.png").write_bytes(b"x")
    (tmp_path / "root").symlink_to(real)
    watch = a_watch(shell)
    found = await watch.read_task(domain="clock", task_id=TASK, roots=[str(tmp_path / "root")], inner=False)
    assert found is not None
    assert found.result is None
    assert not {file.name for file in found.files} & {"result.txt", "screenshot-step_8_x.png", "screenshot/screenshot-step_9_x.png"}
    assert "screenshot-step_8_x.png" not in found.heads
    names = (
        "result.txt",
        "screenshot-step_8_x.png",
        "screenshot/screenshot-step_9_x.png",
        "../../x",
        "/etc/passwd",
        "screenshot/../traj.jsonl",
        "logs",
        "nothing",
    )
    for name in names:
        assert await watch.read_task_file(folder=found.path, name=name, inner=False, max_bytes=10_000) is None, name


async def test_files_longer_than_asked_for_are_not_given(shell: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"12345")
    watch = a_watch(shell)
    assert await watch.read_task_file(folder=str(tmp_path), name="a.png", inner=False, max_bytes=5) == b"12345"
    assert await watch.read_task_file(folder=str(tmp_path), name="a.png", inner=False, max_bytes=4) is None
    assert await watch.read_task_file(folder=str(tmp_path / "gone"), name="a.png", inner=False, max_bytes=4) is None


async def test_where_nothing_lies_nothing_is_found(shell: tuple[str, str], tmp_path: Path) -> None:
    a_tree(tmp_path)
    watch = a_watch(shell)
    for domain, task_id in (("clock", "other"), ("..", TASK), ("clock", ".."), ("clock/..", TASK), ("", TASK), ("cloc?", TASK)):
        assert await watch.read_task(domain=domain, task_id=task_id, roots=[str(tmp_path)], inner=False) is None
    assert await watch.read_task(domain="clock", task_id=TASK, roots=["relative", "/nonexistent"], inner=False) is None
    assert await watch.read_task(domain="clock", task_id=TASK, roots=[str(tmp_path)], inner=False, within="a/b") is None


async def test_an_empty_folder_and_one_that_is_being_written(shell: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "clock" / "empty").mkdir(parents=True)
    watch = a_watch(shell)
    found = await watch.read_task(domain="clock", task_id="empty", roots=[str(tmp_path)], inner=False)
    assert found is not None
    assert (found.files, found.trajectory, found.result, found.is_cut) == ((), None, None, False)


async def test_a_trajectory_without_end_is_cut(tmp_path: Path) -> None:
    folder = tmp_path / "clock" / "long"
    folder.mkdir(parents=True)
    with (folder / "traj.jsonl").open("wb") as file:
        file.truncate(MAX_TRAJECTORY_BYTES + 1)
    found = await a_watch(("/bin/sh", os.environ["PATH"])).read_task(domain="clock", task_id="long", roots=[str(tmp_path)], inner=False)
    assert found is not None
    assert found.is_cut
    assert found.trajectory is not None
    assert len(found.trajectory) == MAX_TRAJECTORY_BYTES


async def test_a_container_that_cannot_be_asked_says_why(tmp_path: Path) -> None:
    watch = a_watch(("/bin/sh", os.environ["PATH"]))
    with pytest.raises(LinkError):
        await watch.read_task(domain="clock", task_id="x", roots=[str(tmp_path)], inner=True)
    with pytest.raises(LinkError):
        await watch.read_task_file(folder=str(tmp_path), name="x.png", inner=True, max_bytes=10)
