"""A run is played again: its time line on a clock of its own, evolving a state of its own, told by a hub of its own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from waa.core.entity import Entity, Run, RunId, Task
from waa.core.error import Invalid
from waa.core.event import Change, Event, EventType, topic_of
from waa.core.incident import Incident
from waa.core.state import State
from waa.core.timeline import StepMark, Timeline, rebuilt, recorded
from waa.hub.hub import Hub
from waa.services.recorder import Recorder
from waa.services.task_record import TaskRecords

MIN_SPEED, MAX_SPEED = 1.0, 1000.0
IDLE_S = 180.0
"""A longer pause between two events is passed over, but for its first and last moments (LEAD_S)."""
LEAD_S = 20.0
MAX_EVENTS = 100_000
"""Of one line; a run with more is rebuilt from its tasks."""
PAGE = 1000
MAX_ACTION = 400
"""Characters: what a page shows of a running task's action."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to change about a replay; None leaves it as it is. ``at``: seconds into the run, beyond its end: the end."""

    playing: bool | None = None
    speed: float | None = None
    at: float | None = None
    skip_idle: bool | None = None

    def __post_init__(self) -> None:
        """Check what the type cannot say."""
        if self.speed is not None and not MIN_SPEED <= self.speed <= MAX_SPEED:
            raise Invalid("speed", f"is {MIN_SPEED:.0f} to {MAX_SPEED:.0f} times")
        if self.at is not None and not self.at >= 0:
            raise Invalid("at", "is how many seconds into the run, 0 or more")


class Replay:
    """One run as it was at ``moment`` (epoch seconds), which ``advance`` moves on while it plays.

    ``clock`` gives monotonic seconds. The ``hub`` tells the changes in their order; after a jump it tells the run, its VM and
    a task, and whoever listens looks at the state anew. ``state`` is another object after a jump back. For the loop's thread.
    """

    def __init__(self, timeline: Timeline, *, clock: Callable[[], float], order: Order | None = None) -> None:
        self.hub = Hub(store_id="replay", first_event_id=1, last_event_id=0, capacity=1)
        self.timeline = timeline
        self.state = State()
        self.moment = timeline.began_at
        self.speed = 60.0
        self.is_playing = True
        self.skips_idle = True
        self._clock = clock
        self._then = clock()
        self._next = 0
        self._jump(timeline.began_at)
        self.take(order or Order())

    @property
    def at_s(self) -> float:
        """How far into the run it is."""
        return self.moment - self.timeline.began_at

    @property
    def rate(self) -> float:
        """How fast time passes on this clock, 0: it stands."""
        return self.speed if self.is_playing else 0.0

    def take(self, order: Order) -> None:
        """Change what is asked for. To play at the end begins anew."""
        self.advance()
        if order.speed is not None:
            self.speed = order.speed
        if order.skip_idle is not None:
            self.skips_idle = order.skip_idle
        if order.playing is not None:
            self.is_playing = order.playing
        if order.at is not None:
            self._jump(self.timeline.began_at + order.at)
        elif order.playing and self.moment >= self.timeline.ended_at:
            self._jump(self.timeline.began_at)
        self._stop_at_end()

    def advance(self) -> bool:
        """Bring it to the present of its clock. True: time stopped or skipped, it goes on otherwise than its rate said."""
        then, self._then = self._then, self._clock()
        if not self.is_playing:
            return False
        passed = self.moment + (self._then - then) * self.speed
        target = self._beyond_pause(passed)
        self._go(min(target, self.timeline.ended_at))
        return self._stop_at_end() or target != passed

    def rest(self) -> None:
        """Let no time pass since the last ``advance``: nobody watched."""
        self._then = self._clock()

    def improve(self, timeline: Timeline) -> None:
        """More is known of the same run: go on from the same moment."""
        self.timeline = timeline
        self._jump(self.moment)

    def _beyond_pause(self, at: float) -> float:
        changes = self.timeline.changes
        if not self.skips_idle or not 0 < self._next < len(changes):
            return at
        last_at, next_at = changes[self._next - 1].at, changes[self._next].at
        is_pause = next_at - last_at > IDLE_S and last_at + LEAD_S < at < next_at - LEAD_S
        return next_at - LEAD_S if is_pause else at

    def _stop_at_end(self) -> bool:
        is_over = self.is_playing and self.moment >= self.timeline.ended_at
        if is_over:
            self.is_playing = False
        return is_over

    def _go(self, target: float) -> None:
        """Forward: what happens until then happens now."""
        changes, first = self.timeline.changes, self._next
        while self._next < len(changes) and changes[self._next].at <= target:
            self.state.evolve(changes[self._next])
            self._next += 1
        self.moment = target
        self._tell(changes[first : self._next])

    def _jump(self, target: float) -> None:
        """To any moment; the state there is made from the beginning."""
        self.moment = min(max(target, self.timeline.began_at), self.timeline.ended_at)
        self.state = State()
        self.state.put(self.timeline.vm)
        self._next = 0
        for change in self.timeline.changes:
            if change.at > self.moment:
                break
            self.state.evolve(change)
            self._next += 1
        self._tell(self._everything())

    def _everything(self) -> list[Change]:
        run_id = self.timeline.run.run_id
        tasks = list(self.state.tasks.get(run_id, {}).values())
        return [
            Change(type=EventType.VM_CHANGED, at=self.moment, entity=self.state.vms[self.timeline.vm.name]),
            Change(type=EventType.RUN_CHANGED, at=self.moment, entity=self.state.runs[run_id]),
            *(Change(type=EventType.TASK_SETTLED, at=self.moment, entity=task) for task in tasks[-1:]),
        ]

    def _tell(self, changes: Sequence[Change]) -> None:
        first = self.hub.last_event_id + 1
        self.hub.publish(
            [
                Event(id=id_, type=change.type, at=change.at, entity=change.entity, previous=change.previous)
                for id_, change in enumerate(changes, start=first)
            ]
        )
        self.state.last_event_id = self.hub.last_event_id


async def load_timeline(recorder: Recorder, run: Run, *, now: float) -> Timeline:
    """A run as it was recorded, or else rebuilt without the steps of its tasks. Raises Unavailable."""
    if run.imported is None:
        tasks = recorder.state.tasks.get(run.run_id, {}).values()
        about: list[Entity] = [run, *tasks, *_incidents(recorder, run)]
        topics = {f"vms/{run.vm}", *map(topic_of, about)}
        events = await _events(recorder, topics)
        line = recorded(run, events, recorder.state.vms.get(run.vm), now=now) if events is not None else None
        if line is not None:
            return line
    return rebuild(recorder, run, now=now, steps={})


def rebuild(recorder: Recorder, run: Run, *, now: float, steps: Mapping[str, Sequence[StepMark]]) -> Timeline:
    """A run from what is known of its tasks now; ``steps`` by the key of the task."""
    tasks = recorder.state.tasks.get(run.run_id, {}).values()
    return rebuilt(run, tasks, recorder.state.vms.get(run.vm), now=now, incidents=_incidents(recorder, run), steps=steps)


async def load_steps(tasks: Iterable[Task], records: TaskRecords) -> dict[str, list[StepMark]]:
    """When the tasks took their steps, as far as their result folders tell. Reads each folder once."""
    known = {}
    for task in tasks:
        seen = await records.load(task)
        steps = seen.record.steps if seen.record is not None else ()
        known[task.key] = [
            StepMark(number=step.number, action=step.action[:MAX_ACTION], at=step.at) for step in steps if step.at is not None
        ]
    return known


def _incidents(recorder: Recorder, run: Run) -> list[Incident]:
    return [incident for incident in recorder.state.incidents.values() if incident.run_id == run.run_id]


async def _events(recorder: Recorder, topics: set[str]) -> list[Event] | None:
    """The events of these topics, oldest first; None where they are too many."""
    found: list[Event] = []
    texts: dict[str, str] = {}
    while len(found) <= MAX_EVENTS:
        page = await recorder.events_of(topics, after=found[-1].id if found else 0, limit=PAGE)
        found += [_lean(event, texts) for event in page]
        if len(page) < PAGE:
            return found
    return None


def _lean(event: Event, texts: dict[str, str]) -> Event:
    """The same with each text once in memory: an event holds the whole task, most of which is as before."""
    task = event.entity
    if not isinstance(task, Task):
        return event

    def once(text: str) -> str:
        return texts.setdefault(text, text)

    lean = replace(
        task,
        run_id=RunId(once(task.run_id)),
        vm=once(task.vm),
        domain=once(task.domain),
        task_id=once(task.task_id),
        instruction=once(task.instruction),
        action=once(task.action),
        previous_action=once(task.previous_action),
    )
    return replace(event, entity=lean)
