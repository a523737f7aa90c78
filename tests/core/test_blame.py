"""Whose failure a failed task is."""

from typing import Any

import pytest

from tests.core.builders import T0, a_log_read, a_run, a_spec, a_task
from tests.core.logs.corpus import data
from tests.core.logs.fold import parse
from waa.core.blame import Blame, Culprit, blame_of
from waa.core.entity import Task
from waa.core.incident import Concern, Incident, Severity
from waa.core.logs.fact import Activity
from waa.core.observation import VmNamed
from waa.core.state import State
from waa.core.status import TaskStatus
from waa.core.transition import Rules, decide


def ended(status: TaskStatus, error: str = "", **fields: Any) -> Task:
    return a_task(status=status, error=error, ended_at=T0 + 60, **fields)


def blamed(task: Task, *concerns: Concern) -> Blame:
    incidents = [
        Incident(incident_id=concern, vm="vm-1", concern=concern, severity=Severity.WARNING, title="t", began_at=T0, tasks=(task.key,))
        for concern in concerns
    ]
    found = blame_of(task, a_run(), incidents)
    assert found is not None
    return found


def test_what_passed_or_still_runs_is_nobodys_failure() -> None:
    assert blame_of(ended(TaskStatus.PASSED, score=1.0), a_run()) is None
    assert blame_of(a_task(), a_run()) is None


def test_a_score_below_the_threshold_is_the_agents() -> None:
    assert blamed(ended(TaskStatus.FAILED, score=0.4)) == Blame(culprit=Culprit.AGENT, why="scored 0.40, passes from 1.00")
    assert blamed(ended(TaskStatus.FAILED, score=0.4), Concern.GUEST_DOWN).culprit is Culprit.AGENT


def test_a_score_of_a_task_that_was_disrupted_says_nothing_about_the_agent() -> None:
    found = blamed(ended(TaskStatus.FAILED, score=0.0), Concern.REBOOTED)
    assert found == Blame(culprit=Culprit.INFRASTRUCTURE, why="scored 0.00, passes from 1.00, but a reboot of the VM hit it")


@pytest.mark.parametrize(
    ("error", "culprit", "why"),
    [
        ("HTTPConnectionPool(port=5000): Max retries exceeded", Culprit.INFRASTRUCTURE, "the guest's server could not be asked"),
        ("[Errno 111] Connection refused", Culprit.INFRASTRUCTURE, "the guest's server could not be asked"),
        ("Connection reset by peer", Culprit.INFRASTRUCTURE, "the guest's server could not be asked"),
        ("Read timed out. (read timeout=90)", Culprit.INFRASTRUCTURE, "the guest's server could not be asked"),
        ("cannot access local variable 'e' where it is", Culprit.INFRASTRUCTURE, "a download failed while the task was set up"),
        ("Error code: 429 - {'error': {'message': 'Rate limit'}}", Culprit.INFRASTRUCTURE, "the model's service limits its use"),
        ("Error code: 401 - invalid api key", Culprit.INFRASTRUCTURE, "the model's service refuses the key"),
        ("Failed to get the plan: Connection error.", Culprit.INFRASTRUCTURE, "the model could not be asked"),
        ("Fail to get valid action after 5 try: scroll (abc)", Culprit.AGENT, "the model gave no valid action"),
        ("Evaluator: file not found", Culprit.EVALUATOR, "the evaluator failed"),
        ("[Errno 28] No space left on device", Culprit.INFRASTRUCTURE, "the disk was full"),
        ("Time limit exceeded in chrome/x", Culprit.INFRASTRUCTURE, "the runner ended it by an exception"),
        ("division by zero", Culprit.UNKNOWN, "neither its text nor its place tells"),
    ],
)  # fmt: skip
def test_the_text_of_an_exception_tells(error: str, culprit: Culprit, why: str) -> None:
    assert blamed(ended(TaskStatus.ERROR, error)) == Blame(culprit=culprit, why=why)


@pytest.mark.parametrize(
    ("stage", "culprit"),
    [
        (Activity.RESETTING, Culprit.INFRASTRUCTURE),
        (Activity.THINKING, Culprit.INFRASTRUCTURE),
        (Activity.ACTING, Culprit.INFRASTRUCTURE),
        (Activity.EVALUATING, Culprit.EVALUATOR),
    ],
)
def test_else_the_place_of_an_exception_tells(stage: Activity, culprit: Culprit) -> None:
    assert blamed(ended(TaskStatus.ERROR, "division by zero", ended_in=stage)).culprit is culprit
    assert blamed(ended(TaskStatus.ERROR, "Connection refused", ended_in=Activity.EVALUATING)).culprit is Culprit.EVALUATOR


@pytest.mark.parametrize(
    ("error", "why"),
    [
        ("the runner's process is gone; its log has no end", "it was cut off"),
        ("started again", "it was cut off"),
        ("the VM is no longer watched", "it was cut off"),
        ("the set-up check failed", "its set-up failed"),
        ("", "it ended without a result"),
    ],
)
def test_a_task_without_an_outcome_is_the_infrastructures(error: str, why: str) -> None:
    assert blamed(ended(TaskStatus.UNKNOWN, error)) == Blame(culprit=Culprit.INFRASTRUCTURE, why=why)


def test_an_incident_says_more_than_the_text() -> None:
    task = ended(TaskStatus.ERROR, "Connection refused")
    assert blamed(task, Concern.GUEST_DOWN, Concern.REBOOTED).why == "a reboot of the VM hit it"
    assert blamed(task, Concern.GUEST_DOWN).why == "the guest's server did not answer"
    assert blamed(task, Concern.LOOPING).why == "the guest's server could not be asked"  # no cause of it
    assert blame_of(task, a_run(), []) == blamed(task)


def test_hostile_texts_are_only_texts() -> None:
    hostile = "<script>" + "a" * 200_000 + " connection refused"
    assert blamed(ended(TaskStatus.ERROR, hostile)).culprit is Culprit.UNKNOWN  # beyond what is looked at


@pytest.mark.parametrize(
    ("name", "culprits"),
    [
        (
            "generated/waa_up_exception.plain.log",
            [Culprit.INFRASTRUCTURE, Culprit.INFRASTRUCTURE, Culprit.EVALUATOR, Culprit.INFRASTRUCTURE],
        ),
        ("generated/waa_v2_exception.plain.log", [Culprit.AGENT, Culprit.INFRASTRUCTURE]),
        ("generated/osworld_multienv3.plain.log", [Culprit.INFRASTRUCTURE]),
    ],
)
def test_recorded_exceptions_are_told_apart(name: str, culprits: list[Culprit]) -> None:
    state = State()
    for observation in (VmNamed(vm="vm-1", at=T0, spec=a_spec()), a_log_read(*parse(data(name)), at=T0 + 90_000)):
        for change in decide(state, observation, Rules()):
            state.evolve(change)
    crashed = [task for tasks in state.tasks.values() for task in tasks.values() if task.status is TaskStatus.ERROR]
    assert [blamed(task).culprit for task in crashed] == culprits
