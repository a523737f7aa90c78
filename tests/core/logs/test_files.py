"""Live files, work lists and scores: read whole or not at all."""

import json

import pytest

from tests.core.logs.corpus import FOLDER, TRUTH, data
from waa.core.logs.files import LiveProgress, LiveStep, read_live, read_progress, read_score, read_work_list

LIVE = [line for line in data("generated/openadapt_evals_live_states.jsonl").splitlines() if line.strip()]


def test_every_live_state_of_a_recorded_run_is_read() -> None:
    states = [read_live(line) for line in LIVE]
    assert None not in states
    assert states[0] is not None
    assert (states[0].status, states[0].total_tasks, states[0].current_task) == ("idle", None, None)
    last = states[-1]
    assert last is not None
    final = TRUTH["generated/openadapt_evals_live_states.jsonl"]["final"]
    assert (last.status, last.total_tasks, last.tasks_completed) == (final["status"], final["total_tasks"], final["tasks_completed"])


def test_the_tasks_of_a_live_file_come_in_order_with_their_results() -> None:
    tasks = [state.current_task for line in LIVE if (state := read_live(line)) is not None and state.current_task is not None]
    truth = TRUTH["generated/openadapt_evals_live_states.jsonl"]["tasks"]
    assert list(dict.fromkeys(task.task_id for task in tasks)) == [task["id"] for task in truth]
    results = {task.task_id: task for task in tasks if task.has_result}
    for task in truth:
        if task["outcome"] == "error":
            assert task["id"] not in results
        else:
            assert results[task["id"]].success is (task["outcome"] == "success")


def test_steps_of_a_live_task_count_from_one() -> None:
    state = read_live(LIVE[3])
    assert state is not None
    assert state.current_task is not None
    assert state.current_task.domain == "notepad"
    assert state.current_task.steps == (
        LiveStep(number=1, action="click(x=0.5, y=0.5)"),
        LiveStep(number=2, action="type(text='Result: PASS')"),
    )


def test_a_half_written_live_file_says_nothing() -> None:
    whole = LIVE[3]
    assert all(read_live(whole[:end]) is None for end in range(len(whole)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'{"status": 3}',
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b" " * 9_000_000,
        b'{"status":"x"',
    ],
)
def test_other_content_of_live_files_says_nothing(content: bytes) -> None:
    assert read_live(content) is None
    assert read_progress(content) is None


def test_a_live_file_without_a_task_is_read() -> None:
    state = read_live(b'{"status": "running", "total_tasks": 30, "tasks_completed": 4, "current_task": null, "recent_logs": ["x"]}')
    assert state is not None
    assert (state.total_tasks, state.tasks_completed, state.current_task) == (30, 4, None)


def test_wrong_types_in_a_live_file_count_as_absent() -> None:
    state = read_live(b'{"status": "running", "total_tasks": "30", "tasks_completed": true, "current_task": {"task_id": 4}}')
    assert state is not None
    assert (state.total_tasks, state.tasks_completed, state.current_task) == (None, None, None)


def test_a_huge_live_file_is_bounded() -> None:
    steps = [{"step_idx": index, "action": {"type": "type", "text": "x" * 100}} for index in range(3000)]
    task = {"task_id": "t" * 9000, "instruction": "i" * 90_000, "steps": steps, "result": {"score": float("nan"), "success": "yes"}}
    state = read_live(json.dumps({"status": "running", "current_task": task}).encode())
    assert state is not None
    assert state.current_task is not None
    assert len(state.current_task.steps) == 500
    assert state.current_task.steps[-1].number == 3000
    assert (len(state.current_task.instruction), len(state.current_task.task_id)) == (4000, 300)
    assert (state.current_task.score, state.current_task.success, state.current_task.has_result) == (None, None, True)


def test_progress_is_read() -> None:
    content = b'{"status": "running", "provider": "azure", "tasks_total": 30, "tasks_complete": 4, "message": "token=abcdefgh"}'
    assert read_progress(content) == LiveProgress(status="running", provider="azure", tasks_total=30, tasks_complete=4, message="token=***")
    assert all(read_progress(content[:end]) is None for end in range(len(content)))


@pytest.mark.parametrize("instance", ["1", "2", "3", "4"])
def test_work_lists_of_v2_are_read(instance: str) -> None:
    truth = TRUTH["real/waa_v2_concurrent_eval"]["instances"][instance]
    folder = FOLDER / "real" / "waa_v2_concurrent_eval"
    for kind, key in (("custom", "tasks"), ("current", "current")):
        tasks = read_work_list((folder / f"test_{kind}_{instance}.json").read_bytes())
        assert tasks is not None
        assert [[task.domain, task.task_id] for task in tasks] == truth[key]


def test_an_empty_work_list_is_empty_and_a_half_one_says_nothing() -> None:
    assert read_work_list(b"") == ()
    assert read_work_list(b"\n") == ()
    assert read_work_list(b"{}") == ()
    assert read_work_list(b'{"clock": ["a"') is None
    assert read_work_list(b'{"clock": "a"}') is None
    assert read_work_list(b'{"clock": [1]}') is None


@pytest.mark.parametrize(
    ("content", "score"),
    [
        (b"1\n", 1.0),
        (b"0", 0.0),
        (b"1.0\n", 1.0),
        (b"0.8571428571428571\n", 0.8571428571428571),
        (b"True\n", 1.0),
        (b"False", 0.0),
        (b"1e-3", 0.001),
        (b"nan\n", None),
        (b"inf", None),
        (b"-inf", None),
        (b"1e999", None),
        (b"", None),
        (b"PASS", None),
        (b"1_0", None),
        ("١".encode(), None),
        (b"0.5 0.7", None),
        (b"\xff\x00", None),
        (b"1" * 1000, None),
    ],
)
def test_scores_are_numbers_or_nothing(content: bytes, score: float | None) -> None:
    assert read_score(content) == score
