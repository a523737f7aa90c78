"""What VMs and runs cost, as it is shown: amounts that the page counts on by itself, and what is not known said beside them."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from waa.core.attention import Attention
from waa.core.cost import Amount, Cost, began, cost_of, month_cost, month_start, projected, run_cost, total, vm_cost
from waa.core.entity import Run, Vm
from waa.core.incident import Concern, Severity
from waa.core.meter import Standing
from waa.core.money import money, rate
from waa.core.pace import expected_end
from waa.core.price import PriceSource
from waa.core.state import Progress, State
from waa.core.statistics import Eta
from waa.core.status import RunStatus
from waa.web.view import Look

SOURCE_WORDS = {
    PriceSource.VM: "as set for this VM",
    PriceSource.TABLE: "by the table, for {label}",
    PriceSource.AZURE: "by Azure's list, for {label}",
}
NEGLIGIBLE = 0.005
"""Less than that would not change what is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostView:
    """At least ``spent``. ``unseen`` is what it cost besides, at most, if the VM was up for the ``unseen_s`` seconds in which nobody saw
    it; None: nothing worth telling. ``is_partial``: no price was known for some of the time."""

    currency: str
    spent: Amount
    unseen: Amount | None
    unseen_s: Amount
    is_partial: bool

    @property
    def is_at_least(self) -> bool:
        """Whether it may have been more."""
        return self.unseen is not None or self.is_partial


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCost:
    """What a run costs. ``cost`` None: not known. ``early`` and ``late``: by its expected end, None where that cannot be told; ``budget``
    0: there is none. ``per_passed`` None: no task has passed."""

    cost: CostView | None
    early: float | None = None
    late: float | None = None
    per_passed: Amount | None = None
    per_task: Amount | None = None
    budget: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CardCost:
    """What is said on a card. ``rate`` "": it costs nothing now, as far as is known. ``month`` None: nothing is known of it."""

    rate: str
    month: CostView | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VmCost:
    """What a VM costs. ``price`` "": not known, ``why`` says why not, or who says so. ``up_at``: since when it is up without a break,
    None: it is not, as far as is known. ``standing`` in words."""

    price: str
    why: str
    priced_at: float | None
    standing: str
    up_at: float | None
    up: CostView | None
    month: CostView | None
    all: CostView | None
    since_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleCost:
    """What a VM costs that runs nothing: an hour, and since then."""

    rate: str
    currency: str
    spent: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What all VMs cost this month. ``rate`` "": nothing now. ``percent`` of the ``budget`` (0: there is none), rounded down."""

    month: str
    cost: CostView
    rate: str
    budget: float
    percent: int
    unpriced: int


def has_prices(state: State) -> bool:
    """Whether anything has a price: where nothing has, nothing is said of it."""
    return any(meter.price is not None for meter in state.meters.values())


def shown(cost: Cost | None) -> CostView | None:
    """A cost as it is shown."""
    return _view(cost) if cost is not None else None


def _view(cost: Cost) -> CostView:
    is_worth_telling = cost.unseen.base >= NEGLIGIBLE or cost.unseen.per_s > 0
    return CostView(
        currency=cost.currency,
        spent=cost.spent,
        unseen=cost.unseen if is_worth_telling else None,
        unseen_s=cost.unseen_s,
        is_partial=cost.is_partial,
    )


def cost_of_run(look: Look, run: Run, eta: Eta | None) -> RunCost | None:
    """What a run costs; None where prices are no subject here."""
    state = look.state
    if not has_prices(state):
        return None
    cost = run_cost(state, run)
    if cost is None:
        return RunCost(cost=None)
    progress = state.progress.get(run.run_id, Progress())
    ahead = projected(cost, eta)
    return RunCost(
        cost=shown(cost),
        early=ahead[0] if ahead is not None else None,
        late=ahead[1] if ahead is not None else None,
        per_passed=cost.spent.part(progress.passed) if progress.passed else None,
        per_task=cost.spent.part(progress.completed) if progress.completed else None,
        budget=look.limits.run_budget,
    )


def cost_of_card(look: Look, vm: Vm) -> CardCost | None:
    """What a VM costs, in a few words; None where prices are no subject here."""
    meter = look.state.meters.get(vm.name)
    if not has_prices(look.state):
        return None
    if meter is None:
        return CardCost(rate="", month=None)
    return CardCost(rate=_rate_now(look.state, vm.name), month=shown(month_cost(meter, look.now)))


def cost_of_vm(look: Look, vm: Vm) -> VmCost:
    """All that is known of what a VM costs."""
    quote = look.quote_of(vm)
    meter = look.state.meters.get(vm.name)
    price = quote.price
    words = {
        Standing.UP: "Up, and billed",
        Standing.OFF: "Deallocated: nothing is billed for it but its disks",
        Standing.UNKNOWN: "Out of sight: it may be up and billed, or not",
    }
    up_at = meter.billed[-1].from_at if meter is not None and meter.standing is Standing.UP and meter.billed else None
    return VmCost(
        price=rate(price.per_hour, price.currency) if price is not None else "",
        why=SOURCE_WORDS[price.source].format(label=price.label) if price is not None else quote.why_not,
        priced_at=quote.at,
        standing=words[meter.standing] if meter is not None else "",
        up_at=up_at,
        up=shown(cost_of(meter, up_at)) if meter is not None and up_at is not None else None,
        month=shown(month_cost(meter, look.now)) if meter is not None else None,
        all=shown(vm_cost(meter)) if meter is not None else None,
        since_at=began(meter) if meter is not None else None,
    )


def idle_cost(look: Look, item: Attention) -> IdleCost | None:
    """What an idle VM costs; None where that is not known."""
    meter = look.state.meters.get(item.vm)
    if item.concern is not Concern.IDLE or item.since_at is None or meter is None or meter.price is None:
        return None
    cost = cost_of(meter, item.since_at)
    if cost is None or not cost.is_growing:
        return None
    return IdleCost(rate=rate(meter.price.per_hour, cost.currency), currency=cost.currency, spent=cost.spent)


def spending_of(look: Look) -> Spending | None:
    """What all VMs cost this month, also those that are no longer watched; None where prices are no subject here."""
    cost = spent_this_month(look.state, look.now)
    if cost is None:
        return None
    budget, per_hour = look.limits.monthly_budget, cost.spent.per_s * 3600
    return Spending(
        month=f"{datetime.fromtimestamp(month_start(look.now), UTC):%B}",
        cost=_view(cost),
        rate=rate(per_hour, cost.currency) if per_hour else "",
        budget=budget,
        percent=int(100 * cost.spent.at(look.now) / budget) if budget else 0,
        unpriced=sum(_is_unpriced(look, vm) for vm in look.state.vms.values()),
    )


def spent_this_month(state: State, now: float) -> Cost | None:
    """What all VMs cost this month, None where no price is known."""
    return total(cost for meter in state.meters.values() if (cost := month_cost(meter, now)) is not None)


def budget_need(look: Look) -> Attention | None:
    """The month's budget, where it is passed, or will be by what runs now."""
    budget, state = look.limits.monthly_budget, look.state
    cost = spent_this_month(state, look.now) if budget else None
    if cost is None:
        return None
    limit = money(budget, cost.currency)
    need = Attention(
        vm="",
        concern=Concern.OVER_BUDGET,
        severity=Severity.WARNING,
        title="This month's budget is spent",
        detail=f"All VMs together have cost more than {limit} since the month began.",
        remedy="Deallocate what is not needed, or set monthly_budget higher.",
    )
    if cost.spent.at(look.now) > budget:
        return need
    if cost.spent.at(look.now) + sum(_still_to_come(state, run, look.now) for run in state.runs.values()) <= budget:
        return None
    detail = f"When the runs that go on now have ended, all VMs together will have cost more than {limit}."
    return replace(need, title="This month's budget will not last", detail=detail)


def _still_to_come(state: State, run: Run, now: float) -> float:
    """What a run will cost from now until its early end."""
    if run.status is not RunStatus.RUNNING:
        return 0.0
    cost = run_cost(state, run)
    if cost is None:
        return 0.0
    tasks = list(state.tasks.get(run.run_id, {}).values())
    ahead = projected(cost, expected_end(run, state.progress[run.run_id], tasks, list(state.open_tasks(run.run_id))))
    return max(0.0, ahead[0] - cost.spent.at(now)) if ahead is not None else 0.0


def _rate_now(state: State, name: str) -> str:
    meter = state.meters[name]
    is_billed = meter.standing is Standing.UP and meter.price is not None
    return rate(meter.price.per_hour, meter.price.currency) if is_billed and meter.price is not None else ""


def _is_unpriced(look: Look, vm: Vm) -> bool:
    meter = look.state.meters.get(vm.name)
    return meter is not None and meter.price is None
