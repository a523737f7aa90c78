"""Pages: their frame, their panels, their forms; and the words for numbers."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.web import fleet_builder as build
from tests.web.fleet_builder import NOW, ROOT
from tests.web.markup import Element, judge, read
from waa.core.codec import convert
from waa.core.error import NotFound
from waa.core.spec import LogSide, Origin, VmSpec
from waa.core.state import State
from waa.web.panels import PANELS
from waa.web.render import Renderer, clock, commands, duration, stream_url
from waa.web.view import Look
from waa.web.views.form import spec_values, vm_form
from waa.web.views.page import overview_page, vm_page
from waa.web.views.run_page import run_page
from waa.web.views.runs import RunFilter, runs_page

RENDERER = build.a_renderer()
RUN_ID = "waa-1-20260204T113131"


def overview(look: Look, run: str | None = None) -> bytes:
    return RENDERER.page("pages/overview.html", look=look, page=overview_page(look, run))


def pages(look: Look) -> dict[str, bytes]:
    return {
        "overview": overview(look),
        "vm": RENDERER.page("pages/vm.html", look=look, page=vm_page(look, "waa-1")),
        "run": RENDERER.page("pages/run.html", look=look, page=run_page(look, RUN_ID)),
        "runs": RENDERER.page("pages/runs.html", look=look, page=runs_page(look, RunFilter())),
        "new": RENDERER.page("pages/vm_new.html", look=look, page=vm_form()),
        "embed": RENDERER.page("embed.html", look=look, page_panel="fleet", subject=None, vm=None, run=None),
        "error": RENDERER.page("error.html", status=404, message="There is no VM 'x'.", field=None),
    }


@pytest.mark.parametrize("state", [build.a_fleet, build.a_hostile])
@pytest.mark.parametrize("name", ["overview", "vm", "run", "runs", "new", "embed", "error"])
def test_every_page_is_sound(name: str, state: type[State]) -> None:
    root = read(pages(build.a_look(state()))[name].replace(b"<!doctype html>", b"", 1))
    judge(root)
    assert root.one(tag="html").attributes["lang"] == "en"
    assert root.one(tag="title").text
    assert len(root.all(tag="h1")) == 1
    assert root.one(tag="main")
    body = root.one(tag="body")
    assert body.children[0].attributes["id"] == "sse-error-banner"
    assert "error-banner" in body.children[0].classes


@pytest.mark.parametrize(
    ("name", "fed"),
    [
        (
            "overview",
            {"attention": None, "fleet": None, "live-eval": None, "tasks": None, "vms": None, "azure-jobs": None, "azure-job-logs": None},
        ),
        ("vm", {"vm": "waa-1", "vm-run": "waa-1", "vm-incidents": "waa-1", "log": "waa-1"}),
        (
            "run",
            {
                "run-head": RUN_ID,
                "run-incidents": RUN_ID,
                "run-chart": RUN_ID,
                "run-domains": RUN_ID,
                "run-tasks": RUN_ID,
                "run-facts": RUN_ID,
            },
        ),
        ("runs", {"runs": None}),
        ("embed", {"fleet": None}),
    ],
)
def test_a_panel_is_the_same_bytes_alone_and_in_its_page_and_the_stream_feeds_all(name: str, fed: dict[str, str | None]) -> None:
    look = build.a_look(build.a_fleet())
    page = pages(look)[name]
    for panel, subject in fed.items():
        assert RENDERER.panel(PANELS[panel], look, subject) in page
    live = read(page.replace(b"<!doctype html>", b"", 1)).one(id_="live")
    assert live.attributes["hx-sse:connect"].startswith("/stream?panels=" + ",".join(fed))
    assert live.attributes["hx-sse:close"] == "bye"
    assert live.attributes["hx-swap"] == "none"
    assert live.attributes["hx-trigger"] == "live:connect"
    assert live.parent is not None
    assert live.parent.tag == "body"


def test_the_page_shows_the_state_of_its_connection() -> None:
    root = read(overview(build.a_look(build.a_fleet())).replace(b"<!doctype html>", b"", 1))
    badge = root.one(id_="sse-connection-indicator")
    assert badge.classes == {"connection-indicator", "disconnected"}
    assert badge.attributes["title"] == "SSE: disconnected"
    assert badge.attributes["role"] == "status"


def test_without_streaming_there_is_no_stream_element() -> None:
    root = read(overview(build.a_look(build.a_fleet(), sse=False)).replace(b"<!doctype html>", b"", 1))
    assert not root.has_id("live")
    assert root.one(tag="body").attributes["data-sse"] == "off"
    assert "polling" in root.one(id_="sse-connection-indicator").classes


def test_the_overview_can_show_a_chosen_run() -> None:
    look = build.a_look(build.a_fleet())
    page = overview(look, "waa-5-20260204T113131")
    assert RENDERER.panel(PANELS["live-eval"], look, "waa-5-20260204T113131") in page
    assert b"&amp;run=waa-5-20260204T113131" in page
    with pytest.raises(NotFound):
        overview(look, "nobody")


def test_the_demo_is_told_on_its_pages() -> None:
    look = build.a_look(build.a_demo())
    assert b"demo-notice" in overview(look)
    assert b"demo-label" in RENDERER.page("pages/vm.html", look=look, page=vm_page(look, "demo"))
    assert b"demo-label" not in overview(build.a_look(build.a_fleet()))


def test_unknown_subjects_of_pages_are_not_found() -> None:
    look = build.a_look(build.a_fleet())
    with pytest.raises(NotFound):
        vm_page(look, "nobody")
    with pytest.raises(NotFound):
        run_page(look, "nobody")


def vm_page_of(origin: Origin) -> Element:
    state = build.a_fleet()
    vm = state.vms["waa-1"]
    state.put(replace(vm, spec=replace(vm.spec, origin=origin)))
    return read(pages(build.a_look(state))["vm"].replace(b"<!doctype html>", b"", 1))


def test_removing_a_vm_asks_first_and_carries_the_token() -> None:
    form = vm_page_of(Origin.API).one(tag="dialog").one(tag="form")
    assert (form.attributes["action"], form.attributes["method"]) == ("/vms/waa-1/remove", "post")
    assert form.one(tag="input").attributes == {"type": "hidden", "name": "_xsrf", "value": "token-1"}


@pytest.mark.parametrize("origin", [Origin.CONFIG, Origin.DEMO, Origin.FILES])
def test_a_vm_that_the_configuration_names_is_not_removed_here(origin: Origin) -> None:
    assert not [each for each in vm_page_of(origin).walk() if each.tag == "dialog"]


def test_pages_without_panels_load_no_stream() -> None:
    page = pages(build.a_look(build.a_fleet()))["new"]
    assert b"hx-sse" not in page
    assert b"htmx" not in page


# --- the form ---


def fields_of(page: bytes) -> dict[str, Element]:
    form = read(page.replace(b"<!doctype html>", b"", 1)).one(class_="vm-form")
    return {each.attributes["name"]: each for each in form.walk() if "name" in each.attributes}


def test_the_form_asks_for_every_field_of_a_vm() -> None:
    fields = fields_of(pages(build.a_look(build.a_fleet()))["new"])
    assert set(fields) == {"_xsrf", *(name for name in VmSpec.__dataclass_fields__ if name != "origin")}
    assert fields["container"].attributes["value"] == "winarena"
    assert fields["waa_port"].attributes["value"] == "5000"
    assert fields["_xsrf"].attributes["value"] == "token-1"


def test_a_refused_form_keeps_what_was_entered_and_says_what_is_wrong() -> None:
    form = vm_form(
        {"name": "a b", "ssh_host": '"><script>', "trust_first": "true"},
        {"name": "is not a name", "waa_port": "is not a port", "spec": "no"},
    )
    page = RENDERER.page("pages/vm_new.html", look=build.a_look(State()), page=form)
    judge(read(page.replace(b"<!doctype html>", b"", 1)))
    fields = fields_of(page)
    assert fields["name"].attributes["value"] == "a b"
    assert fields["name"].attributes["aria-invalid"] == "true"
    assert "error-name" in fields["name"].attributes["aria-describedby"]
    assert fields["ssh_host"].attributes["value"] == '"><script>'
    assert "checked" in fields["trust_first"].attributes
    assert form.is_unfolded
    assert form.error == "no"


def test_a_submitted_form_becomes_a_vm() -> None:
    entered = {
        "name": "waa-1",
        "ssh_host": " vm.example ",
        "ssh_user": "",
        "container": "",
        "log_side": "host",
        "trust_first": "true",
        "_xsrf": "x",
    }
    spec = convert(VmSpec, spec_values(entered | {"waa_port": "5001"}), name="vm", strict=False)
    assert spec == VmSpec(name="waa-1", ssh_host="vm.example", container="", log_side=LogSide.HOST, trust_first=True, waa_port=5001)


def test_the_untouched_form_keeps_every_default() -> None:
    entered = {field.name: field.value for field in (*vm_form().main, *vm_form().more)} | {"name": "a", "ssh_host": "b"}
    assert convert(VmSpec, spec_values(entered), name="vm", strict=False) == VmSpec(name="a", ssh_host="b")


# --- words ---


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (3600 * 25, "1 d 1 h"), (-5, "0 s")],
)
def test_durations_are_told_in_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_moment_of_another_day_has_its_date() -> None:
    assert clock(NOW, NOW) == "12:31:31 UTC"
    assert clock(NOW - 86_400, NOW) == "3 Feb 12:31 UTC"


def test_the_stream_of_a_page_is_named_by_its_panels() -> None:
    assert stream_url(["vm", "log"], {"vm": "waa.1", "run": None}) == "/stream?panels=vm,log&vm=waa.1"
    assert stream_url(["runs"], {}) == "/stream?panels=runs"


def test_addresses_of_static_files_change_with_their_content(tmp_path: Path) -> None:
    (tmp_path / "app.css").write_text("a {}")
    before = Renderer(ROOT / "templates", tmp_path).static_url("app.css")
    (tmp_path / "app.css").write_text("b {}")
    assert Renderer(ROOT / "templates", tmp_path).static_url("app.css") != before
    with pytest.raises(FileNotFoundError):
        Renderer(ROOT / "templates", tmp_path).static_url("nothing.css")


def test_the_script_and_the_sheet_keep_to_the_policy() -> None:
    script = (ROOT / "static" / "app.js").read_text()
    assert "eval(" not in script
    assert "innerHTML" not in script
    assert "url(" not in (ROOT / "static" / "app.css").read_text()


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("check that it is on", "check that it is on"),
        ("try `ssh -p 1 x@y`", "try <code>ssh -p 1 x@y</code>"),
        ("`a`, then `b <c>`; it's done", "<code>a</code>, then <code>b &lt;c&gt;</code>; it&#39;s done"),
        ("a lone ` stays, <b> too", "a lone ` stays, &lt;b&gt; too"),
    ],
)
def test_commands_in_remedies_are_told_apart_and_nothing_is_markup(text: str, html: str) -> None:
    assert commands(text) == html
