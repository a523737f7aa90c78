"""What is known of a pipeline over time: what it shows as now, the parts of a window, and how much of it it was up. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from waa.core.pipeline import Pipeline, PipelineStatus, Spell


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a window. ``status`` None: it was not observed."""

    status: PipelineStatus | None
    from_at: float
    until_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Uptime:
    """Seconds of a window. Degraded is up: it answers. What is unknown or was not observed counts in neither direction."""

    up_s: float = 0.0
    down_s: float = 0.0
    unknown_s: float = 0.0
    unobserved_s: float = 0.0

    @property
    def rate(self) -> float | None:
        """Up of what is known, None: nothing is."""
        known_s = self.up_s + self.down_s
        return self.up_s / known_s if known_s > 0 else None

    @property
    def coverage(self) -> float:
        """Known of the whole window."""
        whole_s = self.up_s + self.down_s + self.unknown_s + self.unobserved_s
        return (self.up_s + self.down_s) / whole_s if whole_s > 0 else 0.0


def is_lapsed(seen_at: float | None, *, now: float, gap_s: float) -> bool:
    """Whether nobody has looked for so long that the last status says nothing of now."""
    return seen_at is None or now - seen_at > gap_s


def shown_status(pipeline: Pipeline, seen_at: float | None, *, now: float, gap_s: float) -> PipelineStatus:
    """What it is now, as far as is known now."""
    return PipelineStatus.UNKNOWN if is_lapsed(seen_at, now=now, gap_s=gap_s) else pipeline.status


def observed(pipeline: Pipeline, seen_at: float | None, *, now: float, gap_s: float) -> list[Spell]:
    """Its spells, oldest first, the last one as long as is known: up to the last look, and up to now where another one is due."""
    spells = list(pipeline.spells)
    if spells and seen_at is not None and seen_at >= spells[-1].until_at:
        until_at = seen_at if is_lapsed(seen_at, now=now, gap_s=gap_s) else max(now, seen_at)
        spells[-1] = replace(spells[-1], until_at=until_at)
    return spells


def parts_of(spells: Iterable[Spell], from_at: float, until_at: float) -> list[Part]:
    """The window without a hole: spells, and between them what was not observed; neighbours that are alike are joined."""
    parts: list[Part] = []

    def add(status: PipelineStatus | None, begin: float, end: float) -> None:
        if end <= begin:
            return
        if parts and parts[-1].status is status:
            parts[-1] = replace(parts[-1], until_at=end)
        else:
            parts.append(Part(status=status, from_at=begin, until_at=end))

    reached = from_at
    for spell in spells:
        begin, end = max(spell.from_at, reached), min(spell.until_at, until_at)
        if end <= begin:
            continue
        add(None, reached, begin)
        add(spell.status, begin, end)
        reached = end
    add(None, reached, until_at)
    return parts


def uptime_of(parts: Sequence[Part]) -> Uptime:
    """The sums of a window."""

    def total(*statuses: PipelineStatus | None) -> float:
        return sum(part.until_at - part.from_at for part in parts if part.status in statuses)

    return Uptime(
        up_s=total(PipelineStatus.UP, PipelineStatus.DEGRADED),
        down_s=total(PipelineStatus.DOWN),
        unknown_s=total(PipelineStatus.UNKNOWN),
        unobserved_s=total(None),
    )
