"""Nothing jumps, nothing is wider than a phone, and everybody can use it."""

from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.desk import VM, Desk
from tests.browser.visit import Visit, expect_state
from tests.support.server import Server, wait_for

AXE = Path(__file__).with_name("vendor") / "axe.min.js"
SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    if (entry.hadRecentInput) continue;
    const name = (node) => node ? `${node.nodeName}.${node.className}#${node.id || node.parentElement?.className}` : "?";
    window.shifts.push([entry.value, entry.sources.map(({node, previousRect: a, currentRect: b}) =>
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


COUNT_STEPS = """selector => {
  window.steps = 0;
  let last = "";
  new MutationObserver(() => {
    const now = document.querySelector(selector)?.textContent;
    if (now !== last) { last = now; window.steps += 1; }
  }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


@pytest.mark.parametrize("path", ["/", "/vms/demo"])
def test_nothing_moves_while_a_run_goes_on(path: str, show: Server, visit: Visit) -> None:
    page = visit.open_live(show.url + path, init=SHIFTS)
    page.evaluate(COUNT_STEPS, ".step-line")
    page.wait_for_function("() => window.steps >= 40", timeout=60_000)
    shifts = page.evaluate("window.shifts")
    assert sum(value for value, _ in shifts) < 0.01, shifts


@pytest.mark.parametrize("path", PATHS)
def test_a_phone_needs_no_sideways_scrolling(path: str, paths: dict[str, str], visit: Visit) -> None:
    page = visit.open(paths[path], allows_outage=path == "/nothing-here", viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PATHS)
def test_axe_finds_nothing_serious(path: str, scheme: Literal["light", "dark"], paths: dict[str, str], visit: Visit) -> None:
    page = visit.open(paths[path], allows_outage=path == "/nothing-here", color_scheme=scheme)
    if page.locator("#live").count():
        expect_state(page, "connected")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate(
        """() => axe.run({resultTypes: ["violations"]}).then(({violations}) => violations
             .filter(({impact}) => impact === "serious" || impact === "critical")
             .map(({id, nodes}) => [id, nodes.map(({html, any}) => [html, any.map(({message}) => message)])]))"""
    )
    assert found == []


def test_reduced_motion_is_respected(desk: Desk, visit: Visit) -> None:
    page = visit.open_live(desk.url, reduced_motion="reduce")
    assert page.evaluate("document.getAnimations().length") == 0
    desk.start_run([("clock", "m-1"), ("clock", "m-2")])
    desk.finish(1.0)
    expect(page.locator(f"#vm-card-{VM} .bar-text")).to_contain_text("1/2")
    assert page.evaluate("document.getAnimations().length") == 0
