"""The streams of trainings for programs (requirement E2): each prediction once, in its order, and what the epochs are like.

A stream's place is the ``seq`` of the last prediction that it was told. The newest predictions of trainings that push now are kept in
memory, so that from reading the rest to joining the group nothing falls between.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from waa.core.codec import encode
from waa.core.event import Event, EventType
from waa.core.state import State
from waa.core.training import EVERYTHING, Epoch, Prediction, PredictionBatch, PredictionFilter, Training
from waa.hub.hub import Hub
from waa.services.training import Trainings
from waa.web import sse
from waa.web.fanout import Fanout
from waa.web.payload import EpochComplete, EpochTrend, PredictionPayload, TrainingPayload
from waa.web.stream_service import StreamService

HEARTBEAT_S = 15.0
IDLE_S = 300.0
TRENDS_EVERY_S = 2.0
MAX_REPLAY = 5_000
REPLAY_PAGE = 1_000
MAX_RECENT = 2_000
MAX_RECENT_TEXT = 2_000_000
"""Characters of the newest predictions of one training."""
MAX_TRAININGS = 32
"""Of which the newest predictions are kept: those that pushed last."""

MAX_PART_BYTES = 24 * 1024
"""Of messages that are published as one: more than a socket takes at once would make laggards of everybody."""


class GroupKey(NamedTuple):
    """A training, the one epoch that is told (None: all), and whether compressed."""

    job_id: str
    epoch: int | None = None
    is_compressed: bool = False


@dataclass(slots=True)
class _Recent:
    """The newest predictions of a training, none left out between them."""

    predictions: deque[Prediction] = field(default_factory=deque)
    size: int = 0

    def add(self, predictions: Iterable[Prediction]) -> None:
        for prediction in predictions:
            self.predictions.append(prediction)
            self.size += _size(prediction)
        while len(self.predictions) > MAX_RECENT or (self.size > MAX_RECENT_TEXT and len(self.predictions) > 1):
            self.size -= _size(self.predictions.popleft())


class TrainingFeed:
    """Turns pushes into messages. Nothing is encoded for trainings that nobody watches."""

    def __init__(self, *, state: State, hub: Hub, streams: StreamService, trainings: Trainings, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._state = state
        self._hub = hub
        self._streams = streams
        self._trainings = trainings
        self._groups: dict[GroupKey, Fanout] = {}
        self._recent: dict[str, _Recent] = {}
        self._touched: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._stop = hub.listen(self._hear)

    def group(self, key: GroupKey) -> Fanout:
        """The group of a training's streams that tell the same."""
        self._groups = {known: fanout for known, fanout in self._groups.items() if len(fanout)}
        if key not in self._groups:
            self._groups[key] = self._streams.fanout(
                heartbeat=self._heartbeat, heartbeat_s=HEARTBEAT_S, idle_s=IDLE_S, is_compressed=key.is_compressed
            )
        return self._groups[key]

    async def missed(self, job_id: str, last_id: str) -> list[Prediction] | None:
        """What a client that comes back has not been told, of all epochs; None: the id is not one of ours, or too old. From its return
        to ``first`` and joining the group there must be no ``await``. Raises Unavailable."""
        after = self._parse(last_id)
        total = self._total(job_id)
        if after is None or after > total or total - after > MAX_REPLAY:
            return None
        found: list[Prediction] = []
        while True:
            at = after + len(found)
            recent = self._recent.get(job_id, _Recent()).predictions
            first = recent[0].seq if recent else self._total(job_id) + 1
            if at + 1 >= first:
                return found + [prediction for prediction in recent if prediction.seq > at]
            page = await self._trainings.page(job_id, EVERYTHING, after=at, before=first, limit=REPLAY_PAGE)
            if not page or len(found) > 2 * MAX_REPLAY:
                return None
            found += page

    def first(self, key: GroupKey, missed: Sequence[Prediction], *, has_gap: bool) -> bytes:
        """What a client is told at once. Call with no ``await`` before it joins its group."""
        job_id = key.job_id
        parts = [sse.encode(encode({"jobId": job_id}), event="connected")]
        if has_gap:
            parts.append(self._now(job_id, "gap", {"message": "earlier predictions are not told again; read them page by page"}))
        wanted = PredictionFilter(epoch=key.epoch)
        parts += [self._message(prediction) for prediction in missed if wanted.keeps(prediction)]
        parts.append(self._trends(key))
        return b"".join(parts)

    def wire_id(self, seq: int) -> str:
        """The place of a stream as clients see it."""
        return f"{self._hub.store_id}-p{seq}"

    def close(self) -> None:
        """Hear nothing more."""
        self._stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hear(self, events: Sequence[Event]) -> None:
        for event in events:
            match event.entity:
                case PredictionBatch():
                    self._hear_batch(event.entity)
                case Training() if event.type is EventType.TRAINING_REMOVED:
                    self._recent.pop(event.entity.job_id, None)
                    for key in self._keys(event.entity.job_id):
                        self._groups.pop(key).finish()
                case Training():
                    payload = training_payload(event.entity)
                    for key in self._keys(event.entity.job_id):
                        self._groups[key].publish(self._now(event.entity.job_id, "training", payload))

    def _hear_batch(self, batch: PredictionBatch) -> None:
        recent = self._recent.pop(batch.job_id, None) or _Recent()
        recent.add(batch.predictions)
        self._recent[batch.job_id] = recent
        if len(self._recent) > MAX_TRAININGS:
            del self._recent[next(iter(self._recent))]
        keys = self._keys(batch.job_id)
        if not keys:
            return
        messages = [(prediction.epoch, self._message(prediction)) for prediction in batch.predictions]
        complete = [(found.epoch, self._complete(found)) for found in batch.epochs if found.epoch in batch.completed]
        for key in keys:
            told = (message for epoch, message in (*messages, *complete) if key.epoch in (None, epoch))
            for part in _parts(told):
                self._groups[key].publish(part)
        self._touched.add(batch.job_id)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TRENDS_EVERY_S, self._tell_trends)

    def _tell_trends(self) -> None:
        self._timer = None
        touched, self._touched = self._touched, set()
        for job_id in touched:
            for key in self._keys(job_id):
                self._groups[key].publish(self._trends(key))

    def _keys(self, job_id: str) -> list[GroupKey]:
        return [key for key, fanout in self._groups.items() if key.job_id == job_id and len(fanout)]

    def _total(self, job_id: str) -> int:
        training = self._state.trainings.get(job_id)
        return training.total if training is not None else 0

    def _heartbeat(self) -> bytes:
        at = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        return sse.encode(encode({"timestamp": at}), event="heartbeat")

    def _message(self, prediction: Prediction) -> bytes:
        payload = {"type": "prediction", "prediction": prediction_payload(prediction), "total_count": prediction.seq}
        return sse.encode(encode(payload), event="prediction", id=self.wire_id(prediction.seq))

    def _complete(self, epoch: Epoch) -> bytes:
        return self._now(epoch.job_id, "epoch_complete", epoch_complete(epoch))

    def _trends(self, key: GroupKey) -> bytes:
        job_id, epoch = key.job_id, key.epoch
        epochs = self._state.epochs.get(job_id, {})
        told = [epoch_trend(known) for number, known in sorted(epochs.items()) if epoch in (None, number)]
        return self._now(job_id, "trends_update", {"epochs": told})

    def _now(self, job_id: str, name: str, payload: object) -> bytes:
        return sse.encode(encode(payload), event=name, id=self.wire_id(self._total(job_id)))

    def _parse(self, text: str) -> int | None:
        match = re.fullmatch(rf"{re.escape(self._hub.store_id)}-p(0|[1-9][0-9]{{0,15}})", text, re.ASCII)
        return int(match[1]) if match is not None else None


def prediction_payload(prediction: Prediction) -> PredictionPayload:
    """A prediction for programs."""
    return {
        "id": prediction.client_id,
        "job_id": prediction.job_id,
        "seq": prediction.seq,
        "epoch": prediction.epoch,
        "step": prediction.step,
        "prompt": prediction.prompt,
        "prediction": prediction.prediction,
        "target": prediction.target,
        "scores": prediction.scores,
        "exact_match": prediction.exact_match,
        "metadata": prediction.metadata,
        "created_at": prediction.created_at,
        "received_at": prediction.received_at,
    }


def epoch_complete(epoch: Epoch) -> EpochComplete:
    """What is said of an epoch that is over."""
    return {"epoch": epoch.epoch, "prediction_count": epoch.count, "latest_step": epoch.latest_step}


def epoch_trend(epoch: Epoch) -> EpochTrend:
    """The quality of an epoch so far: means of whatever was pushed."""
    return {
        **epoch_complete(epoch),
        "exact_match": epoch.exact_match,
        "scores": {name: score.mean for name, score in epoch.scores.items()},
        "is_complete": epoch.is_complete,
    }


def training_payload(training: Training) -> TrainingPayload:
    """A training for programs."""
    return {
        "job_id": training.job_id,
        "title": training.title or None,
        "status": training.status.value,
        "error": training.error or None,
        "total_count": training.total,
        "latest_epoch": training.epoch,
        "latest_step": training.step,
        "created_at": training.created_at,
        "changed_at": training.changed_at,
        "ended_at": training.ended_at,
    }


def _parts(messages: Iterable[bytes]) -> Iterator[bytes]:
    """Messages joined."""
    part: list[bytes] = []
    size = 0
    for message in messages:
        if size and size + len(message) > MAX_PART_BYTES:
            yield b"".join(part)
            part, size = [], 0
        part.append(message)
        size += len(message)
    yield b"".join(part)


def _size(prediction: Prediction) -> int:
    return len(prediction.prompt) + len(prediction.prediction) + len(prediction.target or "") + 200
