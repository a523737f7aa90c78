"""One browser and one server that does what a test says for all tests here; one that plays the demo for those that look at it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, expect, sync_playwright

from tests.browser.desk import Desk
from tests.browser.visit import CHROMIUM, DEADLINE_MS, FLAGS, HEADLESS_SHELL, Visit
from tests.support.server import Server

DEMO_SPEED = "30"
"""A run of sixteen tasks takes some ten seconds."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


# Of the package, not of the session: Playwright's loop must have ended before tests with a loop of their own begin.
@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """What drives browsers."""
    if not Path(CHROMIUM).exists():
        pytest.skip("needs chromium")
    expect.set_options(timeout=DEADLINE_MS)
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Chromium, once."""
    program = HEADLESS_SHELL if Path(HEADLESS_SHELL).exists() else CHROMIUM
    browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
    yield browser
    browser.close()


@pytest.fixture(scope="package")
def desktop(playwright: Playwright) -> Iterator[Browser]:
    """Chromium as people have it, with tabs of which one is in front."""
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def show(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that plays the demo, fast: that takes half a core, so it ends with the tests that look at it."""
    server = Server(tmp_path_factory.mktemp("show"), environment={"WAA_DEMO_SPEED": DEMO_SPEED}).start()
    yield server
    server.stop()


@pytest.fixture(scope="package")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A server whose VM waits for the test's orders."""
    desk = Desk(tmp_path_factory.mktemp("desk"))
    try:
        yield desk.open()
    finally:
        desk.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Pages for one test, in which nothing may go wrong unnoticed."""
    visit = Visit(browser)
    try:
        yield visit
        assert visit.faults == []
    finally:
        visit.close()
