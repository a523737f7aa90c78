"""The one writer: every observation becomes events here, is stored, and only then shown.

Flow: ``record`` queues -> the worker takes what is there -> ``decide`` on the staged state -> one ``store.append``
in the recorder's thread -> with no ``await`` between, the visible state evolves and the hub publishes.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from waa.core.entity import Vm
from waa.core.error import Failure, Unavailable, WaaError
from waa.core.event import Change, Event, EventType
from waa.core.observation import AnyObservation, LogCursor, LogRead, TroubleMet
from waa.core.outside import Outside
from waa.core.port import Store
from waa.core.state import State
from waa.core.status import Reason
from waa.core.transition import Rules, decide
from waa.hub.hub import Hub
from waa.services.supervise import attempt

log = logging.getLogger(__name__)

MAX_PENDING = 500
"""Observations that wait; beyond it ``record`` waits, and the readers of logs stop reading."""
MAX_BATCH = 200
MAX_BATCH_CHANGES = 2000
"""A commit stays short (some 10 ms), so that nothing waits long behind it."""
MIN_RETRY_S = 0.2
MAX_RETRY_S = 10.0
CURSOR_DELAY_S = 5.0
"""How long progress in a log that caused no event may stay unwritten: reading that part again changes nothing."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class _Prune:
    max_events: int
    runs_before: float


@dataclass(slots=True, eq=False)
class _Entry:
    """Something for the worker. ``work`` None: a flush."""

    work: AnyObservation | Outside | _Prune | None
    waiter: asyncio.Future[None] | None = None


@dataclass(slots=True)
class _Batch:
    """What one commit stores."""

    entries: list[_Entry] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    reads: list[LogCursor] = field(default_factory=list)
    must_write: bool = False


class Recorder:
    """Turns observations into events, one at a time, in the order of ``record``.

    ``state`` and ``hub`` exist after ``open`` and are never replaced; both show only what the store has taken. For the
    loop's thread only.

    **Exactly once.** Each commit holds the events of its observations and the newest cursor of every log that moved
    since the last one. So the stored cursors always stand where the stored events end; what lies beyond them caused no
    event, and read again against the same state it causes none again.

    **When the store fails**, the commit is tried again, the same changes, with backoff; what is recorded meanwhile
    waits behind it. Nothing is shown, dropped or doubled. ``healthy`` is False until it works again.
    """

    state: State
    hub: Hub

    def __init__(
        self,
        *,
        store: Store,
        rules: Rules,
        clock: Callable[[], float],
        capacity: int = 2000,
        cursor_delay_s: float = CURSOR_DELAY_S,
        min_retry_s: float = MIN_RETRY_S,
        max_retry_s: float = MAX_RETRY_S,
    ) -> None:
        self._store = store
        self._rules = rules
        self._clock = clock
        self._capacity = capacity
        self._cursor_delay_s = cursor_delay_s
        self._min_retry_s = min_retry_s
        self._max_retry_s = max_retry_s
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="recorder")
        self._staged = State()
        self._unwritten: dict[tuple[str, str], LogCursor] = {}
        self._pending: deque[_Entry] = deque()
        self._waiters: set[asyncio.Future[None]] = set()
        self._arrived = asyncio.Event()
        self._has_room = asyncio.Event()
        self._closing = asyncio.Event()
        self._is_closed = False
        self._worker: asyncio.Task[None] | None = None
        self._failure: str | None = None

    @property
    def healthy(self) -> bool:
        """Whether the last commit was taken and the next one would be tried."""
        return self._failure is None and self._worker is not None and not self._worker.done()

    @property
    def pending(self) -> int:
        """Observations that wait to be stored."""
        return len(self._pending)

    async def open(self) -> State:
        """Load what is known and begin to work. Raises what ``Store.load`` raises; then only ``close`` is left to call."""
        snapshot = await self._in_thread(self._store.load)
        after = max(snapshot.first_event_id - 1, snapshot.last_event_id - self._capacity)
        newest = await self._in_thread(partial(self._store.events_since, after, limit=self._capacity)) if self._capacity else []
        state = State(last_event_id=snapshot.last_event_id)
        for entity in snapshot.entities:
            state.put(entity)
        for cursor in snapshot.cursors:
            state.put_cursor(cursor)
        self.state, self._staged = state, state.copy()
        self.hub = Hub(
            store_id=snapshot.store_id,
            first_event_id=snapshot.first_event_id,
            last_event_id=snapshot.last_event_id,
            capacity=self._capacity,
        )
        self.hub.remember(newest)
        self._has_room.set()
        self._worker = asyncio.get_running_loop().create_task(self._work(), name="recorder")
        self._worker.add_done_callback(self._note_end)
        log.info("opened vms=%d runs=%d last_event_id=%d", len(state.vms), len(state.runs), state.last_event_id)
        return state

    async def record(self, observation: AnyObservation | Outside, *, wait: bool = False) -> None:
        """Take an observation in; waits only while too many wait already. With ``wait`` it returns when what the
        observation caused is stored and shown.

        Raises Unavailable: the recorder is closed; or, with ``wait``, the store does not take it now. In the second case
        it is kept and tried again all the same.
        """
        while len(self._pending) >= MAX_PENDING and not self._closing.is_set():
            self._has_room.clear()
            await self._has_room.wait()
        await self._enter(observation, wait=wait)

    async def flush(self) -> None:
        """Return when everything recorded before is stored and shown, cursors included. Raises Unavailable (see ``record``)."""
        await self._enter(None, wait=True)

    async def prune(self, *, max_events: int, runs_before: float) -> None:
        """Drop the oldest events beyond ``max_events``, and the runs that ended before the moment ``runs_before``.
        Raises Unavailable: nothing was dropped."""
        await self._enter(_Prune(max_events, runs_before), wait=True)

    async def events_since(self, after: int, *, types: Collection[EventType] | None = None, limit: int = 1000) -> list[Event]:
        """Stored events with a greater id, oldest first, also those that memory has forgotten. Raises Unavailable."""
        if self._closing.is_set():
            raise Unavailable("The recorder is closed.")
        return await self._in_thread(partial(self._store.events_since, after, types=types, limit=limit))

    async def events_of(self, topics: Collection[str], *, after: int = 0, limit: int = 1000) -> list[Event]:
        """The same, of these topics only. Raises Unavailable."""
        if self._closing.is_set():
            raise Unavailable("The recorder is closed.")
        return await self._in_thread(partial(self._store.events_of, topics, after=after, limit=limit))

    async def close(self) -> None:
        """Store what was recorded, then close the store. What the store still refuses is given up and logged; it is
        observed again after the next start. May be called twice, and instead of a successful ``open``."""
        self._closing.set()
        self._has_room.set()
        self._arrived.set()
        if self._worker is not None:
            await asyncio.wait([self._worker])
        if not self._is_closed:
            self._is_closed = True
            await self._in_thread(self._store.close)
            self._executor.shutdown()

    # --- the queue ---

    async def _enter(self, work: AnyObservation | Outside | _Prune | None, *, wait: bool) -> None:
        if self._closing.is_set() or self._worker is None or self._worker.done():
            raise Unavailable("The recorder is closed.")
        waiter = asyncio.get_running_loop().create_future() if wait else None
        self._pending.append(_Entry(work, waiter))
        self._arrived.set()
        if waiter is not None:
            self._waiters.add(waiter)
            waiter.add_done_callback(self._waiters.discard)
            await waiter

    async def _work(self) -> None:
        while await self._something_to_do():
            if self._pending and isinstance(self._pending[0].work, _Prune):
                await self._prune(self._pending.popleft())
                continue
            batch = self._take()
            if not await self._commit(batch):
                return

    async def _something_to_do(self) -> bool:
        """Wait for observations, or until unwritten cursors are due. False: closed, and all is done."""
        if not self._pending and not self._closing.is_set():
            self._arrived.clear()
            try:
                async with asyncio.timeout(self._cursor_delay_s if self._unwritten else None):
                    await self._arrived.wait()
            except TimeoutError:
                self._pending.append(_Entry(None))
        return bool(self._pending) or bool(self._unwritten)

    def _take(self) -> _Batch:
        """Decide on what waits: each observation against the state that the ones before it leave behind."""
        batch = _Batch(must_write=self._closing.is_set())
        while self._pending and len(batch.entries) < MAX_BATCH and len(batch.changes) < MAX_BATCH_CHANGES:
            if isinstance(self._pending[0].work, _Prune):
                break
            entry = self._pending.popleft()
            batch.entries.append(entry)
            if entry.work is None:
                batch.must_write = True
            elif not isinstance(entry.work, _Prune):
                self._decide(entry.work, batch)
        if len(self._pending) < MAX_PENDING:
            self._has_room.set()
        return batch

    def _decide(self, observation: AnyObservation | Outside, batch: _Batch) -> None:
        decided = attempt("decide", lambda: decide(self._staged, observation, self._rules))
        if isinstance(decided, Exception):
            message = f"What was seen of {observation.vm} could not be understood ({type(decided).__name__}) and is left out."
            failure = Failure(reason=Reason.PARSE, message=message, remedy="Please report this with the server's log.")
            decided = decide(self._staged, TroubleMet(vm=observation.vm, at=observation.at, failure=failure), self._rules)
        for change in decided:
            self._staged.evolve(change)
            if change.type is EventType.VM_REMOVED and isinstance(change.entity, Vm) and change.entity.is_played:
                self._drop_cursors(observation.vm, batch)
        batch.changes.extend(decided)
        if isinstance(observation, LogRead) and observation.vm in self._staged.vms:
            self._staged.put_cursor(observation.cursor)
            batch.reads.append(observation.cursor)
            self._unwritten[observation.vm, observation.source.key] = observation.cursor

    def _drop_cursors(self, vm: str, batch: _Batch) -> None:
        batch.reads = [cursor for cursor in batch.reads if cursor.vm != vm]
        self._unwritten = {key: cursor for key, cursor in self._unwritten.items() if key[0] != vm}

    # --- commits ---

    async def _commit(self, batch: _Batch) -> bool:
        """Store and show a batch. False: the store refused it until the recorder closed."""
        events: list[Event] = []
        if batch.changes or (batch.must_write and self._unwritten):
            stored = await self._store_until_taken(batch)
            if stored is None:
                return False
            events = stored
            self._unwritten.clear()
        self._show(events, batch.reads)
        for entry in batch.entries:
            if entry.waiter is not None and not entry.waiter.done():
                entry.waiter.set_result(None)
        return True

    async def _store_until_taken(self, batch: _Batch) -> list[Event] | None:
        cursors = list(self._unwritten.values())
        delay_s = self._min_retry_s
        while True:
            outcome = await self._outcome(partial(self._store.append, batch.changes, cursors))
            if not isinstance(outcome, BaseException):
                self._note_success()
                return outcome
            self._note_failure(outcome)
            if self._closing.is_set():
                log.error("given up on close changes=%d pending=%d error=%s", len(batch.changes), len(self._pending), outcome)
                return None
            try:
                async with asyncio.timeout(delay_s):
                    await self._closing.wait()
            except TimeoutError:
                delay_s = min(delay_s * 2, self._max_retry_s)

    def _show(self, events: list[Event], reads: list[LogCursor]) -> None:
        # No await in here: who reads the state or the history between two events would see half a commit.
        for event in events:
            self.state.evolve(event)
        for cursor in reads:
            self.state.put_cursor(cursor)
        if events:
            self.state.last_event_id = self._staged.last_event_id = events[-1].id
            attempt("publish", lambda: self.hub.publish(events))

    async def _prune(self, entry: _Entry) -> None:
        if not isinstance(entry.work, _Prune) or entry.waiter is None:
            return
        outcome = await self._outcome(partial(self._store.prune, max_events=entry.work.max_events, runs_before=entry.work.runs_before))
        if isinstance(outcome, BaseException):
            if not entry.waiter.done():
                entry.waiter.set_exception(Unavailable(_sentence(outcome)))
            return
        first, runs, trainings = outcome
        for state in (self.state, self._staged):
            state.drop_runs(runs)
            state.drop_trainings(trainings)
        self.hub.forget_before(first)
        log.info("pruned first_event_id=%d runs=%d trainings=%d", first, len(runs), len(trainings))
        if not entry.waiter.done():
            entry.waiter.set_result(None)

    def _note_success(self) -> None:
        if self._failure is not None:
            log.info("the store takes records again")
            self._failure = None

    def _note_failure(self, error: BaseException) -> None:
        """Tell everyone who waits; in the log only what is new."""
        sentence = _sentence(error)
        if self._failure != sentence:
            is_expected = isinstance(error, WaaError)
            log.error("the store refuses records, trying on error=%s", sentence, exc_info=None if is_expected else error)
        self._failure = sentence
        self._fail_waiters(sentence)

    def _fail_waiters(self, sentence: str) -> None:
        for waiter in list(self._waiters):
            if not waiter.done():
                waiter.set_exception(Unavailable(sentence))

    def _note_end(self, worker: asyncio.Task[None]) -> None:
        if not worker.cancelled() and worker.exception() is not None:
            log.error("the recorder died", exc_info=worker.exception())
        self._has_room.set()
        self._fail_waiters("The recorder is closed.")

    async def _outcome(self, call: Callable[[], Result]) -> Result | BaseException:
        """What a call in the recorder's thread gave or raised. Cancelling the wait does not stop the thread."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, call)
        await asyncio.wait([future])
        return future.exception() or future.result()

    async def _in_thread(self, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)


def _sentence(error: BaseException) -> str:
    return str(error) if isinstance(error, WaaError) else f"The records cannot be stored ({type(error).__name__}: {error})."
