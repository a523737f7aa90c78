"""Trainings: the list, one in numbers, and its predictions page by page."""

from dataclasses import dataclass, field, replace

from waa.core.training import EVERYTHING, Epoch, Prediction, PredictionFilter, Side, Training, TrainingStatus
from waa.services.live_query import Seen
from waa.web.view import Look, View
from waa.web.views.training_rows import PredictionRow, Window, prediction_row
from waa.web.views.training_subject import MATCHES, ComparisonSubject, PredictionSubject, monitor_url
from waa.web.views.training_trends import Quality, line_of, need_training, quality_of, thinned

STATUS_WORDS = {
    TrainingStatus.RUNNING: ("Running", "running"),
    TrainingStatus.COMPLETED: ("Completed", "passed"),
    TrainingStatus.FAILED: ("Failed", "failed"),
    TrainingStatus.CANCELLED: ("Cancelled", "unknown"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRow:
    """A training in the list. ``spark``: its exact match by epoch as an SVG draws it, "" of fewer than two epochs."""

    job_id: str
    name: str
    url: str
    word: str
    tone: str
    total: int
    epoch: int | None
    quality: Quality | None
    spark: str
    changed_at: float
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingList(View):
    """One's trainings, the one that spoke last first."""

    rows: tuple[TrainingRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingHead(View):
    """A training in numbers. ``quality`` is of the latest epoch that has any, ``before`` of the one before it."""

    training: Training
    word: str
    tone: str
    epochs: int
    quality: Quality | None
    quality_epoch: int | None
    before: Quality | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionTable(View):
    """Predictions, page by page. ``window`` None: they are being read. ``matching`` of ``total`` are in the filter."""

    subject: PredictionSubject
    window: Window | None
    error: str
    total: int
    matching: int
    is_narrow: bool
    is_newest: bool
    older_url: str
    newer_url: str
    newest_url: str
    all_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionPage:
    """One prediction with all of its text."""

    training: Training
    row: PredictionRow
    client_id: str
    metadata: tuple[tuple[str, str], ...]
    created_at: float
    monitor_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorPage:
    """The page of a training: what its filter form shows. ``compare_url`` "": there are not two epochs yet."""

    job_id: str
    name: str
    is_over: bool
    subject: PredictionSubject
    epochs: tuple[int, ...]
    matches: tuple[tuple[str, str], ...]
    match: str
    compare_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTraining:
    """What was entered into the form of a new training, and what is wrong with it, by field; ``made``: its id and token, shown once."""

    job_id: str = ""
    title: str = ""
    errors: dict[str, str] = field(default_factory=dict)
    made: tuple[str, str] | None = None


def training_list(look: Look, owner: str | None) -> TrainingList:
    """The trainings of a subject (see ``access.Identity``), None: all."""
    return TrainingList(now=look.now, rows=tuple(_row(look, training) for training in look.trainings.of(owner)))


def training_head(look: Look, job_id: str | None) -> TrainingHead:
    """A training in numbers. Raises NotFound."""
    training = need_training(look, job_id)
    epochs = look.state.epochs.get(training.job_id, {})
    judged = [epoch for _, epoch in sorted(epochs.items()) if epoch.judged]
    word, tone = STATUS_WORDS[training.status]
    return TrainingHead(
        now=look.now,
        training=training,
        word=word,
        tone=tone,
        epochs=len(epochs),
        quality=quality_of(judged[-1]) if judged else None,
        quality_epoch=judged[-1].epoch if judged else None,
        before=quality_of(judged[-2]) if len(judged) > 1 else None,
    )


def prediction_table(look: Look, about: str | None) -> PredictionTable:
    """Predictions of a training. Raises NotFound, Invalid."""
    subject = PredictionSubject.parse(about)
    training = need_training(look, subject.job_id)
    seen: Seen[Window] = look.trainings.predictions(subject)
    rows = seen.value.rows if seen.value is not None else ()
    epochs = look.state.epochs.get(training.job_id, {}).values()
    return PredictionTable(
        now=look.now,
        subject=subject,
        window=seen.value,
        error=seen.error,
        total=training.total,
        matching=sum(_matching(epoch, subject.filter) for epoch in epochs),
        is_narrow=subject.filter != EVERYTHING,
        is_newest=subject.before is None and subject.after is None,
        older_url=replace(subject, before=rows[-1].seq, after=None).url if rows and seen.value and seen.value.has_older else "",
        newer_url=replace(subject, before=None, after=rows[0].seq).url if rows and seen.value and seen.value.has_newer else "",
        newest_url=replace(subject, before=None, after=None).url,
        all_url=monitor_url(subject.job_id),
    )


def monitor_page(look: Look, subject: PredictionSubject) -> MonitorPage:
    """Raises NotFound."""
    training = need_training(look, subject.job_id)
    epochs = sorted(look.state.epochs.get(training.job_id, {}))
    sides = [Side(job_id=training.job_id, epoch=epoch) for epoch in epochs[-2:]]
    return MonitorPage(
        job_id=training.job_id,
        name=training.name,
        is_over=training.is_over,
        subject=subject,
        epochs=tuple(dict.fromkeys([*epochs[::-1][:200], *([subject.filter.epoch] if subject.filter.epoch is not None else [])])),
        matches=tuple(MATCHES.items()),
        match={True: "yes", False: "no", None: ""}[subject.filter.match],
        compare_url=ComparisonSubject(first=sides[0], second=sides[1]).url if len(sides) == 2 else "",
    )


def prediction_page(training: Training, item: Prediction) -> PredictionPage:
    """One prediction."""
    return PredictionPage(
        training=training,
        row=prediction_row(item, limit=10**6),
        client_id=item.client_id,
        metadata=tuple((name, str(value)) for name, value in item.metadata.items()),
        created_at=item.created_at,
        monitor_url=monitor_url(training.job_id),
    )


def _row(look: Look, training: Training) -> TrainingRow:
    epochs = [epoch for _, epoch in sorted(look.state.epochs.get(training.job_id, {}).items()) if epoch.judged]
    word, tone = STATUS_WORDS[training.status]
    return TrainingRow(
        job_id=training.job_id,
        name=training.name,
        url=monitor_url(training.job_id),
        word=word,
        tone=tone,
        total=training.total,
        epoch=training.epoch,
        quality=quality_of(epochs[-1]) if epochs else None,
        spark=line_of([(epoch.epoch, epoch.exact_match or 0.0) for epoch in thinned(epochs)], 0.0, 1.0) if len(epochs) > 1 else "",
        changed_at=training.changed_at,
        created_at=training.created_at,
    )


def _matching(epoch: Epoch, wanted: PredictionFilter) -> int:
    if wanted.epoch not in (None, epoch.epoch):
        return 0
    return {None: epoch.count, True: epoch.matched, False: epoch.judged - epoch.matched}[wanted.match]
