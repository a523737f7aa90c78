"""What it costs, as a reader sees it: amounts that count on in place, without a word from the server and without moving anything."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.axe import serious
from tests.browser.desk import Desk
from tests.browser.visit import Visit
from tests.support.wait import wait_for

SETTINGS = """monthly_budget = 1000000000
run_budget = 0.5
[[price]]
size = "Standard_D8ds_v5"
per_hour = 720
"""
TASKS = [("clock", f"paid-{number}") for number in range(1, 6)]
BOXES = """Array.from(document.querySelectorAll('.panel, .card, .card-foot, #run-cost > div, #spending, #vm-cost > div'))
  .map((each) => { const box = each.getBoundingClientRect(); return [box.x, box.y, box.width, box.height].map(Math.round).join(' '); })"""


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk that costs twenty cents a second."""
    desk = Desk(tmp_path_factory.mktemp("paid"), settings=SETTINGS, more={"size": "Standard_D8ds_v5"})
    try:
        yield desk.open()
    finally:
        desk.close()


@pytest.fixture(scope="module")
def run_id(paid: Desk) -> str:
    """A run of which two tasks ended; it goes on."""
    run = paid.start_run(TASKS)
    paid.step()
    paid.finish()
    paid.finish(0.0)
    wait_for(lambda: (cost := paid.current()["cost"]) is not None and cost["per_task"] and cost["spent"] > 0.5, what="its cost is known")
    return run


def amount_of(page: Page, selector: str) -> float:
    """The money that is shown there first."""
    return float(page.locator(selector).first.inner_text().lstrip("<≥ $").replace(",", ""))


@pytest.mark.parametrize(
    ("path", "selector"),
    [("/", "#spending .money"), ("/", ".card-cost .money"), ("/runs/{run}", "#run-cost .money"), ("/vms/desk", "#vm-cost .money")],
)
def test_amounts_count_on_in_place(path: str, selector: str, paid: Desk, run_id: str, visit: Visit) -> None:
    page = visit.open_live(paid.url + path.format(run=run_id))
    expect(page.locator(selector).first).to_be_visible()
    if path == "/":
        expect(page.locator("#attention-panel")).to_contain_text("The run is over its budget")
    page.evaluate("(selector) => { window.kept = document.querySelector(selector); }", selector)
    before, boxes = amount_of(page, selector), page.evaluate(BOXES)
    page.wait_for_function("(before) => Number(window.kept.textContent.replace(/[^0-9.]/g, '')) >= before + 0.35", arg=before)
    assert page.evaluate("window.kept.isConnected"), "the same element, not a new one"
    assert page.evaluate(BOXES) == boxes, "nothing moved"


def test_page_and_server_say_the_same(paid: Desk, run_id: str, visit: Visit) -> None:
    page = visit.open_live(f"{paid.url}/runs/{run_id}")
    expect(page.locator("#run-cost .money").first).to_be_visible()
    told = paid.server.get(f"/api/runs/{run_id}")["run"]["cost"]["spent"]
    assert abs(amount_of(page, "#run-cost .money") - told) < 1.0, "of what it costs in five seconds"


def test_a_run_over_its_budget_is_an_incident(paid: Desk, run_id: str, visit: Visit) -> None:
    page = visit.open_live(f"{paid.url}/runs/{run_id}")
    incident = page.locator("#run-incidents-panel .incident")
    expect(incident).to_contain_text("The run is over its budget")
    expect(incident).to_contain_text("It has cost more than $0.50")
    page.goto(paid.url)
    expect(page.locator("#attention-panel")).to_contain_text("The run is over its budget")


def test_costs_are_there_without_a_script(paid: Desk, run_id: str, visit: Visit) -> None:
    page = visit.open(f"{paid.url}/runs", java_script_enabled=False)
    expect(page.locator("td[data-label=Cost]")).to_contain_text("$")


@pytest.mark.parametrize("path", ["/", "/runs/{run}", "/vms/desk", "/runs"])
def test_everybody_can_use_it(path: str, paid: Desk, run_id: str, visit: Visit) -> None:
    page = visit.open(paid.url + path.format(run=run_id), bypass_csp=True)
    assert serious(page) == []


@pytest.mark.parametrize("path", ["/", "/runs/{run}", "/vms/desk", "/runs"])
def test_a_phone_needs_no_sideways_scrolling(path: str, paid: Desk, run_id: str, visit: Visit) -> None:
    page = visit.open(paid.url + path.format(run=run_id), viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
