"""What needs a person, and what does not."""

from dataclasses import dataclass

from waa.core.attention import Attention, attention_of
from waa.core.status import RunStatus
from waa.web.view import Look, View

MAX_ITEMS = 5
"""More at once unfold: the fleet stays in sight, where their cards are marked too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs(View):
    """The most urgent ``items``, then ``more``. ``vms`` and ``running`` are counts for the quiet case."""

    items: tuple[Attention, ...]
    more: tuple[Attention, ...]
    vms: int
    running: int


def needs(look: Look, _subject: str | None) -> Needs:
    """Everything that needs a person now."""
    items = attention_of(look.state, now=look.now, limits=look.limits)
    return Needs(
        now=look.now,
        items=tuple(items[:MAX_ITEMS]),
        more=tuple(items[MAX_ITEMS:]),
        vms=len(look.state.vms),
        running=sum(run.status is RunStatus.RUNNING for run in look.state.runs.values()),
    )
