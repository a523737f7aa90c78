"""Reading result trees on this machine: what is found, what is never followed, and trees that change meanwhile."""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.results.tree import CORPUS, LONGEST_WAA, TREES, V2, on_disk
from waa.core.error import Cancelled, Invalid
from waa.core.results.record import read_record
from waa.core.results.summary import run_identity, summarise
from waa.core.results.tree import FileListed, find_runs, matters
from waa.core.status import TaskStatus
from waa.probes import results
from waa.probes.results import list_tree, read_file, read_task_folder
from waa.probes.task_folder import MAX_SMALL_BYTES, MAX_TRAJECTORY_BYTES

RESULTS = CORPUS / "results"
EVALS = RESULTS / "openadapt_evals" / "waa-live_eval_20260204_120003"
LINE = '{"step_num": %d, "action_timestamp": "20260204@12000%d", "action": "x"}\n'


def paths(found: list[FileListed]) -> set[str]:
    return {file.path for file in found}


def a_task(root: Path, name: str = "m/0/d/t") -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "traj.jsonl").write_text(LINE % (1, 1))
    return folder


# --- listing ---


@pytest.mark.parametrize("name", [*TREES, "openadapt_evals", "openadapt_real"])
def test_a_tree_is_listed_as_it_lies_there(name: str) -> None:
    root = RESULTS / name
    found = list_tree(str(root))
    there = {path.relative_to(root).as_posix(): path.stat() for path in root.rglob("*") if path.is_file()}
    assert paths(found) == {path for path in there if matters(path)}
    assert all((file.size, file.modified_at) == (there[file.path].st_size, int(there[file.path].st_mtime)) for file in found)


def test_links_pipes_sockets_and_names_that_are_no_text_are_passed_over(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    a_task(secret)
    root = tmp_path / "root"
    folder = a_task(root)
    (folder / "result.txt").symlink_to("/etc/passwd")
    (root / "m/0/other").symlink_to(secret / "m/0/d")
    (root / "loop").symlink_to(root)
    os.mkfifo(folder / "error.txt")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "args.json"))
        (folder / "new\nline.png").write_bytes(b"x")
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png")).write_bytes(b"x")
        a_task(root, ".hidden/0/d/t")
        assert paths(list_tree(str(root))) == {"m/0/d/t/traj.jsonl"}
        (tmp_path / "link").symlink_to(root)
        assert paths(list_tree(str(tmp_path / "link"))) == {"m/0/d/t/traj.jsonl"}


@pytest.mark.parametrize("kind", ["gone", "file", "relative", "nul", "closed"])
def test_a_root_that_cannot_be_read_is_named(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "closed").mkdir(mode=0o000)
    if kind == "closed" and os.access(tmp_path / "closed", os.R_OK):
        pytest.skip("root reads everything")
    root = {"relative": "results", "nul": "/results\0x"}.get(kind, str(tmp_path / kind))
    for attempt in (lambda: list_tree(root), lambda: read_task_folder(f"{root}/d", root=root)):
        with pytest.raises(Invalid) as error:
            attempt()
        assert error.value.field == "path"


def test_a_listing_tells_its_count_and_can_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = a_task(tmp_path)
    for number in range(20):
        (folder / f"step_{number}.png").write_bytes(b"")
    monkeypatch.setattr(results, "COUNT_EVERY", 5)
    counts: list[int] = []
    list_tree(str(tmp_path), on_count=counts.append)
    assert counts == sorted(counts)
    assert counts[0] == 5
    assert counts[-1] == 25  # four folders, too
    with pytest.raises(Cancelled):
        list_tree(str(tmp_path), is_cancelled=lambda: True)
    monkeypatch.setattr(results, "MAX_FILES", 10)
    with pytest.raises(Invalid, match="more than 10 files"):
        list_tree(str(tmp_path))


def test_a_tree_that_goes_meanwhile_is_listed_as_far_as_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        a_task(tmp_path, f"m/0/d{number}/t")
    monkeypatch.setattr(results, "COUNT_EVERY", 3)
    gone: list[str] = []

    def take_away(_: int) -> None:
        left = sorted(path for path in tmp_path.glob("m/0/*") if path.name not in gone)
        if left:
            gone.append(left[-1].name)
            shutil.rmtree(left[-1])

    found = paths(list_tree(str(tmp_path), on_count=take_away))
    assert gone
    assert found <= {f"m/0/d{number}/t/traj.jsonl" for number in range(8)}
    for path in found:
        assert read_task_folder(f"{tmp_path}/{path.rpartition('/')[0]}", root=str(tmp_path)) is None or (tmp_path / path).is_file()


def test_a_folder_that_becomes_a_link_meanwhile_is_not_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_task(tmp_path / "secret", "t")
    a_task(tmp_path / "root", "d/t")
    monkeypatch.setattr(results, "COUNT_EVERY", 1)

    def swap(_: int) -> None:
        inner = tmp_path / "root" / "d"
        if not inner.is_symlink():
            shutil.rmtree(inner)
            inner.symlink_to(tmp_path / "secret")

    assert list_tree(str(tmp_path / "root"), on_count=swap) == []
    assert read_task_folder(f"{tmp_path}/root/d/t", root=f"{tmp_path}/root") is None
    assert read_file(f"{tmp_path}/root/d/t", "traj.jsonl", 1000, root=f"{tmp_path}/root") is None
    assert read_task_folder(f"{tmp_path}/root/d/t", root=f"{tmp_path}/root/d") is not None  # the root may be a link


# --- a task's folder ---


@pytest.mark.parametrize(
    "source", [LONGEST_WAA, V2, EVALS / "tasks/366de66e-cbae-4d72-b042-26390db2b145-WOS"], ids=["waa", "v2", "openadapt"]
)
def test_a_folder_is_read_as_it_is_on_the_disk(source: Path) -> None:
    found, there = read_task_folder(str(source), root=str(source.parents[1])), on_disk(source)
    assert found is not None
    assert {file.name: file.size for file in found.files} == {file.name: file.size for file in there.files if "/logs" not in file.name}
    for part in ("trajectory", "result", "error", "texts", "heads", "documents", "is_cut"):
        assert getattr(found, part) == getattr(there, part), part
    assert read_record(found) == read_record(there)
    for file in found.files:
        assert read_file(str(source), file.name, 10_000_000, root=str(source.parents[1])) == (source / file.name).read_bytes()


def test_summary_json_stands_in_for_what_is_missing(tmp_path: Path) -> None:
    shutil.copytree(EVALS, tmp_path / "run")
    lost, bare = tmp_path / "run/tasks/custom-notepad-hello", tmp_path / "run/tasks/0c9dda13-428c-492b-900b-f48562111f93-WOS"
    shutil.rmtree(lost)
    (bare / "execution.json").unlink()
    for folder, score, steps in ((lost, 0.0, 1), (bare, None, 1)):
        found = read_task_folder(str(folder), root=str(tmp_path))
        assert found is not None
        record = read_record(found)
        assert (record.score, record.step_count) == (score, steps)
        assert record.error
    whole = read_task_folder(str(tmp_path / "run/tasks/a7d4b6c5-569b-452e-9e1d-ffdb3d431d15-WOS"), root=str(tmp_path))
    assert whole is not None
    assert "summary.json" not in whole.documents


def test_what_is_longer_than_its_bound_is_cut(tmp_path: Path) -> None:
    folder = a_task(tmp_path)
    for name, size in (("traj.jsonl", MAX_TRAJECTORY_BYTES + 1), ("result.txt", MAX_SMALL_BYTES + 1)):
        with (folder / name).open("wb") as file:
            file.truncate(size)
    found = read_task_folder(str(folder), root=str(tmp_path))
    assert found is not None
    assert found.is_cut
    assert len(found.trajectory or b"") == MAX_TRAJECTORY_BYTES
    assert len(found.result or b"") == MAX_SMALL_BYTES
    assert read_file(str(folder), "result.txt", MAX_SMALL_BYTES, root=str(tmp_path)) is None
    assert read_file(str(folder), "result.txt", MAX_SMALL_BYTES + 1, root=str(tmp_path)) is not None


def test_nothing_in_a_folder_leads_out_of_it(tmp_path: Path) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret"
    folder = a_task(root)
    secret.mkdir()
    (secret / "a.png").write_bytes(b"secret")
    (folder / "result.txt").symlink_to("/etc/passwd")
    (folder / "screenshot").symlink_to(secret)
    os.mkfifo(folder / "error.txt")
    found = read_task_folder(str(folder), root=str(root))
    assert found is not None
    assert ([file.name for file in found.files], found.result, found.error, found.heads) == (["traj.jsonl"], None, None, {})
    names = (
        "result.txt",
        "error.txt",
        "screenshot/a.png",
        "../../x",
        "/etc/passwd",
        "screenshot/../traj.jsonl",
        "screenshot",
        "",
        "a\0b",
        ".",
    )
    for name in names:
        assert read_file(str(folder), name, 10_000, root=str(root)) is None, name
    for path in (str(secret), f"{root}/../secret", "m/0/d/t", f"{root}x"):
        with pytest.raises(Invalid):
            read_task_folder(path, root=str(root))
    assert read_task_folder(f"{root}/nothing", root=str(root)) is None
    assert read_task_folder(f"{root}/a\0b", root=str(root)) is None


@given(name=st.text(max_size=30))
def test_no_name_gives_anything_but_a_file_of_the_folder(name: str) -> None:
    data = read_file(str(V2), name, 10_000_000, root=str(V2.parent))
    assert data is None or (V2 / name).resolve().is_relative_to(V2.resolve())


# --- trees that are written ---


def snapshots(root: Path) -> Iterator[None]:
    """A run as it is written: half lines, empty files, an error, an attempt that is appended."""
    first = a_task(root, "pyautogui/a11y_tree/m/0/chrome/a")
    yield
    (first / "result.txt").write_bytes(b"")
    yield
    second = root / "pyautogui/a11y_tree/m/0/notepad/b"
    second.mkdir(parents=True)
    (second / "traj.jsonl").write_bytes((LINE % (1, 5)).encode()[:30])
    yield
    (first / "result.txt").write_text("1.0\n")
    (second / "traj.jsonl").write_text(LINE % (1, 5) + '{"Error": "Exception in notepad/b", "Exception": "boom"}\n')
    yield
    with (second / "traj.jsonl").open("a") as file:
        file.write(LINE % (1, 7) + LINE % (2, 8) + "{")
    (second / "result.txt").write_text("0.5")
    yield


def test_a_run_that_is_written_is_read_at_every_moment(tmp_path: Path) -> None:
    seen, identities = [], set()
    for _ in snapshots(tmp_path):
        (run,) = find_runs(list_tree(str(tmp_path)), base=str(tmp_path))
        found = []
        for task in run.tasks:
            folder = read_task_folder(f"{tmp_path}/{task.path}", root=str(tmp_path))
            assert folder is not None
            found.append(summarise(task, folder, read_record(folder)))
        seen.append([(result.status, result.steps, result.score) for result in found])
        identities.add(run_identity(run, found))
    unknown = (TaskStatus.UNKNOWN, 1, None)
    passed = (TaskStatus.PASSED, 1, 1.0)
    assert seen == [
        [unknown],
        [unknown],
        [unknown, (TaskStatus.UNKNOWN, 0, None)],
        [passed, (TaskStatus.ERROR, 1, None)],
        [passed, (TaskStatus.FAILED, 2, 0.5)],
    ]
    assert len(identities) == 1
