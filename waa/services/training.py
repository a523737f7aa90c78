"""Trainings: who may see them, what they push, and what is read back of it.

One worker takes the pushes in, some rounds a second when they come fast: each round looks up which of them are known already, and records
the rest, so that every client id is taken once. It alone adds predictions, so nothing comes between the look and the record.
"""

import asyncio
import functools
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import TypeVar

from waa.core.access import Identity, Scope
from waa.core.error import Conflict, NotFound, Unavailable
from waa.core.outside import EpochClosed, PredictionsPushed, TrainingForgotten, TrainingSeen
from waa.core.port import PredictionReader
from waa.core.training import (
    MAX_EPOCHS,
    MAX_PREDICTIONS,
    Epoch,
    Prediction,
    PredictionFilter,
    Training,
    TrainingStatus,
    check_job_id,
    check_title,
)
from waa.services.access import Access, Client
from waa.services.recorder import Recorder

log = logging.getLogger(__name__)
Result = TypeVar("Result")

MAX_TRAININGS = 5_000
MAX_WAITING = 20_000
"""Predictions on their way into the store; beyond it pushers are told to come again."""
MAX_ROUND = 2_000
"""Predictions in one commit: it takes some 50 ms, and others wait behind it."""
TOKEN_LIFE_S = 30 * 86_400.0
RETRY_S = 0.2
THREADS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of a pushed prediction: its place in the training; ``is_new`` False: it had come before."""

    seq: int
    is_new: bool


@dataclass(slots=True, eq=False)
class _Push:
    job_id: str
    predictions: Sequence[Prediction]
    done: "asyncio.Future[list[Taken]]"


class Trainings:
    """For the loop's thread. What is not somebody's own is not found by them."""

    def __init__(self, *, recorder: Recorder, reader: PredictionReader, access: Access, clock: Callable[[], float]) -> None:
        self.counts: Counter[str] = Counter()
        self._recorder = recorder
        self._reader = reader
        self._access = access
        self._clock = clock
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="predictions")
        self._pushes: deque[_Push] = deque()
        self._waiting = 0
        self._arrived = asyncio.Event()
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """Predictions on their way into the store."""
        return self._waiting

    async def run(self) -> None:
        """Take pushes in, until it is cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._pushes:
                await self._round(self._take())

    async def close(self) -> None:
        """Refuse what waits, when nobody takes it any more; its pushers send it again. May be called twice."""
        self._is_closed = True
        while self._pushes:
            _refuse([self._pushes.popleft()], Unavailable("The server is closing"))
        await asyncio.to_thread(self._threads.shutdown)
        self._reader.close()

    # --- Whose they are.

    def need(self, identity: Identity, job_id: str) -> Training:
        """The training, if it is theirs. Raises NotFound."""
        training = self._recorder.state.trainings.get(job_id)
        if training is None or not self.is_theirs(identity, training):
            raise NotFound(f"There is no training {job_id!r}")
        return training

    def is_theirs(self, identity: Identity, training: Training) -> bool:
        """Whether they own it, or present its token."""
        if identity.job_id:
            return identity.job_id == training.job_id
        return self._access.holds(identity, training.owner)

    def of(self, identity: Identity) -> list[Training]:
        """All that are theirs, the one that spoke last first."""
        return self._latest_first(lambda training: self.is_theirs(identity, training))

    def of_subject(self, subject: str | None) -> list[Training]:
        """The same for a subject (see ``access.Identity``), None: all there are."""
        return self._latest_first(lambda training: subject is None or self._access.descends(training.owner, subject))

    def _latest_first(self, keeps: Callable[[Training], bool]) -> list[Training]:
        found = filter(keeps, self._recorder.state.trainings.values())
        return sorted(found, key=lambda training: (training.changed_at, training.job_id), reverse=True)

    # --- Their life.

    async def create(self, identity: Identity, client: Client, *, job_id: str | None, title: str | None) -> tuple[Training, str | None]:
        """A new training with its token, or the one of this id that is theirs already (no token). Raises Invalid, Conflict: the id is
        taken, or there are too many."""
        named = check_job_id(job_id) if job_id is not None else f"training-{token_hex(5)}"
        called = check_title(title) if title is not None else None
        known = self._recorder.state.trainings.get(named)
        if known is not None:
            if not self.is_theirs(identity, known):
                raise Conflict(f"job_id: {named!r} cannot be used; choose another")
            return await self._put(known if called is None else replace(known, title=called)), None
        if identity.job_id:
            raise NotFound(f"There is no training {named!r}")
        if len(self._recorder.state.trainings) >= MAX_TRAININGS:
            raise Conflict(f"There are {MAX_TRAININGS} trainings already: remove some")
        now = self._clock()
        training = await self._put(Training(job_id=named, owner=identity.subject, title=called or "", created_at=now, changed_at=now))
        return training, await self.make_token(identity, client, named)

    async def make_token(self, identity: Identity, client: Client, job_id: str) -> str:
        """A key that pushes to this training, and does nothing else. Raises NotFound, Forbidden, Conflict (see ``Access.create_key``)."""
        training = self.need(identity, job_id)
        _, text = await self._access.create_key(
            identity, client, name=f"training {training.job_id}", scopes=(Scope.TRAINING.value,), life_s=TOKEN_LIFE_S, job_id=job_id
        )
        return text

    async def finish(self, identity: Identity, job_id: str, status: TrainingStatus, error: str) -> Training:
        """Somebody says how it ended. Raises NotFound."""
        training = self.need(identity, job_id)
        ended_at = training.ended_at if training.status is status and training.ended_at is not None else self._clock()
        return await self._put(replace(training, status=status, error=error, ended_at=ended_at))

    async def complete_epoch(self, identity: Identity, job_id: str, epoch: int) -> Epoch:
        """Nothing more is to come for an epoch. Raises NotFound."""
        self.need(identity, job_id)
        await self._recorder.record(EpochClosed(vm="", at=self._clock(), job_id=job_id, epoch=epoch), wait=True)
        found = self._recorder.state.epochs.get(job_id, {}).get(epoch)
        if found is None:
            raise NotFound(f"There is no prediction of epoch {epoch} yet")
        return found

    async def remove(self, identity: Identity, client: Client, job_id: str) -> None:
        """Take it away with its predictions and tokens. Raises NotFound."""
        self.need(identity, job_id)
        await self._access.revoke_tokens(identity, client, job_id)
        await self._recorder.record(TrainingForgotten(vm="", at=self._clock(), job_id=job_id), wait=True)

    # --- What they push.

    async def push(self, training: Training, predictions: Sequence[Prediction]) -> list[Taken]:
        """Take predictions in; returns when they are stored and shown. Raises Unavailable: none or all of them were taken, and sending
        them again does no harm; Conflict: there is no room in this training."""
        if not predictions:
            return []
        if self._waiting + len(predictions) > MAX_WAITING or self._is_closed:
            raise Unavailable(f"{self._waiting} predictions wait to be stored; send these again later")
        epochs = self._recorder.state.epochs.get(training.job_id, {})
        if training.total + len(predictions) > MAX_PREDICTIONS:
            raise Conflict(f"{training.job_id} has {training.total} predictions; {MAX_PREDICTIONS} are kept of one training")
        if len(epochs) + len({item.epoch for item in predictions} - epochs.keys()) > MAX_EPOCHS:
            raise Conflict(f"epoch: {training.job_id} has {len(epochs)} epochs; {MAX_EPOCHS} are kept of one training")
        push = _Push(training.job_id, predictions, asyncio.get_running_loop().create_future())
        self._pushes.append(push)
        self._waiting += len(predictions)
        self._arrived.set()
        return await push.done

    async def page(
        self,
        job_id: str,
        wanted: PredictionFilter,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int,
        newest_first: bool = False,
    ) -> list[Prediction]:
        """See ``PredictionReader``. Whose it is must have been looked at. Raises Unavailable."""
        return await self.read(
            lambda reader: reader.page(job_id, wanted, after=after, before=before, limit=limit, newest_first=newest_first)
        )

    async def read(self, call: Callable[[PredictionReader], Result]) -> Result:
        """What a reader gives, asked in a thread. Raises Unavailable."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, functools.partial(call, self._reader))

    async def _put(self, training: Training) -> Training:
        await self._recorder.record(TrainingSeen(vm="", at=self._clock(), training=training), wait=True)
        return self._recorder.state.trainings.get(training.job_id, training)

    def _take(self) -> dict[str, list[_Push]]:
        """The pushes of one commit, by training, each in the order of coming."""
        taken: dict[str, list[_Push]] = {}
        size = 0
        while self._pushes and (not size or size + len(self._pushes[0].predictions) <= MAX_ROUND):
            push = self._pushes.popleft()
            size += len(push.predictions)
            taken.setdefault(push.job_id, []).append(push)
        return taken

    async def _round(self, taken: dict[str, list[_Push]]) -> None:
        pushes = [push for found in taken.values() for push in found]
        try:
            added = await asyncio.gather(*(self._add(job_id, found) for job_id, found in taken.items()), return_exceptions=True)
            failures = [error for error in added if error is not None]
            for error in failures:
                if not isinstance(error, Unavailable):
                    raise error
                _refuse(pushes, error)
            if failures:
                await self._wait_for_store()
        finally:
            self._waiting -= sum(len(push.predictions) for push in pushes)
            _refuse(pushes, Unavailable("The predictions could not be stored; send them again later"))

    async def _add(self, job_id: str, pushes: Sequence[_Push]) -> None:
        ids = {item.client_id for push in pushes for item in push.predictions}
        known = await self.read(lambda reader: reader.known(job_id, ids))
        training = self._recorder.state.trainings.get(job_id)
        if training is None:
            _refuse(pushes, NotFound(f"There is no training {job_id!r}"))
            return
        fresh: list[Prediction] = []
        outcomes: list[list[Taken]] = []
        for push in pushes:
            outcome = []
            for item in push.predictions:
                seq = known.get(item.client_id)
                outcome.append(Taken(seq=seq or training.total + len(fresh) + 1, is_new=seq is None))
                if seq is None:
                    known[item.client_id] = outcome[-1].seq
                    fresh.append(item)
            outcomes.append(outcome)
        if fresh:
            await self._recorder.record(PredictionsPushed(vm="", at=self._clock(), job_id=job_id, predictions=tuple(fresh)), wait=True)
        if job_id not in self._recorder.state.trainings:
            _refuse(pushes, NotFound(f"There is no training {job_id!r}"))
            return
        for push, outcome in zip(pushes, outcomes, strict=True):
            self.counts["created"] += sum(item.is_new for item in outcome)
            self.counts["duplicate"] += sum(not item.is_new for item in outcome)
            if not push.done.done():
                push.done.set_result(outcome)

    async def _wait_for_store(self) -> None:
        """What was recorded is kept and tried again: until it is stored nobody can say what is known."""
        while True:
            with suppress(Unavailable):
                await self._recorder.flush()
                return
            await asyncio.sleep(RETRY_S)


def _refuse(pushes: Iterable[_Push], error: Exception) -> None:
    for push in pushes:
        if not push.done.done():
            push.done.set_exception(error)
