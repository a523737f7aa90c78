"""A run played again: the clock, the keys, the panels as they were, and nothing of it taken for the present."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.axe import serious
from tests.browser.desk import Desk
from tests.browser.visit import Traffic, Visit
from tests.support.wait import wait_for

LOG = Path(__file__).parents[1] / "corpus" / "generated" / "waa_up_exception.plain.log"
TASKS = 7
NOTES = """
window.notes = [];
window.Notification = class { static permission = "granted"; constructor(title) { window.notes.push(title); } };
"""


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the replay of a run of ten minutes: seven tasks, of which the first ends with an error."""
    desk = Desk(tmp_path_factory.mktemp("replayed"))
    desk.log.write_bytes(LOG.read_bytes())
    try:
        desk.open()
        wait_for(lambda: desk.current() and desk.current()["tasks_completed"] == TASKS, what="the log is read")
        yield f"{desk.url}/runs/{desk.current()['run_id']}/replay"
    finally:
        desk.close()


def open_replay(visit: Visit, url: str, **options: object) -> Page:
    page = visit.open(url, **options)  # type: ignore[arg-type]  # those of open
    expect(page.locator("#sse-connection-indicator")).to_have_text("Replay")
    return page


def at_s(page: Page) -> float:
    return float(page.locator("#replay-at").input_value())


def test_it_plays_and_its_panels_follow(replay: str, visit: Visit) -> None:
    page = open_replay(visit, f"{replay}?speed=1")
    expect(page.locator("#replay-clock")).to_contain_text("into the run")
    expect(page.locator("#replay-source")).to_have_text("As recorded.")
    expect(page.locator("#replay-play")).to_have_text("Pause")
    began = at_s(page)
    wait_for(lambda: page.evaluate("1") and at_s(page) > began, what="time passes")
    page.locator("body").press("End")
    expect(page.locator("#replay-play")).to_have_text("Play again")
    expect(page.locator(".progress-text")).to_have_text("7/7 tasks completed")
    page.locator("body").press("Home")
    expect(page.locator(".progress-text")).to_have_text("0/7 tasks completed")
    page.locator("body").press("Shift+ArrowRight")
    expect(page.locator(".progress-text")).to_have_text("1/7 tasks completed")
    expect(page.locator("#run-tasks-panel .result-icon").first).to_have_text("ERROR")


def test_space_and_the_buttons_steer(replay: str, visit: Visit) -> None:
    page = open_replay(visit, f"{replay}?speed=1&at=0")
    page.locator("body").press("Space")
    expect(page.locator("#replay-play")).to_have_text("Play")
    stood = at_s(page)
    page.locator("#replay-speed").select_option("300.0")
    page.locator("#replay-idle").uncheck()
    expect(page.locator("#replay-play")).to_have_text("Play")
    assert at_s(page) == stood
    page.locator("#replay-play").click()
    expect(page.locator("#replay-play")).to_have_text("Play again")
    expect(page.locator(".progress-text")).to_have_text("7/7 tasks completed")
    page.reload()
    expect(page.locator("#replay-speed")).to_have_value("300.0")


def test_ages_follow_the_clock_of_the_replay(replay: str, visit: Visit) -> None:
    page = open_replay(visit, f"{replay}?speed=1&at=0")
    page.locator("body").press("End")
    expect(page.locator("#replay-play")).to_have_text("Play again")
    expect(page.locator(".run-latest .age").first).to_have_text(re.compile(r"^(now|\d+ s ago)$"))
    shown = page.locator(".run-latest .age").all_text_contents()
    page.evaluate("new Promise((done) => setTimeout(done, 2200))")  # two turns of the page's clock
    assert page.locator(".run-latest .age").all_text_contents() == shown
    expect(page.locator("#run-head-panel .refreshed")).to_be_hidden()


def test_nothing_is_asked_of_the_present_and_nothing_is_news(replay: str, visit: Visit) -> None:
    page = visit.open("about:blank", init=NOTES)
    traffic, asked = Traffic(page), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{replay}?speed=1000&at=0")
    expect(page.locator(".progress-text")).to_have_text("7/7 tasks completed")
    page.locator("#run-tasks-panel .sort", has_text="Result").click()
    expect(page.locator("#run-tasks-panel th[aria-sort=ascending]")).to_have_text("Result")
    expect(page).to_have_url(re.compile(r"/replay\?speed=1000&at=\d+$"))
    wait_for(lambda: page.evaluate("1") and any("/stream?" in url and "sort" in url for url in asked), what="the stream moves along")
    page.locator("body").press("Home")
    expect(page.locator("#run-tasks-panel th[aria-sort=ascending]")).to_have_text("Result")
    expect(page.locator(".progress-text")).to_have_text("0/7 tasks completed")
    assert traffic.all == []
    assert [url for url in asked if re.search(r"/(stream|fragments/\S+)\?", url) and "/replay/" not in url] == []
    assert page.evaluate("window.notes") == []
    assert page.evaluate("navigator.locks.query().then(({held}) => held.length)") == 0


def test_what_ended_says_so_and_goes_on_from_there(replay: str, visit: Visit) -> None:
    page = open_replay(visit, f"{replay}?speed=1&at=1", allows_outage=True)
    page.locator("body").press("Space")
    page.evaluate("document.getElementById('replay').action = document.getElementById('replay').action.slice(0, -4) + 'gone'")
    page.locator("body").press("Space")
    expect(page.locator("#replay-gone")).to_contain_text("This replay has ended")
    page.locator("#replay-gone a").click()
    expect(page.locator("#sse-connection-indicator")).to_have_text("Replay")
    expect(page.locator("#replay-gone")).to_be_hidden()


def test_without_javascript_it_shows_how_the_run_ended(replay: str, visit: Visit) -> None:
    page = visit.open(replay, java_script_enabled=False)
    expect(page).to_have_url(f"{replay}?at=end")
    expect(page.locator("noscript p")).to_contain_text("A replay needs JavaScript.")
    expect(page.locator("noscript p")).to_be_visible()
    expect(page.locator(".progress-text")).to_have_text("7/7 tasks completed")
    expect(page.locator("#replay")).to_be_hidden()


def test_a_phone_needs_no_sideways_scrolling(replay: str, visit: Visit) -> None:
    page = open_replay(visit, f"{replay}?at=end", viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_axe_finds_nothing_serious(replay: str, visit: Visit) -> None:
    page = open_replay(visit, f"{replay}?at=end")
    assert serious(page) == []
