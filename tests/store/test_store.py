"""What every store does: one suite over all of them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.core.builders import INNER, T0, a_cursor, a_run, a_spec, a_task, a_vm
from tests.core.test_azure import a_job as a_cloud_job
from tests.core.test_azure import a_vm as a_cloud_vm
from tests.store.database import KINDS, database
from waa.core.cloud import JobStatus as CloudJobStatus
from waa.core.entity import Entity, Imported, RunId, Trouble
from waa.core.error import Failure
from waa.core.event import Change, EventType
from waa.core.incident import Concern, Incident, Severity
from waa.core.job import ImportKind, ImportRequest, Job, JobStatus
from waa.core.observation import Reading, Runner
from waa.core.pipeline import Pipeline, PipelineCheck, PipelineSpec, PipelineStatus, Spell
from waa.core.port import Pruned, Store
from waa.core.spec import Origin
from waa.core.state import MAX_TROUBLES
from waa.core.status import Phase, Reason, RunStatus, TaskStatus
from waa.store.memory import MemoryStore
from waa.store.sql import SqlStore

Reopen = Callable[[], Store]


@pytest.fixture(params=KINDS)
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopen]:
    """Gives the store; called again, closes it and opens the same one anew."""
    opened: list[Store] = []
    memory = MemoryStore()
    url = database(request, tmp_path)

    def reopen() -> Store:
        if opened:
            opened[-1].close()
        opened.append(memory if not url else SqlStore(url))
        return opened[-1]

    yield reopen
    if opened:
        opened[-1].close()


def change(entity: Entity, type_: EventType, *, at: float = T0, previous: str | None = None) -> Change:
    return Change(type=type_, at=at, entity=entity, previous=previous)


def test_an_empty_store_holds_nothing_and_says_so(reopen: Reopen) -> None:
    snapshot = reopen().load()
    assert (list(snapshot.entities), list(snapshot.cursors)) == ([], [])
    assert (snapshot.first_event_id, snapshot.last_event_id) == (1, 0)


def test_machines_and_jobs_of_a_cloud_are_kept_until_they_are_gone(reopen: Reopen) -> None:
    store = reopen()
    store.load()
    vm, job = a_cloud_vm(tags={"a": "b"}), a_cloud_job(status=CloudJobStatus.RUNNING)
    store.append([change(vm, EventType.CLOUD_VM_FOUND), change(job, EventType.CLOUD_JOB_FOUND)])
    ended = replace(job, status=CloudJobStatus.COMPLETED, created_at=T0, ended_at=T0 + 9)
    store.append([change(ended, EventType.CLOUD_JOB_CHANGED, previous="Running")])
    assert list(reopen().load().entities) == [vm, ended]
    store = reopen()
    store.append([change(vm, EventType.CLOUD_VM_GONE)])
    assert list(reopen().load().entities) == [ended]
    store = reopen()
    store.prune(max_events=100, runs_before=T0 + 9)
    assert list(reopen().load().entities) == [ended]
    reopen().prune(max_events=100, runs_before=T0 + 10)
    assert list(reopen().load().entities) == []


def test_the_name_of_a_store_stays(reopen: Reopen) -> None:
    store_id = reopen().load().store_id
    assert store_id
    assert "-" not in store_id
    assert reopen().load().store_id == store_id


def test_append_gives_the_events_with_rising_ids(reopen: Reopen) -> None:
    store = reopen()
    changes = [change(a_vm(), EventType.VM_ADDED), change(a_run(), EventType.RUN_STARTED, at=T0 + 0.25, previous="finished")]
    events = store.append(changes)
    assert [Change(type=event.type, at=event.at, entity=event.entity, previous=event.previous) for event in events] == changes
    assert events[0].id < events[1].id
    assert store.append([change(a_vm(), EventType.VM_CHANGED)])[0].id > events[1].id
    assert store.append([]) == []


def test_events_come_back_as_they_were(reopen: Reopen) -> None:
    plan = a_run(arguments={"model": "gpt-4o", "text": "ünï\n\x00\x1b"}, total=3, average_score=0.1 + 0.2, echoes=("inner:/x",))
    vm = a_vm(spec=a_spec(ssh_host="fe80::1%eth0"), runner=Reading(value=Runner(pid=7, command="python run.py"), since_at=T0))
    told = reopen().append([change(vm, EventType.VM_ADDED), change(plan, EventType.RUN_STARTED), change(a_task(), EventType.TASK_STARTED)])
    assert reopen().events_since(0) == told


def test_events_since_is_by_id_type_and_limit(reopen: Reopen) -> None:
    store = reopen()
    events = store.append([change(a_task(step=step), EventType.TASK_STEPPED) for step in range(5)])
    ended = store.append([change(a_task(step=5, status=TaskStatus.PASSED), EventType.TASK_COMPLETED)])
    assert store.events_since(events[2].id) == [*events[3:], *ended]
    assert store.events_since(0, limit=2) == events[:2]
    assert store.events_since(0, types=[EventType.TASK_COMPLETED]) == ended
    assert store.events_since(0, types=[]) == []
    assert store.events_since(ended[0].id) == []


def test_events_of_is_by_topic_id_and_limit(reopen: Reopen) -> None:
    store = reopen()
    begun = [change(a_task(f"task-{number}"), EventType.TASK_STARTED) for number in range(1200)]  # more than fit into one statement
    events = store.append([*begun, change(a_vm(), EventType.VM_ADDED), change(a_run("other"), EventType.RUN_STARTED), *reversed(begun)])
    mine = [event for event in events if event.topic.startswith(f"runs/{a_run().run_id}/")]
    topics = {event.topic for event in mine}
    assert store.events_of(topics, limit=5000) == mine
    assert store.events_of(topics, after=mine[9].id, limit=3) == mine[10:13]
    assert store.events_of(["vms/vm-1", "vms/vm-1"]) == [event for event in events if event.topic == "vms/vm-1"]
    assert store.events_of([]) == store.events_of(["runs/nobody"]) == []


def test_load_gives_the_newest_version_in_the_order_of_the_first(reopen: Reopen) -> None:
    store = reopen()
    second = a_task("task-0", index=2)
    again = a_task(attempt=2)
    store.append([change(a_vm("vm-2"), EventType.VM_ADDED), change(a_vm(), EventType.VM_ADDED)])
    store.append([change(a_run(), EventType.RUN_STARTED), change(a_task(), EventType.TASK_STARTED)])
    store.append([change(second, EventType.TASK_STARTED), change(again, EventType.TASK_STARTED)])
    ended = a_task(status=TaskStatus.UNKNOWN, ended_at=T0 + 9)
    store.append([change(a_task(step=1), EventType.TASK_STEPPED), change(ended, EventType.TASK_COMPLETED)])
    store.append([change(a_run(total=2), EventType.RUN_CHANGED), change(a_vm(seen_at=T0), EventType.VM_CHANGED)])
    snapshot = reopen().load()
    assert list(snapshot.entities) == [a_vm("vm-2"), a_vm(seen_at=T0), a_run(total=2), ended, second, again]
    assert (snapshot.first_event_id, snapshot.last_event_id) == (1, 10)


def test_a_cursor_is_kept_with_the_events_of_its_log(reopen: Reopen) -> None:
    store = reopen()
    parser = {"consumed": 10, "tail": "\x1b[31m", "episodes": {"a": [1, 2.5, None, True]}}
    store.append([change(a_vm(), EventType.VM_ADDED)], [a_cursor(offset=5), a_cursor(source=INNER)])
    store.append([], [a_cursor(offset=10, parser=parser)])
    assert sorted(reopen().load().cursors, key=lambda cursor: -cursor.offset) == [
        a_cursor(offset=10, parser=parser),
        a_cursor(source=INNER),
    ]


def test_a_removed_vm_leaves_its_runs_tasks_and_cursors_as_history(reopen: Reopen) -> None:
    store = reopen()
    store.append(
        [change(a_vm(), EventType.VM_ADDED), change(a_run(), EventType.RUN_STARTED), change(a_task(), EventType.TASK_STARTED)],
        [a_cursor()],
    )
    store.append([change(a_vm(phase=Phase.READY), EventType.VM_CHANGED), change(a_vm(), EventType.VM_REMOVED)])
    snapshot = reopen().load()
    assert list(snapshot.entities) == [a_run(), a_task()]
    assert list(snapshot.cursors) == [a_cursor()]


def test_the_removed_demo_takes_its_runs_tasks_and_cursors_along(reopen: Reopen) -> None:
    store = reopen()
    demo = a_vm(spec=a_spec(origin=Origin.DEMO))
    other = a_run("vm-2-1", vm="vm-2")
    store.append(
        [
            change(demo, EventType.VM_ADDED),
            change(a_vm("vm-2"), EventType.VM_ADDED),
            change(a_run(), EventType.RUN_STARTED),
            change(other, EventType.RUN_STARTED),
            change(a_task(), EventType.TASK_STARTED),
        ],
        [a_cursor(), a_cursor("vm-2")],
    )
    store.append([change(a_task(step=1), EventType.TASK_STEPPED), change(demo, EventType.VM_REMOVED)])
    snapshot = reopen().load()
    assert list(snapshot.entities) == [a_vm("vm-2"), other]
    assert list(snapshot.cursors) == [a_cursor("vm-2")]


def test_a_vm_removed_and_named_again_begins_anew(reopen: Reopen) -> None:
    store = reopen()
    store.append([change(a_vm(), EventType.VM_ADDED), change(a_vm("vm-2"), EventType.VM_ADDED)])
    named = a_vm(spec=a_spec(ssh_host="10.0.0.9"))
    store.append([change(a_vm(), EventType.VM_REMOVED), change(named, EventType.VM_ADDED)])
    assert list(reopen().load().entities) == [a_vm("vm-2"), named]


def test_ids_are_never_given_twice(reopen: Reopen) -> None:
    store = reopen()
    store.append([change(a_task(step=step), EventType.TASK_STEPPED) for step in range(5)])
    first = store.prune(max_events=0, runs_before=0).first_event_id
    assert (first, store.load().last_event_id) == (5, 5)
    store.append([change(a_vm(), EventType.VM_REMOVED)])
    assert reopen().append([change(a_vm(), EventType.VM_ADDED)])[0].id == 7


def test_prune_keeps_the_newest_events(reopen: Reopen) -> None:
    store = reopen()
    events = store.append([change(a_task(step=step), EventType.TASK_STEPPED) for step in range(10)])
    assert store.prune(max_events=20, runs_before=0) == Pruned(1, [], [])
    assert store.prune(max_events=3, runs_before=0) == Pruned(8, [], [])
    assert store.events_since(0) == events[-3:]
    assert store.load().first_event_id == 8


def test_prune_drops_runs_that_ended_before_with_their_tasks(reopen: Reopen) -> None:
    store = reopen()
    old = a_run("old", status=RunStatus.FINISHED, ended_at=T0 - 10)
    kept = a_run("kept", status=RunStatus.FINISHED, ended_at=T0)
    running = a_run("running")
    task = a_task(run_id=RunId("kept"))
    store.append([change(run, EventType.RUN_STARTED) for run in (old, kept, running)])
    store.append([change(a_task(run_id=RunId("old")), EventType.TASK_STARTED), change(task, EventType.TASK_STARTED)])
    assert store.prune(max_events=100, runs_before=T0) == Pruned(1, [RunId("old")], [])
    assert list(reopen().load().entities) == [kept, running, task]


def test_jobs_and_incidents_are_kept_and_pruned_with_their_age(reopen: Reopen) -> None:
    store = reopen()
    request = ImportRequest(kind=ImportKind.FOLDER, path="/results")
    done = Job(job_id="done", request=request, status=JobStatus.COMPLETED, created_at=T0, ended_at=T0)
    waiting = Job(job_id="waits", request=request, created_at=T0)
    over = Incident(
        incident_id="i", vm="vm-1", concern=Concern.STALLED, severity=Severity.WARNING, title="t", began_at=T0 - 9, ended_at=T0 - 5
    )
    store.append([change(done, EventType.JOB_ENDED), change(waiting, EventType.JOB_CREATED), change(over, EventType.INCIDENT_RESOLVED)])
    assert list(store.load().entities) == [done, waiting, over]
    store.prune(max_events=100, runs_before=T0)
    assert list(reopen().load().entities) == [done, waiting]


def test_an_imported_run_is_as_old_as_its_import(reopen: Reopen) -> None:
    store = reopen()
    imported = Imported(kind=ImportKind.FOLDER, source="/results", at=T0)
    run = a_run("kept", status=RunStatus.FINISHED, ended_at=T0 - 900, imported=imported)
    store.append([change(run, EventType.RUN_IMPORTED)])
    assert store.prune(max_events=100, runs_before=T0) == Pruned(1, [], [])
    assert store.prune(max_events=100, runs_before=T0 + 1) == Pruned(1, [RunId("kept")], [])


def test_of_troubles_the_newest_are_loaded(reopen: Reopen) -> None:
    failure = Failure(reason=Reason.PARSE, message="no")
    troubles = [Trouble(vm="vm-1", at=T0 + number, failure=failure) for number in range(MAX_TROUBLES + 5)]
    reopen().append([change(trouble, EventType.TROUBLE_MET) for trouble in troubles])
    assert list(reopen().load().entities) == troubles[5:]


def test_text_that_is_no_unicode_does_not_stop_the_rest(reopen: Reopen) -> None:
    store = reopen()
    store.append([change(a_task("a\udcffb\0c", action="\ud800"), EventType.TASK_STARTED), change(a_vm(), EventType.VM_ADDED)])
    assert list(store.load().entities)[-1] == a_vm()


def test_closing_twice_is_fine(reopen: Reopen) -> None:
    store = reopen()
    store.check()
    store.close()
    store.close()


def a_pipeline(**fields: object) -> Pipeline:
    spec = PipelineSpec(pipeline_id="train", backend="http://10.0.0.9")
    return Pipeline(pipeline_id="train", spec=spec, told_at=T0, **fields)  # type: ignore[arg-type]


def test_a_pipeline_is_kept_with_its_history_until_it_is_taken_away(reopen: Reopen) -> None:
    spells = (
        Spell(status=PipelineStatus.UP, from_at=T0, until_at=T0 + 5),
        Spell(status=PipelineStatus.DOWN, from_at=T0 + 5, until_at=T0 + 9),
    )
    seen = a_pipeline(status=PipelineStatus.DOWN, spells=spells, failure=Failure(reason=Reason.TLS, message="m"), failing_since_at=T0)
    check = PipelineCheck(at=T0, seen={"train": T0 + 9})
    store = reopen()
    store.append([change(a_pipeline(), EventType.PIPELINE_ADDED), change(seen, EventType.PIPELINE_STATUS_CHANGED, previous="unknown")])
    store.append([change(check, EventType.PIPELINES_CHECKED)])
    store.append([change(PipelineCheck(at=T0, seen={}), EventType.PIPELINES_CHECKED), change(check, EventType.PIPELINES_CHECKED)])
    assert list(reopen().load().entities) == [seen, check]
    assert [event.previous for event in reopen().events_of(["pipelines/train"])] == [None, "unknown"]
    store = reopen()
    store.append([change(seen, EventType.PIPELINE_REMOVED)])
    assert list(reopen().load().entities) == [check]


def test_a_pipeline_that_comes_and_goes_in_one_append_is_gone(reopen: Reopen) -> None:
    store = reopen()
    store.append([change(a_pipeline(), EventType.PIPELINE_ADDED), change(a_pipeline(), EventType.PIPELINE_REMOVED)])
    assert list(reopen().load().entities) == []
    store = reopen()
    store.append([change(a_pipeline(), EventType.PIPELINE_REMOVED), change(a_pipeline(), EventType.PIPELINE_ADDED)])
    assert list(reopen().load().entities) == [a_pipeline()]
