"""What VMs and runs cost, as panels, programs, files and reports tell it."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.core.builders import task_facts
from tests.web import fleet_builder as build
from tests.web.fleet_builder import NOW, F, P, R
from tests.web.house import House, house
from tests.web.markup import Element, judge, read
from waa.core.attention import Limits
from waa.core.event import Event, EventType
from waa.core.logs import fact as f
from waa.core.meter import Meter, PriceStep, Sight, Span, Standing, seen
from waa.core.observation import LinkFailed, Machine, StatusSeen
from waa.core.price import Price, PriceEntry, PriceSource
from waa.core.state import State
from waa.core.status import Phase, RunStatus, TaskStatus
from waa.services.prices import Quote
from waa.web.panels import PANELS
from waa.web.views.run_head import run_head
from waa.web.views.vm import fleet

RENDERER = build.a_renderer()
HOUR = 3600.0
PRICE = Price(per_hour=2.0, currency="USD", source=PriceSource.TABLE, label="Standard_D8ds_v5, eastus2")
RUN_ID = "waa-1-20260204T113131"


def a_meter(vm: str = "waa-1", *, hours: float = 3.0, until_at: float = NOW, **fields: Any) -> Meter:
    """Up for so many hours until now, and on."""
    meter = Meter(
        vm=vm,
        standing=Standing.UP,
        billed=(Span(until_at - HOUR * hours, until_at),),
        prices=(PriceStep(from_at=NOW - 1e6, price=PRICE),),
    )
    return replace(meter, **fields)


def a_fleet(*meters: Meter, outcomes: Sequence[TaskStatus] = (P, F, P, P, R)) -> State:
    """A VM whose run began an hour ago."""
    vm, run, _ = build.running(outcomes=outcomes)
    state = build.a_state([vm], [(run, outcomes)])
    for meter in meters:
        state.put(meter)
    return state


def shown(name: str, state: State, subject: str | None = None, **look: object) -> Element:
    root = read(RENDERER.panel(PANELS[name], build.a_look(state, **look), subject))
    judge(root)
    (section,) = root.children
    return section


def numbers_of(dl: Element) -> dict[str, str]:
    """The terms of a list of numbers, and what they say."""
    return {div.one(tag="dt").text: " ".join(div.one(tag="dd").text.split()) for div in dl.all(tag="div")}


def text_of(element: Element) -> str:
    return " ".join(element.text.split())


# --- panels ---


def test_a_running_run_says_what_it_costs_so_far_by_its_end_and_per_task() -> None:
    section = shown("run-head", a_fleet(a_meter()), RUN_ID, limits=Limits(run_budget=25.0))
    told = numbers_of(section.one(id_="run-cost"))
    assert told["Cost so far"] == "$2.00 of $25.00"
    assert told["Per task passed"] == "$0.667"
    assert told["Per task"] == "$0.500"
    assert told["By its end"] == "$3.00"
    first = replace(build.a_task(build.a_run()), ended_at=NOW - HOUR + 400)
    state = a_fleet(a_meter())
    state.put(first)
    low, high = numbers_of(shown("run-head", state, RUN_ID).one(id_="run-cost"))["By its end"].split(" – ")
    assert low < high, "tasks that take differently long make a range"


def test_what_grows_is_told_by_a_base_and_a_rate_and_the_panel_is_not_sent_again() -> None:
    state = a_fleet(a_meter())
    amount = shown("run-head", state, RUN_ID).one(id_="run-cost").all(class_="money")[0]
    base, rate, since = (float(amount.attributes[f"data-{name}"]) for name in ("cost", "cost-rate", "cost-since"))
    assert base + rate * (NOW - since) == pytest.approx(2.0)
    assert amount.attributes["data-cost-sign"] == "$"
    first, later = build.a_look(state), replace(build.a_look(state), now=NOW + 2.0)
    assert run_head(first, RUN_ID) == run_head(later, RUN_ID)
    assert fleet(first, None) == fleet(later, None)
    state.put(seen(state.meters["waa-1"], Sight(at=NOW + 900, standing=Standing.UP)))
    assert run_head(first, RUN_ID) == run_head(replace(first, now=NOW + 900), RUN_ID), "that it was written changes nothing"


def test_time_that_nobody_saw_stands_beside_the_least_that_it_cost() -> None:
    run = build.a_run(status=RunStatus.FINISHED, ended_at=NOW - 600)
    state = build.a_state([build.a_vm()], [(run, (P, P))])
    state.put(a_meter(hours=2.5, billed=(Span(NOW - 3 * HOUR, NOW - 3000), Span(NOW - 1200, NOW))))
    told = numbers_of(shown("run-head", state, run.run_id).one(id_="run-cost"))
    assert told["Cost"] == "at least $0.67"
    assert "By its end" not in told
    assert told["Not seen"] == "30 min 0 s not seen: up to $1.00 more"


def test_without_any_price_nothing_is_said_of_costs() -> None:
    state = a_fleet(a_meter(prices=()))
    assert not shown("run-head", state, RUN_ID).has_id("run-cost")
    assert not shown("fleet", state).has_id("spending")
    assert not shown("fleet", state).all(class_="card-cost")
    assert "Cost" not in text_of(shown("runs", state))


def test_what_is_not_known_is_a_dash_and_never_nothing() -> None:
    other = replace(a_meter("waa-9"), ended_at=NOW)
    state = a_fleet(a_meter(prices=()), other)
    told = numbers_of(shown("run-head", state, RUN_ID).one(id_="run-cost"))
    assert told == {"Cost so far": "–", "By its end": "–", "Per task passed": "–", "Per task": "–"}
    assert text_of(shown("fleet", state).one(class_="card-cost")) == "Cost –"
    (row,) = shown("runs", state).all(tag="tbody")[0].all(tag="tr")
    assert [cell.text.strip() for cell in row.all(tag="td") if cell.attributes.get("data-label") == "Cost"] == ["–"]


def test_a_card_tells_the_month_and_the_hour() -> None:
    assert text_of(shown("fleet", a_fleet(a_meter())).one(class_="card-cost")) == "$6.00 this month$2.00/h"
    away = replace(a_meter(until_at=NOW - HOUR), standing=Standing.UNKNOWN)
    assert text_of(shown("fleet", a_fleet(away)).one(class_="card-cost")) == "≥ $6.00 this month"


@pytest.mark.parametrize(
    ("budget", "words", "is_over"),
    [(0.0, "February: $9.00 now $4.00/h", False), (20.0, "of $20.00", False), (8.0, "of $8.00", True)],
)
def test_the_month_is_told_for_all_vms_with_its_budget(budget: float, words: str, is_over: bool) -> None:
    gone = a_meter("waa-8", hours=0.0, billed=(), ended_at=NOW - 10, prices=())
    state = a_fleet(a_meter(), a_meter("waa-2", hours=1.5), gone)
    section = shown("fleet", state, limits=Limits(monthly_budget=budget)).one(id_="spending")
    assert words in text_of(section)
    assert ("is-over" in section.classes) is is_over
    assert bool(section.all(class_="budget-bar")) is (budget > 0)


def test_an_idle_vm_says_what_it_costs_and_has_cost_since() -> None:
    vm = build.a_vm(phase=Phase.IDLE, phase_at=NOW - HOUR)
    state = build.a_state([vm])
    state.put(a_meter())
    assert "It costs $2.00/h: $2.00 since then." in text_of(shown("attention", state))
    state.put(a_meter(prices=()))
    assert "Idle and costing" in text_of(shown("attention", state))
    assert "It costs" not in text_of(shown("attention", state))


def test_budgets_that_are_passed_or_will_be_need_a_person() -> None:
    state = a_fleet(a_meter())
    passed = text_of(shown("attention", state, limits=Limits(run_budget=1.5, monthly_budget=5.0)))
    assert "The run is over its budget" in passed
    assert "It has cost more than $1.50" in passed
    assert "This month's budget is spent" in passed
    assert "more than $5.00" in passed
    ahead = text_of(shown("attention", state, limits=Limits(run_budget=2.5, monthly_budget=6.5)))
    assert "The run will go over its budget" in ahead
    assert "This month's budget will not last" in ahead
    assert "Nothing needs you" in text_of(shown("attention", state, limits=Limits(run_budget=900.0, monthly_budget=900.0)))


def test_a_vms_page_tells_its_price_and_whose_word_that_is() -> None:
    def quote(_vm: object) -> Quote:
        return Quote(price=PRICE)

    told = numbers_of(shown("vm", a_fleet(a_meter()), "waa-1", quote_of=quote).one(id_="vm-cost"))
    assert told["Price"] == "$2.00/h by the table, for Standard_D8ds_v5, eastus2"
    assert told["Now"] == "Up, and billed for 3 h 0 min: $6.00"
    assert told["This month"] == "$6.00"
    assert told["In all"] == "$6.00 since 09:31 UTC"
    unknown = numbers_of(shown("vm", a_fleet(), "waa-1").one(id_="vm-cost"))
    assert unknown == {"Price": "– No prices are kept here.", "This month": "–", "In all": "–"}


def test_a_deallocated_vm_says_so() -> None:
    state = a_fleet(a_meter(until_at=NOW - HOUR, standing=Standing.OFF, off=(Span(NOW - HOUR, NOW),)))
    told = numbers_of(shown("vm", state, "waa-1").one(id_="vm-cost"))
    assert told["Now"].startswith("Deallocated: nothing is billed")
    assert told["This month"] == "$6.00"


def test_runs_are_sorted_by_what_they_cost_those_not_known_last() -> None:
    runs = [build.a_run(vm, f"{vm}-run", started_at=NOW - HOUR * hours) for vm, hours in (("waa-1", 1), ("waa-2", 3), ("waa-3", 2))]
    state = build.a_state([build.a_vm(run.vm) for run in runs], [(run, (P,)) for run in runs])
    state.put(a_meter("waa-1"))
    state.put(a_meter("waa-2"))
    for sort, order in (("-cost", ["waa-2-run", "waa-1-run", "waa-3-run"]), ("cost", ["waa-1-run", "waa-2-run", "waa-3-run"])):
        rows = shown("runs", state, f"sort={sort}").all(tag="tbody")[0].all(tag="tr")
        assert [row.one(tag="th").text for row in rows] == order
    cells = [cell.text for cell in shown("runs", state, "sort=-cost").all(tag="td") if cell.attributes.get("data-label") == "Cost"]
    assert [text.strip() for text in cells] == ["$6.00", "$2.00", "–"]


def test_compared_runs_say_what_a_passed_task_costs() -> None:
    runs = [build.a_run("waa-1", f"run-{number}", started_at=NOW - HOUR * number, ended_at=NOW - HOUR * (number - 1)) for number in (1, 2)]
    finished = [replace(run, status=RunStatus.FINISHED) for run in runs]
    state = build.a_state([build.a_vm()], [(run, (P, P, F)) for run in finished])
    state.put(a_meter())
    row = shown("compare", state, "run-1,run-2").one(id_="compare-run-B")
    (cell,) = [cell for cell in row.all(tag="td") if cell.attributes.get("data-label") == "Cost"]
    assert text_of(cell) == "$2.00 $1.00 per task passed"
    state.put(a_meter(prices=()))
    assert "Cost" not in text_of(shown("compare", state, "run-1,run-2").one(class_="compare-runs"))


@pytest.mark.parametrize("name", ["attention", "fleet", "runs", "run-head", "vm", "compare"])
def test_a_meter_changes_the_panels_that_tell_of_costs(name: str) -> None:
    subject = {"run-head": RUN_ID, "vm": "waa-1", "compare": f"{RUN_ID},x"}.get(name)
    event = Event(id=1, type=EventType.METER_CHANGED, at=NOW, entity=a_meter())
    assert PANELS[name].is_touched(event, subject)
    assert not PANELS["vm"].is_touched(event, "waa-2")


# --- programs ---

PRICES = (PriceEntry(size="Standard_D8ds_v5", per_hour=3.6),)
PLACE = {"size": "Standard_D8ds_v5", "region": "eastus2"}


async def at_work(built: House, *, hours: float = 1.0) -> str:
    """A VM that has been up, and a run that has gone on, for so long; two tasks ended, one passed."""
    begun_at = built.clock.now - HOUR * hours
    await built.name(**PLACE)
    await built.record(StatusSeen(vm="vm-1", at=begun_at, machine=Machine(boot_id="1", booted_at=begun_at)))
    built.monitor.machine_at["vm-1"] = built.monitor.seen_at["vm-1"] = built.clock.now
    facts: list[f.AnyFact] = [f.RunStarted(at=begun_at, dialect=f.Dialect.WAA), f.RunPlanned(at=begun_at, total=10)]
    facts += task_facts("t-1", at=begun_at + 10, steps=9) + task_facts("t-2", at=begun_at + 200, steps=9, score=0.0)
    await built.tell(*facts)
    await built.meters.look()
    await built.recorder.flush()
    return str(next(iter(built.recorder.state.runs)))


async def test_programs_get_costs_as_numbers() -> None:
    async with house(prices=PRICES, looked_for=Limits(run_budget=9.0, monthly_budget=99.0)) as built:
        run_id = await at_work(built)
        cost = (await built.json(f"/api/runs/{run_id}"))["run"]["cost"]
        assert cost == {
            "currency": "USD",
            "spent": 3.6,
            "unseen": 0.0,
            "unseen_seconds": 0.0,
            "per_hour": 3.6,
            "is_partial": False,
            "projected": None,
            "per_passed_task": 3.6,
            "per_task": 1.8,
            "budget": 9.0,
        }
        assert (await built.json("/api/runs"))["runs"][0]["cost"] == cost == (await built.json("/api/current-run"))["run"]["cost"]
        vm = (await built.json("/api/vms/vm-1"))["cost"]
        assert (vm["price_per_hour"], vm["price_source"], vm["standing"], vm["since"]) == (3.6, "table", "up", built.clock.now - HOUR)
        assert vm["total"]["spent"] == vm["this_month"]["spent"] == 3.6
        assert vm["price_note"] is None
        spending = (await built.json("/api/spending"))["spending"]
        assert (spending["spent"], spending["budget"], spending["per_hour"]) == (3.6, 99.0, 3.6)
        built.clock.now += HOUR
        assert (await built.json(f"/api/runs/{run_id}"))["run"]["cost"]["spent"] == pytest.approx(7.2)


async def test_programs_get_null_where_nothing_is_known() -> None:
    async with house() as built:
        run_id = await at_work(built)
        assert (await built.json(f"/api/runs/{run_id}"))["run"]["cost"] is None
        vm = (await built.json("/api/vms/vm-1"))["cost"]
        assert (vm["price_per_hour"], vm["total"], vm["standing"]) == (None, None, "up")
        assert vm["price_note"] == "There is no [[price]] for Standard_D8ds_v5, eastus2, and azure_prices is off."
        assert (await built.json("/api/spending"))["spending"] is None


async def test_out_of_sight_the_least_stands_still_and_the_most_grows() -> None:
    async with house(prices=PRICES) as built:
        run_id = await at_work(built)
        await built.record(LinkFailed(vm="vm-1", at=built.clock.now, failure=build.CLOSED))
        await built.meters.look()
        await built.recorder.flush()
        built.clock.now += HOUR
        cost = (await built.json(f"/api/runs/{run_id}"))["run"]["cost"]
        assert (cost["spent"], cost["per_hour"], cost["projected"]) == (3.6, 0.0, None)
        assert (cost["unseen"], cost["unseen_seconds"]) == (pytest.approx(3.6), pytest.approx(HOUR))


async def test_a_vm_is_registered_with_its_price_and_a_wrong_one_is_refused() -> None:
    async with house() as built:
        body = {"name": "rack-7", "ssh_host": "10.0.0.9", "price_per_hour": 0.3}
        assert (await built.post_json("/api/vms/register", body)).code == 201
        assert (await built.json("/api/vms/rack-7"))["cost"]["price_source"] == "vm"
        for field, value in (("price_per_hour", -1), ("size", "a b"), ("region", "'"), ("os", "dos"), ("spot", "yes")):
            answer = await built.post_json("/api/vms/register", body | {field: value})
            assert answer.code == 422 or answer.code == 400, field
            assert field in answer.body.decode()


async def test_the_form_takes_a_price() -> None:
    async with house() as built:
        page = (await built.ask("/vms/new")).body.decode()
        for name in ("price_per_hour", "size", "region", "spot", "os"):
            assert f'name="{name}"' in page


async def test_a_csv_file_has_each_tasks_share() -> None:
    async with house(prices=PRICES) as built:
        run_id = await at_work(built)
        rows = list(csv.DictReader(io.StringIO((await built.ask(f"/runs/{run_id}/tasks.csv")).body.decode())))
        assert [(row["cost"], row["currency"]) for row in rows] == [("0.096", "USD"), ("0.096", "USD")]
    async with house() as built:
        run_id = await at_work(built)
        rows = list(csv.DictReader(io.StringIO((await built.ask(f"/runs/{run_id}/tasks.csv")).body.decode())))
        assert {(row["cost"], row["currency"]) for row in rows} == {("", "")}


async def test_a_report_has_the_cost() -> None:
    async with house(prices=PRICES) as built:
        run_id = await at_work(built)
        report = " ".join(read((await built.ask(f"/runs/{run_id}/report.html")).body).text.split())
        assert "Cost$3.60" in report.replace(" ", "")
        assert "$3.60 per task passed" in report
