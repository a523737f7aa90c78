"""The pages of pipelines in a browser: live, polling, filtered, named and removed, on a phone, and without colour."""

import re
from collections.abc import Iterator
from typing import Literal

import pytest
from playwright.sync_api import ConsoleMessage, expect

from tests.browser.axe import serious
from tests.browser.visit import Visit, expect_state
from tests.support.backend import Backend, Reply, backend_apart
from tests.support.server import Server
from tests.support.wait import wait_for

NO_EVENT_SOURCE = "delete window.EventSource;"


@pytest.fixture(scope="module")
def pipes() -> Iterator[Backend]:
    with backend_apart() as built:
        yield built


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, pipes: Backend) -> Iterator[Server]:
    """It watches four pipelines of one backend: two are well, one is down, one says an odd word."""
    pipes.replies["broken"] = Reply("<html>", 500, "text/html")
    pipes.say("odd", "warming up")
    config = 'demo = "off"\npipeline_interval_s = 0.5\npipeline_background_s = 1\n'
    config += f'[[pipeline]]\nids = ["broken", "ingest", "odd", "train"]\nbackend = "{pipes.url}"\n'
    server = Server(tmp_path_factory.mktemp("pipes"), config=config).start()
    wait_for(lambda: server.get("/api/pipelines/broken")["status"] == "down", what="broken is down")
    wait_for(lambda: server.get("/api/pipelines/train")["status"] == "up", what="train is up")
    yield server
    server.stop()


def test_d3_a_change_shows_by_itself_and_the_console_says_how_the_stream_stands(server: Server, pipes: Backend, visit: Visit) -> None:
    page = visit.context().new_page()
    told: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type == "info":
            told.append(message.text)

    page.on("console", hear)
    page.goto(f"{server.url}/pipelines")
    expect_state(page, "connected")
    assert told == ["SSE: disconnected -> connecting", "SSE: connecting -> connected"]
    state = page.locator("#pipeline-row-train .run-status")
    expect(state).to_have_text("Up")
    pipes.say("train", "down")
    expect(state).to_have_text("Down")
    expect(page.locator(".pipeline-list tbody tr").first).to_contain_text("broken")
    pipes.say("train", "healthy")
    expect(state).to_have_text("Up")
    expect(page.locator("#pipeline-row-broken")).to_contain_text("answers 500: the backend fails")
    expect(page.locator("#pipeline-row-odd")).to_contain_text("says “warming up”")
    look = page.locator("#pipeline-row-odd time[data-seen]")
    expect(look).to_have_text(re.compile(r"^(now|\d+ s ago)$"))
    expect(look).not_to_have_class(re.compile("stale"))


def test_d3_a_page_that_cannot_stream_polls(server: Server, pipes: Backend, visit: Visit) -> None:
    page = visit.context(init=NO_EVENT_SOURCE).new_page()
    page.clock.install()
    page.goto(f"{server.url}/pipelines/ingest")
    expect_state(page, "polling")
    expect(page.locator("#pipeline-panel-title")).to_have_text("Up")
    pipes.say("ingest", "degraded")
    wait_for(lambda: server.get("/api/pipelines/ingest")["status"] == "degraded", what="it is known")
    page.clock.fast_forward(10_000)
    expect(page.locator("#pipeline-panel-title")).to_have_text("Degraded")
    pipes.say("ingest", "healthy")


def test_a_killed_server_is_waited_for_and_the_history_has_a_gap(server: Server, visit: Visit) -> None:
    page = visit.open_live(f"{server.url}/pipelines/train", allows_outage=True)
    rows = page.locator(".spell-list tbody tr")
    before = rows.count()
    server.kill()
    expect_state(page, "reconnecting")
    server.start()
    expect_state(page, "connected")
    expect(rows.nth(1)).to_contain_text("Not observed")
    assert rows.count() > before
    expect(page.locator(".uptime-window")).to_have_count(3)
    expect(page.locator(".uptime-window svg").first).to_have_attribute("aria-label", re.compile("^Last 1 h: up .* known for"))


def test_the_list_filters_while_typing_and_keeps_its_address(server: Server, visit: Visit) -> None:
    page = visit.open_live(f"{server.url}/pipelines")
    rows = page.locator(".pipeline-list tbody tr")
    expect(rows).to_have_count(4)
    page.get_by_label("Search").press_sequentially("500")
    expect(rows).to_have_count(1)
    expect(page).to_have_url(f"{server.url}/pipelines?q=500")
    page.get_by_label("Search").fill("")
    page.get_by_label("State").select_option("up")
    expect(rows).to_have_count(2)
    expect(page).to_have_url(f"{server.url}/pipelines?status=up")
    page.get_by_role("link", name="Pipeline", exact=True).click()
    expect(page).to_have_url(f"{server.url}/pipelines?status=up&sort=name")
    expect_state(page, "connected")


def test_one_is_named_by_the_form_seen_and_removed(server: Server, pipes: Backend, visit: Visit) -> None:
    page = visit.open_live(f"{server.url}/pipelines", allows_outage=True)  # Chromium prints the 422
    page.get_by_role("link", name="Add a pipeline").click()
    page.get_by_label("Id").fill("mine")
    page.get_by_label("Backend").fill(f"{pipes.url}?x=1")
    page.get_by_label("Asked with").select_option("bearer")
    page.get_by_label("Secret").fill("s3cr3t")
    page.get_by_role("button", name="Add and watch it").click()
    expect(page.locator("#error-backend")).to_contain_text("must end before ?")
    expect(page.get_by_label("Secret")).to_have_value("")
    page.get_by_label("Backend").fill(pipes.url)
    page.get_by_label("Secret").fill("s3cr3t")
    page.get_by_role("button", name="Add and watch it").click()
    expect(page).to_have_url(f"{server.url}/pipelines/mine")
    expect(page.locator("#pipeline-panel-title")).to_have_text("Up")
    expect(page.locator(".facts")).to_contain_text("a bearer token")
    page.get_by_role("button", name="Remove…").click()
    page.get_by_role("button", name="Remove mine").click()
    expect(page).to_have_url(f"{server.url}/pipelines")
    expect(page.locator("#pipeline-row-mine")).to_have_count(0)


def test_what_is_down_is_on_the_overview(server: Server, visit: Visit) -> None:
    page = visit.open_live(server.url)
    need = page.locator("#need-pipeline-broken")
    expect(need).to_contain_text("The pipeline is down")
    need.get_by_role("link", name="broken").click()
    expect(page.locator(".notice")).to_contain_text("Look at the backend's own log.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("path", ["/pipelines", "/pipelines/broken", "/pipelines/new"])
def test_the_pages_are_sound(server: Server, visit: Visit, path: str, width: int, scheme: Literal["light", "dark"]) -> None:
    page = visit.open(f"{server.url}{path}", viewport={"width": width, "height": 900}, color_scheme=scheme)
    if path != "/pipelines/new":
        expect_state(page, "connected")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert serious(page) == []
