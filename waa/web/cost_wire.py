"""What VMs and runs cost, as programs get it: money as plain numbers in the currency, as it was at one moment."""

from waa.core.cost import Cost, began, month_cost, month_start, projected, run_cost, vm_cost
from waa.core.entity import Run, Vm
from waa.core.pace import expected_end
from waa.core.state import Progress
from waa.core.status import RunStatus
from waa.web.payload import CostPayload, RunCostPayload, SpendingPayload, VmCostPayload
from waa.web.view import Look
from waa.web.views.cost import spent_this_month

DIGITS = 6


def cost_payload(cost: Cost, now: float) -> CostPayload:
    """A cost as it is now."""
    return {
        "currency": cost.currency,
        "spent": round(cost.spent.at(now), DIGITS),
        "unseen": round(cost.unseen.at(now), DIGITS),
        "unseen_seconds": round(cost.unseen_s.at(now), 3),
        "per_hour": round(cost.spent.per_s * 3600, DIGITS),
        "is_partial": cost.is_partial,
    }


def run_cost_payload(look: Look, run: Run) -> RunCostPayload | None:
    """What a run costs, None: not known."""
    state, now = look.state, look.now
    cost = run_cost(state, run)
    if cost is None:
        return None
    progress = state.progress.get(run.run_id, Progress())
    tasks = list(state.tasks.get(run.run_id, {}).values()) if run.status is RunStatus.RUNNING else []
    ahead = projected(cost, expected_end(run, progress, tasks, [task for task in tasks if not task.is_over]))
    spent = cost.spent.at(now)
    return {
        **cost_payload(cost, now),
        "projected": [round(max(end, spent), DIGITS) for end in ahead] if ahead is not None and ahead[1] > spent else None,
        "per_passed_task": round(spent / progress.passed, DIGITS) if progress.passed else None,
        "per_task": round(spent / progress.completed, DIGITS) if progress.completed else None,
        "budget": look.limits.run_budget or None,
    }


def vm_cost_payload(look: Look, vm: Vm) -> VmCostPayload:
    """What a VM costs."""
    meter, quote = look.state.meters.get(vm.name), look.quote_of(vm)
    all_ = vm_cost(meter) if meter is not None else None
    month = month_cost(meter, look.now) if meter is not None else None
    return {
        "currency": quote.price.currency if quote.price is not None else None,
        "price_per_hour": quote.price.per_hour if quote.price is not None else None,
        "price_source": quote.price.source.value if quote.price is not None else None,
        "price_note": quote.why_not or None,
        "priced_at": quote.at,
        "standing": meter.standing.value if meter is not None else None,
        "since": began(meter) if meter is not None else None,
        "total": cost_payload(all_, look.now) if all_ is not None else None,
        "this_month": cost_payload(month, look.now) if month is not None else None,
    }


def spending_payload(look: Look) -> SpendingPayload | None:
    """What all VMs cost this month, None: no price is known."""
    cost = spent_this_month(look.state, look.now)
    if cost is None:
        return None
    return {**cost_payload(cost, look.now), "month_began_at": month_start(look.now), "budget": look.limits.monthly_budget or None}
