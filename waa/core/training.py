"""Trainings and the predictions that they push: what is kept of each, of each epoch, and which changes a push causes.

Predictions themselves are many and stay in the database. In memory are the training and one summary per epoch, which is all that
trends need. A prediction's ``seq`` counts 1, 2, 3 within its training, without holes: it is the place where a stream resumes.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import isfinite

from waa.core.error import Invalid

MAX_EPOCHS = 10_000
"""Different epochs of one training; each is a row in memory."""
MAX_NUMBER = 2**53 - 1
"""Of epochs and steps: what every reader of JSON holds exactly."""
MAX_PREDICTIONS = 5_000_000
"""Of one training."""
MAX_BATCH = 500
"""Predictions in one request."""
MAX_TEXT = 32_768
MAX_ID = 128
MAX_TITLE = 200
MAX_SCORES = 32
MAX_SCORE_NAME = 64
MAX_METADATA = 32
MAX_METADATA_TEXT = 1_024
LAST_MOMENT = 253_402_300_799.0
JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

Plain = str | int | float | bool
"""What metadata hold."""


class TrainingStatus(StrEnum):
    """RUNNING until somebody says otherwise: a training that fell silent is shown with the age of its last word."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A training that pushes predictions. ``owner`` is a subject (see ``access.Identity``). ``total`` counts its predictions and is the
    newest ``seq``; ``epoch`` and ``step`` are the latest pushed, None: none yet. ``changed_at``: when it last said something."""

    job_id: str
    owner: str
    title: str = ""
    status: TrainingStatus = TrainingStatus.RUNNING
    error: str = ""
    total: int = 0
    epoch: int | None = None
    step: int | None = None
    created_at: float
    changed_at: float
    ended_at: float | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        return self.title or self.job_id

    @property
    def is_over(self) -> bool:
        """Whether somebody said that it ended."""
        return self.status is not TrainingStatus.RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSum:
    """``n`` values of one score and their sum: the mean is exact however many there are."""

    n: int = 0
    total: float = 0.0

    @property
    def mean(self) -> float:
        """Of at least one value."""
        return self.total / self.n


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One epoch of a training. ``judged`` of its ``count`` predictions are known to match their target or not, ``matched`` of those do."""

    job_id: str
    epoch: int
    count: int = 0
    matched: int = 0
    judged: int = 0
    scores: dict[str, ScoreSum] = field(default_factory=dict)
    latest_step: int = 0
    first_at: float
    last_at: float
    is_complete: bool = False

    @property
    def exact_match(self) -> float | None:
        """The fraction that matched, None where nothing could be judged."""
        return self.matched / self.judged if self.judged else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model said. ``client_id`` is the pusher's name of it, one per training. ``exact_match`` None: there is no target.
    ``created_at`` is the pusher's clock, ``received_at`` ours. ``seq`` 0: it has not been taken yet."""

    job_id: str
    client_id: str
    seq: int = 0
    epoch: int
    step: int
    prompt: str
    prediction: str
    target: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    exact_match: bool | None = None
    metadata: dict[str, Plain] = field(default_factory=dict)
    created_at: float
    received_at: float

    @property
    def pair(self) -> str:
        """The same for predictions about the same prompt and target, in whatever epoch or training."""
        text = f"{self.prompt}\0{'' if self.target is None else self.target}"
        return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:24]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionBatch:
    """What one push did: the training and its touched epochs after it, and the predictions in the order of their ``seq``.

    ``completed``: the epochs that became complete by it. In the event log stands only the ``reference``.
    """

    training: Training
    first_seq: int
    epochs: tuple[Epoch, ...] = ()
    predictions: tuple[Prediction, ...] = ()
    completed: tuple[int, ...] = ()

    @property
    def job_id(self) -> str:
        """Of the training."""
        return self.training.job_id

    @property
    def parts(self) -> "tuple[Training | Epoch, ...]":
        """What is remembered of it."""
        return (self.training, *self.epochs)

    @property
    def reference(self) -> "PredictionBatch":
        """Without what is stored in places of its own."""
        return replace(self, epochs=(), predictions=())


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionFilter:
    """Which predictions of a training: of an epoch, those that match their target or do not; None: all."""

    epoch: int | None = None
    match: bool | None = None

    def keeps(self, prediction: Prediction) -> bool:
        """Whether it is one of them."""
        return (self.epoch is None or prediction.epoch == self.epoch) and (self.match is None or prediction.exact_match is self.match)


EVERYTHING = PredictionFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of two sets of predictions that are compared: an epoch of a training, None: all of it. Of several predictions about the same
    prompt and target the newest counts."""

    job_id: str
    epoch: int | None = None


class Turn(StrEnum):
    """How the verdict on a pair differs between two sides."""

    FIXED = "fixed"
    BROKEN = "broken"
    BOTH = "both"
    NEITHER = "neither"
    UNJUDGED = "unjudged"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCounts:
    """How many prompts the two sides have in common, by their turn, and how many only one of them has."""

    turns: dict[Turn, int]
    only_first: int
    only_second: int

    @property
    def common(self) -> int:
        """Prompts that both have."""
        return sum(self.turns.values())


def turn_of(first: bool | None, second: bool | None) -> Turn:
    """By whether the two predictions match their target."""
    if first is None or second is None:
        return Turn.UNJUDGED
    if first is second:
        return Turn.BOTH if first else Turn.NEITHER
    return Turn.FIXED if second else Turn.BROKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenPrediction:
    """A prediction as it is pushed."""

    epoch: int
    step: int
    prompt: str
    prediction: str
    id: str | None = None
    target: str | None = None
    scores: dict[str, float] | None = None
    exact_match: bool | None = None
    metadata: dict[str, Plain | None] | None = None
    created_at: float | None = None


def checked(given: GivenPrediction, *, job_id: str, fallback_id: str, now: float) -> Prediction:
    """The prediction to be taken. ``fallback_id`` is its name where the pusher gave none. Raises Invalid by field."""
    for name in ("epoch", "step"):
        if not 0 <= getattr(given, name) <= MAX_NUMBER:
            raise Invalid(name, f"is a whole number from 0 to {MAX_NUMBER}")
    for name in ("prompt", "prediction", "target"):
        text = getattr(given, name)
        if text is not None and len(text) > MAX_TEXT:
            raise Invalid(name, f"has {len(text)} characters; up to {MAX_TEXT} are kept")
    if given.id is not None and not (0 < len(given.id) <= MAX_ID and given.id.isprintable()):
        raise Invalid("id", f"is 1 to {MAX_ID} printable characters")
    if given.created_at is not None and not 0 <= given.created_at <= LAST_MOMENT:
        raise Invalid("created_at", "is a moment in epoch seconds")
    return Prediction(
        job_id=job_id,
        client_id=given.id or fallback_id,
        epoch=given.epoch,
        step=given.step,
        prompt=given.prompt,
        prediction=given.prediction,
        target=given.target,
        scores=_scores(given.scores or {}),
        exact_match=given.exact_match if given.exact_match is not None else _matches(given.prediction, given.target),
        metadata=_metadata(given.metadata or {}),
        created_at=given.created_at if given.created_at is not None else now,
        received_at=now,
    )


def check_job_id(job_id: str) -> str:
    """The id itself. Raises Invalid."""
    if not JOB_ID.fullmatch(job_id):
        raise Invalid("job_id", "is 1 to 63 letters, digits, '.', '_', '-', the first a letter or digit")
    return job_id


def check_title(title: str) -> str:
    """The title on one line. Raises Invalid."""
    if len(title) > MAX_TITLE or not title.isprintable():
        raise Invalid("title", f"is text of up to {MAX_TITLE} printable characters")
    return title.strip()


def extend(training: Training, epochs: Mapping[int, Epoch], pushed: Iterable[Prediction], at: float) -> PredictionBatch:
    """Take predictions in, in their order. An epoch is complete when the first prediction of a later one comes; what still comes for it
    is counted all the same."""
    touched: dict[int, Epoch] = {}
    taken: list[Prediction] = []
    latest = training.epoch
    for prediction in pushed:
        taken.append(replace(prediction, seq=training.total + len(taken) + 1))
        known = touched.get(prediction.epoch) or epochs.get(prediction.epoch)
        touched[prediction.epoch] = _with(known, prediction)
        latest = prediction.epoch if latest is None else max(latest, prediction.epoch)
    every = {**epochs, **touched}
    completed = sorted(number for number, epoch in every.items() if latest is not None and number < latest and not epoch.is_complete)
    touched.update({number: replace(every[number], is_complete=True) for number in completed})
    return PredictionBatch(
        training=replace(
            training,
            total=training.total + len(taken),
            epoch=latest,
            step=taken[-1].step if taken else training.step,
            status=TrainingStatus.RUNNING,
            error="",
            ended_at=None,
            changed_at=max(at, training.changed_at),
        ),
        first_seq=training.total + 1,
        epochs=tuple(touched.values()),
        predictions=tuple(taken),
        completed=tuple(completed),
    )


def _with(known: Epoch | None, prediction: Prediction) -> Epoch:
    if known is None:
        known = Epoch(job_id=prediction.job_id, epoch=prediction.epoch, first_at=prediction.received_at, last_at=prediction.received_at)
    scores = known.scores
    if prediction.scores:
        scores = dict(scores)
        for name, value in prediction.scores.items():
            before = scores.get(name, ScoreSum())
            if before.n or len(scores) < MAX_SCORES:
                scores[name] = ScoreSum(n=before.n + 1, total=before.total + value)
    return replace(
        known,
        count=known.count + 1,
        matched=known.matched + (prediction.exact_match is True),
        judged=known.judged + (prediction.exact_match is not None),
        scores=scores,
        latest_step=max(known.latest_step, prediction.step),
        last_at=max(known.last_at, prediction.received_at),
    )


def _matches(prediction: str, target: str | None) -> bool | None:
    return None if target is None else prediction.strip() == target.strip()


def _scores(given: Mapping[str, float]) -> dict[str, float]:
    if len(given) > MAX_SCORES:
        raise Invalid("scores", f"has {len(given)} entries; up to {MAX_SCORES} are kept")
    for name, value in given.items():
        _check_name("scores", name)
        if not isfinite(value) or abs(value) > 1e100:
            raise Invalid("scores", f"{name}: is a finite number")
    return {name: float(value) for name, value in given.items()}


def _metadata(given: Mapping[str, Plain | None]) -> dict[str, Plain]:
    if len(given) > MAX_METADATA:
        raise Invalid("metadata", f"has {len(given)} entries; up to {MAX_METADATA} are kept")
    for name, value in given.items():
        _check_name("metadata", name)
        if isinstance(value, str) and len(value) > MAX_METADATA_TEXT:
            raise Invalid("metadata", f"{name}: is longer than {MAX_METADATA_TEXT} characters")
        if isinstance(value, int | float) and not (isfinite(value) and abs(value) <= MAX_NUMBER):
            raise Invalid("metadata", f"{name}: is a number of up to {MAX_NUMBER}")
    return {name: value for name, value in given.items() if value is not None}


def _check_name(field_name: str, name: str) -> None:
    if not (0 < len(name) <= MAX_SCORE_NAME and name.isprintable()):
        raise Invalid(field_name, f"names are 1 to {MAX_SCORE_NAME} printable characters")
