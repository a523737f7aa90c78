"""What a VM costs adds up, is never negative, and claims nothing about time that nobody saw."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.builders import T0, a_run, a_task, a_vm
from waa.core import meter as reading
from waa.core.attention import Limits, attention_of
from waa.core.codec import decode_entity, encode
from waa.core.cost import (
    Amount,
    Cost,
    cost_of,
    evidence,
    month_cost,
    month_start,
    projected,
    run_cost,
    task_costs,
    total,
    vm_cost,
)
from waa.core.entity import Connection
from waa.core.incident import Concern
from waa.core.meter import MAX_SPANS, Meter, PriceStep, Sight, Span, Standing
from waa.core.pace import MAX_PAUSE_S
from waa.core.price import Price, PriceSource
from waa.core.state import State
from waa.core.statistics import Eta
from waa.core.status import RunStatus, TaskStatus

HOUR = 3600.0
UP, OFF, UNKNOWN = Standing.UP, Standing.OFF, Standing.UNKNOWN


def a_price(per_hour: float = 1.0, currency: str = "USD") -> Price:
    return Price(per_hour=per_hour, currency=currency, source=PriceSource.TABLE)


def a_meter(*billed: tuple[float, float], per_hour: float | None = 1.0, **fields: object) -> Meter:
    """Up in these hours after T0, at one price."""
    spans = tuple(Span(T0 + HOUR * begin, T0 + HOUR * end) for begin, end in billed)
    prices = (PriceStep(from_at=T0, price=a_price(per_hour)),) if per_hour is not None else ()
    return Meter(vm="vm-1", billed=spans, prices=prices, **fields)  # type: ignore[arg-type]


def h(hours: float) -> float:
    return T0 + HOUR * hours


def spent(cost: Cost | None, now: float = T0) -> float:
    assert cost is not None
    return cost.spent.at(now)


# --- what a look changes ---


def test_a_vm_that_answers_is_up_from_the_first_look_to_the_last() -> None:
    meter = Meter(vm="vm-1")
    for at in (0.0, 1.0, 2.0):
        meter = reading.seen(meter, Sight(at=h(at), standing=UP))
    assert meter.billed == (Span(h(0), h(2)),)
    assert meter.standing is UP


def test_it_was_up_since_its_boot_also_while_nobody_looked() -> None:
    meter = reading.seen(Meter(vm="vm-1"), Sight(at=h(5), standing=UP, booted_at=h(1)))
    assert meter.billed == (Span(h(1), h(5)),)
    away = reading.seen(meter, Sight(at=h(6), standing=UNKNOWN))
    assert reading.seen(away, Sight(at=h(9), standing=UP, booted_at=h(1))).billed == (Span(h(1), h(9)),)


def test_after_another_boot_the_time_between_is_not_known() -> None:
    meter = reading.seen(a_meter((0, 2)), Sight(at=h(9), standing=UP, booted_at=h(8)))
    assert meter.billed == (Span(h(0), h(2)), Span(h(8), h(9)))


def test_without_a_boot_time_it_is_up_from_when_it_answers_again() -> None:
    meter = reading.seen(a_meter((0, 2)), Sight(at=h(9), standing=UP))
    meter = reading.seen(meter, Sight(at=h(10), standing=UP))
    assert meter.billed == (Span(h(0), h(2)), Span(h(9), h(10)))


def test_a_boot_time_that_comes_a_moment_later_still_counts() -> None:
    meter = reading.seen(a_meter((0, 2)), Sight(at=h(9), standing=UP))
    assert reading.seen(meter, Sight(at=h(9) + 3, standing=UP, booted_at=h(0) - 60)).billed == (Span(h(0) - 60, h(9) + 3),)


def test_what_was_deallocated_is_not_billed_whatever_the_boot_time_says() -> None:
    meter = reading.seen(a_meter((0, 2)), Sight(at=h(3), standing=OFF))
    meter = reading.seen(meter, Sight(at=h(5), standing=OFF))
    assert (meter.billed, meter.off) == ((Span(h(0), h(2)),), (Span(h(3), h(5)),))
    meter = reading.seen(meter, Sight(at=h(6), standing=UP, booted_at=h(-1)))
    assert meter.billed == (Span(h(0), h(2)), Span(h(5), h(6)))


def test_the_log_of_a_run_is_a_witness() -> None:
    meter = reading.witnessed(a_meter((0, 1)), [Span(h(2), h(3)), Span(h(3), h(3))])
    assert meter.billed == (Span(h(0), h(1)), Span(h(2), h(3)))


def test_a_meter_has_a_bound() -> None:
    meter = a_meter()
    for number in range(MAX_SPANS + 7):
        meter = reading.seen(meter, Sight(at=h(2 * number), standing=UP))
        meter = reading.seen(meter, Sight(at=h(2 * number + 1), standing=UP))
        meter = reading.seen(meter, Sight(at=h(2 * number + 1), standing=UNKNOWN))
    assert len(meter.billed) == MAX_SPANS
    assert meter.billed[0].from_at == h(14)


def test_a_meter_is_stored_as_it_is() -> None:
    meter = replace(a_meter((0, 2), standing=OFF, ended_at=h(9)), off=(Span(h(3), h(4)),))
    assert decode_entity("meter", encode(meter)) == meter


Looks = st.lists(
    st.tuples(st.floats(0, 50), st.sampled_from(Standing), st.none() | st.floats(-10, 50)),
    max_size=25,
)


@given(Looks)
def test_spans_never_overlap_and_what_was_billed_stays_billed(looks: Sequence[tuple[float, Standing, float | None]]) -> None:
    meter = Meter(vm="vm-1")
    for at, standing, booted in sorted(looks, key=lambda look: look[0]):
        before = meter
        meter = reading.seen(meter, Sight(at=h(at), standing=standing, booted_at=min(h(booted), h(at)) if booted is not None else None))
        assert not reading.minus(before.billed, meter.billed)
        for spans in (meter.billed, meter.off):
            assert all(first.until_at < second.from_at for first, second in pairwise(spans))
        shared = reading.length_s(meter.billed) - reading.length_s(reading.minus(meter.billed, meter.off))
        assert shared == pytest.approx(0, abs=1e-3)


Spans = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 20)).map(lambda two: Span(two[0], two[0] + two[1])), max_size=12)


@given(Spans, Spans)
def test_what_is_left_and_what_is_taken_make_the_whole(first: Sequence[Span], second: Sequence[Span]) -> None:
    whole, taken = reading.union(first), reading.union(second)
    left = reading.minus(whole, taken)
    both = reading.length_s(reading.union([*left, *taken]))
    assert both == pytest.approx(reading.length_s(reading.union([*whole, *taken])), abs=1e-6)
    assert not [span for span in left for other in taken if span.from_at < other.until_at and other.from_at < span.until_at]


# --- what it costs ---


def test_time_that_was_seen_costs_and_time_that_was_not_may() -> None:
    cost = cost_of(a_meter((0, 2), (5, 6), per_hour=0.5), h(0), h(6))
    assert cost is not None
    assert (cost.spent, cost.unseen, cost.unseen_s) == (Amount(1.5), Amount(1.5), Amount(3 * HOUR))


def test_deallocated_time_costs_nothing_at_all() -> None:
    cost = cost_of(replace(a_meter((0, 2)), off=(Span(h(2), h(5)),)), h(0), h(6))
    assert cost is not None
    assert (cost.spent.base, cost.unseen.base) == (2.0, 1.0)


def test_what_goes_on_grows_and_is_equal_until_something_changes() -> None:
    meter = a_meter((0, 1), standing=UP)
    later = reading.seen(meter, Sight(at=h(4), standing=UP))
    assert vm_cost(meter) == vm_cost(later)
    assert spent(vm_cost(meter), h(4)) == pytest.approx(4.0)
    assert spent(cost_of(meter, h(0.5)), h(2)) == pytest.approx(1.5)


def test_out_of_sight_only_what_it_may_cost_grows() -> None:
    cost = vm_cost(a_meter((0, 1)))
    assert cost is not None
    assert not cost.is_growing
    assert (cost.spent.at(h(9)), cost.unseen.at(h(9)), cost.unseen_s.at(h(9))) == pytest.approx((1.0, 8.0, 8 * HOUR))


def test_while_it_is_off_nothing_grows() -> None:
    cost = vm_cost(replace(a_meter((0, 1), standing=OFF), off=(Span(h(1), h(2)),)))
    assert cost is not None
    assert (cost.spent.at(h(9)), cost.unseen.at(h(9))) == (1.0, 0.0)


def test_a_vm_that_is_no_longer_watched_costs_no_more() -> None:
    cost = vm_cost(reading.ended(a_meter((0, 1), standing=UP), h(2)))
    assert cost is not None
    assert (cost.spent.at(h(9)), cost.unseen.at(h(9))) == (1.0, 1.0)


def test_another_price_does_not_change_what_was() -> None:
    meter = reading.priced(a_meter((0, 4), per_hour=1.0), a_price(3.0), h(2))
    assert spent(cost_of(meter, h(0), h(4))) == pytest.approx(2 * 1.0 + 2 * 3.0)
    assert spent(cost_of(meter, h(0), h(2))) == pytest.approx(2.0)


def test_the_first_price_counts_for_the_time_before_it() -> None:
    meter = reading.priced(a_meter((0, 4), per_hour=None), a_price(2.0), h(3))
    assert spent(cost_of(meter, h(0), h(4))) == pytest.approx(8.0)


def test_without_any_price_the_cost_is_not_known() -> None:
    assert cost_of(a_meter((0, 4), per_hour=None), h(0), h(4)) is None
    assert vm_cost(Meter(vm="vm-1", prices=(PriceStep(from_at=T0, price=a_price()),))) is None


def test_a_price_that_is_taken_away_leaves_what_follows_unknown() -> None:
    meter = reading.priced(a_meter((0, 4), standing=UP), None, h(2))
    cost = cost_of(meter, h(0))
    assert cost is not None
    assert cost.is_partial
    assert cost.spent == Amount(2.0)
    assert projected(cost, Eta(h(5), h(6))) is None


def test_prices_in_another_currency_are_none() -> None:
    meter = reading.priced(a_meter((0, 4), per_hour=1.0), a_price(3.0, "EUR"), h(2))
    cost = cost_of(meter, h(0), h(4))
    assert cost is not None
    assert (cost.currency, cost.spent.base) == ("EUR", 12.0)
    assert total([cost, Cost(currency="USD", spent=Amount(5), unseen=Amount(0), unseen_s=Amount(0))]) == replace(cost, is_partial=True)


def test_a_free_machine_costs_nothing_which_is_known() -> None:
    assert spent(vm_cost(a_meter((0, 4), per_hour=0.0, standing=UP)), h(9)) == 0.0


Hours = st.lists(st.tuples(st.floats(0, 40), st.floats(0.1, 9)), max_size=8)
Prices = st.lists(st.tuples(st.floats(0, 50), st.none() | st.floats(0, 20)), max_size=6)


def metered(hours: Sequence[tuple[float, float]], prices: Sequence[tuple[float, float | None]]) -> Meter:
    first = replace(a_meter(), prices=(PriceStep(from_at=h(-100), price=a_price(2.0)),))
    meter = reading.witnessed(first, [Span(h(begin), h(begin + lasted)) for begin, lasted in hours])
    for at, per_hour in sorted(prices, key=lambda price: price[0]):
        meter = reading.priced(meter, a_price(per_hour) if per_hour is not None else None, h(at))
    return meter


@given(Hours, Prices, st.lists(st.floats(-5, 60), min_size=3, max_size=3))
def test_costs_add_up_over_any_cut(
    hours: Sequence[tuple[float, float]], prices: Sequence[tuple[float, float | None]], cuts: Sequence[float]
) -> None:
    meter = metered(hours, prices)
    first, middle, last = (h(cut) for cut in sorted(cuts))
    whole, parts = cost_of(meter, first, last), [cost_of(meter, first, middle), cost_of(meter, middle, last)]
    assert whole is not None
    added = total(part for part in parts if part is not None)
    assert added is not None
    assert added.spent.base == pytest.approx(whole.spent.base)
    assert added.unseen.base == pytest.approx(whole.unseen.base)
    assert added.unseen_s.base == pytest.approx(whole.unseen_s.base)
    assert added.is_partial == whole.is_partial


@given(Hours, Prices, st.floats(-5, 60), st.floats(0, 60), st.sampled_from(Standing))
def test_no_cost_is_negative_or_shrinks(
    hours: Sequence[tuple[float, float]],
    prices: Sequence[tuple[float, float | None]],
    begin: float,
    more: float,
    standing: Standing,
) -> None:
    meter = replace(metered(hours, prices), standing=standing)
    cost = cost_of(meter, h(begin))
    assert cost is not None
    for amount in (cost.spent, cost.unseen, cost.unseen_s):
        assert 0 <= amount.base <= amount.at(h(60)) <= amount.at(h(60 + more))
    assert cost.unseen_s.at(h(60)) >= 0


@given(Hours, Prices, st.floats(50, 60))
def test_what_goes_on_costs_the_same_as_what_ended_now(
    hours: Sequence[tuple[float, float]], prices: Sequence[tuple[float, float | None]], now: float
) -> None:
    meter = replace(metered(hours, prices), standing=UP) if hours else metered(hours, prices)
    on, until_now = cost_of(meter, h(0)), cost_of(meter, h(0), h(now))
    assert on is not None
    assert until_now is not None
    assert on.spent.at(h(now)) == pytest.approx(until_now.spent.base, abs=1e-9)
    if until_now.is_partial is on.is_partial is False:
        assert on.unseen.at(h(now)) == pytest.approx(until_now.unseen.base, abs=1e-9)


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9), st.integers(0, 1_000_000)), max_size=6), st.floats(0, 1_000_000))
def test_the_sum_grows_as_its_parts_do(amounts: Sequence[tuple[float, float, int]], more: float) -> None:
    costs = [Cost(currency="USD", spent=Amount(base, per_s, since), unseen=Amount(0), unseen_s=Amount(0)) for base, per_s, since in amounts]
    whole, now = total(costs), 1_000_000 + more
    assert (whole.spent.at(now) if whole is not None else 0) == pytest.approx(sum(cost.spent.at(now) for cost in costs))


# --- months, runs, tasks ---


def test_a_month_begins_at_its_first_midnight_in_utc() -> None:
    assert month_start(1_770_207_151.0) == 1_769_904_000.0  # 2026-02-01
    meter = replace(a_meter(), billed=(Span(1_769_904_000.0 - 7200, 1_769_904_000.0 + 3600),))
    assert spent(month_cost(meter, 1_770_207_151.0)) == pytest.approx(1.0)
    assert month_cost(reading.ended(meter, 1_769_904_000.0 - 10), 1_770_207_151.0) is None


def test_a_run_costs_what_its_vm_cost_meanwhile() -> None:
    state = State()
    run = a_run(started_at=h(1), ended_at=h(3), status=RunStatus.FINISHED)
    state.put(a_meter((0, 2.5), per_hour=2.0))
    cost = run_cost(state, run)
    assert cost is not None
    assert (cost.spent.base, cost.unseen.base) == (3.0, 1.0)
    assert run_cost(state, replace(run, vm="")) is None


def test_tasks_of_a_log_bear_witness_with_the_pauses_between_them() -> None:
    def task(name: str, begin: float, end: float | None, status: TaskStatus, **fields: float) -> object:
        return a_task(name, started_at=T0 + begin, ended_at=T0 + end if end is not None else None, status=status, **fields)

    tasks = [
        task("a", 10, 200, TaskStatus.PASSED),
        task("b", 200 + MAX_PAUSE_S, 1500, TaskStatus.ERROR),
        task("c", 5000, 9000, TaskStatus.UNKNOWN),
        task("d", 9000, None, TaskStatus.RUNNING, changed_at=T0 + 9300),
    ]
    assert evidence(a_run(), tasks) == (Span(T0, T0 + 1500), Span(T0 + 9000, T0 + 9300))  # type: ignore[arg-type]


def test_a_run_that_ends_as_expected_will_have_cost_so_much() -> None:
    cost = cost_of(a_meter((0, 1), standing=UP, per_hour=2.0), h(0))
    assert cost is not None
    assert projected(cost, Eta(h(2), h(3))) == pytest.approx((4.0, 6.0))
    assert projected(cost, None) is None
    away = cost_of(a_meter((0, 1), per_hour=2.0), h(0))
    assert away is not None
    assert projected(away, Eta(h(2), h(3))) is None


def test_tasks_that_run_side_by_side_share_the_cost() -> None:
    meter = a_meter((0, 9), per_hour=6.0)
    tasks = [
        a_task("a", started_at=h(0), ended_at=h(2)),
        a_task("b", started_at=h(1), ended_at=h(2)),
        a_task("c", started_at=h(4), ended_at=h(5)),
        a_task("d", started_at=h(5)),
    ]
    assert task_costs(meter, tasks) == pytest.approx({tasks[0].key: 9.0, tasks[1].key: 3.0, tasks[2].key: 6.0})
    assert task_costs(None, tasks) == task_costs(a_meter((0, 9), per_hour=None), tasks) == {}


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 5)), max_size=10), Prices)
def test_shares_of_tasks_add_up_to_the_time_in_which_any_ran(
    times: Sequence[tuple[float, float]], prices: Sequence[tuple[float, float | None]]
) -> None:
    known = [(at, per_hour) for at, per_hour in prices if per_hour is not None]
    meter = metered([], known)
    tasks = [a_task(f"t{number}", started_at=h(begin), ended_at=h(begin + lasted)) for number, (begin, lasted) in enumerate(times)]
    shares = task_costs(meter, tasks)
    together = reading.witnessed(meter, [Span(h(begin), h(begin + lasted)) for begin, lasted in times])
    assert all(share >= 0 for share in shares.values())
    assert sum(shares.values()) == pytest.approx(spent(cost_of(together, h(0), h(26))), abs=1e-9)


# --- budgets ---


def a_running_state(hours: float, **fields: object) -> State:
    state = State()
    vm = a_vm(connection=Connection(connected=True, since_at=T0), run_id=a_run().run_id)
    for entity in (vm, a_run(total=10), a_meter((0, hours), standing=UP, per_hour=2.0)):
        state.put(entity)
    for number in range(4):
        ended = {"started_at": T0 + 900 * number, "ended_at": T0 + 900 * (number + 1), "status": TaskStatus.PASSED}
        state.put(a_task(f"task-{number}", **(ended | fields)))
    return state


def over_budget(state: State, budget: float, now: float) -> list[str]:
    found = attention_of(state, now=now, limits=Limits(run_budget=budget))
    return [item.title for item in found if item.concern is Concern.OVER_BUDGET]


def test_a_run_that_costs_more_than_it_may_needs_a_person() -> None:
    state = a_running_state(1)
    assert over_budget(state, 1.9, h(1)) == ["The run is over its budget"]
    assert over_budget(state, 3.0, h(1)) == ["The run will go over its budget"]  # 10 tasks of 15 minutes cost $5
    assert over_budget(state, 5.1, h(1)) == [] == over_budget(state, 0.0, h(1))


def test_the_words_about_a_budget_stay_the_same_while_the_money_goes_on() -> None:
    state = a_running_state(1)
    first, second = (attention_of(state, now=h(at), limits=Limits(run_budget=1.0)) for at in (1, 1.1))
    assert [item for item in first if item.concern is Concern.OVER_BUDGET] == [
        item for item in second if item.concern is Concern.OVER_BUDGET
    ]
