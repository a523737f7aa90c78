"""What a page does while it cannot stream: it says so, polls, and comes back."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.desk import Desk
from tests.browser.proxy import SilentProxy
from tests.browser.visit import Traffic, Visit, expect_state, texts
from tests.support.wait import wait_for

LIVE_PANELS = ("attention", "fleet", "live-eval", "tasks", "vms", "azure-jobs", "azure-job-logs")
SECONDS_5 = {"/fragments/live-eval", "/fragments/azure-job-logs"}
NO_EVENT_SOURCE = "delete window.EventSource;"
IDS = "#task-results-list .result-task-id"


@pytest.fixture(scope="module")
def poll_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A server whose operator switched streaming off."""
    desk = Desk(tmp_path_factory.mktemp("poll"), settings="sse = false")
    try:
        yield desk.open()
    finally:
        desk.close()


def _same_results(page: Page, desk: Desk) -> list[str]:
    return [task["task_id"] for task in reversed(desk.current()["tasks"]) if task["ended_at"] is not None]


def test_a_killed_server_is_waited_for_and_nothing_is_missed_or_doubled(desk: Desk, visit: Visit) -> None:
    desk.start_run([("clock", f"k-{number}") for number in range(1, 8)])
    page = visit.open_live(desk.url, allows_outage=True)
    other = visit.open_live(desk.url, allows_outage=True, clock=True)
    desk.finish(1.0)
    expect(page.locator(IDS)).to_have_count(1)
    desk.server.kill()
    expect_state(page, "reconnecting")
    desk.finish(0.0)
    desk.finish(1.0)
    other.clock.fast_forward(21_000)
    expect_state(other, "offline")
    expect(other.locator("#retry-live")).to_be_visible()
    desk.server.start()
    desk.finish(1.0)
    expect_state(page, "connected")
    other.clock.fast_forward(31_000)
    expect_state(other, "connected")
    for one in (page, other):
        expect(one.locator(IDS)).to_have_count(4)
        assert texts(one, IDS) == _same_results(one, desk) == ["k-4", "k-3", "k-2", "k-1"]
        expect(one.locator("#task-metrics .metric.passed")).to_have_text("3 passed")


@pytest.mark.parametrize("reason", ["no EventSource", "switched off"])
def test_without_streams_the_page_polls_the_same_fragments(reason: str, desk: Desk, poll_only: Desk, visit: Visit) -> None:
    house = desk if reason == "no EventSource" else poll_only
    house.start_run([("clock", f"p-{number}") for number in range(1, 4)])
    page = visit.context(init=NO_EVENT_SOURCE if house is desk else "").new_page()
    traffic = Traffic(page)
    page.clock.install()
    page.goto(house.url)
    expect_state(page, "polling")
    wait_for(lambda: page.evaluate("1") and len(traffic.polls) >= len(LIVE_PANELS), what="each panel is asked for at once")
    assert sorted(traffic.polls) == sorted(f"/fragments/{name}" for name in LIVE_PANELS)
    expect(page.locator("#retry-live")).to_be_hidden()

    traffic.polls.clear()
    house.finish(1.0)
    wait_for(lambda: house.current()["tasks_completed"] == 1)
    page.clock.fast_forward(5_000)
    expect(page.locator(IDS)).to_have_text(["p-1"])
    assert set(traffic.polls) == SECONDS_5
    house.finish(0.0)
    wait_for(lambda: house.current()["tasks_completed"] == 2)
    page.clock.fast_forward(5_000)
    expect(page.locator(IDS)).to_have_text(["p-2", "p-1"])
    wait_for(lambda: page.evaluate("1") and len(set(traffic.polls)) == len(LIVE_PANELS), what="every panel is asked again")
    expect(page.locator("#task-metrics .metric.failed")).to_have_text("1 failed")
    expect_state(page, "polling")
    assert traffic.streams == []


def test_polling_survives_answers_that_are_errors(desk: Desk, visit: Visit) -> None:
    page = visit.context(init=NO_EVENT_SOURCE, allows_outage=True).new_page()
    page.clock.install()
    page.goto(desk.url)
    expect_state(page, "polling")
    page.route("**/fragments/*", lambda route: route.fulfill(status=500, content_type="text/html", body="<h1>Broken</h1>"))
    page.clock.fast_forward(10_000)
    expect_state(page, "offline")
    page.unroute("**/fragments/*")
    page.clock.fast_forward(10_000)
    expect_state(page, "polling")
    expect(page.locator("#live-eval-panel h2")).to_have_text("Live Evaluation")


def test_a_stream_that_never_says_a_word_is_given_up(desk: Desk, visit: Visit) -> None:
    with SilentProxy(desk.server.port) as proxy:
        proxy.is_silent = True
        page = visit.context().new_page()
        traffic = Traffic(page)
        page.clock.install()
        with page.expect_response("**/stream?*"):
            page.goto(proxy.url)
        page.clock.fast_forward(8_000)
        expect(page.locator("#sse-connection-indicator")).to_have_text("Connecting...")
        assert traffic.polls == []
        page.clock.fast_forward(4_000)
        expect_state(page, "polling")
        expect(page.locator("#retry-live")).to_be_visible()
        proxy.is_silent = False
        page.locator("#retry-live").dispatch_event("click")  # it is gone as soon as the page is live by itself
        expect_state(page, "connected")
        expect(page.locator("#retry-live")).to_be_hidden()


def test_a_stream_that_falls_silent_is_dead_after_25_seconds(desk: Desk, visit: Visit) -> None:
    with SilentProxy(desk.server.port) as proxy:
        page = visit.open_live(proxy.url, clock=True)
        traffic = Traffic(page)
        proxy.is_silent = True
        page.clock.fast_forward(20_000)
        page.clock.run_for(1_000)
        expect_state(page, "connected")
        assert (traffic.streams, traffic.polls) == ([], [])
        page.clock.fast_forward(6_000)
        expect_state(page, "polling")
        desk.start_run([("clock", "s-1"), ("clock", "s-2")])
        desk.finish(1.0)
        wait_for(lambda: desk.current()["tasks_completed"] == 1)
        page.clock.fast_forward(5_000)
        expect(page.locator(IDS)).to_have_text(["s-1"])
        proxy.is_silent = False
        page.clock.fast_forward(600_000)
        expect_state(page, "connected")


def test_five_failures_make_it_poll_and_it_comes_back_by_itself(desk: Desk, visit: Visit) -> None:
    page = visit.context(allows_outage=True).new_page()
    traffic = Traffic(page)
    page.route("**/stream?*", lambda route: route.fulfill(status=503, body="later"))
    page.clock.install()
    page.goto(desk.url)
    for failure in range(1, 5):
        traffic.wait_for_streams(failure)
        page.clock.run_for(1000 * 2 ** (failure - 1))
    expect_state(page, "polling")
    expect(page.locator("#sse-connection-indicator")).to_have_attribute("title", "SSE: error")
    assert [path.partition("?")[0] for path in traffic.all[:6]] == ["/stream"] * 5 + [traffic.polls[0]]
    page.unroute("**/stream?*")
    page.clock.fast_forward(31_000)
    expect_state(page, "connected")


@pytest.mark.parametrize(("status", "word"), [(401, "Signed out"), (403, "Not allowed")])
def test_who_is_not_let_in_stops_knocking(status: int, word: str, desk: Desk, visit: Visit) -> None:
    page = visit.context(allows_outage=True).new_page()
    knocks = []

    def refuse(route: Route) -> None:
        knocks.append(route.request.url)
        route.fulfill(status=status, body="no")

    page.route("**/stream?*", refuse)
    page.clock.install()
    page.goto(desk.url)
    expect(page.locator("#sse-connection-indicator")).to_have_text(word)
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    traffic = Traffic(page)
    for _ in range(5):
        page.clock.fast_forward(400_000)
    page.evaluate("1")
    assert (len(knocks), traffic.all) == (1, [])
    page.unroute("**/stream?*")
    page.reload()
    expect_state(page, "connected")
