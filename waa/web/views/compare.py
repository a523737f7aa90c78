"""Runs side by side, in words and numbers that claim no more than the tasks allow."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from waa.core.comparison import Absence, Comparison, DomainCompared, Flip, Outcome, Pair, RunCompared, Uncompared, compare
from waa.core.entity import Run, RunId
from waa.core.error import Invalid
from waa.core.state import State
from waa.core.statistics import Spread, mcnemar_exact
from waa.web.view import Look, View
from waa.web.views.cost import RunCost, cost_of_run
from waa.web.views.run import Rate, RunSummary, need_run, rate_of, summary_of

MAX_RUNS = 6
"""More columns than that nobody reads, and each is one more comparison that chance can win."""
LETTERS = "ABCDEF"
MAX_FLIPS = 200
MAX_UNCOMPARED = 200
"""Listed; the JSON twin has all."""
LEVEL = 0.05
"""A p below it, divided by the number of comparisons, is more than chance usually does."""
MIN_TRIALS = 3
"""Runs from which on pass@k is shown unfolded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A median, with those of the tasks that passed and that failed; None: there are no such tasks."""

    all: float | None
    passed: float | None
    failed: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run. ``scored`` is its rate among all its scored tasks, ``common`` among those that all runs scored. Percents are whole
    numbers, rounded; ``of_planned`` None: the run has not said how many tasks it has. ``to_go`` None for the same reason.
    ``cost`` None: prices are no subject here.
    ``base_url`` compares with this run as the base, "" for the base; ``without_url`` leaves the run out, "" where two are left."""

    letter: str
    run_id: RunId
    name: str
    word: str
    tone: str
    planned: int | None
    ended: int
    errors: int
    unknown: int
    to_go: int | None
    scored_n: int
    scored: Rate | None
    of_planned: int | None
    common: Rate | None
    common_passed: int
    mean_score: str
    common_mean_score: str
    steps: Number
    duration_s: Number
    cost: RunCost | None
    base_url: str
    without_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipLine:
    """A task with two verdicts, and where both are replayed side by side."""

    domain: str
    task_id: str
    scores: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipList:
    """The tasks that passed in ``winner`` and failed in ``loser`` (letters), with their scores in ``loser`` and then in ``winner``.
    ``more`` are not listed."""

    winner: str
    loser: str
    count: int
    lines: tuple[FlipLine, ...]
    more: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairShown:
    """A run against the base: the result in a sentence, and the four ways in which two verdicts can meet."""

    base: str
    other: str
    sentence: str
    both_passed: int
    both_failed: int
    gained: FlipList
    lost: FlipList
    score_difference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainCell:
    """A run in a domain. ``difference`` is to the base, in points with its sign, "" for the base itself."""

    letter: str
    percent: int
    passed: int
    difference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainRow:
    """A domain with ``n`` common tasks."""

    domain: str
    n: int
    cells: tuple[DomainCell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UncomparedLine:
    """A task that not all runs scored; a reason per run, "scored" where it did."""

    domain: str
    task_id: str
    url: str
    reasons: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareView(View):
    """The panel. ``notes`` are what a reader must know to judge the result. ``reasons`` count, per letter, why tasks have no verdict.
    ``trials_told`` says whether the runs look like trials of the same."""

    common: int
    headline: str
    notes: tuple[str, ...]
    rows: tuple[RunRow, ...]
    pairs: tuple[PairShown, ...]
    domains: tuple[DomainRow, ...]
    arguments: tuple[tuple[str, tuple[str | None, ...]], ...]
    trials: tuple[tuple[int, str], ...]
    trials_told: str
    are_trials_open: bool
    uncompared: tuple[UncomparedLine, ...]
    uncompared_count: int
    reasons: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparePage:
    """The page. ``subject`` is its panel's."""

    subject: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparePicker:
    """Runs to choose from, newest first; ``chosen`` are ticked."""

    runs: tuple[RunSummary, ...]
    chosen: tuple[str, ...]
    max_runs: int = MAX_RUNS


def need_runs(state: State, text: str | None, *, least: int = 2, most: int = MAX_RUNS) -> list[Run]:
    """The runs of "a,b,c", in that order. Raises Invalid naming ``runs``, NotFound for an unknown run."""
    names = text.split(",") if text else []
    if not least <= len(names) <= most or not all(names):
        raise Invalid("runs", f"names {least} to {most} runs, separated by commas")
    if len(set(names)) < len(names):
        raise Invalid("runs", "names a run twice")
    return [need_run(state, name) for name in names]


def compare_runs(state: State, text: str | None) -> Comparison:
    """The comparison of "a,b,c". Raises Invalid, NotFound."""
    return compare([(run, state.tasks.get(run.run_id, {}).values()) for run in need_runs(state, text)])


def compare_url(run_ids: Sequence[str]) -> str:
    """The page that compares these runs; the first is the base."""
    return "/compare?" + urlencode({"runs": ",".join(run_ids)}, safe=",")


def compare_task_url(run_ids: Sequence[str], domain: str, task_id: str, step: int | None = None) -> str:
    """The page that shows a task of these runs side by side."""
    query = {"runs": ",".join(run_ids), "domain": domain, "task": task_id}
    return "/compare/task?" + urlencode(query | ({"step": str(step)} if step is not None else {}), safe=",")


def compare_page(runs: Sequence[Run]) -> ComparePage:
    """The page of these runs."""
    return ComparePage(subject=",".join(run.run_id for run in runs), title=f"Compare {len(runs)} runs")


def compare_picker(look: Look, chosen: Sequence[str]) -> ComparePicker:
    """What can be compared."""
    runs = sorted(look.state.runs.values(), key=lambda run: (run.started_at, run.run_id), reverse=True)
    return ComparePicker(runs=tuple(summary_of(look.state, run) for run in runs), chosen=tuple(chosen))


def compare_detail(look: Look, about: str | None) -> CompareView:
    """Runs side by side. Raises Invalid, NotFound."""
    found = compare_runs(look.state, about)
    ids = [run.run_id for run in found.runs]
    pairs = tuple(_pair(found, place) for place in range(len(found.pairs)))
    return CompareView(
        now=look.now,
        common=found.common,
        headline=_headline(found, pairs),
        notes=tuple(_notes(found)),
        rows=tuple(_row(look, found, place) for place in range(len(found.runs))),
        pairs=pairs,
        domains=tuple(_domain(domain) for domain in found.domains),
        arguments=tuple((argument.name, argument.values) for argument in found.arguments),
        trials=tuple((each.k, f"{100 * each.value:.1f} %") for each in found.pass_at),
        trials_told=_trials_told(found),
        are_trials_open=len(found.runs) >= MIN_TRIALS,
        uncompared=tuple(_uncompared(each, ids) for each in found.uncompared[:MAX_UNCOMPARED]),
        uncompared_count=len(found.uncompared),
        reasons=_reasons(found),
    )


# --- sentences ---


def _headline(found: Comparison, pairs: Sequence[PairShown]) -> str:
    if found.common:
        return pairs[0].sentence if len(pairs) == 1 else ""
    if not found.tasks:
        return "None of these runs has begun a task yet."
    if not found.is_final:
        return f"No task has been scored by {_all_of(found)} yet. The comparison begins with the first one, by itself."
    return f"No task was scored by {_all_of(found)}: there is nothing to compare. Choose runs over the same tasks."


def _notes(found: Comparison) -> list[str]:
    notes = []
    if found.common and not found.is_final:
        notes.append("A run goes on: these numbers still move. A p that is watched until it is small proves nothing.")
    if found.common and found.uncompared:
        notes.append(
            f"{_count(found.common, 'task')} of {found.tasks} can be compared. The others say nothing here, and they may be the hard ones."
        )
    if found.has_mixed_thresholds:
        told = ", ".join(f"{letter} from {run.threshold:g}" for letter, run in zip(LETTERS, found.runs, strict=False))
        notes.append(f"Runs pass tasks from different scores ({told}): the same score can be a pass in one and a failure in another.")
    if found.provisional:
        verb = "has" if found.provisional == 1 else "have"
        notes.append(
            f"{_count(found.provisional, 'task')} still {verb} a score of the log, which rounds; result files may change a verdict."
        )
    if found.common and len(found.pairs) > 1:
        level = LEVEL / len(found.pairs)
        notes.append(
            f"With {len(found.pairs)} comparisons chance has as many tries: only a p below {level:.2g} ({LEVEL:g} / {len(found.pairs)}) "
            "counts as a difference."
        )
    return notes


def _sentence(found: Comparison, pair: Pair, base: str, other: str) -> str:
    """Who passed more, and whether that says anything. Only for a pair with common tasks."""
    gained, lost = len(pair.gained), len(pair.lost)
    so_far = "" if found.is_final else "So far, "
    tasks = (
        f"the {_count(found.common, 'task')} that {_all_of(found, 'scored')}"
        if found.common > 1
        else f"the one task that {_all_of(found, 'scored')}"
    )
    if not gained and not lost:
        return f"{so_far}{base} and {other} agree on {'every one of ' if found.common > 1 else ''}{tasks}."
    flips = _count(gained + lost, "task")
    if gained == lost:
        return f"{so_far}{base} and {other} passed equally many of {tasks}; {flips} flipped, half of them each way."
    winner, loser, more = (other, base, gained - lost) if gained > lost else (base, other, lost - gained)
    high, low = pair.both_passed + max(gained, lost), pair.both_passed + min(gained, lost)
    rates = "{} against {}".format(*_percents(high, low, found.common))
    return f"{so_far}{winner} passed {more} more than {loser} of {tasks}: {rates}, {_p(pair.p)}. {_meaning(found, pair, gained + lost)}."


def _meaning(found: Comparison, pair: Pair, flips: int) -> str:
    level = LEVEL / len(found.pairs)
    if mcnemar_exact(flips, 0) >= level:
        return f"Only {_count(flips, 'verdict')} differ{'s' if flips == 1 else ''}, which is too few to tell the runs apart"
    if pair.p >= level:
        return "This difference can be chance"
    return "Chance alone seldom makes such a difference"


def _trials_told(found: Comparison) -> str:
    if not found.arguments:
        return "The arguments of these runs, as far as they are known, are the same."
    names = ", ".join(argument.name for argument in found.arguments[:5]) + (" and others" if len(found.arguments) > 5 else "")
    return (
        f"These runs differ in {names}: unless that is only where they write, they are no trials of the same, and this number means little."
    )


def _all_of(found: Comparison, verb: str = "") -> str:
    words = "both" if len(found.runs) == 2 else f"all {len(found.runs)} runs"
    return f"{words} {verb}" if verb else ("both runs" if len(found.runs) == 2 else words)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' if number != 1 else ''}"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}" if p < 0.995 else "p = 1"


def _percents(first: int, second: int, n: int) -> tuple[str, str]:
    """Two different shares as they can be told apart."""
    digits = 0 if round(100 * first / n) != round(100 * second / n) else 1
    return f"{100 * first / n:.{digits}f} %", f"{100 * second / n:.{digits}f} %"


def _signed(value: float, digits: int) -> str:
    """With its sign, ±0 for what rounds to nothing."""
    if round(value, digits) == 0:
        return "±0"
    return f"{value:+.{digits}f}".replace("-", "−")


# --- tables ---


def _row(look: Look, found: Comparison, place: int) -> RunRow:
    run: RunCompared = found.runs[place]
    ids = [each.run_id for each in found.runs]
    others = [each for each in ids if each != run.run_id]
    summary = summary_of(look.state, look.state.runs[run.run_id])
    known = run.coverage
    return RunRow(
        letter=LETTERS[place],
        run_id=run.run_id,
        name=summary.name,
        word=summary.word,
        tone=summary.tone,
        planned=known.planned,
        ended=known.ended,
        errors=known.errors,
        unknown=known.unknown,
        to_go=known.planned - known.ended if known.planned is not None else None,
        scored_n=known.of_scored.n,
        scored=rate_of(known.of_scored),
        of_planned=round(100 * known.of_planned) if known.of_planned is not None else None,
        common=rate_of(run.common),
        common_passed=run.common.passed,
        mean_score=_score(run.mean_score),
        common_mean_score=_score(run.common_mean_score),
        steps=_number(run, lambda outcome: outcome.steps),
        duration_s=_number(run, lambda outcome: outcome.duration_s),
        cost=cost_of_run(look, look.state.runs[run.run_id], summary.eta),
        base_url=compare_url([run.run_id, *others]) if place else "",
        without_url=compare_url(others) if len(others) > 1 else "",
    )


def _number(run: RunCompared, of: Callable[[Outcome], Spread | None]) -> Number:
    middles = [found.median if (found := of(outcome)) is not None else None for outcome in (run.outcome, run.passed, run.failed)]
    return Number(all=middles[0], passed=middles[1], failed=middles[2])


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _pair(found: Comparison, place: int) -> PairShown:
    pair, base, other = found.pairs[place], LETTERS[0], LETTERS[place + 1]
    ids = (found.runs[0].run_id, pair.other)
    difference = pair.score_difference
    return PairShown(
        base=base,
        other=other,
        sentence=_sentence(found, pair, base, other) if found.common else "",
        both_passed=pair.both_passed,
        both_failed=pair.both_failed,
        gained=_flips(pair.gained, ids, winner=other, loser=base),
        lost=_flips(pair.lost, ids, winner=base, loser=other),
        score_difference=_signed(difference, 3) if difference is not None else "",
    )


def _flips(flips: Sequence[Flip], ids: Sequence[str], *, winner: str, loser: str) -> FlipList:
    lines = tuple(
        FlipLine(
            domain=flip.domain,
            task_id=flip.task_id,
            scores=" → ".join(map(_flip_score, (flip.base_score, flip.other_score)[:: 1 if loser == LETTERS[0] else -1])),
            url=compare_task_url(ids, flip.domain, flip.task_id),
        )
        for flip in flips[:MAX_FLIPS]
    )
    return FlipList(winner=winner, loser=loser, count=len(flips), lines=lines, more=len(flips) - len(lines))


def _flip_score(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _domain(domain: DomainCompared) -> DomainRow:
    cells = tuple(
        DomainCell(
            letter=LETTERS[place],
            percent=round(100 * rate),
            passed=passed,
            difference=_signed(100 * difference, 0) if place else "",
        )
        for place, (rate, passed, difference) in enumerate(zip(domain.rates, domain.passed, domain.differences, strict=True))
    )
    return DomainRow(domain=domain.domain, n=domain.n, cells=cells)


def _uncompared(task: Uncompared, ids: Sequence[str]) -> UncomparedLine:
    shown = [run_id for run_id, reason in zip(ids, task.reasons, strict=True) if reason is not Absence.ABSENT][:3]
    return UncomparedLine(
        domain=task.domain,
        task_id=task.task_id,
        url=compare_task_url(shown, task.domain, task.task_id) if len(shown) > 1 else "",
        reasons=tuple((LETTERS[place], reason.value if reason is not None else "scored") for place, reason in enumerate(task.reasons)),
    )


def _reasons(found: Comparison) -> tuple[tuple[str, tuple[tuple[str, int], ...]], ...]:
    told = []
    for place in range(len(found.runs)):
        counts = Counter(task.reasons[place] for task in found.uncompared)
        told.append((LETTERS[place], tuple((reason.value, counts[reason]) for reason in Absence if counts[reason])))
    return tuple(told)
