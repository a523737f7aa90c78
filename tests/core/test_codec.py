"""JSON in both directions, and errors that name what is wrong."""

import math
from dataclasses import replace

import pytest

from tests.core.builders import FILE, T0, a_cursor, a_run, a_spec, a_task, a_vm
from waa.core.codec import convert, decode, decode_entity, encode, kind_of, spec_from, to_plain
from waa.core.entity import Boot, Connection, Entity, Trouble
from waa.core.error import Failure, Invalid
from waa.core.event import EventType, topic_of
from waa.core.logs.fact import Activity, TaskRef
from waa.core.observation import Container, LogCursor, Machine, Reading
from waa.core.spec import Origin, VmSpec
from waa.core.status import BootStage, ContainerStatus, Reason, TaskStatus
from waa.core.training import Epoch, PredictionBatch, ScoreSum, Training

FAILURE = Failure(reason=Reason.HOST_KEY, message="changed", remedy="remove the old one")
TRAINED = Training(job_id="digits", owner="key:a", title="é", total=7, epoch=2, step=2**53 - 1, created_at=T0, changed_at=T0 + 0.1)
FULL_VM = a_vm(
    connection=Connection(connected=False, since_at=T0, failure=FAILURE),
    container=Reading(value=Container(status=ContainerStatus.RUNNING, started_at=T0), since_at=T0, failure=FAILURE, failed_at=T0),
    machine=Reading(value=Machine(disk_free_bytes=2**40, clock_skew_s=-0.5), since_at=T0),
    boot=Boot(stage=BootStage.DOWNLOADING, percent=12.5, log=FILE.key),
)


@pytest.mark.parametrize(
    ("kind", "entity"),
    [
        ("vm", FULL_VM),
        ("run", a_run(plan=(TaskRef(domain="d", task_id="t"),), arguments={"a": "é\x00\x1b"}, average_score=1 / 3, echoes=("x",))),
        ("task", a_task(action="a\nb", activity=Activity.ACTING, score=0.1 + 0.2, status=TaskStatus.FAILED)),
        ("trouble", Trouble(vm="vm-1", at=T0, failure=FAILURE)),
        ("training", TRAINED),
        ("epoch", Epoch(job_id="digits", epoch=3, count=2, scores={"loss": ScoreSum(n=2, total=0.1 + 0.2)}, first_at=T0, last_at=T0)),
        ("predictions", PredictionBatch(training=TRAINED, first_seq=8, completed=(2,))),
    ],
)
def test_an_entity_comes_back_equal(kind: str, entity: Entity) -> None:
    assert decode_entity(kind, encode(entity)) == entity
    assert decode_entity(kind, encode(entity).decode()) == entity


def test_a_cursor_comes_back_equal() -> None:
    cursor = a_cursor(offset=7, parser={"lines": {"tail": "x"}, "items": [1, None, True, 2.5]})
    assert decode(LogCursor, encode(cursor), name="cursor") == cursor


def test_a_field_that_an_older_version_did_not_write_has_its_default() -> None:
    plain = to_plain(a_task())
    assert isinstance(plain, dict)
    del plain["previous_action"]
    assert decode_entity("task", encode({**plain, "of_a_newer_version": 1})) == a_task()


def test_what_does_not_fit_is_invalid() -> None:
    for data in (b"", b"{}", b'{"name": 7}', b"[]", encode({**to_dict(a_vm()), "spec": {"name": "-bad-"}})):
        with pytest.raises(Invalid):
            decode_entity("vm", data)
    with pytest.raises(Invalid, match="kind"):
        decode_entity("host", b"{}")


def to_dict(entity: Entity) -> dict[str, object]:
    plain = to_plain(entity)
    assert isinstance(plain, dict)
    return plain


def test_what_json_cannot_say_is_said_otherwise() -> None:
    assert encode({"a": math.nan, "b": math.inf}) == b'{"a":null,"b":null}'
    odd = replace(a_task(), action="x\ud800y", instruction="fine é")
    assert decode_entity("task", encode(odd)) == replace(odd, action="x?y")
    assert encode({"k\udcff": ["\udcff", 1]}) == b'{"k?":["?",1]}'


@pytest.mark.parametrize("type_", EventType)
def test_every_event_type_names_its_entity(type_: EventType) -> None:
    known = ("vm", "run", "task", "trouble", "job", "incident", "training", "predictions", "pipeline", "pipelines", "meter")
    assert kind_of(type_) in (*known, "cloud_vm", "cloud_job")


def test_topics_are_resource_paths() -> None:
    run_id = a_run().run_id
    assert [topic_of(entity) for entity in (a_vm(), a_run(), a_task(), Trouble(vm="vm-1", at=T0, failure=FAILURE))] == [
        "vms/vm-1",
        f"runs/{run_id}",
        f"runs/{run_id}/tasks/notepad/task-1#1",
        "vms/vm-1/trouble",
    ]


def test_errors_name_the_field() -> None:
    with pytest.raises(Invalid) as caught:
        decode(VmSpec, b'{"name": "a", "ssh_port": "x"}', name="vm")
    assert caught.value.field == "ssh_port"
    with pytest.raises(Invalid) as caught:
        decode(VmSpec, b"{", name="vm")
    assert caught.value.field == "vm"
    with pytest.raises(Invalid) as caught:
        convert(VmSpec, {"name": "a", "waa_port": 70000}, name="vm")
    assert caught.value.field == "waa_port"
    with pytest.raises(Invalid) as caught:
        convert(VmSpec, {}, name="vm")
    assert caught.value.field == "name"


def test_a_spec_from_text_and_from_what_is_no_field() -> None:
    assert spec_from({"name": "vm-1", "ssh_port": "2222"}, origin=Origin.API, strict=False) == a_spec(ssh_port=2222, origin=Origin.API)
    with pytest.raises(Invalid) as caught:
        spec_from({"name": "vm-1", "passwd": "x"}, origin=Origin.API)
    assert caught.value.field == "passwd"
