"""Runs in result trees: every recorded tree reads to its truth, from wherever it is looked at, and while it grows."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.results.tree import CORPUS, TREES, made_of, on_disk
from waa.core.error import Invalid
from waa.core.logs.fact import Dialect
from waa.core.results import tree
from waa.core.results.folder import FolderFound
from waa.core.results.record import read_record
from waa.core.results.summary import NO_RESULT, TaskResult, run_identity, summarise
from waa.core.results.tree import FileListed, RunPlace, TaskPlace, find_runs, matters, with_settings
from waa.core.status import TaskStatus

TRUTH: Mapping[str, Any] = json.loads((CORPUS / "truth.json").read_text(encoding="utf-8"))
RESULTS = CORPUS / "results"
EVALS = RESULTS / "openadapt_evals" / "waa-live_eval_20260204_120003"
DIALECTS = {
    "waa_up_normal": Dialect.WAA,
    "waa_up_exception": Dialect.WAA,
    "waa_v1": Dialect.WAA,
    "waa_v2_normal": Dialect.WAA_V2,
    "waa_v2_loop": Dialect.WAA_V2,
    "osworld_multienv": Dialect.OSWORLD,
}
WAA = "pyautogui/a11y_tree/gpt-4o/0"


def listing(root: Path) -> list[FileListed]:
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return [FileListed(path.relative_to(root).as_posix(), path.stat().st_size, 0.0) for path in files]


def files(*paths: str) -> list[FileListed]:
    return [FileListed(path, 1, 0.0) for path in paths]


def read(root: Path, run: RunPlace) -> list[TaskResult]:
    found = []
    for task in run.tasks:
        folder = on_disk(root / task.path)
        summary = root / task.path / "../../summary.json"
        if "execution.json" not in folder.documents and summary.is_file():
            folder = replace(folder, documents={**folder.documents, "summary.json": summary.read_bytes()})
        found.append(summarise(task, folder, read_record(folder)))
    return found


def settled(root: Path, run: RunPlace) -> RunPlace:
    for path in run.settings:
        run = with_settings(run, path, (root / path).read_bytes())
    return run


# --- the recorded trees ---


@pytest.mark.parametrize("name", TREES)
def test_every_recorded_tree_reads_to_its_truth(name: str) -> None:
    (run,) = find_runs(listing(RESULTS / name), base=f"/somewhere/{name}")
    told = {task["path"]: task for task in TRUTH[f"results/{name}"]["tasks"]}
    assert run.dialect is DIALECTS[name]
    assert {task.path for task in run.tasks} == set(told)
    for result in read(RESULTS / name, run):
        task = told[result.path]
        assert result.path.endswith(f"{result.domain}/{result.task_id}")
        assert result.steps == task["max_step"]
        assert (result.status is TaskStatus.ERROR) == (task["status"] == "error")
        assert result.score == (float(task["result_txt"]) if task["result_txt"] else None)
        assert result.status is not TaskStatus.UNKNOWN
        assert (result.started_at is None) == (task["step_lines"] == 0)
        assert result.started_at is None or (result.ended_at is not None and result.started_at <= result.ended_at)


@pytest.mark.parametrize("name", TREES)
def test_the_path_tells_the_arguments(name: str) -> None:
    (run,) = find_runs(listing(RESULTS / name), base="")
    if run.dialect is Dialect.WAA_V2:
        expected = {"trial_id": "1", "agent": "pcagent"}
    elif run.dialect is Dialect.OSWORLD:
        expected = {"action_space": "pyautogui", "observation_type": "screenshot", "model": "gpt-4o"}
    else:
        expected = {"action_space": "pyautogui", "observation_type": "a11y_tree", "model": "gpt-4o", "trial_id": "0"}
    assert run.arguments == expected


def test_an_openadapt_run_agrees_with_its_log() -> None:
    (run,) = find_runs(listing(EVALS), base=str(EVALS))
    run = settled(EVALS, run)
    assert (run.dialect, run.label) == (Dialect.OPENADAPT, "waa-live_eval_20260204_120003")
    assert (run.arguments["model"], run.arguments["benchmark_name"]) == ("api-claude", "waa-mock")
    log = {task["id"]: task for task in TRUTH["generated/openadapt_evals_sequential.plain.log"]["tasks"]}
    for result in read(EVALS, run):
        task = log.pop(result.task_id)
        assert result.domain == task["domain_not_in_log"]
        assert result.steps == task["steps"]
        assert result.score == task["result"]
        assert (result.status is TaskStatus.ERROR) == (task["status"] == "error")
        assert (result.error or None) == task["error"]
        assert result.instruction
    assert not log


@pytest.mark.parametrize("folder", sorted((RESULTS / "openadapt_real").iterdir()), ids=lambda path: path.name)
def test_published_openadapt_runs_read_to_their_truth(folder: Path) -> None:
    (run,) = find_runs(listing(RESULTS / "openadapt_real" / folder.name), base=str(folder))
    told = {task["id"]: task for task in TRUTH[f"results/openadapt_real/{folder.name}"]["tasks"]}
    for task in run.tasks:
        record = read_record(on_disk(folder / task.path))
        result = summarise(task, on_disk(folder / task.path), record)
        truth = told.pop(result.task_id)
        assert (result.status, result.score, result.steps) == (TaskStatus.PASSED, truth["result"], truth["steps"])
        assert result.domain == (truth["domain"] or "tasks")
        assert (result.instruction or None) == truth["instruction"]
        assert len(record.steps) == truth["recorded_actions"]
        sizes = [step.before.size for step in record.steps if step.before is not None]
        assert len(sizes) == truth["screenshots"]
        assert None not in sizes
    assert not told


def test_steps_of_openadapt_have_their_action_thought_and_pictures() -> None:
    record = read_record(on_disk(EVALS / "tasks/366de66e-cbae-4d72-b042-26390db2b145-WOS"))
    first, second, last = record.steps
    assert (first.number, first.action, first.screenshot) == (1, "click(x=0.5, y=0.5)", "screenshots/step_000.png")
    assert first.thought is not None
    assert first.thought.startswith("Click the Start button.")
    assert [(point.x, point.y) for point in first.points] == [(0.5, 0.5)]
    assert first.after == second.before
    assert first.at == 1770206522.672418
    assert (last.action.partition("(")[0], last.done, record.step_count) == ("done", True, 2)


def test_summary_json_tells_of_tasks_whose_files_are_missing(tmp_path: Path) -> None:
    kept = files("metadata.json", "summary.json", "tasks/custom-notepad-hello/task.json")
    (run,) = find_runs(kept, base=str(EVALS))
    assert len(run.tasks) == 1
    whole = with_settings(run, "summary.json", (EVALS / "summary.json").read_bytes())
    assert {task.task_id for task in whole.tasks} == {path.name for path in (EVALS / "tasks").iterdir()}
    assert with_settings(whole, "summary.json", (EVALS / "summary.json").read_bytes()).tasks == whole.tasks
    for task in whole.tasks:
        folder = FolderFound(path=f"/x/{task.path}", documents={"summary.json": (EVALS / "summary.json").read_bytes()})
        result = summarise(task, folder, read_record(folder))
        (told,) = [found for found in TRUTH[f"results/openadapt_evals/{EVALS.name}"]["tasks"] if found["id"] == task.task_id]
        crashed = told["error"] is not None and told["id"].startswith(("0c9", "04d"))
        assert (result.score, result.status is TaskStatus.ERROR) == (None if crashed else told["result"], crashed)
        assert (result.steps, result.error or None) == (told["steps"], told["error"])


# --- looked at from anywhere ---


@pytest.mark.parametrize("name", [*TREES, "openadapt_evals"])
def test_a_root_inside_a_run_is_known_by_its_own_names(name: str) -> None:
    """The root, a run, a domain, a task's folder: the same tasks with the same names, and the same run."""
    (whole,) = find_runs(listing(RESULTS / name), base=f"/home/me/results/{name}" if "openadapt" in name else "/home/me/results")
    prefix = f"/home/me/results/{name}" if "openadapt" in name else "/home/me/results"
    task = whole.tasks[0]
    at = task.path
    while at:
        root = RESULTS / name / at
        runs = find_runs(listing(root), base=f"{prefix}/{at}")
        assert len(runs) == 1, at
        (run,) = runs
        assert task in [replace(found, path=f"{at}/{found.path}".rstrip("/")) for found in run.tasks]
        assert {(found.domain, found.task_id) for found in run.tasks} <= {(found.domain, found.task_id) for found in whole.tasks}
        assert (run.names, run.arguments, run.label) == (whole.names, whole.arguments, whole.label), at
        at = at.rpartition("/")[0]


def test_several_runs_below_one_root_are_told_apart() -> None:
    runs = find_runs(listing(RESULTS), base="/home/me/results")
    assert {run.path.partition("/")[0] for run in runs} == {path.name for path in RESULTS.iterdir()}
    assert sum(run.dialect is Dialect.OPENADAPT for run in runs) == 5


def test_a_model_with_a_slash_adds_a_folder() -> None:
    (run,) = find_runs(
        files(
            "pyautogui/screenshot/ByteDance-Seed/UI-TARS-1.5-7B/chrome/a/traj.jsonl",
            "pyautogui/screenshot/ByteDance-Seed/UI-TARS-1.5-7B/args.json",
        ),
        base="/r/results",
    )
    assert (run.dialect, run.arguments["model"]) == (Dialect.OSWORLD, "ByteDance-Seed/UI-TARS-1.5-7B")
    (waa,) = find_runs(files("pyautogui/a11y_tree/org/model/3/chrome/a/traj.jsonl"), base="/r")
    assert (waa.dialect, waa.arguments["model"], waa.arguments["trial_id"]) == (Dialect.WAA, "org/model", "3")
    assert waa.label == "org/model, trial 3"


def test_only_tasks_are_tasks() -> None:
    task = f"{WAA}/chrome/a"
    junk = (
        f"{task}/logs/result.txt",
        f"{task}/screenshot/result.txt",
        f"{WAA}/.chrome/b/result.txt",
        f"{WAA}/__pycache__/b/result.txt",
        f"__MACOSX/{task}/result.txt",
        f"{WAA}/chrome/._b/result.txt",
        f"{WAA}/chrome/c/._result.txt",
        f"{WAA}/chrome/d/notes.txt",
        f"{WAA}/chrome/e/execution.json",
        "tasks/f/execution.json",
        "deep/" * 40 + "result.txt",
        "result.txt",
        f"{WAA}/chrome/result.txt",
    )
    (run,) = find_runs(files(f"{task}/traj.jsonl", *junk), base="/r")
    assert [found.path for found in run.tasks] == [task]


def test_a_folder_without_a_name_still_has_one() -> None:
    (run,) = find_runs(files("traj.jsonl"), base="")
    assert run.tasks == (TaskPlace("", "tasks", "task"),)
    assert run.label == "a run"
    (named,) = find_runs(files("a/traj.jsonl"), base="")
    assert named.tasks == (TaskPlace("a", "tasks", "a"),)


def test_what_wears_a_run_down_is_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_TASKS", 3)
    monkeypatch.setattr(tree, "MAX_RUNS", 3)
    monkeypatch.setattr(tree, "MAX_FILES", 10)
    for paths in (
        [f"m/d/{number}/traj.jsonl" for number in range(4)],
        [f"{number}/d/t/traj.jsonl" for number in range(4)],
        [f"m/d/t/{number}.png" for number in range(11)],
    ):
        with pytest.raises(Invalid) as error:
            find_runs(files(*paths), base="/r")
        assert error.value.field == "path"
        assert "more than" in str(error.value)


@given(st.lists(st.lists(st.text(max_size=3), min_size=1, max_size=6).map("/".join), max_size=20), st.text(max_size=20))
def test_any_names_give_runs_with_named_tasks(paths: list[str], base: str) -> None:
    listed = files(*paths, *(f"{path}/traj.jsonl" for path in paths), *(f"{path}/tasks/x/task.json" for path in paths))
    for run in find_runs(listed, base=base):
        assert run.label
        assert run.tasks
        for task in run.tasks:
            assert task.domain
            assert task.task_id
            assert matters(f"{task.path}/traj.jsonl".lstrip("/")) or matters(f"{task.path}/task.json".lstrip("/"))


def test_settings_add_arguments_without_secrets_and_nothing_more() -> None:
    root = RESULTS / "osworld_multienv"
    (run,) = find_runs(listing(root), base="/r/results")
    assert run.settings == ("pyautogui/screenshot/gpt-4o/args.json",)
    given = json.loads((root / run.settings[0]).read_bytes()) | {"client_password": "hunter2", "key": [1, 2], "model": "another"}
    told = with_settings(run, run.settings[0], json.dumps(given).encode()).arguments
    assert (told["model"], told["max_steps"], told["client_password"]) == ("gpt-4o", "5", "***")
    assert "key" not in told
    for hostile in (b"", b"[1]", b"{", b"[" * 100_000, b"null", b'{"tasks": 7, "a": NaN}'):
        assert with_settings(run, "x/summary.json", hostile).tasks == run.tasks
    named = with_settings(run, "summary.json", b'{"tasks": [{"task_id": "../x"}, {"task_id": 5}, 7, {"task_id": "a/b"}, {"task_id": ""}]}')
    assert named.tasks == run.tasks


# --- what came of a task ---


def test_a_task_without_an_outcome_says_so() -> None:
    place = TaskPlace("d/t", "d", "t")
    step = {"step_num": 1, "action_timestamp": "20260204@120000", "action": "x"}
    cases: list[tuple[FolderFound, TaskStatus, str]] = [
        (made_of(step), TaskStatus.UNKNOWN, NO_RESULT),
        (made_of(), TaskStatus.UNKNOWN, NO_RESULT),
        (made_of(step, result=b""), TaskStatus.UNKNOWN, NO_RESULT),
        (made_of(step, result=b"nan"), TaskStatus.UNKNOWN, ""),
        (made_of(step, result=b"0.4"), TaskStatus.FAILED, ""),
        (made_of(step, result=b"True"), TaskStatus.PASSED, ""),
        (made_of(step, error=b"boom"), TaskStatus.ERROR, "boom"),
        (made_of(step, {"Error": "Exception in d/t", "Exception": "boom"}), TaskStatus.ERROR, "boom"),
        (made_of(step, {"Error": "Exception in d/t", "Exception": "boom"}, result=b"1"), TaskStatus.PASSED, "boom"),
    ]
    for folder, status, error in cases:
        result = summarise(place, folder, read_record(folder))
        assert (result.status, result.error) == (status, error)
    folder = made_of(step, result=b"0.4")
    assert summarise(place, folder, read_record(folder), threshold=0.4).status is TaskStatus.PASSED


def test_times_are_those_of_the_last_attempt() -> None:
    reset = {"step_num": 0, "action": None, "action_timestamp": "20260204@130000"}
    lines = [reset | {"action_timestamp": "20260204@120000"}, {"step_num": 1, "action": "x", "action_timestamp": "20260204@120010"}]
    again = [reset, {"step_num": 1, "action": "x", "action_timestamp": "20260204@130010"}, {"step_num": 2, "action": "y"}]
    folder = made_of(*lines, *again, result=b"1")
    result = summarise(TaskPlace("", "d", "t"), folder, read_record(folder))
    assert (result.attempts, result.steps) == (2, 2)
    assert (result.started_at, result.ended_at) == (1770210000.0, 1770210010.0)
    assert result.origin_at == 1770206400.0


@pytest.mark.parametrize("name", [*TREES, "openadapt_evals"])
def test_a_run_keeps_its_identity_while_its_tree_grows(name: str) -> None:
    root = RESULTS / name
    (run,) = find_runs(listing(root), base="/vm/results" if "openadapt" not in name else "/vm")
    run = settled(root, run)
    results = read(root, run)
    whole = run_identity(run, results)
    assert len(whole) == 32
    in_order = sorted(results, key=lambda result: result.origin_at or 1e12)
    for count in range(1, len(results) + 1):
        known = in_order[:count]
        places = tuple(task for task in run.tasks if task.path in {result.path for result in known})
        assert run_identity(replace(run, tasks=places), reversed(known)) == whole
    (copy,) = find_runs(listing(root), base="")  # as from an archive
    assert run_identity(settled(root, copy), results) == whole


def test_runs_are_told_apart() -> None:
    found = {}
    for run in find_runs(listing(RESULTS), base="/r/results"):
        known = settled(RESULTS, run)
        found[run_identity(known, read(RESULTS, known))] = run.path
    assert len(found) == len(find_runs(listing(RESULTS), base="/r/results"))
    step = {"step_num": 1, "action_timestamp": "20260204@120000", "action": "x"}
    folder = made_of(step)
    identities = set()
    for trial in ("0", "1"):
        (run,) = find_runs(files(f"pyautogui/a11y_tree/m/{trial}/d/t/traj.jsonl"), base="/r/results")
        identities.add(run_identity(run, [summarise(run.tasks[0], folder, read_record(folder))]))
    assert len(identities) == 2


def test_a_half_line_is_no_origin() -> None:
    line = json.dumps({"step_num": 1, "action_timestamp": "20260204@120000", "action": "x"}).encode()
    half = summarise(TaskPlace("", "d", "t"), made_of(trajectory=line), read_record(made_of(trajectory=line)))
    whole = made_of(trajectory=line + b"\n")
    assert half.origin == ""
    assert summarise(TaskPlace("", "d", "t"), whole, read_record(whole)).origin


@given(st.dictionaries(st.sampled_from(["task.json", "execution.json", "summary.json"]), st.binary(max_size=200)))
def test_any_documents_read_to_something(documents: dict[str, bytes]) -> None:
    folder = FolderFound(path="/x/tasks/t", documents=documents)
    summarise(TaskPlace("tasks/t", "tasks", "t"), folder, read_record(folder))


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "x", "y", "task_id", "message"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["task_id", "success", "score", "num_steps", "error", "reason", "error_type", "steps", "logs", "domain", "tasks"]),
        json_values,
    ),
    st.dictionaries(st.sampled_from(["step_idx", "screenshot_path", "action", "reasoning", "timestamp"]), json_values),
)
def test_any_values_read_to_something(found: dict[str, Any], step: dict[str, Any]) -> None:
    text = json.dumps({"steps": [step, 7]} | found).encode()
    folder = FolderFound(path="/x/tasks/t", documents={"task.json": text, "execution.json": text, "summary.json": text})
    result = summarise(TaskPlace("tasks/t", "tasks", "t"), folder, read_record(folder))
    assert result.domain
    assert result.task_id
