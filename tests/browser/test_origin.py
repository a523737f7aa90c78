"""A page of another origin, in a real browser: it can read nothing of us, and change nothing (X1)."""

import functools
import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.desk import VM, Desk
from tests.browser.visit import Visit

SCRIPT = """
window.results = {};
window.done = (async () => {
  const ours = %(ours)s, told = window.results;
  const attempt = async (name, work) => { try { told[name] = await work(); } catch (error) { told[name] = `refused: ${error.name}`; } };
  const within = (ms, promise) => Promise.race([promise, new Promise((done) => setTimeout(done, ms, "nothing"))]);
  const loaded = (tag, fields) => within(5000, new Promise((done) => {
    const element = Object.assign(document.createElement(tag), fields, { onload: () => done("loaded"), onerror: () => done("error") });
    document.body.append(element);
  }));
  for (const credentials of ["omit", "include"]) {
    await attempt(`read ${credentials}`, async () => (await fetch(`${ours}/api/vms`, { credentials })).text());
  }
  await attempt("read page", async () => (await fetch(`${ours}/`, { credentials: "include" })).text());
  await attempt("read fragment", async () => (await fetch(`${ours}/fragments/fleet`, { credentials: "include" })).text());
  await attempt("read document", async () => (await fetch(`${ours}/api/openapi.json`)).text());
  await attempt("opaque", async () => { const answer = await fetch(`${ours}/api/vms`, { mode: "no-cors", credentials: "include" });
    return `${answer.type} ${answer.status} ${(await answer.text()).length}`; });
  const vm = JSON.stringify({ name: "evil", ssh_host: "10.0.0.4" });
  const json = { "Content-Type": "application/json" };
  await attempt("register", async () => (await fetch(`${ours}/api/vms/register`, { method: "POST", headers: json, body: vm })).status);
  await attempt("register simply", async () =>
    (await fetch(`${ours}/api/vms/register`, { method: "POST", mode: "no-cors", credentials: "include", body: vm })).type);
  await attempt("import simply", async () =>
    (await fetch(`${ours}/api/traces/import`, { method: "POST", mode: "no-cors", body: JSON.stringify({ path: "/" }) })).type);
  await attempt("beacon", async () => navigator.sendBeacon(`${ours}/api/vms/register`, new Blob([vm], { type: "text/plain" })));
  await attempt("remove", async () => (await fetch(`${ours}/api/vms/%(vm)s`, { method: "DELETE", credentials: "include" })).status);
  await attempt("script", () => loaded("script", { src: `${ours}/api/vms` }));
  await attempt("image", () => loaded("img", { src: `${ours}/api/vms` }));
  await attempt("style", () => loaded("link", { rel: "stylesheet", href: `${ours}/api/vms` }));
  await attempt("stream", () => within(5000, new Promise((done) => {
    const source = new EventSource(`${ours}/api/benchmark-sse`, { withCredentials: true });
    for (const name of ["connected", "status", "message"]) source.addEventListener(name, (event) => { source.close(); done(event.data); });
    source.onerror = () => { source.close(); done("refused"); };
  })));
  await attempt("frame", async () => {
    const frame = Object.assign(document.createElement("iframe"), { src: `${ours}/` });
    document.body.append(frame);
    await within(5000, new Promise((done) => { frame.onload = () => done(); }));
    return frame.contentDocument?.body.textContent ?? "shut";
  });
  await attempt("form", async () => {
    document.body.insertAdjacentHTML("beforeend", `<iframe name="away"></iframe>
      <form method="post" target="away" action="${ours}/vms"><input name="name" value="evil"><input name="ssh_host" value="10.0.0.4"></form>
      <form method="post" target="away" action="${ours}/vms/%(vm)s/remove"></form>
      <form method="post" target="away" enctype="text/plain" action="${ours}/api/vms/register">
      <input name='${vm.slice(0, -1)},"x":"' value='"}'></form>`);
    for (const form of document.forms) { form.submit(); await new Promise((done) => setTimeout(done, 300)); }
    return "sent";
  });
})();
"""


class Elsewhere:
    """Another server on another port, and so another origin: its page tries everything; it notes what it is told."""

    def __init__(self, page: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = f"<!doctype html><title>Elsewhere</title><body><script>{page}</script>".encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=functools.partial(self._server.serve_forever, poll_interval=0.05))
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def elsewhere(desk: Desk) -> Iterator[Elsewhere]:
    server = Elsewhere(SCRIPT % {"ours": json.dumps(desk.url), "vm": VM})
    yield server
    server.close()


def names(desk: Desk) -> list[str]:
    return [vm["name"] for vm in desk.server.get("/api/vms")["vms"]]


def tried(page: Page) -> dict[str, Any]:
    page.evaluate("window.done")
    found: dict[str, Any] = page.evaluate("window.results")
    return found


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_x1_a_foreign_page_reads_nothing_and_changes_nothing(host: str, desk: Desk, elsewhere: Elsewhere, visit: Visit) -> None:
    """127.0.0.1 on another port is the same site, whose cookies go along: the origin must be enough."""
    before, jobs = names(desk), desk.server.get("/api/jobs")["jobs"]
    context = visit.browser.new_context()
    context.new_page().goto(desk.url)  # it has our cookies
    page = context.new_page()
    page.goto(f"http://{host}:{elsewhere.port}/")
    results = tried(page)
    for name in ("read omit", "read include", "read page", "read fragment", "read document", "opaque", "register", "remove"):
        assert results[name] == "refused: TypeError", (name, results[name])
    assert [results[name] for name in ("script", "image", "style", "stream")] == ["error", "error", "error", "refused"]
    assert results["form"] == "sent"
    assert results["frame"] == "shut"
    assert VM not in json.dumps(results)
    assert names(desk) == before
    assert desk.server.get("/api/jobs")["jobs"] == jobs
    context.close()


def test_x1_a_page_that_we_did_not_open_gets_no_hold_of_ours(desk: Desk, elsewhere: Elsewhere, visit: Visit) -> None:
    context = visit.browser.new_context()
    page = context.new_page()
    page.goto(f"http://localhost:{elsewhere.port}/")
    with page.expect_popup() as popup:
        page.evaluate(f"window.opened = window.open({json.dumps(desk.url)})")
    popup.value.wait_for_load_state()
    assert page.evaluate("window.opened.closed")  # to its opener; the page itself is there
    expect(popup.value).to_have_title(re.compile("WAA Live"))
    assert popup.value.evaluate("window.opener") is None
    page.evaluate("window.opened.location = 'about:blank'")
    expect(popup.value).to_have_title(re.compile("WAA Live"))
    context.close()


def test_x1_a_foreign_name_that_leads_here_is_turned_away(desk: Desk, visit: Visit) -> None:
    """DNS rebinding: the page is of evil.example.org, whose name is now ours; same origin, but we know our names."""
    flags = [f"--host-resolver-rules=MAP evil.example.org 127.0.0.1:{desk.server.port}", "--no-sandbox", "--disable-gpu"]
    browser = visit.browser.browser_type.launch(executable_path="/usr/bin/chromium", args=flags)
    try:
        page = browser.new_page()
        answer = page.goto(f"http://evil.example.org:{desk.server.port}/")
        assert answer is not None
        assert answer.status == 421
        assert VM not in page.content()
        told = page.evaluate("fetch('/api/vms').then((answer) => answer.text().then((text) => [answer.status, text]))")
        assert told[0] == 421
        assert VM not in told[1]
    finally:
        browser.close()


def test_x1_our_own_pages_break_no_rule_of_their_policy(desk: Desk, visit: Visit) -> None:
    """Each violation is an error of the console, which the visit holds against the test."""
    for path in ("/", "/runs", "/compare", f"/vms/{VM}", "/vms/new", "/embed/fleet", "/access", "/audit"):
        page = visit.open(desk.url + path)
        page.wait_for_load_state()
        assert page.evaluate("document.querySelectorAll('script:not([src]), [style], style').length") == 0
        page.close()


def test_the_other_origin_is_one(desk: Desk, elsewhere: Elsewhere) -> None:
    with socket.create_connection(("127.0.0.1", elsewhere.port)):
        assert elsewhere.port != desk.server.port
