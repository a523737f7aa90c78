"""Pages of the product in Chromium, and whatever goes wrong in them."""

import re
from collections.abc import Sequence
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, WebError, expect

from tests.support.wait import wait_for

CHROMIUM = "/usr/bin/chromium"
HEADLESS_SHELL = "/usr/bin/chromium-headless-shell"
"""The same without windows and tabs: a page costs it a third of the time."""
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DEADLINE_MS = 60_000
"""Only bounds what has gone wrong."""

WATCH_POLICY = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.effectiveDirective} ${event.blockedURI} ${event.sample} in ${event.sourceFile}:${event.lineNumber}`));
"""
NETWORK = re.compile(r"Failed to load resource|net::ERR_|Failed to fetch|^htmx: htmx:(sse:)?error")
"""What Chromium and htmx print when a server is gone: the tests of outages mean it."""


class Visit:
    """The contexts and pages of one test. ``faults`` holds errors of scripts, of the policy, and of the console."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.faults: list[str] = []
        self._contexts: list[BrowserContext] = []

    def context(self, *, init: str = "", allows_outage: bool = False, **options: Any) -> BrowserContext:
        """A browser of its own: cookies, permissions and all. ``init`` runs before each page's scripts."""
        context = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(DEADLINE_MS)
        context.add_init_script(WATCH_POLICY + init)

        def hear(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning") and not (allows_outage and NETWORK.search(message.text)):
                self.faults.append(f"{message.type}: {message.text} at {message.location}")

        def fail(error: WebError) -> None:
            self.faults.append(f"script: {error.error}")

        context.on("console", hear)
        context.on("weberror", fail)
        self._contexts.append(context)
        return context

    def open(self, url: str, *, init: str = "", allows_outage: bool = False, clock: bool = False, **options: Any) -> Page:
        """A page in a new context. ``clock``: its time can be moved forward (``page.clock``)."""
        page = self.context(init=init, allows_outage=allows_outage, **options).new_page()
        if clock:
            page.clock.install()
        page.goto(url)
        return page

    def open_live(self, url: str, **options: Any) -> Page:
        """The same, as soon as it is live."""
        page = self.open(url, **options)
        expect_state(page, "connected")
        return page

    def close(self) -> None:
        """Close everything."""
        for context in self._contexts:
            context.close()


STATES = {
    "connected": ("Live", ("connected",)),
    "reconnecting": ("Reconnecting...", ("reconnecting",)),
    "polling": ("Polling", ("disconnected", "connecting", "reconnecting", "error")),
    "offline": ("Offline", ("disconnected", "reconnecting", "error")),
}
KINDS = {"connected": "connected", "reconnecting": "disconnected", "polling": "polling", "offline": "closed"}


def expect_state(page: Page, state: str) -> None:
    """The indicator says this, by its text, its class and its title (requirement A13)."""
    text, titles = STATES[state]
    indicator = page.locator("#sse-connection-indicator")
    expect(indicator).to_have_text(text, timeout=DEADLINE_MS)
    expect(indicator).to_have_class(f"connection-indicator {KINDS[state]}")
    expect(indicator).to_have_attribute("title", re.compile(f"^SSE: ({'|'.join(titles)})$"))


class Traffic:
    """The requests of a page, by what they are for."""

    def __init__(self, page: Page) -> None:
        self.all: list[str] = []
        self.streams: list[str] = []
        self.polls: list[str] = []
        self._page = page
        page.on("request", self._note)

    def wait_for_streams(self, count: int) -> None:
        """Until so many streams have been asked for."""
        wait_for(lambda: self._page.evaluate("1") and len(self.streams) >= count, what=f"stream {count} is asked for")

    def _note(self, request: Request) -> None:
        path = "/" + request.url.split("/", 3)[3]
        if path.startswith("/stream"):
            self.streams.append(path)
        elif path.startswith("/fragments/"):
            self.polls.append(path)
        else:
            return
        self.all.append(path)


def texts(page: Page, selector: str) -> Sequence[str]:
    """The texts of all elements, without outer space."""
    return [text.strip() for text in page.locator(selector).all_text_contents()]
