"""What went wrong: the panels of runs and VMs, the list for programs, the stream, notifications, rerun lists."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.core.builders import T0, task_facts
from tests.web import fleet_builder as build
from tests.web.fleet_builder import NOW, E, F, P, R, U
from tests.web.house import House, Listener, Message, house
from tests.web.markup import Element, judge, read
from waa.core.entity import Run, Vm
from waa.core.incident import Concern, Severity
from waa.core.logs import fact as f
from waa.core.logs.fact import TaskRef
from waa.core.observation import Container, GuestProbe, Machine, StatusSeen
from waa.core.state import State
from waa.core.status import ContainerStatus, Phase, RunStatus
from waa.web.panels import PANELS
from waa.web.views.incidents import MAX_GROUPS, MAX_SHOWN, MAX_TASKS, disruption_words

RUN = "vm-1-20260204T121231"
RENDERER = build.a_renderer()
HOSTILE = '<script>alert(1)</script><img src=x onerror=alert(2)> "quoted" \'</section>'


def shown(state: State, name: str = "run-incidents", subject: str | None = None) -> Element:
    """The panel, judged."""
    root = read(RENDERER.panel(PANELS[name], build.a_look(state), subject or next(iter(state.runs))))
    judge(root)
    return root


def running(*outcomes: Any, **fields: Any) -> tuple[State, Run]:
    vm, run, _ = build.running()
    run = replace(run, **fields)
    return build.a_state([vm], [(run, outcomes)]), run


def reason(state: State, run: Run, index: int, error: str) -> None:
    """The error of a task."""
    key, task = list(state.tasks[run.run_id].items())[index]
    state.put(replace(task, error=error))
    assert key in state.tasks[run.run_id]


def test_a_run_that_goes_well_is_calm() -> None:
    state, _ = running(P, P, R)
    section = shown(state)
    assert "Nothing went wrong so far." in section.text
    assert not section.all(class_="incident")


def test_an_open_incident_says_cause_remedy_tasks_and_since_when() -> None:
    state, run = running(P, R)
    task = list(state.tasks[run.run_id].values())[1]
    state.put(build.an_incident(run, task))
    item = shown(state).one(class_="incident")
    assert "critical" in item.classes
    assert item.one(class_="incident-state").text == "Critical"
    assert "The guest's server does not answer" in item.text
    assert item.one(class_="remedy").text.startswith("Look at the screen")
    assert item.one(class_="incident-task").attributes["href"].startswith(f"/runs/{run.run_id}/tasks/")
    assert item.one(tag="time").attributes["datetime"] == "2026-02-04T12:26:31Z"
    assert item.one(class_="duration").text == "5 min 0 s"


def test_what_is_over_says_from_when_to_when_and_the_newest_stands_first() -> None:
    state, run = running(P, R)
    state.put(build.an_incident(run, incident_id="a", title="First", ended_at=NOW - 100))
    state.put(build.an_incident(run, incident_id="b", title="Second", began_at=NOW - 50, ended_at=NOW - 20, severity=Severity.WARNING))
    section = shown(state)
    items = section.all(class_="incident")
    assert [item.one(tag="strong").text for item in items] == ["Second", "First"]
    assert all(item.one(class_="incident-state").text == "Over" for item in items)
    assert items[1].one(class_="incident-when").one(class_="duration").text == "3 min 20 s"
    assert not items[1].all(class_="remedy")
    assert section.one(tag="summary").text == "Incidents that are over 2"


def test_failures_of_one_reason_are_one_line() -> None:
    state, run = running(P, E, E, E, F, U)
    for index in (1, 2):
        reason(state, run, index, f"HTTPConnectionPool(host='20.20.20.21', port=5000): Max retries exceeded at 0x7f{index}ab")
    reason(state, run, 3, "Error code: 429 - Rate limit reached, try again in 2.02s")
    section = shown(state)
    lines = section.all(class_="failure-group")
    told = [
        (line.one(class_="failure-count").text, line.one(class_="failure-culprit").text, line.one(class_="failure-why").text)
        for line in lines
    ]
    assert told[0][:2] == ("2 ×", "Infrastructure")
    assert told[0][2].startswith("the guest's server could not be asked HTTPConnectionPool")
    assert ("1 ×", "Agent", "scored below 1.00") in told
    assert any(why.startswith("the model's service limits its use") for _, _, why in told)
    assert [each.text for each in section.all(class_="culprit")] == ["4 infrastructure", "1 agent"]
    assert lines[0].one(class_="incident-task").attributes["href"].endswith("/1")


def test_many_incidents_and_reasons_are_bounded() -> None:
    state, run = running(*[E] * 40)
    for index in range(40):
        reason(state, run, index, f"reason {'x' * index}")
    tasks = list(state.tasks[run.run_id].values())
    for number in range(MAX_SHOWN + 10):
        state.put(build.an_incident(run, *tasks, incident_id=f"i{number}", ended_at=NOW - 200))
    section = shown(state)
    assert len(section.all(class_="incident")) == MAX_SHOWN
    assert "and 10 older ones" in section.text
    assert len(section.all(class_="failure-group")) == MAX_GROUPS
    item = section.all(class_="incident")[0]
    assert len(item.all(class_="incident-task")) == MAX_TASKS
    assert f"and {40 - MAX_TASKS} more" in item.text


def test_hostile_text_is_text() -> None:
    state, run = running(E, R)
    reason(state, run, 0, HOSTILE)
    state.put(build.an_incident(run, title=HOSTILE, detail=HOSTILE, remedy=HOSTILE))
    for name, subject in (("run-incidents", None), ("vm-incidents", run.vm)):
        section = shown(state, name, subject)
        assert not section.all(tag="script")
        assert not section.all(tag="img")
        assert HOSTILE in section.text


def test_a_vm_shows_all_its_incidents_also_those_without_a_run() -> None:
    state, run = running(P, R)
    assert "Nothing went wrong with this VM so far." in shown(state, "vm-incidents", run.vm).text
    state.put(build.an_incident(run, run_id=None, concern=Concern.IDLE, title="Idle and costing"))
    state.put(replace(build.an_incident(run), incident_id="other", vm="waa-9"))
    section = shown(state, "vm-incidents", run.vm)
    assert [item.one(tag="strong").text for item in section.all(class_="incident")] == ["Idle and costing"]
    assert "1 open" in section.one(tag="h2").text


def test_rerun_lists_are_offered_where_they_hold_something() -> None:
    state, run = running(P, F, E, U, plan=(), status=RunStatus.FINISHED, ended_at=NOW)
    links = {link.text: link.attributes["href"] for link in shown(state).one(class_="reruns").all(tag="a")}
    assert links == {
        "2 tasks without a verdict": f"/runs/{run.run_id}/rerun.json",
        "3 tasks not passed": f"/runs/{run.run_id}/rerun.json?status=error,unknown,missing,failed",
    }
    state, _ = running(P, P, plan=())
    assert not shown(state).all(class_="reruns")


def test_set_up_is_shown_beside_what_is_usual() -> None:
    vm = build.downloading()
    look = replace(build.a_look(build.a_state([vm])), usual_s=lambda _vm, phase: 540.0 if phase is Phase.DOWNLOADING else None)
    for name, subject in (("fleet", None), ("vm", vm.name)):
        assert ", usually 9 min" in read(RENDERER.panel(PANELS[name], look, subject)).text
    assert "usually" not in read(RENDERER.panel(PANELS["fleet"], build.a_look(build.a_state([vm])), None)).text


def test_what_needs_a_person_is_as_old_as_its_incident() -> None:
    vm, run, _ = build.running()
    state = build.a_state(
        [replace(vm, container=replace(vm.container, value=Container(status=ContainerStatus.EXITED, exit_code=1)))], [(run, (R,))]
    )
    state.put(build.an_incident(run, concern=Concern.CONTAINER_OFF, began_at=NOW - 7200))
    item = read(RENDERER.panel(PANELS["attention"], build.a_look(state), None)).one(class_="need-since")
    assert item.text == "for 2 h 0 min"


# --- the running application ---

RUNS = Container(status=ContainerStatus.RUNNING, started_at=T0 - 900)
SILENT = GuestProbe(ready=False, status="no answer")
READY = GuestProbe(ready=True, status="ok")


async def trouble(built: House) -> Vm:
    """A task runs, and the guest falls silent."""
    await built.name()
    if RUN not in built.recorder.state.runs:
        await built.start_run(total=3)
    await built.tell(*task_facts("done", at=T0 + 1), f.TaskStarted(at=built.clock() - 60, domain="vlc", task_id="a"))
    at = built.clock() - 300
    await built.record(StatusSeen(vm="vm-1", at=at, container=RUNS, probe=SILENT, machine=Machine(boot_id="one", booted_at=T0 - 9000)))
    await look(built)
    return built.recorder.state.vms["vm-1"]


async def look(built: House, *, later_s: float = 0.0) -> None:
    built.clock.now += later_s
    await built.watchman.look()
    await built.recorder.flush()


async def test_programs_get_incidents_and_choose_among_them() -> None:
    async with house() as built:
        await trouble(built)
        (told,) = (await built.json("/api/incidents"))["incidents"]
        assert {name: told[name] for name in ("vm", "run_id", "concern", "severity", "ended_at", "tasks")} == {
            "vm": "vm-1",
            "run_id": RUN,
            "concern": "guest_down",
            "severity": "critical",
            "ended_at": None,
            "tasks": ["vlc/a#1"],
        }
        await built.record(StatusSeen(vm="vm-1", at=built.clock(), probe=READY))
        await look(built)
        await look(built, later_s=10)
        assert (await built.json("/api/incidents?open=1"))["incidents"] == []
        (over,) = (await built.json(f"/api/incidents?vm=vm-1&run_id={RUN}&open=false"))["incidents"]
        assert over == {**told, "ended_at": built.clock()}


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("open=maybe", 422, "open: 'maybe' is not one of: 1, true, 0, false"),
        ("open=1&open=0", 422, "open: is given more than once"),
        ("vm=nobody", 404, "vm: there is no VM named 'nobody'"),
        ("run_id=none", 404, "run_id: there is no run 'none'"),
    ],
)
async def test_a_wrong_question_is_answered_by_name(query: str, status: int, said: str) -> None:
    async with house() as built:
        answer = await built.ask(f"/api/incidents?{query}")
        assert answer.code == status
        assert said in answer.body.decode()


async def test_an_incident_is_told_on_the_stream_and_again_to_who_was_away() -> None:
    async with house() as built:
        await built.name()
        listener = await built.listen()
        await listener.until("status")
        await trouble(built)
        opened = await listener.until("incident")
        assert (opened.data["concern"], opened.data["ended_at"]) == ("guest_down", None)
        await listener.close()
        await built.record(StatusSeen(vm="vm-1", at=built.clock(), probe=READY))
        await look(built)
        await look(built, later_s=10)
        assert opened.id is not None
        again = await built.listen(headers={"Last-Event-ID": opened.id})
        resolved = await again.until("incident")
        assert (resolved.data["incident_id"], resolved.data["ended_at"]) == (opened.data["incident_id"], built.clock())


async def test_a_page_is_notified_of_a_critical_incident_once_and_its_panel_follows() -> None:
    async with house() as built:
        await built.name()
        await built.start_run()
        page = await built.listen(f"/stream?panels=run-incidents&run={RUN}")
        await page.until("hello")
        await trouble(built)
        await heard(page, "does not answer", event="message")
        notice = await heard(page, "vm-1: ", event="notify")
        assert notice.data == {
            "title": "vm-1: The guest's server does not answer",
            "body": "vlc/a, no answer: every step fails until /probe answers",
            "tag": next(iter(built.recorder.state.incidents)),
        }
        await built.record(StatusSeen(vm="vm-1", at=built.clock(), probe=READY))
        await look(built)
        await look(built, later_s=10)
        await heard(page, "Over", event="message")
        assert sum(message.event == "notify" and "vm-1" in message.data["title"] for message in page.seen) == 1


async def heard(listener: Listener, text: str, *, event: str) -> Message:
    """The message that says so, whenever it came."""
    while True:
        for message in listener.seen:
            if message.event == event and text in str(message.data):
                return message
        await listener.next()


async def test_a_task_that_a_reboot_hit_says_so() -> None:
    async with house() as built:
        await trouble(built)
        booted_at = built.clock() - 5
        await built.record(StatusSeen(vm="vm-1", at=built.clock(), machine=Machine(boot_id="two", booted_at=booted_at)))
        state = built.recorder.state
        assert disruption_words(state, RUN, "vlc/a#1") == (("hit by a reboot", booted_at),)
        assert disruption_words(state, RUN, "notepad/done#1") == ()
        page = read((await built.ask(f"/runs/{RUN}/tasks/vlc/a", headers={"Accept": "text/html"})).body)
        assert page.one(class_="task-hit").text.startswith("Hit by a reboot at ")
        assert not read((await built.ask(f"/runs/{RUN}/tasks/notepad/done", headers={"Accept": "text/html"})).body).all(class_="task-hit")


async def rerun(built: House, query: str = "") -> Any:
    answer = await built.ask(f"/runs/{RUN}/rerun.json{query}")
    assert answer.code == 200, answer.body
    return json.loads(answer.body), answer.headers["Content-Disposition"]


async def test_a_rerun_list_is_a_task_list_of_the_benchmark() -> None:
    plan = tuple(
        TaskRef(domain=domain, task_id=task_id) for domain, task_id in (("vlc", "v1"), ("clock", "c1"), ("vlc", "v2"), ("vlc", "v3"))
    )
    async with house() as built:
        await built.name()
        await built.tell(f.RunStarted(at=T0, dialect=f.Dialect.WAA), f.RunPlanned(at=T0, total=4, tasks=plan))
        await built.tell(
            *task_facts("v1", domain="vlc", at=T0 + 1, score=0.0),
            f.TaskStarted(at=T0 + 90, domain="clock", task_id="c1"),
            f.TaskCrashed(at=T0 + 99, domain="clock", task_id="c1", error="Connection refused"),
            *task_facts("v2", domain="vlc", at=T0 + 100),
        )
        assert await rerun(built) == ({"clock": ["c1"]}, f'attachment; filename="rerun-{RUN}-1-task.json"')
        await built.tell(f.RunInterrupted(at=T0 + 500, reason="killed"))
        assert await rerun(built) == ({"clock": ["c1"], "vlc": ["v3"]}, f'attachment; filename="rerun-{RUN}-2-tasks.json"')
        assert (await rerun(built, "?status=failed,missing"))[0] == {"vlc": ["v1", "v3"]}
        assert (await rerun(built, "?status=unknown"))[0] == {}


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        (f"/runs/{RUN}/rerun.json?status=passed", 422, "status: 'passed' is not one of: error, unknown, missing, failed"),
        (f"/runs/{RUN}/rerun.json?status=", 422, "status: '' is not one of"),
        ("/runs/none/rerun.json", 404, "There is no run 'none'"),
    ],
)
async def test_a_wrong_rerun_list_is_refused(path: str, status: int, said: str) -> None:
    async with house() as built:
        await built.name()
        await built.start_run()
        answer = await built.ask(path)
        assert answer.code == status
        assert said in answer.body.decode()
