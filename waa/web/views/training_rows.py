"""Predictions as tables show them: read and compared in a thread, as that takes its time."""

from dataclasses import dataclass

from waa.core.diff import Difference, difference
from waa.core.port import PredictionReader
from waa.core.statistics import mcnemar_exact
from waa.core.training import PairCounts, Prediction, Turn, turn_of
from waa.web.views.training_subject import ComparisonSubject, PredictionSubject

PAGE_SIZE = 50
MAX_SHOWN_TEXT = 600
"""Characters of a text in a table; the page of the prediction has all of it."""
VERDICTS = {True: ("Match", "passed"), False: ("Differs", "failed"), None: ("No target", "unknown")}
TURN_WORDS = {
    Turn.FIXED: ("Fixed", "passed"),
    Turn.BROKEN: ("Broken", "failed"),
    Turn.BOTH: ("Both match", "passed"),
    Turn.NEITHER: ("Neither matches", "failed"),
    Turn.UNJUDGED: ("No target", "unknown"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionRow:
    """A prediction in a table. ``pieces`` None: there is no target to differ from, and ``text`` is what was said."""

    seq: int
    epoch: int
    step: int
    prompt: str
    text: str
    difference: Difference | None
    target: str | None
    word: str
    tone: str
    scores: tuple[tuple[str, str], ...]
    received_at: float
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The predictions of one page, newest first, and whether there are older and newer ones beyond them."""

    rows: tuple[PredictionRow, ...]
    has_older: bool
    has_newer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRow:
    """Two predictions about the same."""

    prompt: str
    target: str | None
    first: PredictionRow
    second: PredictionRow
    word: str
    tone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """The pairs of one page, how all of them compare, and how often chance alone does so (McNemar's exact p, None: nothing to judge)."""

    counts: PairCounts
    p: float | None
    rows: tuple[PairRow, ...]
    next_after: int | None


def read_window(reader: PredictionReader, subject: PredictionSubject) -> Window:
    """For a thread: it reads and compares texts. Raises Unavailable."""
    job_id, wanted = subject.job_id, subject.filter
    if subject.after is not None:
        found = reader.page(job_id, wanted, after=subject.after, limit=PAGE_SIZE + 1)
        has_newer, found = len(found) > PAGE_SIZE, found[:PAGE_SIZE][::-1]
        has_older = bool(found and reader.page(job_id, wanted, before=found[-1].seq, limit=1, newest_first=True))
    else:
        found = reader.page(job_id, wanted, before=subject.before, limit=PAGE_SIZE + 1, newest_first=True)
        has_older, found = len(found) > PAGE_SIZE, found[:PAGE_SIZE]
        top = found[0].seq if found else (subject.before or 1) - 1
        has_newer = subject.before is not None and bool(reader.page(job_id, wanted, after=top, limit=1))
    return Window(rows=tuple(prediction_row(item) for item in found), has_older=has_older, has_newer=has_newer)


def read_pairs(reader: PredictionReader, subject: ComparisonSubject) -> Pairs:
    """For a thread. Raises Unavailable."""
    counts = reader.pair_counts(subject.first, subject.second)
    found = reader.pairs(subject.first, subject.second, turn=subject.turn, after=subject.after, limit=PAGE_SIZE + 1)
    shown = found[:PAGE_SIZE]
    judged = counts.common - counts.turns[Turn.UNJUDGED]
    return Pairs(
        counts=counts,
        p=mcnemar_exact(counts.turns[Turn.BROKEN], counts.turns[Turn.FIXED]) if judged else None,
        rows=tuple(_pair(first, second) for first, second in shown),
        next_after=shown[-1][0].seq if len(found) > PAGE_SIZE else None,
    )


def prediction_row(item: Prediction, *, limit: int = MAX_SHOWN_TEXT) -> PredictionRow:
    """A prediction as tables and its own page show it."""
    word, tone = VERDICTS[item.exact_match]
    return PredictionRow(
        seq=item.seq,
        epoch=item.epoch,
        step=item.step,
        prompt=_cut(item.prompt, limit),
        text=_cut(item.prediction, limit),
        difference=difference(item.prediction, item.target) if item.target is not None else None,
        target=_cut(item.target, limit) if item.target is not None else None,
        word=word,
        tone=tone,
        scores=tuple((name, f"{value:.4g}") for name, value in item.scores.items()),
        received_at=item.received_at,
        url=f"/training/{item.job_id}/predictions/{item.seq}",
    )


def _pair(first: Prediction, second: Prediction) -> PairRow:
    word, tone = TURN_WORDS[turn_of(first.exact_match, second.exact_match)]
    return PairRow(
        prompt=_cut(second.prompt, MAX_SHOWN_TEXT),
        target=_cut(second.target, MAX_SHOWN_TEXT) if second.target is not None else None,
        first=prediction_row(first),
        second=prediction_row(second),
        word=word,
        tone=tone,
    )


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"
