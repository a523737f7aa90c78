"""Runs side by side in a browser: chosen by a form, live while one runs, a task replayed by keys, on a phone."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.axe import serious
from tests.browser.desk import Desk
from tests.browser.test_task import CLICK, Folder, is_loaded
from tests.browser.visit import Visit

TASKS = [("clock", "cmp-1"), ("clock", "cmp-2"), ("vlc", "cmp-3")]


@pytest.fixture(scope="module")
def runs(desk: Desk) -> tuple[str, str]:
    """Two runs over the same tasks: the first passed, failed, passed; the second failed, passed, and is at its third. They share the
    result folder, which holds what the second did."""
    base = desk.start_run(TASKS)
    for score in (1.0, 0.0, 1.0):
        desk.step()
        desk.finish(score)
    other = desk.start_run(TASKS)
    folder = Folder(desk, "clock", "cmp-1")
    for number, action in enumerate(("wait()", CLICK, "DONE")):
        desk.step(action)
        folder.show(str(number))
    for score in (0.0, 1.0):
        desk.finish(score)
    return base, other


def address(desk: Desk, runs: tuple[str, str]) -> str:
    return f"{desk.url}/compare?runs={','.join(runs)}"


def test_runs_are_chosen_by_a_form_without_javascript(desk: Desk, runs: tuple[str, str], visit: Visit) -> None:
    page = visit.open(f"{desk.url}/compare", java_script_enabled=False)
    expect(page.get_by_role("link", name="Compare", exact=True)).to_have_attribute("aria-current", "page")
    for run in runs:
        page.get_by_role("checkbox", name=re.compile(rf"{run}\s")).check()
    page.get_by_role("button", name="Compare").click()
    expect(page).to_have_url(re.compile(rf"/compare\?runs={runs[0]},{runs[1]}$"))
    expect(page.locator(".compare-headline")).to_contain_text("tasks that both scored")


def test_it_is_live_while_a_run_goes_on_and_keeps_what_was_unfolded(desk: Desk, runs: tuple[str, str], visit: Visit) -> None:
    page = visit.open_live(address(desk, runs))
    expect(page.locator("#compare-missing .missing-counts")).to_contain_text("B 1 running")
    page.locator("#compare-trials summary").click()
    desk.step()
    desk.finish(0.0)
    expect(page.locator(".compare-headline")).to_contain_text("A passed 1 more than B of the 3 tasks that both scored: 67 % against 33 %")
    expect(page.locator(".compare-headline")).to_contain_text("too few to tell the runs apart")
    expect(page.locator("#compare-trials dd").first).to_be_visible()
    expect(page.locator("#compare-missing")).to_have_count(0)


def test_a_flipped_task_is_replayed_side_by_side_by_keys(desk: Desk, runs: tuple[str, str], visit: Visit) -> None:
    page = visit.open_live(address(desk, runs))
    page.locator(".flip-list a", has_text="cmp-1").click()
    expect(page.locator(".step-head h2")).to_contain_text("Step 1 of 3")
    expect(page.locator("#column-A .result-icon")).to_have_text("OK")
    expect(page.locator("#column-B .result-icon")).to_have_text("FAIL")
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile(r"step=2$"))
    assert is_loaded(page, "#column-A .shot-frame img")
    expect(page.locator("#column-A .shot-marks .dot")).to_have_count(1)
    page.keyboard.press("ArrowLeft")
    expect(page).to_have_url(re.compile(r"step=1$"))
    page.get_by_role("link", name="Back to the comparison").click()
    expect(page.locator("#compare-panel")).to_be_visible()


@pytest.mark.parametrize("path", ["page", "task", "form"])
def test_a_phone_needs_no_sideways_scrolling(path: str, desk: Desk, runs: tuple[str, str], visit: Visit) -> None:
    page = visit.open(addresses(desk, runs)[path], viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    nav = page.get_by_role("navigation", name="Main").bounding_box()
    assert nav is not None
    assert nav["height"] < 60, "the navigation keeps to one line"


@pytest.mark.parametrize("path", ["page", "task", "form"])
def test_axe_finds_nothing_serious(path: str, desk: Desk, runs: tuple[str, str], visit: Visit) -> None:
    assert serious(visit.open(addresses(desk, runs)[path])) == []


def addresses(desk: Desk, runs: tuple[str, str]) -> dict[str, str]:
    task = f"{desk.url}/compare/task?runs={','.join(runs)}&domain=clock&task=cmp-1&step=2"
    return {"page": address(desk, runs), "task": task, "form": f"{desk.url}/compare"}
