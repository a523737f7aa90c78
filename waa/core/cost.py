"""What a VM and a run cost, from when the VM was seen to be up. Pure.

What was seen is the least that it cost. What it would cost besides, had it been up while nobody saw it, is told apart. A price counts
from when it was known; the first one that was known counts for the time before it too, when there was none. Prices in another currency
than the newest are none.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from waa.core.entity import Run, Task
from waa.core.meter import Meter, PriceStep, Span, Standing, clip, length_s, minus, union
from waa.core.pace import MAX_PAUSE_S
from waa.core.state import State
from waa.core.statistics import Eta
from waa.core.status import RunStatus, TaskStatus

HOUR_S = 3600.0
POWER_BILLED = {
    "starting": True,
    "running": True,
    "stopping": True,
    "stopped": True,
    "deallocating": True,
    "deallocated": False,
}
"""Whether a VM is billed, by its power state as Azure names it. What is stopped and not deallocated still is."""


@dataclass(frozen=True, slots=True)
class Amount:
    """Money that may grow: ``base``, and ``per_s`` for each second after ``since_at``. Equal amounts grow alike, so what shows one
    need not be sent again."""

    base: float
    per_s: float = 0.0
    since_at: float = 0.0

    def at(self, now: float) -> float:
        """How much it is at a moment."""
        return self.base + self.per_s * max(0.0, now - self.since_at)

    def part(self, count: int) -> "Amount":
        """This, divided among so many."""
        return Amount(self.base / count, self.per_s / count, self.since_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What some time of a VM cost: at least ``spent``, at most ``unseen`` more. ``unseen_s`` counts seconds of ended and present gaps
    (as an Amount that grows by one a second while the VM is out of sight). ``is_partial``: for a part of it no price was known, so
    that there is no upper bound."""

    currency: str
    spent: Amount
    unseen: Amount
    unseen_s: Amount
    is_partial: bool = False

    @property
    def is_growing(self) -> bool:
        """Whether it costs something now."""
        return self.spent.per_s > 0


def month_start(now: float) -> float:
    """When the month began, UTC."""
    moment = datetime.fromtimestamp(now, UTC)
    return datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp()


def cost_of(meter: Meter, from_at: float, until_at: float | None = None) -> Cost | None:
    """What the VM cost from a moment until another, None: until now and on. None where no price was ever known."""
    steps = _steps(meter)
    price = next((step.price for step in steps if step.price is not None), None)
    if price is None:
        return None
    if until_at is None and meter.ended_at is not None:
        until_at = max(from_at, meter.ended_at)
    if until_at is not None:
        billed, unseen = _parts(meter, from_at, until_at)
        return _cost(price.currency, steps, billed, unseen)
    anchor_at = max(from_at, *_anchors(meter, steps, from_at))
    billed, unseen = _parts(meter, from_at, anchor_at)
    per_hour = steps[-1].price.per_hour if steps[-1].price is not None else None
    is_up, is_unseen = meter.standing is Standing.UP, meter.standing is Standing.UNKNOWN
    grown = _cost(price.currency, steps, billed, unseen)
    return Cost(
        currency=grown.currency,
        spent=_growing(grown.spent, per_hour if is_up else None, anchor_at),
        unseen=_growing(grown.unseen, per_hour if is_unseen else None, anchor_at),
        unseen_s=_growing(grown.unseen_s, HOUR_S if is_unseen else None, anchor_at),
        is_partial=grown.is_partial or (per_hour is None and meter.standing is not Standing.OFF),
    )


def run_cost(state: State, run: Run) -> Cost | None:
    """What the VM cost while the run lasted, None: not known, as of runs that were imported."""
    meter = state.meters.get(run.vm)
    return cost_of(meter, run.started_at, run.ended_at if run.status is not RunStatus.RUNNING else None) if meter is not None else None


def vm_cost(meter: Meter) -> Cost | None:
    """What the VM cost since it was seen first."""
    began_at = began(meter)
    return cost_of(meter, began_at) if began_at is not None else None


def began(meter: Meter) -> float | None:
    """From when on something is known of a VM, None: nothing is."""
    return min((spans[0].from_at for spans in (meter.billed, meter.off) if spans), default=None)


def month_cost(meter: Meter, now: float) -> Cost | None:
    """What the VM cost since the month began, or since it was seen first in it."""
    began_at = began(meter)
    return cost_of(meter, max(began_at, month_start(now))) if began_at is not None and (meter.ended_at or now) >= month_start(now) else None


def total(costs: Iterable[Cost]) -> Cost | None:
    """All of it, None of nothing. What is in another currency than the first is left out, and makes it partial."""
    all_ = list(costs)
    if not all_:
        return None
    same = [cost for cost in all_ if cost.currency == all_[0].currency]
    return Cost(
        currency=all_[0].currency,
        spent=_sum([cost.spent for cost in same]),
        unseen=_sum([cost.unseen for cost in same]),
        unseen_s=_sum([cost.unseen_s for cost in same]),
        is_partial=len(same) < len(all_) or any(cost.is_partial for cost in same),
    )


def projected(cost: Cost, eta: Eta | None) -> tuple[float, float] | None:
    """What a run will have cost when it ends as expected, at the early end and the late one; None: that cannot be told."""
    if eta is None or not cost.is_growing or cost.is_partial:
        return None
    return cost.spent.at(eta.earliest_at), cost.spent.at(eta.latest_at)


def evidence(run: Run, tasks: Iterable[Task]) -> tuple[Span, ...]:
    """When the VM was at work, as the log of a run tells: while a task ran to its end, and until the last sign of one that runs. Short
    pauses between them count too: nobody stops a machine for a few minutes. A task whose end was not observed says nothing."""
    spans = [Span(run.started_at, run.started_at)]
    if run.status is RunStatus.FINISHED and run.ended_at is not None:
        spans.append(Span(run.ended_at, run.ended_at))
    for task in tasks:
        if task.status is not TaskStatus.UNKNOWN:
            spans.append(Span(task.started_at, task.ended_at if task.ended_at is not None else task.changed_at))
    found: list[Span] = []
    for span in union(spans, keeps_moments=True):
        if found and span.from_at - found[-1].until_at <= MAX_PAUSE_S:
            found[-1] = Span(found[-1].from_at, max(found[-1].until_at, span.until_at))
        else:
            found.append(span)
    return tuple(span for span in found if span.from_at < span.until_at)


def task_costs(meter: Meter | None, tasks: Sequence[Task]) -> dict[str, float]:
    """What each ended attempt cost, by its key: of the tasks that ran at the same time, each has an equal share. Those whose price is
    not known are left out."""
    steps = _steps(meter) if meter is not None else []
    ended = [(task.key, Span(task.started_at, task.ended_at)) for task in tasks if task.ended_at is not None]
    if not any(step.price is not None for step in steps):
        return {}
    moments = sorted({moment for _, span in ended for moment in (span.from_at, span.until_at)} | {step.from_at for step in steps[1:]})
    beginnings: dict[float, list[str]] = {}
    ends: dict[float, list[str]] = {}
    for key, span in ended:
        if span.from_at < span.until_at:
            beginnings.setdefault(span.from_at, []).append(key)
            ends.setdefault(span.until_at, []).append(key)
    shares = {key: 0.0 for key, _ in ended}
    running: dict[str, None] = {}
    unknown: set[str] = set()
    for moment, following in zip(moments, [*moments[1:], moments[-1]] if moments else [], strict=True):
        for key in ends.get(moment, ()):
            running.pop(key, None)
        running.update(dict.fromkeys(beginnings.get(moment, ())))
        if running and following > moment:
            price = steps[_index(steps, moment)].price
            for key in running:
                if price is None:
                    unknown.add(key)
                else:
                    shares[key] += price.per_hour * (following - moment) / HOUR_S / len(running)
    return {key: share for key, share in shares.items() if key not in unknown}


def _steps(meter: Meter) -> list[PriceStep]:
    """The prices in the newest currency; the first one counts from ever on."""
    newest = next((step.price for step in reversed(meter.prices) if step.price is not None), None)
    if newest is None:
        return []
    known = [step for step in meter.prices if step.price is None or step.price.currency == newest.currency]
    first = next(number for number, step in enumerate(known) if step.price is not None)
    return [PriceStep(from_at=float("-inf"), price=known[first].price), *known[first + 1 :]]


def _anchors(meter: Meter, steps: Sequence[PriceStep], from_at: float) -> Iterator[float]:
    """Moments after which all stays as it is."""
    yield steps[-1].from_at
    match meter.standing:
        case Standing.UP:
            yield meter.billed[-1].from_at if meter.billed else from_at
        case Standing.OFF:
            yield meter.off[-1].from_at if meter.off else from_at
        case Standing.UNKNOWN:
            yield meter.known_until_at if meter.known_until_at is not None else from_at


def _parts(meter: Meter, from_at: float, until_at: float) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """When it was billed between two moments, and when it was out of sight. What is so now lasts until the later one."""
    billed = _lasting(meter.billed, until_at) if meter.standing is Standing.UP else meter.billed
    off = _lasting(meter.off, until_at) if meter.standing is Standing.OFF else meter.off
    billed, off = clip(billed, from_at, until_at), clip(off, from_at, until_at)
    return billed, minus((Span(from_at, until_at),), union([*billed, *off]))


def _lasting(spans: tuple[Span, ...], until_at: float) -> tuple[Span, ...]:
    return (*spans[:-1], Span(spans[-1].from_at, max(spans[-1].until_at, until_at))) if spans else spans


def _cost(currency: str, steps: Sequence[PriceStep], billed: Sequence[Span], unseen: Sequence[Span]) -> Cost:
    spent, unpriced_s = _money(steps, billed)
    more, more_unpriced_s = _money(steps, unseen)
    is_partial = unpriced_s > 0 or more_unpriced_s > 0
    return Cost(currency=currency, spent=Amount(spent), unseen=Amount(more), unseen_s=Amount(length_s(unseen)), is_partial=is_partial)


def _money(steps: Sequence[PriceStep], spans: Iterable[Span]) -> tuple[float, float]:
    """What spans cost, and how many of their seconds have no price."""
    money = unpriced_s = 0.0
    for span in spans:
        number = _index(steps, span.from_at)
        while number < len(steps) and (steps[number].from_at < span.until_at):
            end_at = steps[number + 1].from_at if number + 1 < len(steps) else span.until_at
            lasted_s = max(0.0, min(end_at, span.until_at) - max(steps[number].from_at, span.from_at))
            price = steps[number].price
            if price is None:
                unpriced_s += lasted_s
            else:
                money += price.per_hour * lasted_s / HOUR_S
            number += 1
    return money, unpriced_s


def _index(steps: Sequence[PriceStep], at: float) -> int:
    return max(0, bisect_right(steps, at, key=lambda step: step.from_at) - 1)


def _growing(amount: Amount, per_hour: float | None, since_at: float) -> Amount:
    return Amount(amount.base, per_hour / HOUR_S, since_at) if per_hour else amount


def _sum(amounts: Sequence[Amount]) -> Amount:
    """Several in one: what grows is reckoned from the latest beginning."""
    since_at = max((amount.since_at for amount in amounts if amount.per_s), default=0.0)
    return Amount(sum(amount.at(since_at) for amount in amounts), sum(amount.per_s for amount in amounts), since_at)
