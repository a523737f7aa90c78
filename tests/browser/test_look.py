"""Nothing jumps, nothing is wider than a phone, and everybody can use it."""

import pytest
from playwright.sync_api import expect

from tests.browser.axe import serious
from tests.browser.desk import VM, Desk
from tests.browser.visit import Visit, expect_state
from tests.support.server import Server
from tests.support.wait import wait_for

SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    if (entry.hadRecentInput) continue;
    const name = (node) => node ? `${node.nodeName}.${node.className}#${node.id || node.parentElement?.className}` : "?";
    const jumps = ({previousRect: a, currentRect: b}) =>
      Math.abs(a.y - b.y) >= 1 || Math.abs(a.height - b.height) >= 1 || Math.abs(a.x - b.x) >= 32;
    window.shifts.push([entry.value, entry.sources.some(jumps), entry.sources.map(({node, previousRect: a, currentRect: b}) =>
      `${name(node)} ${a.x|0},${a.y|0},${a.width|0},${a.height|0}>${b.x|0},${b.y|0},${b.width|0},${b.height|0}`)]);
  }
}).observe({type: "layout-shift", buffered: true});
"""
PATHS = ("/", "/vms/demo", "/runs", "/runs/{run}", "/vms/new", "/nothing-here")


@pytest.fixture(scope="module")
def paths(show: Server) -> dict[str, str]:
    """The addresses of all pages, once the demo has results."""
    run = wait_for(
        lambda: next((run for run in show.get("/api/runs")["runs"] if run["tasks_completed"] > 4), None), what="a run with results"
    )
    return {path: show.url + path.format(run=run["run_id"]) for path in PATHS}


@pytest.mark.parametrize("path", ["/", f"/vms/{VM}"])
def test_nothing_moves_while_a_task_goes_on(path: str, desk: Desk, visit: Visit) -> None:
    desk.start_run([("libreoffice_writer", f"5f8b9b8e-{number}") for number in range(1, 40)])
    desk.finish(1.0)
    page = visit.open_live(desk.url + path, init=SHIFTS)
    expect(page.locator(".step-number").first).to_have_text("Preparing")
    desk.step()
    expect(page.locator(".step-number").first).to_have_text("Step 1")
    page.evaluate("() => { window.shifts = []; }")
    for number in range(2, 13):
        desk.step("computer.keyboard.write('a longer text than before')" if number % 3 else "WAIT")
        expect(page.locator(".step-number").first).to_have_text(f"Step {number}")
    wait_for_ages = "() => [...document.querySelectorAll('time[data-refreshed]')].some((age) => /^[2-9] s ago$/.test(age.textContent))"
    page.wait_for_function(wait_for_ages)
    shifts = page.evaluate("window.shifts")
    # Words beside a number that gets a digit more move along; nothing else goes aside, up or down.
    assert not [(sources, value) for value, jumps, sources in shifts if jumps or value >= 0.001]


def test_a_result_moves_only_what_stands_below_the_results(desk: Desk, visit: Visit) -> None:
    desk.start_run([("libreoffice_writer", f"5f8b9b8e-{number}") for number in range(1, 40)])
    for number in range(3):
        desk.step()
        desk.finish(float(number % 2))
    page = visit.open_live(desk.url)
    expect(page.locator(".live-eval .progress-text")).to_have_text("3/39 tasks completed")
    places = "() => [...document.querySelectorAll('.panel, #task-results-list')].map(({id, offsetTop}) => [id, offsetTop])"
    before = page.evaluate(places)
    for number in range(4, 9):
        desk.step()
        desk.finish(float(number % 2))
        expect(page.locator(".live-eval .progress-text")).to_have_text(f"{number}/39 tasks completed")
    after = page.evaluate(places)
    assert [one for one in after if one[0] != "vms-panel"] == [one for one in before if one[0] != "vms-panel"]


@pytest.mark.parametrize("path", PATHS)
def test_a_phone_needs_no_sideways_scrolling(path: str, paths: dict[str, str], visit: Visit) -> None:
    page = visit.open(paths[path], allows_outage=path == "/nothing-here", viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("path", PATHS)
def test_axe_finds_nothing_serious_in_light_and_dark(path: str, paths: dict[str, str], visit: Visit) -> None:
    page = visit.open(paths[path], allows_outage=path == "/nothing-here")
    if page.locator("#live").count():
        expect_state(page, "connected")
    assert serious(page) == []


def test_reduced_motion_is_respected(desk: Desk, visit: Visit) -> None:
    page = visit.open_live(desk.url, reduced_motion="reduce")
    assert page.evaluate("document.getAnimations().length") == 0
    desk.start_run([("clock", "m-1"), ("clock", "m-2")])
    desk.finish(1.0)
    expect(page.locator(f"#vm-card-{VM} .bar-text")).to_contain_text("1/2")
    assert page.evaluate("document.getAnimations().length") == 0
