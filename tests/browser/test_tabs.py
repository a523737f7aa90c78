"""Several tabs of one browser: who streams, who notifies, who makes room."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.desk import Desk
from tests.browser.tab import Tabs
from tests.browser.visit import Traffic, Visit, expect_state
from tests.support.wait import wait_for

RECORD = """
window.told = [];
window.Notification = class extends EventTarget {
  static permission = "granted";
  static requestPermission = async () => "granted";
  constructor(title, options) { super(); window.told.push([title, options.body]); }
};
"""
COUNT = "document.querySelectorAll('#task-results-list .task-result').length"


@pytest.fixture
def tabs(desktop: Browser) -> Iterator[Tabs]:
    """Raw tabs, closed in the end."""
    visit = Visit(desktop)
    tabs = Tabs(desktop, visit.context().new_page())
    yield tabs
    tabs.close()
    visit.close()


def _streams(desk: Desk) -> int:
    found = re.search(r"^waa_streams(?:_active)? (\d+)", desk.server.html("/metrics"), re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_a_hidden_tab_closes_its_stream_and_catches_up_when_it_is_shown(desk: Desk, tabs: Tabs) -> None:
    wait_for(lambda: _streams(desk) == 0)
    desk.start_run([("clock", f"h-{number}") for number in range(1, 5)])
    tab = tabs.open(desk.url)
    tab.wait_for_state("Live")
    front = tabs.open("about:blank#front")
    front.show()
    wait_for(lambda: _streams(desk) == 0, what="the hidden tab lets go")
    desk.finish(1.0)
    desk.finish(0.0)
    wait_for(lambda: desk.current()["tasks_completed"] == 2)
    assert tab.evaluate(COUNT) == 0
    tab.show()
    tab.wait_for_state("Live")
    tab.wait(f"{COUNT} === 2")
    assert _streams(desk) == 1


def test_a_tab_that_was_never_seen_does_not_connect(desk: Desk, tabs: Tabs) -> None:
    wait_for(lambda: _streams(desk) == 0)
    tabs.open("about:blank#front").show()
    behind = tabs.open(desk.url, behind=True)
    assert behind.evaluate("document.hidden")
    assert _streams(desk) == 0
    behind.show()
    behind.wait_for_state("Live")


def test_of_all_hidden_tabs_one_keeps_its_stream_and_notifies_once(desk: Desk, tabs: Tabs) -> None:
    wait_for(lambda: _streams(desk) == 0)
    desk.start_run([("clock", f"n-{number}") for number in range(1, 5)])
    first = tabs.open(desk.url, init=RECORD)
    first.wait_for_state("Live")
    second = tabs.open(desk.url, init=RECORD)
    second.wait_for_state("Live")
    tabs.open("about:blank#front").show()
    wait_for(lambda: _streams(desk) == 1, what="one of them keeps its stream")
    desk.finish(1.0)
    desk.finish(0.0)

    def told() -> list[list[str]]:
        notices: list[list[str]] = [*first.evaluate("told"), *second.evaluate("told")]
        return [notice for notice in notices if notice[0].startswith("Task ")]

    wait_for(lambda: len(told()) == 2, hint=told)
    assert told() == [["Task passed: n-1", "Score: 1.00"], ["Task failed: n-2", "Score: 0.00"]]
    second.show()
    second.wait_for_state("Live")
    second.wait(f"{COUNT} === 2")
    assert len(told()) == 2


def test_the_permission_is_asked_for_by_a_button(desk: Desk, visit: Visit) -> None:
    asks = RECORD.replace('"granted"', '"default"', 1).replace(
        'async () => "granted"', "() => { window.asked = true; return Promise.resolve() }"
    )
    page = visit.open_live(desk.url, init=asks)
    button = page.get_by_role("button", name="Notify me of results")
    expect(button).to_be_visible()
    button.click()
    assert page.evaluate("window.asked")
    page.evaluate("Notification.permission = 'granted'")
    button.click()
    expect(button).to_be_hidden()


def test_the_fifth_stream_of_a_browser_sends_the_oldest_to_polling_and_a_sixth_page_loads(desk: Desk, visit: Visit) -> None:
    context = visit.context()
    pages = [context.new_page() for _ in range(6)]
    traffic = [Traffic(page) for page in pages]
    for page in pages:
        page.goto(desk.url)
        expect_state(page, "connected")
    for page, log in zip(pages[:2], traffic[:2], strict=True):
        expect_state(page, "polling")
        expect(page.locator("#retry-live")).to_be_visible()
        assert log.polls
        assert len(log.streams) == 1
    for page in pages[2:]:
        expect_state(page, "connected")
    assert _streams(desk) == 4
