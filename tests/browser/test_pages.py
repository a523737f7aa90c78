"""Pages without a script, forms, the keyboard, and frames in other pages."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Page, expect

from tests.browser.desk import VM, Desk
from tests.browser.visit import Visit, expect_state
from tests.support.server import ROOT, Server


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without any VM."""
    server = Server(tmp_path_factory.mktemp("blank"), config='demo = "off"\n').start()
    yield server
    server.stop()


def test_without_scripts_a_page_shows_the_state_and_reloads_itself(desk: Desk, visit: Visit) -> None:
    desk.start_run([("clock", "j-1"), ("clock", "j-2")])
    desk.finish(1.0)
    page = visit.open(desk.url, java_script_enabled=False)
    expect(page.locator('meta[http-equiv="refresh"]')).to_have_attribute("content", "10")
    expect(page.locator(".live-eval .progress-text")).to_have_text("1/2 tasks completed")
    expect(page.locator("#task-results-list .result-task-id")).to_have_text("j-1")
    expect(page.locator(".no-script")).to_have_text("This page reloads every 10 s")
    expect(page.locator(".no-script")).to_be_visible()
    expect(page.locator("#sse-connection-indicator")).to_be_hidden()
    page.goto(f"{desk.url}/vms/{VM}")
    expect(page.locator(".log-lines li").first).to_be_visible()


def test_a_wrong_field_is_named_where_it_is_and_a_right_form_leads_to_the_vm(blank: Server, visit: Visit) -> None:
    page = visit.open(f"{blank.url}/vms/new", allows_outage=True)
    page.get_by_label("Name (needed)").fill("bench-7")
    page.get_by_label("Host (needed)").fill("not a host")
    page.get_by_label("Run log").fill("relative.log")
    with page.expect_response("**/vms") as answer:
        page.get_by_role("button", name="Add and watch it").click()
    assert answer.value.status == 422
    host = page.get_by_label("Host (needed)")
    wrong = host if host.get_attribute("aria-invalid") else page.get_by_label("Run log")
    expect(wrong).to_have_attribute("aria-invalid", "true")
    described = (wrong.get_attribute("aria-describedby") or "").split()
    error = next(name for name in described if name.startswith("error-"))
    expect(page.locator(f"#{error}")).to_be_visible()
    expect(page.get_by_label("Name (needed)")).to_have_value("bench-7")
    host.fill("127.0.0.1")
    page.get_by_label("Run log").fill("/tmp/run.log")
    page.get_by_label("SSH port").fill("1")
    page.get_by_role("button", name="Add and watch it").click()
    page.wait_for_url("**/vms/bench-7")
    expect(page.get_by_role("heading", level=1)).to_have_text("bench-7")
    expect_state(page, "connected")


def _focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.textContent.trim()"))


def test_a_vm_is_removed_by_keyboard_alone(blank: Server, visit: Visit) -> None:
    blank.send("POST", "/api/vms/register", {"name": "to-go", "ssh_host": "127.0.0.1", "ssh_port": 1})
    page = visit.open_live(f"{blank.url}/vms/to-go")
    for _ in range(12):
        page.keyboard.press("Tab")
        if _focused(page) == "Remove…":
            break
    assert _focused(page) == "Remove…"
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Remove to-go?")
    expect(dialog).to_be_visible()
    assert _focused(page) == "Keep it"
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert _focused(page) == "Remove…"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert _focused(page) == "Remove to-go"
    page.keyboard.press("Enter")
    page.wait_for_url(f"{blank.url}/")
    expect(page.locator("#vm-row-to-go")).to_have_count(0)


def test_the_keyboard_meets_the_skip_link_first_and_then_the_site(desk: Desk, visit: Visit) -> None:
    page = visit.open_live(desk.url)
    seen = []
    for _ in range(8):
        page.keyboard.press("Tab")
        seen.append(_focused(page))
    assert seen == ["Skip to the content", "WAA Live", "Overview", "Runs", "Compare", "Training", "Pipelines", "Add a VM"]
    page.reload()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_an_unknown_address_is_told_on_a_page_that_leads_back(desk: Desk, visit: Visit) -> None:
    page = visit.open(f"{desk.url}/vms/nobody", allows_outage=True)
    expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing here")
    page.get_by_role("link", name="Back to the overview").click()
    expect_state(page, "connected")


class Foreign:
    """Another site: a page with a frame, a page that fetches a panel, and htmx."""

    def __init__(self) -> None:
        pages: dict[str, tuple[str, bytes]] = {"/htmx.js": ("text/javascript", (ROOT / "static/htmx/htmx.min.js").read_bytes())}
        self.pages = pages

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, body = pages.get(self.path, ("text/html", b""))
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def origin(self) -> str:
        """Where it is served."""
        return f"http://127.0.0.1:{self.server.server_port}"

    def show(self, url: str) -> None:
        """The pages that embed a server."""
        frame = f'<!doctype html><title>Wiki</title><iframe id="f" src="{url}/embed/live-eval" width="900" height="600"></iframe>'
        fetch = (
            """<!doctype html><title>Wiki</title><meta name="htmx-config" content='{"mode":"cors"}'><script src="/htmx.js"></script>"""
            f'<div id="d" hx-get="{url}/fragments/tasks" hx-trigger="load">waiting</div>'
        )
        self.pages["/frame"] = ("text/html", frame.encode())
        self.pages["/fetch"] = ("text/html", fetch.encode())

    def close(self) -> None:
        """Serve no more."""
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(5)


@pytest.fixture(scope="module")
def wiki() -> Iterator[Foreign]:
    """A site that may embed panels."""
    foreign = Foreign()
    yield foreign
    foreign.close()


@pytest.fixture(scope="module")
def stranger() -> Iterator[Foreign]:
    """A site that may not."""
    foreign = Foreign()
    yield foreign
    foreign.close()


@pytest.fixture(scope="module")
def open_desk(wiki: Foreign, stranger: Foreign, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A server that allows the wiki."""
    desk = Desk(tmp_path_factory.mktemp("open"), settings=f'embed_origins = ["{wiki.origin}"]')
    try:
        desk.open()
        wiki.show(desk.url)
        stranger.show(desk.url)
        yield desk
    finally:
        desk.close()


def test_an_allowed_page_frames_a_live_panel(open_desk: Desk, wiki: Foreign, visit: Visit) -> None:
    open_desk.start_run([("clock", "e-1"), ("clock", "e-2")])
    page = visit.open(f"{wiki.origin}/frame", allows_outage=True)
    frame = page.frame_locator("#f")
    expect(frame.locator("#sse-connection-indicator")).to_have_text("Live")
    open_desk.finish(1.0)
    expect(frame.locator("#task-results-list .result-task-id")).to_have_text("e-1")


def test_an_allowed_page_fetches_a_panel(open_desk: Desk, wiki: Foreign, visit: Visit) -> None:
    page = visit.open(f"{wiki.origin}/fetch", allows_outage=True)
    expect(page.locator("#d #tasks-panel")).to_be_visible()


@pytest.mark.parametrize("way", ["frame", "fetch"])
def test_a_stranger_gets_neither(way: str, open_desk: Desk, stranger: Foreign, browser_page: Page) -> None:
    refusals: list[str] = []
    browser_page.on("console", lambda message: refusals.append(message.text))
    browser_page.goto(f"{stranger.origin}/{way}")
    expected = re.compile("frame-ancestors" if way == "frame" else "blocked by CORS policy")
    browser_page.wait_for_function("() => document.readyState === 'complete'")
    if not any(expected.search(text) for text in refusals):
        browser_page.wait_for_event("console", lambda message: bool(expected.search(message.text)))
    assert browser_page.locator("#tasks-panel").count() == 0


@pytest.fixture
def browser_page(visit: Visit) -> Page:
    """A page in which something is refused on purpose."""
    return visit.browser.new_context().new_page()
