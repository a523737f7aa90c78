"""A server that is asked too often says when to come back, and the page heeds it (X1)."""

from playwright.sync_api import Route

from tests.browser.desk import Desk
from tests.browser.visit import Traffic, Visit, expect_state


def test_x1_no_room_for_a_stream_means_polling_until_it_may_ask_again(desk: Desk, visit: Visit) -> None:
    page = visit.context(allows_outage=True).new_page()
    traffic = Traffic(page)
    page.route("**/stream?*", lambda route: route.fulfill(status=429, headers={"Retry-After": "100"}, body="too many"))
    page.clock.install()
    page.goto(desk.url)
    expect_state(page, "polling")
    page.clock.run_for(90_000)
    assert len(traffic.streams) == 1
    assert traffic.polls
    page.unroute("**/stream?*")
    page.clock.run_for(20_000)
    expect_state(page, "connected")


def test_x1_panels_that_are_asked_for_too_often_rest_and_say_no_worse(desk: Desk, visit: Visit) -> None:
    page = visit.context(allows_outage=True).new_page()
    traffic = Traffic(page)
    page.clock.install()

    def refuse(route: Route) -> None:
        route.fulfill(status=429, headers={"Retry-After": "60"}, body="too many")

    page.route("**/stream?*", lambda route: route.fulfill(status=429, headers={"Retry-After": "3000"}, body="too many"))
    page.route("**/fragments/*", refuse)
    with page.expect_response("**/fragments/*"):
        page.goto(desk.url)
    expect_state(page, "polling")
    page.wait_for_load_state("networkidle")
    before = len(traffic.polls)
    page.clock.run_for(50_000)
    assert len(traffic.polls) == before
    page.unroute("**/fragments/*", refuse)
    with page.expect_response("**/fragments/*"):
        page.clock.run_for(15_000)
    expect_state(page, "polling")
