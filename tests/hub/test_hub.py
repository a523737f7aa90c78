"""Fan-out in order, replay from memory, ids on the wire."""

from collections.abc import Sequence

import pytest

from tests.core.builders import T0, a_task
from waa.core.event import Event, EventType
from waa.hub.hub import Hub


def a_hub(*, first: int = 1, last: int = 0, capacity: int = 2000) -> Hub:
    return Hub(store_id="abc123", first_event_id=first, last_event_id=last, capacity=capacity)


def events(*ids: int) -> list[Event]:
    return [Event(id=id_, type=EventType.TASK_STEPPED, at=T0, entity=a_task(step=id_)) for id_ in ids]


def ids(told: Sequence[Event] | None) -> list[int] | None:
    return None if told is None else [event.id for event in told]


def test_listeners_are_told_in_the_order_in_which_they_came() -> None:
    hub, told = a_hub(), list[str]()
    hub.listen(lambda events: told.append(f"a{ids(events)}"))
    hub.listen(lambda events: told.append(f"b{ids(events)}"))
    hub.publish(events(1, 2))
    hub.publish([])
    assert told == ["a[1, 2]", "b[1, 2]"]


def test_a_listener_that_raises_does_not_keep_it_from_the_others() -> None:
    hub, told = a_hub(), list[str]()

    def fail(events: Sequence[Event]) -> None:
        raise LookupError(f"no {ids(events)}")

    hub.listen(fail)
    hub.listen(lambda events: told.append("b"))
    with pytest.raises(LookupError):
        hub.publish(events(1))
    assert told == ["b"]
    assert ids(hub.since(0)) == [1]


def test_a_stopped_listener_is_told_nothing_more_not_even_of_this_commit() -> None:
    hub, told = a_hub(), list[str]()
    hub.listen(lambda events: stop())
    stop = hub.listen(lambda events: told.append("b"))
    hub.publish(events(1))
    stop()
    assert told == []


def test_one_who_comes_during_a_publish_reads_the_rest_from_history() -> None:
    hub, told = a_hub(), list[int]()

    def come(_events: Sequence[Event]) -> None:
        stop()
        told.extend(event.id for event in hub.since(0) or [])
        hub.listen(lambda events: told.extend(event.id for event in events))

    stop = hub.listen(come)
    hub.publish(events(1, 2))
    hub.publish(events(3))
    assert told == [1, 2, 3]


def test_since_gives_what_was_missed() -> None:
    hub = a_hub()
    hub.publish(events(1, 2, 5))
    assert ids(hub.since(0)) == [1, 2, 5]
    assert ids(hub.since(2)) == [5]
    assert ids(hub.since(3)) == [5]
    assert ids(hub.since(5)) == []


def test_since_is_none_where_memory_lost_some() -> None:
    hub = a_hub(capacity=2)
    hub.publish(events(1, 2, 3))
    assert hub.since(0) is None
    assert ids(hub.since(1)) == [2, 3]


def test_after_a_start_only_what_was_remembered_is_held() -> None:
    hub = a_hub(first=1, last=9)
    assert hub.since(8) is None
    assert ids(hub.since(9)) == []
    hub.remember([])
    hub.remember(events(7, 8, 9))
    assert hub.since(5) is None
    assert ids(hub.since(6)) == [7, 8, 9]
    hub.publish(events(10))
    assert ids(hub.since(8)) == [9, 10]


def test_no_capacity_holds_nothing() -> None:
    hub = a_hub(capacity=0)
    hub.publish(events(1, 2))
    assert hub.since(1) is None
    assert ids(hub.since(2)) == []


def test_forget_before_follows_the_store() -> None:
    hub = a_hub()
    hub.publish(events(1, 2, 3))
    hub.forget_before(3)
    assert (hub.first_event_id, hub.last_event_id) == (3, 3)
    assert hub.since(1) is None
    assert ids(hub.since(2)) == [3]
    hub.forget_before(1)
    assert hub.first_event_id == 3


def test_a_wire_id_comes_back() -> None:
    hub = a_hub(last=20)
    assert hub.parse_wire_id(hub.wire_id(17)) == 17
    assert hub.parse_wire_id(hub.wire_id(20)) == 20
    assert hub.parse_wire_id(hub.wire_id(0)) == 0


@pytest.mark.parametrize(
    "text", ["", "17", "abc123-", "other-17", "abc123-21", "abc123--1", "abc123-1 ", "abc123-٣", "abc123-007", f"abc123-{'9' * 40}", "-1"]
)
def test_a_wire_id_that_is_not_ours_is_none(text: str) -> None:
    assert a_hub(last=20).parse_wire_id(text) is None
