"""When a step was under way, and which lines of the log are its own."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.core.builders import T0, a_task
from tests.core.logs.fold import parse
from waa.core.entity import Task
from waa.core.logs.excerpt import Excerpt, excerpt_of, stamp
from waa.core.logs.fact import TaskCrashed, TaskFinished, TaskStarted
from waa.core.logs.record import HEADER
from waa.core.results.folder import FolderFound
from waa.core.results.record import StepRecord, read_record
from waa.core.results.span import END_OF_TIME, SLACK_S, Span, lines_of, span_of, span_of_task

CORPUS = Path(__file__).parents[2] / "corpus"


def steps(*moments: float | None) -> list[StepRecord]:
    return [StepRecord(number=number, action="x", at=at) for number, at in enumerate(moments, start=1)]


def spans(moments: list[float | None], *, ended_at: float | None) -> list[tuple[float, float | None] | None]:
    task = a_task(started_at=T0, ended_at=ended_at)
    told = [span_of(steps(*moments), place, task) for place in range(len(moments))]
    return [(span.from_at, span.until_at) if span is not None else None for span in told]


def test_steps_end_where_the_next_begins_and_the_first_holds_the_set_up() -> None:
    assert spans([T0 + 30, T0 + 40, T0 + 55], ended_at=T0 + 90.5) == [
        (T0, T0 + 40),
        (T0 + 40, T0 + 55),
        (T0 + 55, T0 + 90.5 + 0.001),
    ]


def test_the_last_step_of_a_running_task_goes_on() -> None:
    assert spans([T0 + 30, T0 + 40], ended_at=None)[-1] == (T0 + 40, None)


def test_actions_of_one_second_share_their_moments_and_what_is_undated_has_none() -> None:
    shared = (T0 + 40, T0 + 50)
    assert spans([T0 + 30, None, T0 + 40, T0 + 40, T0 + 50], ended_at=None) == [(T0, T0 + 40), None, shared, shared, (T0 + 50, None)]


def test_a_first_step_that_is_older_than_its_task_begins_there() -> None:
    assert spans([T0 - 5], ended_at=None) == [(T0 - 5, None)]


def test_lines_are_looked_for_around_a_step_but_within_its_task() -> None:
    task = a_task(started_at=T0, ended_at=T0 + 90)
    told = [span_of(steps(T0 + 30, T0 + 31, T0 + 80), place, task) for place in range(3)]
    assert [span.search for span in told if span is not None] == [
        (T0, T0 + 31 + SLACK_S),
        (T0 + 31 - SLACK_S, T0 + 80 + SLACK_S),
        (T0 + 80 - SLACK_S, T0 + 90.001),
    ]
    early = span_of(steps(T0 + 1, T0 + 2), 1, a_task(started_at=T0, ended_at=None))
    assert early is not None
    assert early.search == (T0, END_OF_TIME)
    assert Span(from_at=T0, until_at=T0 + 9).search == (T0, T0 + 9)


@pytest.mark.parametrize(
    ("tree", "log"),
    [
        ("waa_v1", "waa_v1_sep2024.plain.log"),
        ("waa_v2_normal", "waa_v2_normal.plain.log"),
        ("waa_up_exception", "waa_up_exception.plain.log"),
        ("osworld_multienv", "osworld_multienv3.plain.log"),
    ],
)
def test_the_lines_of_each_recorded_step_announce_it_and_no_other(tree: str, log: str) -> None:
    """As the log's parser tells the tasks and their workers, so are the lines found by the trajectory's times."""
    data = (CORPUS / "generated" / log).read_bytes()
    tasks = tasks_of(data)
    checked = 0
    for folder in sorted(path.parent for path in (CORPUS / "results" / tree).rglob("traj.jsonl")):
        record = read_record(FolderFound(path="/x", trajectory=(folder / "traj.jsonl").read_bytes()))
        task = tasks[folder.name]
        for place, step in enumerate(record.steps):
            span = span_of(record.steps, place, task)
            assert span is not None
            found = excerpt_of(data, from_at=span.search[0], until_at=span.search[1], max_bytes=10_000_000)
            own = lines_of(found, span).data.decode()
            announced = [own[match.end() :].lstrip("\n").split(": ")[0] for match in HEADER.finditer(own)]
            assert [words for words in announced if re.fullmatch(r"Step \d+", words)] == [f"Step {step.number}"]
            assert step.action.strip().splitlines()[0] in own
            checked += 1
    assert checked > 5


def tasks_of(data: bytes) -> dict[str, Task]:
    """The tasks that a log tells of, by their ids."""
    tasks: dict[str, Task] = {}
    for fact in parse(data):
        if isinstance(fact, TaskStarted) and fact.at is not None:
            tasks[fact.task_id] = a_task(fact.task_id, started_at=fact.at, worker=fact.worker)
        elif isinstance(fact, TaskFinished | TaskCrashed):
            tasks[fact.task_id] = replace(tasks[fact.task_id], ended_at=fact.at)
    return tasks


def a_log(*messages: str) -> bytes:
    return "".join(f"[{stamp(T0 + number)} INFO x/1-MainProcess] {message}\n" for number, message in enumerate(messages)).encode()


def test_several_actions_of_one_step_have_their_own_lines() -> None:
    found = Excerpt(data=a_log("set-up", "Step 1: a", "note", "Step 1: b", "note", "Step 2: c", "note"), is_cut=True)
    cut = {
        (number, part): lines_of(found, Span(from_at=T0, until_at=None, number=number, part=part)).data.decode().split("] ", 1)[1][:9]
        for number, part in ((1, 1), (1, 2), (2, 1))
    }
    assert cut == {(1, 1): "Step 1: a", (1, 2): "Step 1: b", (2, 1): "Step 2: c"}
    first = lines_of(found, Span(from_at=T0, until_at=None, number=1, is_first=True))
    assert (b"set-up" in first.data, b"Step 1: b" in first.data, first.is_cut) == (True, False, False)
    assert lines_of(found, Span(from_at=T0, until_at=None, number=2)).is_cut
    assert lines_of(found, Span(from_at=T0, until_at=None)) == found


def test_where_the_log_announces_no_steps_the_time_decides() -> None:
    found = Excerpt(data=a_log(*"abcdef"))
    own = lines_of(found, Span(from_at=T0 + 2, until_at=T0 + 4, number=7))
    assert [line[-1:] for line in own.data.splitlines()] == [b"c", b"d"]


def test_of_parallel_processes_only_the_own_one_speaks() -> None:
    task = a_task(started_at=T0, ended_at=None, worker="EnvProcess-2")
    lines = [
        f"[{stamp(T0 + number / 10)} INFO lib_run_single/37-EnvProcess-{1 + number % 3}] Step {1 + number // 3}: x\nmore {number}\n"
        for number in range(9)
    ]
    found = Excerpt(data="".join(lines).encode())
    span = span_of(steps(T0, T0 + 0.3, T0 + 0.6), 1, task)
    assert span is not None
    assert lines_of(found, span).data.decode() == lines[4]
    assert lines_of(found, span_of_task(task)).data.decode() == "".join(lines[1::3])
