"""The report of a run, saved and opened from the disk with the network off."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.axe import serious
from tests.browser.desk import Desk
from tests.browser.test_task import CLICK, Folder
from tests.browser.visit import Visit
from tests.support.wait import wait_for


@pytest.fixture(scope="module")
def run(desk: Desk) -> str:
    """A run with a task that failed after three steps, and one that passed."""
    run = desk.start_run([("clock", "failed"), ("clock", "passed")])
    folder = Folder(desk, "clock", "failed")
    for number in (1, 2, 3):
        folder.step(number, CLICK if number == 3 else f"act({number})", f"Thought {number}.")
    desk.finish(0.25)
    Folder(desk, "clock", "passed").step(1, "act(1)")
    desk.finish(1.0)
    desk.end_run()
    wait_for(lambda: desk.server.get(f"/api/runs/{run}")["run"]["tasks_completed"] == 2, what="both tasks ended")
    return run


@pytest.fixture(scope="module")
def saved(desk: Desk, run: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the report lies on the disk."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(desk.server.html(f"/runs/{run}/report.html"), encoding="utf-8")
    return path.as_uri()


def open_saved(visit: Visit, saved: str, **options: object) -> tuple[Page, list[str]]:
    """The page, and what it asked for besides itself."""
    context = visit.context(**options)  # type: ignore[arg-type]  # those of context
    context.set_offline(True)
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(saved)
    return page, asked


def test_it_is_a_download_of_the_page_of_the_run(desk: Desk, run: str, visit: Visit, tmp_path: Path) -> None:
    page = visit.open_live(f"{desk.url}/runs/{run}")
    with page.expect_download() as started:
        page.get_by_role("link", name="Report").click()
    assert started.value.suggested_filename == f"{run}-report.html"
    started.value.save_as(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")


@pytest.mark.parametrize("scripts", [True, False])
def test_everything_shows_from_the_disk_with_the_network_off(scripts: bool, saved: str, visit: Visit) -> None:
    page, asked = open_saved(visit, saved, java_script_enabled=scripts)
    expect(page.get_by_text("scored 2 of 2")).to_be_visible()
    expect(page.locator(".numbers")).to_contain_text("50 %")
    expect(page.locator(".chart-line")).to_be_visible()
    row = page.locator(".tasks a", has_text="failed")
    row.click()
    task = page.locator(".task", has=page.locator("h3", has_text="failed"))
    expect(task).to_be_in_viewport()
    expect(task.locator(".thought").first).to_have_text("Thought 1.")
    expect(task.locator("img").first).to_be_visible()
    if scripts:
        sizes = page.locator("img").evaluate_all("images => images.map((image) => image.naturalWidth)")
        assert len(sizes) >= 3
        assert set(sizes) == {640}
    passed = page.locator(".task", has=page.locator("h3", has_text="passed"))
    expect(passed.get_by_text("act(1)")).to_be_hidden()
    passed.locator("summary").click()
    expect(passed.get_by_text("act(1)")).to_be_visible()
    assert [url for url in asked if not url.startswith("data:")] == [saved.partition("#")[0]]


def test_its_style_counts_and_the_marker_lies_on_its_screenshot(saved: str, visit: Visit) -> None:
    page, _ = open_saved(visit, saved, color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(19, 22, 25)"
    shot = page.locator(".shot", has=page.locator(".dot"))
    picture, dot = shot.locator("img").bounding_box(), shot.locator(".dot").bounding_box()
    assert picture is not None
    assert dot is not None
    assert abs(dot["x"] + dot["width"] / 2 - picture["x"] - 0.25 * picture["width"]) < 2
    assert abs(dot["y"] + dot["height"] / 2 - picture["y"] - 0.5 * picture["height"]) < 2


def test_a_phone_needs_no_sideways_scrolling(saved: str, visit: Visit) -> None:
    page, _ = open_saved(visit, saved, viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_it_prints_on_white(saved: str, visit: Visit) -> None:
    page, _ = open_saved(visit, saved, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    expect(page.locator(".contents")).to_be_hidden()


def test_axe_finds_nothing_serious(desk: Desk, saved: str, visit: Visit) -> None:
    page, _ = open_saved(visit, saved, bypass_csp=True)
    assert serious(page) == []
