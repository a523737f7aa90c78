"""Panels by themselves: the stream's bytes, and what other pages may do with them (requirements A22, A23)."""

import re
from urllib.parse import quote

import pytest

from tests.core.builders import FILE, T0, task_facts
from tests.web.house import House, Listener, house
from tests.web.markup import read
from tests.web.trainings import item, push
from waa.core.observation import VmForgotten
from waa.core.pipeline import PipelineSpec
from waa.core.pipeline_change import PipelineNamed
from waa.web.deps import WebSettings
from waa.web.panels import PANELS

WIKI = "https://wiki.example.org"
EMBEDDED = WebSettings(embed_origins=(WIKI,))


async def furnished(built: House) -> str:
    """A VM, its run and its log, and another VM's run; gives the run's id."""
    await built.name()
    await built.start_run()
    await built.tell(*task_facts("a", at=T0 + 10))
    built.tails.take("vm-1", FILE, b"first line\nsecond line\n")
    await built.name("vm-2")
    await built.start_run(vm="vm-2")
    for epoch in (0, 1):
        await push(built, "digits", *(item(number, epoch) for number in range(3)))
    spec = PipelineSpec(pipeline_id="train", backend="http://10.0.0.9")
    await built.record(PipelineNamed(vm="", at=T0, spec=spec))
    return str(next(iter(built.recorder.state.runs)))


def query(name: str, run_id: str) -> str:
    """The subject of a panel."""
    task = quote(f"{run_id}/notepad/a//", safe="")
    return {
        "vm": "?vm=vm-1",
        "run": f"?run={run_id}",
        "results": f"?results={run_id}",
        "task": f"?task={task}",
        "pipeline": "?pipeline=train",
        "runs": f"?runs={run_id},{run_id.replace('vm-1', 'vm-2')}",
        "training": "?training=digits",
        "predictions": f"?predictions={quote('digits?epoch=1', safe='')}",
        "comparison": f"?comparison={quote('a=digits&ae=0&b=digits&be=1', safe='')}",
    }.get(PANELS[name].parameter or "", "")


async def partials(listener: Listener) -> dict[str, str]:
    """The panels of the next message that swaps: target -> HTML."""
    message = await listener.until("message")
    found = re.findall(r'<hx-partial hx-target="([^"]+)" hx-swap="[^"]+">(.*?)</hx-partial>', message.data, re.DOTALL)
    return dict(found)


@pytest.mark.parametrize("name", PANELS)
async def test_a23_a_fragment_is_the_bytes_that_the_stream_swaps_in(name: str) -> None:
    async with house() as built:
        run_id = await furnished(built)
        subject = query(name, run_id)
        listener = await built.listen(f"/stream?panels={name}{subject.replace('?', '&')}")
        streamed = await partials(listener)
        answer = await built.ask(f"/fragments/{name}{subject}")
        assert (answer.code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert streamed == {f"#{PANELS[name].element_id}": answer.body.decode()}
        panel = read(answer.body)
        panel.one(id_=PANELS[name].element_id)
        assert panel.has_id(PANELS[name].refresh_id), "A22: when it was last refreshed"


@pytest.mark.parametrize("name", PANELS)
async def test_a23_a_fragment_that_is_known_is_304(name: str) -> None:
    async with house() as built:
        path = f"/fragments/{name}{query(name, await furnished(built))}"
        answer = await built.ask(path)
        again = await built.ask(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.code, again.body) == (304, b"")
        assert "Set-Cookie" not in answer.headers


async def test_a_change_gives_other_bytes_and_the_stream_sends_them() -> None:
    async with house() as built:
        await furnished(built)
        listener = await built.listen("/stream?panels=live-eval")
        before = await partials(listener)
        await built.tell(*task_facts("b", at=T0 + 100))
        after = await partials(listener)
        assert after != before
        assert after["#live-eval-panel"] == (await built.ask("/fragments/live-eval")).body.decode()


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("/fragments/nonsense", 404, None),
        ("/embed/nonsense", 404, None),
        ("/fragments/vm", 422, "vm"),
        ("/fragments/run", 422, "run"),
        ("/embed/log", 422, "vm"),
        ("/fragments/vm?vm=nobody", 404, None),
        ("/fragments/run?run=nothing", 404, None),
        ("/embed/vm?vm=nobody", 404, None),
        ("/fragments/live-eval?run=nothing", 404, None),
        ("/fragments/vm?vm=a&vm=b", 422, "vm"),
        ("/stream", 422, "panels"),
        ("/stream?panels=nonsense", 422, "panels"),
        ("/stream?panels=vm", 422, "vm"),
        ("/stream?panels=vm&vm=nobody", 404, None),
        ("/stream?panels=" + "fleet," * 17, 422, "panels"),
    ],
)
async def test_a_subject_that_is_missing_or_unknown_is_named(path: str, status: int, field: str | None) -> None:
    async with house() as built:
        answer = await built.ask(path)
        assert answer.code == status
        assert (f'"field":"{field}"' if field else '"field":null') in answer.body.decode()


async def test_a23_only_pages_of_allowed_origins_may_read_a_fragment() -> None:
    async with house(settings=EMBEDDED) as built:
        for path in ("/fragments/fleet", "/fragments/nonsense", "/fragments/vm"):
            allowed = await built.ask(path, headers={"Origin": WIKI})
            assert allowed.headers["Access-Control-Allow-Origin"] == WIKI
            assert allowed.headers["Access-Control-Allow-Credentials"] == "true"
            assert allowed.headers["Vary"] == "Origin"
        for origin in ("https://evil.example.org", "null", "https://wiki.example.org.evil.org", "http://wiki.example.org", ""):
            refused = await built.ask("/fragments/fleet", headers={"Origin": origin})
            assert "Access-Control-Allow-Origin" not in refused.headers
            assert refused.headers["Vary"] == "Origin"
        for path in ("/", "/api/vms", "/live", "/vms/new"):
            own = await built.ask(path, headers={"Origin": WIKI})
            assert "Access-Control-Allow-Origin" not in own.headers
    async with house() as built:
        assert "Access-Control-Allow-Origin" not in (await built.ask("/fragments/fleet", headers={"Origin": WIKI})).headers


async def test_a23_the_preflight_of_an_embedding_page_lets_the_stream_resume() -> None:
    async with house(settings=EMBEDDED) as built:
        headers = {"Origin": WIKI, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "last-event-id,hx-request"}
        answer = await built.ask("/stream?panels=fleet", "OPTIONS", headers=headers)
        assert answer.code == 204
        assert answer.headers["Access-Control-Allow-Origin"] == WIKI
        allowed = {name.strip() for name in answer.headers["Access-Control-Allow-Headers"].split(",")}
        assert {"last-event-id", "hx-request", "if-none-match"} <= allowed
        assert "POST" not in answer.headers["Access-Control-Allow-Methods"]
        foreign = await built.ask("/stream?panels=fleet", "OPTIONS", headers=headers | {"Origin": "https://evil.example.org"})
        assert "Access-Control-Allow-Origin" not in foreign.headers
        listener = await built.listen("/stream?panels=fleet", headers={"Origin": WIKI})
        assert (listener.status, listener.headers["Access-Control-Allow-Origin"]) == (200, WIKI)


async def test_a23_only_allowed_origins_may_put_a_panel_into_a_frame() -> None:
    async with house(settings=EMBEDDED) as built:
        for path in ("/embed/fleet", "/embed/nonsense"):
            answer = await built.ask(path, headers={"Accept": "text/html"})
            assert answer.headers["Content-Security-Policy"].endswith(f"frame-ancestors 'self' {WIKI}")
        for path in ("/", "/vms/new", "/runs"):
            answer = await built.ask(path)
            assert answer.headers["Content-Security-Policy"].endswith("frame-ancestors 'self'")


async def test_the_pages_stream_greets_and_beats_with_the_ages_of_the_vms() -> None:
    async with house() as built:
        await built.name()
        built.monitor.seen_at["vm-1"] = T0 + 5
        listener = await built.listen("/stream?panels=fleet")
        assert listener.headers["Cache-Control"] == "no-store, no-transform"
        hello, beat = await listener.take(2)
        assert (hello.event, hello.retry_ms) == ("hello", 1000)
        assert hello.data == {"now": built.clock(), "id": built.recorder.hub.wire_id(built.recorder.hub.last_event_id)}
        assert (beat.event, beat.data) == ("hb", {"now": built.clock(), "seen": {"vm-1": T0 + 5}})
        await listener.until("message")
        built.stream_clock.now += 10
        assert (await listener.next()).event == "hb"


async def test_a_removed_vm_leaves_its_stream_open_and_comes_back_when_it_is_named_again() -> None:
    async with house() as built:
        await built.name()
        listener = await built.listen("/stream?panels=fleet,vm&vm=vm-1")
        assert set(await partials(listener)) == {"#fleet-panel", "#vm-panel"}
        await built.record(VmForgotten(vm="vm-1", at=T0 + 5))
        assert set(await partials(listener)) == {"#fleet-panel"}
        await built.name(ssh_host="10.9.9.9")
        html = ""
        while "10.9.9.9" not in html:
            html = "".join((await partials(listener)).values())


async def test_a_page_that_joined_between_two_looks_is_not_left_behind() -> None:
    async with house() as built:
        await built.name()
        early = await built.listen("/stream?panels=vm&vm=vm-1")
        await partials(early)
        await built.name(ssh_host="10.0.0.2")
        await partials(early)
        await built.name(ssh_host="10.0.0.3")
        late = await built.listen("/stream?panels=vm&vm=vm-1")  # rendered for it, not told to the others yet
        assert "10.0.0.3" in (await partials(late))["#vm-panel"]
        await built.name(ssh_host="10.0.0.2")
        html = ""
        while "10.0.0.2" not in html:
            html = (await partials(late))["#vm-panel"]


async def test_log_lines_are_appended_as_they_are_written() -> None:
    async with house() as built:
        await furnished(built)
        listener = await built.listen("/stream?panels=log&vm=vm-1")
        assert "second line" in (await partials(listener))["#log-panel"]
        built.tails.take("vm-1", FILE, b"<b>third</b> \x1b[31mred\x1b[0m\n")
        message = await listener.until("log")
        assert message.data["oldest"] == 1
        assert "&lt;b&gt;third&lt;/b&gt;" in message.data["html"]
        assert "first line" not in message.data["html"]


async def test_a21_the_end_of_a_task_is_a_notice_to_every_page() -> None:
    async with house() as built:
        await furnished(built)
        listener = await built.listen("/stream?panels=fleet")
        await built.tell(*task_facts("z", at=T0 + 300, score=0.25))
        notice = await listener.until("notify")
        assert (notice.data["title"], notice.data["body"]) == ("Task failed: z", "Score: 0.25")
