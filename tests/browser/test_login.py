"""Signing in and out in a real browser, and what a page does when it is signed out while it streams (X1)."""

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.browser.axe import serious
from tests.browser.visit import Traffic, Visit, expect_state
from tests.support.server import ROOT, Server
from tests.support.wait import PATIENCE_S, wait_for

HOUR_MS = 3_600_000


class Locked(Server):
    """A server that wants a login, and a key of its administrator."""

    admin = ""


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    folder = tmp_path_factory.mktemp("locked")
    server = Locked(folder, config='auth = "on"\n', environment={"WAA_DEMO_SPEED": "30"})
    server.admin = command(server, "keys", "create", "--name", "boss", "--scope", "admin").split()[0]
    server.start()
    yield server
    server.stop()


def command(server: Server, *arguments: str) -> str:
    """What a command prints, run beside the server."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "server.py"), *arguments, "--data", str(server.folder / "data")],
        cwd=server.folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def make_key(server: Locked, *scopes: str, name: str = "ann", days: str = "1") -> str:
    """Made on the page Access, as an administrator does."""
    fields = urlencode([("name", name), ("days", days), *(("scope", scope) for scope in scopes or ("view",))]).encode()
    request = urllib.request.Request(f"{server.url}/access/keys", data=fields, headers={"X-API-Key": server.admin})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        made = re.search(r'value="(waa_[^"]+)"', answer.read().decode())
    assert made
    return made.group(1)


def sign_in(page: Page, server: Server, key: str, path: str = "/") -> None:
    page.goto(f"{server.url}{path}")
    page.get_by_label("Key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{server.url}{path}")


def expect_signed_out(page: Page) -> None:
    expect(page.locator("#sse-connection-indicator")).to_have_text("Signed out")
    banner = page.locator("#sse-error-banner")
    expect(banner).to_have_text("You are signed out. What is shown stands still. Sign in")
    expect(banner).to_be_visible()
    expect(page.locator("#retry-live")).to_be_hidden()


def expect_silence(page: Page, traffic: Traffic) -> None:
    """An hour passes on the page, and nothing is asked."""
    asked = len(traffic.all)
    page.clock.run_for(HOUR_MS // 6)
    page.evaluate("window.dispatchEvent(new Event('online'))")
    page.clock.run_for(HOUR_MS // 6)
    assert traffic.all[asked:] == []


def test_a_person_signs_in_reads_on_where_they_were_and_signs_out(locked: Locked, visit: Visit) -> None:
    page = visit.context(allows_outage=True).new_page()
    sign_in(page, locked, make_key(locked), "/runs?q=demo")
    expect(page).to_have_url(f"{locked.url}/runs?q=demo")
    expect_state(page, "connected")
    expect(page.locator(".viewer")).to_contain_text("ann")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    page.goto(f"{locked.url}/runs")
    expect(page).to_have_url(re.compile("/login"))


def test_a_wrong_key_is_said_beside_its_field(locked: Locked, visit: Visit) -> None:
    page = visit.open(f"{locked.url}/login", allows_outage=True)
    page.get_by_label("Key").fill("waa_nope")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#key-error")).to_have_text("This key is not known here")
    expect(page.get_by_label("Key")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Key")).to_have_value("")


def test_a_login_that_expires_while_the_page_streams(locked: Locked, visit: Visit) -> None:
    page = visit.context(allows_outage=True).new_page()
    page.clock.install()
    traffic = Traffic(page)
    sign_in(page, locked, make_key(locked, days="0.00007"))
    expect_state(page, "connected")
    expect_signed_out(page)
    expect_silence(page, traffic)
    page.locator("#sse-error-banner a").click()
    expect(page).to_have_url(f"{locked.url}/login?next=%2F")


def test_a_key_that_is_revoked_beside_the_server_ends_the_pages_stream(locked: Locked, visit: Visit) -> None:
    page = visit.context(allows_outage=True).new_page()
    page.clock.install()
    traffic = Traffic(page)
    key = make_key(locked)
    sign_in(page, locked, key, "/vms/demo")
    expect_state(page, "connected")
    assert f"Revoked: {key[4:16]}" in command(locked, "keys", "revoke", key[4:16])
    expect_signed_out(page)
    expect_silence(page, traffic)
    assert locked.send("GET", "/api/vms", headers={"X-API-Key": key})[0] == 401


def test_a_page_that_polls_stops_too(locked: Locked, visit: Visit) -> None:
    context = visit.context(allows_outage=True, init="delete window.EventSource;")
    page = context.new_page()
    page.clock.install()
    traffic = Traffic(page)
    sign_in(page, locked, make_key(locked))
    wait_for(lambda: page.evaluate("1") and traffic.polls, what="a poll")
    context.clear_cookies()
    page.clock.fast_forward(11_000)
    expect_signed_out(page)
    expect_silence(page, traffic)


MAY_NOT = (
    'a[href="/vms/new"]',
    'form[action$="/threshold"]',
    "[data-import]",
    'a[href="/audit"]',
)


def test_a_page_offers_what_its_viewer_may_do_and_nothing_else(locked: Locked, visit: Visit) -> None:
    key = make_key(locked, "operate", name="olga")
    run = wait_for(lambda: locked.send("GET", "/api/runs", headers={"X-API-Key": key})[1]["runs"], what="a run")[0]["run_id"]
    paths = ("/", "/runs", f"/runs/{run}", "/vms/demo", "/access")
    seen, sent = dict[str, set[str]](), dict[str, bytes]()
    for name, text in (("viewer", make_key(locked)), ("operator", key)):
        page = visit.context(allows_outage=True).new_page()
        sign_in(page, locked, text)
        seen[name] = set()
        for path in paths:
            page.goto(f"{locked.url}{path}")
            if path != "/access":
                expect_state(page, "connected")
            shown = [selector for selector in MAY_NOT if page.locator(selector).locator("visible=true").count()]
            seen[name].update(shown)
        page.goto(f"{locked.url}/vms/new")
        offered = page.locator("form.vm-form").count()
        assert offered == (name == "operator")
        expect(page.get_by_text("You may look here, not add VMs.")).to_have_count(1 - offered)
        sent[name] = page.request.get(f"{locked.url}/fragments/vms").body()
    assert seen == {"viewer": set(), "operator": set(MAY_NOT) - {'a[href="/audit"]'}}
    assert b'href="/vms/new"' in sent["viewer"]  # a panel is the same for everyone: the page hides what is not the viewer's


def test_revoking_asks_first_and_the_own_key_ends_the_session(locked: Locked, visit: Visit) -> None:
    page = visit.context(allows_outage=True).new_page()
    key = make_key(locked, name="short")
    sign_in(page, locked, key, "/access")
    button = page.get_by_role("button", name="Revoke it: short")
    expect(button).to_be_hidden()
    page.locator(".sure > summary").click()
    expect(page.get_by_text("You are signed in by this key")).to_be_visible()
    button.click()
    expect(page).to_have_url(re.compile("/login"))
    assert locked.send("GET", "/api/vms", headers={"X-API-Key": key})[0] == 401


def test_a_new_key_is_selected_and_copied(locked: Locked, visit: Visit) -> None:
    page = visit.context(permissions=["clipboard-read", "clipboard-write"]).new_page()
    sign_in(page, locked, make_key(locked), "/access")
    page.get_by_text("Make a key").click()
    page.locator("#key-name").fill("mine")
    page.get_by_role("button", name="Make the key").click()
    secret = page.get_by_label("Key", exact=True)
    expect(secret).to_be_focused()
    assert page.evaluate("getSelection().toString()") == secret.input_value() != ""
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == secret.input_value()


def test_axe_finds_nothing_serious_on_access_and_the_audit_log(locked: Locked, visit: Visit) -> None:
    page = visit.context(viewport={"width": 390, "height": 844}).new_page()
    sign_in(page, locked, locked.admin, "/access")
    page.get_by_text("Make a key").click()
    page.locator(".sure > summary").first.click()
    for path in ("", "/audit"):
        if path:
            page.goto(f"{locked.url}{path}")
        assert serious(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


ATTACK = """async (url) => {
  const attempt = async (path, options) => {
    try { return (await fetch(url + path, {credentials: "include", ...options})).type; } catch { return "refused"; }
  };
  const vm = {name: "evil", ssh_host: "evil.example.org"}, body = JSON.stringify(vm);
  return [
    await attempt("/api/vms"),
    await attempt("/api/vms/register", {method: "POST", body, headers: {"Content-Type": "application/json"}}),
    await attempt("/api/vms/register", {method: "POST", body, mode: "no-cors"}),
    await attempt("/vms", {method: "POST", body: new URLSearchParams(vm), mode: "no-cors"}),
    await attempt("/api/vms/demo", {method: "DELETE"}),
  ];
}"""


class OtherPage(BaseHTTPRequestHandler):
    """A page of somebody else."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b'<link rel="icon" href="data:,"><form method="post"><input name="name" value="evil"></form>')

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def other_origin() -> Iterator[str]:
    """Another port of the same host: the same site, so that requests from there carry the cookie."""
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherPage) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_page_of_another_origin_can_neither_read_nor_act_with_the_cookie(locked: Locked, other_origin: str, visit: Visit) -> None:
    page = visit.context(allows_outage=True).new_page()
    key = make_key(locked, "operate")
    sign_in(page, locked, key)
    page.goto(other_origin)
    assert page.evaluate(ATTACK, locked.url) == ["refused"] * 5
    page.evaluate("url => { document.forms[0].action = url + '/vms'; document.forms[0].submit(); }", locked.url)
    expect(page.get_by_role("heading", name="This is not open to you")).to_be_visible()
    known = locked.send("GET", "/api/vms", headers={"X-API-Key": key})[1]["vms"]
    assert [vm["name"] for vm in known] == ["demo"]
    assert visit.faults
    assert all("has been blocked by CORS policy" in fault or "ERR_BLOCKED_BY_RESPONSE" in fault for fault in visit.faults)
    visit.faults.clear()


def test_the_first_administrator_comes_by_the_link_that_the_start_prints(tmp_path: Path, visit: Visit) -> None:
    server = Server(tmp_path, config='auth = "on"\ndemo = "off"\n').start()
    try:
        found = wait_for(lambda: re.search(r"http://\S+/login/\S+", server.text()), what="the link")
        page = visit.open(found.group(), allows_outage=True)
        page.reload()
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{server.url}/access")
        page.get_by_label("Name").fill("mine")
        page.get_by_label("admin").check()
        page.get_by_role("button", name="Make the key").click()
        key = page.get_by_label("Key", exact=True).input_value()
        assert re.fullmatch(r"waa_[0-9a-f]{12}_[A-Za-z0-9_-]{32}", key)
        page.goto(f"{server.url}/audit")
        expect(page.get_by_text("key.create")).to_be_visible()
        again = visit.open(found.group(), allows_outage=True)
        again.get_by_role("button", name="Sign in").click()
        expect(again.locator("#key-error")).to_have_text("This link was used already, or is too old")
    finally:
        server.stop()
    server.start()
    try:
        assert server.text().count("/login/") == 1  # there is an administrator now
        assert server.send("GET", "/api/vms", headers={"X-API-Key": key})[0] == 200
        link = command(server, "login-link", "--port", str(server.port)).split()[0]
        page = visit.open(link, allows_outage=True)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{server.url}/access")
    finally:
        server.stop()
