"""What each panel shows: empty, failing, in use; and which events change it."""

from dataclasses import replace

import pytest

from tests.web import fleet_builder as build
from tests.web.fleet_builder import NOW, E, F, P, R, U
from tests.web.markup import Element, judge, read
from waa.core.attention import Limits
from waa.core.entity import Entity, RunId, Trouble
from waa.core.error import Failure, NotFound
from waa.core.event import Event, EventType
from waa.core.observation import Container, Reading
from waa.core.pipeline import PipelineStatus
from waa.core.state import State
from waa.core.status import ContainerStatus, Phase, Reason, RunStatus, TaskStatus
from waa.core.training import Training
from waa.web.panels import PANELS, log_list_id
from waa.web.view import STALE_AFTER_S
from waa.web.views.background import TaskState, background_tasks
from waa.web.views.task import TaskSubject

RENDERER = build.a_renderer()
SUBJECTS = {
    "vm": "waa-1",
    "vm-run": "waa-1",
    "log": "waa-1",
    "run": "waa-1-20260204T113131",
    "run-head": "waa-1-20260204T113131",
    "run-chart": "waa-1-20260204T113131",
    "run-domains": "waa-1-20260204T113131?by=rate",
    "run-tasks": "waa-1-20260204T113131?status=passed,failed,error,unknown,running&sort=-ended",
    "run-facts": "waa-1-20260204T113131",
    "run-incidents": "waa-1-20260204T113131",
    "vm-incidents": "waa-1",
    "pipeline": "train",
    "compare": "waa-1-20260204T113131,waa-4-20260204T113131",
    "task": "waa-1-20260204T113131/libreoffice_writer/010d8b7d-2f6a-4d1e-9c37-52a1f0e4b001-WOS//",
    "training": "digits",
    "training-trends": "digits",
    "predictions": "digits?epoch=1",
    "comparison": "a=digits&ae=0&b=other&be=2",
}
STATES = {"empty": State, "fleet": build.a_fleet, "crowd": build.a_crowd, "hostile": build.a_hostile, "demo": build.a_demo}


def subject_of(name: str, state: str = "fleet") -> str | None:
    """What a panel is about in one of the states."""
    if name == "task" and state == "hostile":
        return TaskSubject(run_id="waa-1-20260204T113131", domain=build.HOSTILE, task_id=build.HOSTILE).text
    return SUBJECTS.get(name)


def shown(name: str, state: State, subject: str | None = None, **look: object) -> Element:
    """The panel's root element."""
    root = read(RENDERER.panel(PANELS[name], build.a_look(state, **look), subject))
    judge(root)
    (section,) = root.children
    return section


def an_event(type_: EventType, entity: Entity) -> Event:
    return Event(id=1, type=type_, at=NOW, entity=entity)


@pytest.mark.parametrize("name", [name for name, panel in PANELS.items() if not panel.needs_subject])
@pytest.mark.parametrize("state", STATES)
def test_every_panel_of_the_overview_is_sound_in_every_state(name: str, state: str) -> None:
    section = shown(name, STATES[state]())
    panel = PANELS[name]
    period_s = panel.period_s(build.a_look(State()))
    assert section.attributes["id"] == panel.element_id
    assert "panel" in section.classes
    assert section.attributes["hx-get"] == f"/fragments/{name}"
    assert section.attributes["hx-trigger"] == f"poll-{period_s}s from:body"
    assert section.attributes["hx-swap"] == "outerMorph"
    assert section.attributes["data-poll"] == str(period_s)
    assert section.one(tag="h2").text


@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.parametrize("state", ["fleet", "hostile"])
def test_every_panel_about_something_is_sound(name: str, state: str) -> None:
    subject = subject_of(name, state)
    section = shown(name, STATES[state](), subject)
    assert section.attributes["hx-get"] == PANELS[name].url(subject)


UNKNOWN = {"task": "nobody/clock/a//", "compare": "nobody,nowhere", "comparison": "a=nobody&b=nowhere"}


@pytest.mark.parametrize("name", [*SUBJECTS, "live-eval"])
def test_an_unknown_subject_is_not_found(name: str) -> None:
    with pytest.raises(NotFound):
        RENDERER.panel(PANELS[name], build.a_look(build.a_fleet()), UNKNOWN.get(name, "nobody"))


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("tasks", "tasks-refresh-time"),
        ("live-eval", "live-eval-refresh-time"),
        ("azure-jobs", "azure-jobs-refresh-time"),
        ("azure-job-logs", "azure-job-logs-refresh-time"),
        ("vms", "vm-refresh-time"),
    ],
)
def test_panels_say_when_they_were_refreshed(name: str, id_: str) -> None:
    time = shown(name, build.a_fleet()).one(id_=id_)
    assert time.attributes["datetime"] == "2026-02-04T12:31:31Z"
    assert time.text == "12:31:31 UTC"
    assert time.attributes["data-stale-after"] == str(int(STALE_AFTER_S))


def test_live_evaluation_asks_at_its_own_interval() -> None:
    section = shown("live-eval", State(), interval_s=2.0)
    assert section.attributes["hx-trigger"] == "poll-2s from:body"
    assert [PANELS[name].poll_s for name in ("tasks", "azure-jobs", "azure-job-logs", "vms")] == [10.0, 10.0, 5.0, 10.0]


# --- Live Evaluation ---


def test_results_are_listed_newest_first_with_their_badges() -> None:
    vm, run, _ = build.running()
    section = shown("live-eval", build.a_state([vm], [(run, (P, F, E, U, R))]))
    rows = section.one(id_="task-results-list", class_="task-results-list").all(class_="task-result")
    assert [(row.one(class_="result-icon").text, *sorted(row.classes - {"task-result"})) for row in rows] == [
        ("?", "unknown"),
        ("ERROR", "error"),
        ("FAIL", "failure"),
        ("OK", "success"),
    ]
    assert [row.one(class_="result-score").text for row in rows] == ["", "", "0.00", "1.00"]
    assert rows[-1].one(class_="result-task-id").text == "010d8b7d-2f6a-4d1e-9c37-52a1f0e4b001-WOS"


def test_metrics_and_progress_count_what_ended() -> None:
    vm, run, _ = build.running()
    section = shown("live-eval", build.a_state([vm], [(run, (P, P, F, E, R))]))
    metrics = section.one(id_="task-metrics")
    words = [each.text for each in metrics.all(class_="metric")]
    assert words == ["2 passed", "1 failed", "1 error", "67% success rate"]
    assert "metric" in metrics.one(class_="rate").classes
    assert section.one(class_="progress-text").text == "4/30 tasks completed"
    assert section.one(class_="task-progress-fill").attributes["width"] == "13.33%"
    assert "scored 3 of 4" in section.text
    assert "21–94 %" in section.text
    assert "Task 5/30" in section.text


def test_an_unknown_total_is_not_invented() -> None:
    vm, run, _ = build.running()
    section = shown("live-eval", build.a_state([vm], [(replace(run, total=None), (P, R))]))
    assert section.one(class_="progress-text").text == "1/? tasks completed"
    assert "has not said how many tasks" in section.text


def test_a_rate_without_scores_is_a_dash() -> None:
    vm, run, _ = build.running()
    section = shown("live-eval", build.a_state([vm], [(run, (E, R))]))
    assert section.one(class_="rate").text == "–% success rate"


def test_the_expected_end_waits_for_three_ended_tasks() -> None:
    vm, run, _ = build.running()
    assert "End: after 1 more task" in shown("live-eval", build.a_state([vm], [(run, (P, P, R))])).text
    section = shown("live-eval", build.a_state([vm], [(run, (P, P, P, R))]))
    assert "Ends about" in section.text
    assert [each.attributes["datetime"] for each in section.all(tag="time") if "data-clock" in each.attributes]


def test_a_retried_task_counts_once_and_both_attempts_are_listed() -> None:
    vm, run, _ = build.running()
    state = build.a_state([vm], [(run, (E,))])
    first = next(iter(state.tasks[run.run_id].values()))
    state.put(replace(first, attempt=2, status=P, score=1.0, ended_at=NOW))
    section = shown("live-eval", state)
    assert section.one(class_="progress-text").text == "1/30 tasks completed"
    assert [("is-replaced" in row.classes) for row in section.all(class_="task-result")] == [False, True]


def test_the_newest_running_run_is_shown_unless_another_is_chosen() -> None:
    state = build.a_fleet()
    newest = shown("live-eval", state)
    assert newest.one(class_="run-line").text.startswith("waa-1-2026")
    chosen = shown("live-eval", state, "waa-5-20260204T113131")
    assert chosen.attributes["hx-get"] == "/fragments/live-eval?run=waa-5-20260204T113131"
    assert "Finished" in chosen.text
    tabs = chosen.one(class_="tabs").all(tag="a")
    assert [("aria-current" in tab.attributes) for tab in tabs] == [False, False, True]


def test_a_run_out_of_view_promises_no_end() -> None:
    vm, run, outcomes = build.unreachable()
    section = shown("live-eval", build.a_state([vm], [(run, outcomes)]))
    assert "cannot be reached now" in section.text
    assert "Ends about" not in section.text


def test_a_long_run_links_to_its_earlier_results() -> None:
    vm, run, _ = build.running()
    state = build.a_state([vm], [(replace(run, total=154), (P,) * 150)])
    assert len(shown("live-eval", state).all(class_="task-result")) == 30
    assert "120 earlier results" in shown("live-eval", state).text
    assert len(shown("run", state, run.run_id).all(class_="task-result")) == 30


# --- Needs you, Fleet ---


def test_nothing_to_do_is_said_calmly() -> None:
    vm, run, outcomes = build.running()
    section = shown("attention", build.a_state([vm], [(run, outcomes)]))
    assert "Nothing needs you. 1 VM watched, 1 run going." in section.text
    assert section.all(class_="need") == []


def test_needs_come_with_their_remedy_and_the_most_urgent_first() -> None:
    section = shown("attention", build.a_fleet())
    needs = section.all(class_="need")
    assert ["critical" in need.classes for need in needs] == [True, False]
    assert needs[0].one(class_="severity").text == "Critical"
    assert "Is the VM started?" in needs[0].one(class_="remedy").text


def test_many_needs_unfold() -> None:
    section = shown("attention", build.a_crowd())
    assert section.one(tag="details").one(tag="summary").text == "5 more"
    assert len(section.all(class_="need")) == 10


def test_an_empty_fleet_says_what_to_do() -> None:
    section = shown("fleet", State())
    assert section.one(class_="button").attributes["href"] == "/vms/new"


def test_each_card_has_its_phase_by_word_and_step() -> None:
    cards = shown("fleet", build.a_fleet()).all(class_="card")
    assert [card.one(class_="phase").text for card in cards] == ["Running", "Downloading 43 %", "Windows set-up", "Unreachable", "Idle"]
    current = [[step.text for step in card.all(tag="li") if "aria-current" in step.attributes] for card in cards]
    assert current == [["Run"], ["Fetch"], ["Setup"], [], []]
    assert cards[1].one(class_="download").attributes["value"] == "43"


def test_a_vm_out_of_reach_keeps_its_last_values_and_says_why() -> None:
    card = shown("fleet", build.a_fleet()).one(id_="vm-card-waa-4")
    assert build.CLOSED.message in card.text
    assert build.CLOSED.remedy in card.text
    assert "3/30 tasks completed" in card.text
    assert card.one(class_="stale").attributes["data-seen"] == "waa-4"
    assert [step.text for step in card.all(class_="last")] == ["Run"]
    assert "alert-critical" in card.classes


def test_a_vm_that_was_seen_just_now_is_not_stale() -> None:
    card = shown("fleet", build.a_fleet()).one(id_="vm-card-waa-1")
    assert card.all(class_="stale") == []
    late = shown("fleet", build.a_fleet(), seen_at={}).one(id_="vm-card-waa-1")
    assert late.all(class_="stale") == []
    old = replace(build.a_vm(), seen_at=NOW - STALE_AFTER_S - 1)
    assert shown("fleet", build.a_state([old]), seen_at={}).all(class_="stale")


def test_a_vm_that_was_never_looked_at_is_unknown_not_down() -> None:
    fresh = replace(build.a_vm(phase=Phase.UNKNOWN), connection=type(build.a_vm().connection)(), seen_at=None, phase_at=None)
    card = shown("fleet", build.a_state([fresh]), seen_at={}).one(class_="card")
    assert "not seen yet" in card.text
    assert card.one(class_="phase").text == "Unknown"


def test_many_vms_are_condensed() -> None:
    assert "dense" in shown("fleet", build.a_crowd()).one(class_="cards").classes
    assert "dense" not in shown("fleet", build.a_fleet()).one(class_="cards").classes


@pytest.mark.parametrize(
    ("name", "subject"), [("fleet", None), ("live-eval", None), ("tasks", None), ("vms", None), ("runs", None), ("vm", "demo")]
)
def test_the_demo_is_told_everywhere(name: str, subject: str | None) -> None:
    assert shown(name, build.a_demo(), subject).all(class_="demo-label")
    other = "waa-1" if subject else None
    assert shown(name, build.a_fleet(), other).all(class_="demo-label") == []


# --- the others ---


def test_background_tasks_tell_set_ups_containers_and_runs() -> None:
    vm, run, outcomes = build.finished()
    gone = replace(build.a_vm("waa-8", Phase.OFF), container=Reading(value=Container(status=ContainerStatus.EXITED, exit_code=137)))
    broken = replace(build.downloading(), boot=replace(build.downloading().boot, error="Failed to download Windows"))
    tasks = background_tasks(build.a_state([build.installing(), vm, gone, broken], [(run, outcomes)]))
    states = {task.task_id: task.status for task in tasks}
    assert states["vm-waa-3"] is TaskState.RUNNING
    assert states["vm-waa-2"] is TaskState.FAILED
    assert states["container-waa-8"] is TaskState.FAILED
    assert states[run.run_id] is TaskState.COMPLETED
    assert [task.status for task in tasks] == sorted((task.status for task in tasks), key=list(dict.fromkeys(states.values())).index)


def test_a_background_task_counts_its_time() -> None:
    run = build.a_run(started_at=NOW - 100, ended_at=NOW - 40, status=RunStatus.FINISHED)
    (task,) = [task for task in background_tasks(build.a_state([build.a_vm()], [(run, ())])) if task.task_id == run.run_id]
    assert task.elapsed_s(NOW) == 60.0


def test_the_list_of_vms_tells_how_to_reach_them() -> None:
    spec = replace(build.a_vm().spec, ssh_port=2222, proxy_jump="me@bastion")
    section = shown("vms", build.a_state([replace(build.a_vm(), spec=spec)]))
    assert "azureuser@10.0.0.4:2222" in section.text
    assert "ssh -N -L 8006:127.0.0.1:8006 -J me@bastion -p 2222 azureuser@10.0.0.4" in section.text
    direct = replace(spec, vnc_url="https://vnc.example/waa-1")
    links = shown("vms", build.a_state([replace(build.a_vm(), spec=direct)])).all(tag="a")
    assert "https://vnc.example/waa-1" in [link.attributes["href"] for link in links]


def test_a_vm_without_a_run_says_what_to_do() -> None:
    section = shown("vm-run", build.a_state([build.a_vm()]), "waa-1")
    assert "Nothing has run on waa-1 yet" in section.text


def test_a_reading_that_failed_keeps_its_value_and_says_why() -> None:
    failure = Failure(reason=Reason.COMMAND, message="docker is not on the path", remedy="Install it.")
    vm = build.a_vm()
    section = shown("vm", build.a_state([replace(vm, container=replace(vm.container, failure=failure, failed_at=NOW - 5))]), "waa-1")
    (row,) = section.all(class_="has-failed")
    assert "running" in row.text
    assert "docker is not on the path" in row.text
    assert "Install it." in row.text


def test_troubles_of_a_vm_are_listed() -> None:
    section = shown("vm", build.a_fleet(), "waa-1")
    assert "A result file could not be read." in section.one(class_="troubles").text


def test_the_log_is_a_list_of_numbered_lines() -> None:
    section = shown("log", build.a_fleet(), "waa-1")
    lines = section.one(id_="log-lines-waa-1").children
    assert lines[0].attributes["id"] == "log-waa-1-1"
    assert lines[-1].attributes["id"] == "log-waa-1-59"
    assert "No line has come yet" in shown("log", build.a_fleet(), "waa-1", log_lines={}).text


def test_the_list_of_log_lines_is_named_after_its_vm() -> None:
    assert log_list_id("waa.1") == "log-lines-waa.1"


def test_hostile_text_is_text() -> None:
    state = build.a_hostile()
    for name, panel in PANELS.items():
        subject = subject_of(name, "hostile")
        html = RENDERER.panel(panel, build.a_look(state), subject).decode()
        assert "<script" not in html
        assert "<img src=x" not in html
        assert html.count("</section>") == 1
    assert build.HOSTILE.replace("\n", " ") in shown("live-eval", state).text


# --- which events change what ---


def test_views_that_differ_in_ages_only_are_equal() -> None:
    state = build.a_fleet()
    for name, panel in PANELS.items():
        now, later = (
            build.a_look(state),
            replace(build.a_look(state), now=NOW + 4, seen_at={vm: NOW + 3 for vm in state.vms if vm != "waa-4"}),
        )
        assert panel.view(now, SUBJECTS.get(name)) == panel.view(later, SUBJECTS.get(name)), name


def test_time_alone_changes_what_needs_a_person() -> None:
    state = build.a_fleet()
    later = replace(build.a_look(state), now=NOW + 2000, limits=Limits())
    assert PANELS["attention"].is_timed
    assert PANELS["attention"].view(build.a_look(state), None) != PANELS["attention"].view(later, None)


def test_a_step_touches_what_shows_steps() -> None:
    vm, run, _ = build.running()
    task = build.a_task(run, 1, TaskStatus.RUNNING)
    step = an_event(EventType.TASK_STEPPED, task)
    touched = {name for name, panel in PANELS.items() if panel.is_touched(step)}
    assert touched == {"attention", "fleet", "live-eval", "run", "run-head", "vm-run", "task"}
    assert PANELS["run"].is_touched(step, run.run_id)
    assert not PANELS["run"].is_touched(step, RunId("another"))
    assert PANELS["vm-run"].is_touched(step, vm.name)
    assert not PANELS["vm-run"].is_touched(step, "another")
    assert PANELS["task"].is_touched(step, SUBJECTS["task"])
    assert not PANELS["task"].is_touched(step, f"{run.run_id}/{task.domain}/another//")
    assert not PANELS["task"].is_touched(step, f"another/{task.domain}/{task.task_id}//")


def test_every_event_that_changes_a_view_touches_its_panel() -> None:
    vm, run, _ = build.running()
    before = build.a_state([vm, build.a_vm("waa-2")], [(run, (P, R)), (build.a_run("waa-4"), (P,))])
    build.train(before, "digits")
    build.train(before, "other")
    task = before.tasks[run.run_id][next(reversed(before.tasks[run.run_id]))]
    pipeline = build.a_pipeline()
    before.put(pipeline)
    changes: list[tuple[EventType, Entity]] = [
        (EventType.VM_ADDED, build.a_vm("waa-9")),
        (EventType.VM_REMOVED, vm),
        (EventType.VM_DISCONNECTED, build.unreachable("waa-1")[0]),
        (EventType.VM_PHASE_CHANGED, replace(vm, phase=Phase.IDLE, phase_at=NOW)),
        (EventType.VM_CHANGED, replace(vm, boot=build.downloading().boot)),
        (EventType.RUN_CHANGED, replace(run, total=31)),
        (EventType.RUN_FINISHED, replace(run, status=RunStatus.FINISHED, ended_at=NOW)),
        (EventType.TASK_STARTED, build.a_task(run, 3, R)),
        (EventType.TASK_STEPPED, replace(task, step=99)),
        (EventType.TASK_COMPLETED, replace(task, status=P, score=1.0, ended_at=NOW)),
        (EventType.TASK_SETTLED, replace(task, status=F, score=0.0, ended_at=NOW, provisional=False)),
        (EventType.TROUBLE_MET, Trouble(vm="waa-1", at=NOW, failure=build.CLOSED)),
        (EventType.INCIDENT_OPENED, build.an_incident(run, task)),
        (EventType.INCIDENT_RESOLVED, replace(build.an_incident(run, task), ended_at=NOW)),
        (EventType.TRAINING_CREATED, Training(job_id="new", owner="local", created_at=NOW, changed_at=NOW)),
        (EventType.TRAINING_CHANGED, replace(before.trainings["digits"], title="Another")),
        (EventType.TRAINING_REMOVED, before.trainings["digits"]),
        (EventType.PREDICTIONS_ADDED, build.pushed(before, build.a_prediction(9, 1), build.a_prediction(9, 3))),
        (EventType.PREDICTIONS_ADDED, build.pushed(before, build.a_prediction(9, 2, job_id="other"))),
        (EventType.PIPELINE_ADDED, build.a_pipeline("another")),
        (EventType.PIPELINE_STATUS_CHANGED, replace(pipeline, status=PipelineStatus.DOWN, failure=build.CLOSED)),
        (EventType.PIPELINE_CHANGED, replace(pipeline, spec=replace(pipeline.spec, title="Training"))),
        (EventType.PIPELINE_REMOVED, pipeline),
    ]
    for type_, entity in changes:
        event, after = an_event(type_, entity), before.copy()
        after.evolve(event)
        for name, panel in PANELS.items():
            subject = SUBJECTS.get(name)
            try:
                is_same = panel.view(build.a_look(before), subject) == panel.view(build.a_look(after), subject)
            except NotFound:
                assert type_ in (EventType.VM_REMOVED, EventType.TRAINING_REMOVED, EventType.PIPELINE_REMOVED)
                continue
            assert is_same or panel.is_touched(event, subject), f"{type_} changes {name}"
