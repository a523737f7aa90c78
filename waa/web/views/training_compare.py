"""Two sets of predictions side by side: two epochs, or two trainings."""

from dataclasses import dataclass, replace

from waa.core.training import PairCounts, PredictionFilter, Side, Turn
from waa.services.live_query import Seen
from waa.web.view import Look, View
from waa.web.views.training_rows import TURN_WORDS, Pairs
from waa.web.views.training_subject import ComparisonSubject, PredictionSubject
from waa.web.views.training_trends import MAX_CHARTS, Quality, need_training, share_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SideShown:
    """One side of a comparison."""

    letter: str
    name: str
    url: str
    epoch: int | None
    count: int
    quality: Quality | None
    scores: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnLink:
    """How many pairs have such a turn, and the page that lists them."""

    word: str
    tone: str
    count: int
    url: str
    is_chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonView(View):
    """Two sets of predictions side by side. ``pairs`` None: they are being read."""

    sides: tuple[SideShown, ...]
    pairs: Pairs | None
    error: str
    sentence: str
    turns: tuple[TurnLink, ...]
    all_url: str
    is_narrow: bool
    first_url: str
    next_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparePage:
    """What the form of a comparison shows: the trainings with their epochs that can be chosen. ``subject`` "": nothing is chosen yet."""

    trainings: tuple[tuple[str, str], ...]
    values: dict[str, str]
    subject: str
    error: str = ""


def comparison_detail(look: Look, about: str | None) -> ComparisonView:
    """Two sets of predictions. Raises NotFound, Invalid."""
    subject = ComparisonSubject.parse(about)
    sides = tuple(_side(look, side, letter) for side, letter in ((subject.first, "A"), (subject.second, "B")))
    seen: Seen[Pairs] = look.trainings.comparison(subject)
    pairs = seen.value
    every = replace(subject, turn=None, after=0)
    return ComparisonView(
        now=look.now,
        sides=sides,
        pairs=pairs,
        error=seen.error,
        sentence=_sentence(pairs) if pairs is not None else "",
        turns=tuple(_turn_link(every, turn, subject.turn, pairs.counts) for turn in Turn) if pairs is not None else (),
        all_url=every.url,
        is_narrow=subject.turn is not None,
        first_url=replace(subject, after=0).url if subject.after else "",
        next_url=replace(subject, after=pairs.next_after).url if pairs is not None and pairs.next_after is not None else "",
    )


def _side(look: Look, side: Side, letter: str) -> SideShown:
    training = need_training(look, side.job_id)
    epochs = [epoch for number, epoch in look.state.epochs.get(side.job_id, {}).items() if side.epoch in (None, number)]
    names = dict.fromkeys(name for epoch in epochs for name in epoch.scores)
    means = []
    for name in names:
        sums = [epoch.scores[name] for epoch in epochs if name in epoch.scores]
        means.append((name, f"{sum(item.total for item in sums) / sum(item.n for item in sums):.4g}"))
    return SideShown(
        letter=letter,
        name=training.name,
        url=PredictionSubject(job_id=side.job_id, filter=PredictionFilter(epoch=side.epoch)).url,
        epoch=side.epoch,
        count=sum(epoch.count for epoch in epochs),
        quality=share_of(sum(epoch.matched for epoch in epochs), sum(epoch.judged for epoch in epochs)),
        scores=tuple(means[:MAX_CHARTS]),
    )


def _turn_link(every: ComparisonSubject, turn: Turn, chosen: Turn | None, counts: PairCounts) -> TurnLink:
    word, tone = TURN_WORDS[turn]
    return TurnLink(word=word, tone=tone, count=counts.turns[turn], url=replace(every, turn=turn).url, is_chosen=turn is chosen)


def _sentence(pairs: Pairs) -> str:
    """What the numbers allow to say, and no more."""
    fixed, broken = pairs.counts.turns[Turn.FIXED], pairs.counts.turns[Turn.BROKEN]
    if not pairs.counts.common:
        return "The two sides have no prompt with the same target in common."
    if pairs.p is None:
        return "No prompt that both sides have has a target: there is nothing to judge."
    told = f"B matches on {fixed} prompt{'s' if fixed != 1 else ''} where A does not, A on {broken} where B does not"
    if pairs.p >= 0.05:
        return f"{told}: chance alone would do as much (McNemar's exact p = {_p(pairs.p)})."
    return f"{told}: {'B' if fixed > broken else 'A'} is better beyond chance (McNemar's exact p = {_p(pairs.p)})."


def _p(p: float) -> str:
    return f"{p:.2g}" if p >= 0.0001 else "below 0.0001"
