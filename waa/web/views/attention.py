"""What needs a person, and what does not."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from waa.core.attention import Attention, attention_of
from waa.core.status import RunStatus
from waa.web.view import Look, View
from waa.web.views.cost import IdleCost, budget_need, idle_cost
from waa.web.views.pipelines import PipelineNeed, pipeline_needs

MAX_ITEMS = 5
"""More at once unfold: the fleet stays in sight, where their cards are marked too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs(View):
    """The most urgent ``items``, then ``more``; ``pipelines`` that are down. ``vms`` and ``running`` are counts for the quiet case.
    ``idle``: what idle VMs cost, by their names. An item of no VM is about all of them."""

    items: tuple[Attention, ...]
    more: tuple[Attention, ...]
    vms: int
    running: int
    idle: Mapping[str, IdleCost]
    pipelines: tuple[PipelineNeed, ...]
    pipelines_watched: int
    shown_pipelines: int = MAX_ITEMS


def needs(look: Look, _subject: str | None) -> Needs:
    """Everything that needs a person now."""
    found = attention_of(look.state, now=look.now, limits=look.limits, usual_s=look.usual_s)
    items = [_since_its_beginning(look, item) for item in found]
    over_budget = budget_need(look)
    if over_budget is not None:
        items.append(over_budget)
    return Needs(
        now=look.now,
        items=tuple(items[:MAX_ITEMS]),
        more=tuple(items[MAX_ITEMS:]),
        vms=len(look.state.vms),
        pipelines=pipeline_needs(look),
        pipelines_watched=len(look.state.pipelines),
        running=sum(run.status is RunStatus.RUNNING for run in look.state.runs.values()),
        idle={item.vm: cost for item in items if (cost := idle_cost(look, item)) is not None},
    )


def _since_its_beginning(look: Look, item: Attention) -> Attention:
    """As old as its incident: what a look shows may be younger (the last repeat of a loop, the last error of a set-up)."""
    known = (
        incident for incident in look.state.open_incidents(item.vm) if (incident.concern, incident.subject) == (item.concern, item.subject)
    )
    incident = next(known, None)
    return replace(item, since_at=incident.began_at) if incident is not None else item
