"""When a VM was seen to be up, and what an hour of it cost then. Pure; what it adds up to is told by ``core/cost.py``.

A VM is billed while it runs, and while it is stopped but still allocated; not while it is deallocated. Over SSH we see only whether it
runs. Out of sight it may be either: such time is kept apart and never guessed. Two things tell of it afterwards: a machine that has
not booted since was up all the time, and so was one on which a run's log tells of work.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from waa.core.price import Price

MAX_SPANS = 500
"""Kept of a VM; what is older is dropped, and its cost is told from the oldest kept on."""
MAX_PRICES = 100
BOOT_SLACK_S = 5.0
"""How far the moment of a boot may be off: a clock that is set moves it."""


@dataclass(frozen=True, slots=True)
class Span:
    """From one moment until another, epoch seconds; the end does not belong to it."""

    from_at: float
    until_at: float


class Standing(StrEnum):
    """What is known of a VM now. UP: it is billed; OFF: it is deallocated, and costs nothing; UNKNOWN: it is out of sight."""

    UP = "up"
    OFF = "off"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceStep:
    """The price from a moment on, None: it was not known."""

    from_at: float
    price: Price | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """When a VM was up (``billed``) and when it was off, as far as that was seen, and its prices; each in order, no two spans touch.

    The last span goes on while ``standing`` says so; its end is then the last one that was stored. ``ended_at``: when the VM was
    taken off the list, None: it is watched.
    """

    vm: str
    standing: Standing = Standing.UNKNOWN
    billed: tuple[Span, ...] = ()
    off: tuple[Span, ...] = ()
    prices: tuple[PriceStep, ...] = ()
    ended_at: float | None = None

    @property
    def price(self) -> Price | None:
        """What an hour costs now, None: not known."""
        return self.prices[-1].price if self.prices else None

    @property
    def currency(self) -> str:
        """Of the newest price that was known, "" where none ever was."""
        return next((step.price.currency for step in reversed(self.prices) if step.price is not None), "")

    @property
    def is_over(self) -> bool:
        """Whether its VM is no longer watched."""
        return self.ended_at is not None

    @property
    def known_until_at(self) -> float | None:
        """The last moment of which something is known, None: there is none."""
        return max((spans[-1].until_at for spans in (self.billed, self.off) if spans), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is seen of a VM at ``at``. UP and OFF: it was so at that moment. ``booted_at``: since when it has been up, where known."""

    at: float
    standing: Standing
    booted_at: float | None = None


def seen(meter: Meter, sight: Sight) -> Meter:
    """The meter after a look. Looks may come twice or late; what is known is never taken back."""
    at = sight.at
    match sight.standing:
        case Standing.UP:
            billed = union([*meter.billed, Span(min(_up_since(meter, sight), at), at)], keeps_moments=True)
            return _bounded(replace(meter, standing=Standing.UP, billed=billed))
        case Standing.OFF:
            since_at = meter.off[-1].from_at if meter.standing is Standing.OFF and meter.off else at
            since_at = min(at, max([since_at, *(span.until_at for span in meter.billed[-1:])]))
            off = union([*minus(meter.off, meter.billed), Span(since_at, at)], keeps_moments=True)
            return _bounded(replace(meter, standing=Standing.OFF, off=off))
        case Standing.UNKNOWN:
            return meter if meter.standing is Standing.UNKNOWN else replace(meter, standing=Standing.UNKNOWN)


def witnessed(meter: Meter, spans: Iterable[Span]) -> Meter:
    """The meter with times at which somebody else saw the VM at work (the log of a run)."""
    billed = union([*meter.billed, *(span for span in spans if span.from_at < span.until_at)], keeps_moments=True)
    if billed == meter.billed:
        return meter
    return _bounded(replace(meter, billed=billed, off=minus(meter.off, billed, keeps_moments=meter.standing is Standing.OFF)))


def priced(meter: Meter, price: Price | None, at: float) -> Meter:
    """The meter with what an hour costs from now on; what was before stays as it was."""
    if meter.price == price:
        return meter
    steps = [step for step in meter.prices if step.from_at < at]
    if (steps[-1].price if steps else None) != price:
        steps.append(PriceStep(from_at=at, price=price))
    return replace(meter, prices=tuple(steps[-MAX_PRICES:]))


def ended(meter: Meter, at: float) -> Meter:
    """The meter of a VM that is no longer watched."""
    return replace(meter, standing=Standing.UNKNOWN, ended_at=at)


def watched(meter: Meter) -> Meter:
    """The meter of a VM that is watched (again); nothing is known of it yet."""
    return meter if meter.ended_at is None else replace(meter, ended_at=None)


def union(spans: Iterable[Span], *, keeps_moments: bool = False) -> tuple[Span, ...]:
    """All of it, in order, no two of them touching. Spans without length are left out, unless they are moments to be kept."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda span: span.from_at):
        if span.until_at < span.from_at or (span.until_at == span.from_at and not keeps_moments):
            continue
        if found and span.from_at <= found[-1].until_at:
            found[-1] = Span(found[-1].from_at, max(found[-1].until_at, span.until_at))
        else:
            found.append(span)
    return tuple(found)


def minus(spans: Sequence[Span], others: Sequence[Span], *, keeps_moments: bool = False) -> tuple[Span, ...]:
    """What of the first lies in none of the others; both in order."""
    left: list[Span] = []
    for span in spans:
        from_at = span.from_at
        for other in others:
            if other.until_at <= from_at or other.from_at >= span.until_at:
                continue
            left.append(Span(from_at, other.from_at))
            from_at = other.until_at
        left.append(Span(from_at, span.until_at))
    return union(left, keeps_moments=keeps_moments)


def clip(spans: Sequence[Span], from_at: float, until_at: float) -> tuple[Span, ...]:
    """What of it lies between two moments."""
    return union(Span(max(span.from_at, from_at), min(span.until_at, until_at)) for span in spans)


def length_s(spans: Iterable[Span]) -> float:
    """How long all of it is, seconds."""
    return sum(span.until_at - span.from_at for span in spans)


def _up_since(meter: Meter, sight: Sight) -> float:
    """Since when a VM that is up is known to have been up: without a break from its boot, or from when it was seen so; not from before
    it was off."""
    since_at = sight.at
    if meter.standing is Standing.UP and meter.billed:
        since_at = min(since_at, meter.billed[-1].from_at)
    if sight.booted_at is not None and sight.booted_at < since_at:
        before = max((span.until_at for span in meter.billed if span.until_at <= sight.booted_at), default=None)
        is_same_boot = before is not None and sight.booted_at - before <= BOOT_SLACK_S
        since_at = before if is_same_boot and before is not None else sight.booted_at
    return max([since_at, *(span.until_at for span in meter.off if span.until_at <= sight.at)])


def _bounded(meter: Meter) -> Meter:
    if len(meter.billed) <= MAX_SPANS and len(meter.off) <= MAX_SPANS:
        return meter
    return replace(meter, billed=meter.billed[-MAX_SPANS:], off=meter.off[-MAX_SPANS:])
