"""The page of a replay, its panels, its stream, and what a reader may do with it."""

import json
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from tornado.httpclient import HTTPResponse

from tests.core.builders import a_run, a_task, task_facts
from tests.services.reader import PlayedFolders
from tests.web.house import T0, House, Listener, house, until
from tests.web.markup import Element, judge, read
from tests.web.test_task_page import RESET, a_line
from waa.core.entity import Imported
from waa.core.error import Failure
from waa.core.job import ImportKind
from waa.core.logs import fact as f
from waa.core.observation import TroubleMet
from waa.core.outside import RunImported
from waa.core.status import Reason, RunStatus, TaskStatus
from waa.web.replays import AWAY_S, KEPT_S, MAX_PER_BROWSER, MAX_REPLAYS
from waa.web.views.replay import PANELS

RUN = "vm-1-20260204T121231"
PATH = f"/runs/{RUN}/replay"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HTML = {"Accept": "text/html"}


class Opened:
    """A page of a replay, as a browser has it."""

    def __init__(self, built: House, answer: HTTPResponse) -> None:
        assert answer.code == 200, answer.body
        self.built = built
        self.root: Element = read(answer.body)
        judge(self.root)
        form = self.root.one(id_="replay")
        self.base = form.attributes["action"]
        self.status: dict[str, Any] = json.loads(form.attributes["data-status"])
        self.xsrf = next(each.attributes["value"] for each in form.all(tag="input") if each.attributes.get("name") == "_xsrf")
        self.cookies = "; ".join(cookie.partition(";")[0] for cookie in answer.headers.get_list("Set-Cookie"))

    async def post(self, **fields: object) -> HTTPResponse:
        """What the page's script sends."""
        body = urlencode({"_xsrf": self.xsrf, **fields})
        return await self.built.ask(self.base, "POST", body=body, headers=FORM | {"Cookie": self.cookies})

    async def order(self, **fields: object) -> dict[str, Any]:
        answer = await self.post(**fields)
        assert answer.code == 200, answer.body
        told: dict[str, Any] = json.loads(answer.body)
        return told

    async def listen(self) -> Listener:
        return await self.built.listen(self.root.one(id_="live").attributes["hx-sse:connect"])

    async def panel(self, name: str = "run-head") -> Element:
        """A panel as polling gets it."""
        path = self.root.one(id_=f"{name}-panel").attributes["hx-get"]
        assert path.startswith(f"{self.base}/fragments/{name}?")
        answer = await self.built.ask(path)
        assert answer.code == 200, answer.body
        return read(answer.body)


async def record_run(built: House) -> None:
    """A run of two tasks, from T0 to T0 + 101, told as it went."""
    await built.name()
    told: list[f.AnyFact] = [f.RunStarted(at=T0, dialect=f.Dialect.WAA), f.RunPlanned(at=T0, total=2)]
    told += [*task_facts("task-1", at=T0 + 1, steps=3), *task_facts("task-2", at=T0 + 51, score=0.0, steps=4)]
    for fact in [*told, f.RunFinished(at=T0 + 101, average_score=0.5)]:
        built.clock.now = fact.at or T0
        await built.tell(fact)
    built.clock.now = T0 + 7200


async def opened(built: House, query: str = "", cookie: str = "") -> Opened:
    return Opened(built, await built.ask(f"{PATH}{query}", headers=HTML | ({"Cookie": cookie} if cookie else {})))


def progress(panel: Element) -> str:
    return panel.one(class_="progress-text").text


async def test_the_page_shows_the_run_as_it_was_then() -> None:
    async with house() as built:
        await record_run(built)
        page = await opened(built, "?at=60&speed=5")
        assert page.root.one(tag="head").one(tag="title").text.startswith(f"Replay of {RUN}")
        assert page.root.all(class_="replay-mark")
        assert (page.status["at"], page.status["duration"], page.status["speed"], page.status["rate"]) == (60, 101, 5, 5)
        assert (page.status["now"], page.status["source"]) == (T0 + 60, "As recorded.")
        body = page.root.one(tag="body").attributes
        assert (body["data-rate"], body["data-now"]) == ("5.0", f"{T0 + 60:.3f}")
        assert progress(page.root.one(id_="run-head-panel")) == "1/2 tasks completed"
        assert page.root.one(class_="current-task").one(class_="task-id").text == "task-2"
        ticks = [
            (tick.attributes["class"], tick.attributes["data-at"], tick.text)
            for tick in page.root.one(class_="replay-ticks").all(tag="rect")
        ]
        assert ticks == [("passed", "37.0", "OK: notepad task-1"), ("failed", "97.0", "FAIL: notepad task-2")]
        assert built.recorder.state.runs[a_run().run_id].status is RunStatus.FINISHED


async def test_every_panel_comes_from_the_replay_and_nothing_can_be_written() -> None:
    async with house() as built:
        await record_run(built)
        page = await opened(built, "?at=60")
        for name in PANELS:
            panel = page.root.one(id_=f"{name}-panel")
            assert panel.attributes["hx-get"].startswith(f"{page.base}/fragments/{name}?")
            assert not panel.all(tag="form")
            assert not [each for each in panel.walk() if {"hx-post", "hx-delete", "hx-put", "hx-patch"} & set(each.attributes)]
        assert page.root.one(id_="live").attributes["hx-sse:connect"].startswith(f"{page.base}/stream?")
        assert page.root.one(id_="address").attributes["data-stream"].startswith(f"{page.base}/stream?")
        assert not page.root.has_id("notify-button")
        assert [form.attributes["action"] for form in page.root.all(tag="form")] == [page.base]


async def test_time_passes_over_the_stream() -> None:
    async with house() as built:
        await record_run(built)
        page = await opened(built, "?speed=10")
        listener = await page.listen()
        assert (await listener.until("hello")).data["now"] == T0
        assert (await listener.until("hb")).data == {"now": T0, "seen": {}, "rate": 10.0}
        first = (await listener.until("message")).data
        assert "0/2 tasks completed" in first
        assert (await listener.until("replay")).data["at"] == 0
        built.stream_clock.now += 4
        message = await listener.until("message")
        while "1/2 tasks completed" not in message.data:
            message = await listener.until("message")
        assert (await page.panel()).one(class_="progress-text").text == "1/2 tasks completed"
        built.stream_clock.now += 8
        ended = await listener.until("replay")
        assert (ended.data["playing"], ended.data["at"], ended.data["rate"]) == (False, 101, 0)
        assert "notify" not in {message.event for message in listener.seen}


async def test_what_happens_now_does_not_reach_a_replay() -> None:
    async with house() as built:
        await record_run(built)
        page = await opened(built, "?at=10")
        replay = await page.listen()
        await replay.until("replay")
        live = await built.listen("/stream?panels=run-head&run=" + RUN)
        await live.until("message")
        failure = Failure(reason=Reason.PROTOCOL, message="now")
        await built.record(TroubleMet(vm="vm-1", at=T0 + 7200, failure=failure))
        await live.until("error")
        await page.order(at=98, playing="false")
        await replay.until("replay")
        assert {"error", "notify"}.isdisjoint(message.event for message in replay.seen)


async def test_the_reader_goes_anywhere() -> None:
    async with house() as built:
        await record_run(built)
        page = await opened(built)
        listener = await page.listen()
        await listener.until("replay")
        told = await page.order(at=98, playing="false")
        assert (told["at"], told["playing"], told["rate"]) == (98, False, 0)
        assert (await listener.until("replay")).data == told
        assert progress(await page.panel()) == "2/2 tasks completed"
        assert (await page.order(at=10))["at"] == 10
        assert progress(await page.panel()) == "0/2 tasks completed"
        message = await listener.until("message")
        while "0/2 tasks completed" not in message.data:
            message = await listener.until("message")
        told = await page.order(speed=1000, skip_idle="false", playing="true")
        assert (told["speed"], told["skip_idle"], told["rate"]) == (1000, False, 1000)
        assert json.loads((await built.ask(page.base)).body) == told


async def test_tables_are_ordered_inside_the_replay() -> None:
    async with house() as built:
        await record_run(built)
        page = await opened(built, "?at=60")
        answer = await built.ask(f"{page.base}/page?sort=-index", headers=HTML)
        root = read(answer.body)
        judge(root)
        rows = [row.text for row in root.one(class_="task-table").all(tag="th") if row.attributes.get("scope") == "row"]
        assert [row[:6] for row in rows] == ["task-2", "task-1"]
        assert root.one(id_="run-tasks-panel").attributes["hx-get"].startswith(f"{page.base}/fragments/run-tasks?")
        assert "sort" in root.one(id_="address").attributes["data-stream"]
        assert (await built.ask(f"{page.base}/page?sort=nothing")).code == 422


async def test_without_a_script_the_page_leads_to_the_end_of_the_run() -> None:
    async with house() as built:
        await record_run(built)
        html = (await built.ask(PATH, headers=HTML)).body.decode()
        found = re.search(r'<noscript><meta http-equiv="refresh" content="0; url=([^"]+)"></noscript>', html)
        assert found is not None
        answer = await built.ask(found[1], headers=HTML)
        assert b'http-equiv="refresh"' not in answer.body
        assert b"A replay needs JavaScript. This is how the run stood in the end." in answer.body
        page = Opened(built, answer)
        assert (page.status["at"], page.status["playing"]) == (101, False)
        assert progress(page.root.one(id_="run-head-panel")) == "2/2 tasks completed"


async def test_a_run_that_goes_on_ends_now() -> None:
    async with house() as built:
        await built.name()
        await built.start_run()
        built.clock.now = T0 + 600
        page = await opened(built, "?at=end")
        assert page.status["duration"] == 600
        assert page.root.one(class_="run-status").text == "Running"


async def test_an_imported_run_is_rebuilt_and_its_steps_are_read() -> None:
    folders = PlayedFolders()
    folders.put("clock", "t-1", RESET, a_line(1), a_line(2))
    async with house(reader=folders) as built:
        imported = Imported(kind=ImportKind.FOLDER, source="/results", at=T0 + 7000)
        run = a_run("imported", vm="", imported=imported, status=RunStatus.FINISHED, ended_at=T0 + 90, total=2)
        ended = {"status": TaskStatus.PASSED, "score": 1.0, "provisional": False, "step": 2, "ended_at": T0 + 60, "changed_at": T0 + 60}
        tasks = [a_task(name, run_id=run.run_id, vm="", domain="clock", started_at=T0 + 10, **ended) for name in ("t-1", "t-2")]
        await built.record(RunImported(vm="", at=T0 + 7000, run=run, tasks=tuple(tasks)))
        folders.gate.clear()
        answer = await built.ask("/runs/imported/replay?at=31&speed=1", headers=HTML)
        page = Opened(built, answer)
        assert page.status["source"] == "Rebuilt from results; the steps between are being read."
        assert "Preparing" in page.root.one(id_="run-head-panel").text
        assert "Running" in page.root.one(id_="run-head-panel").text
        listener = await page.listen()
        await listener.until("replay")
        folders.gate.set()
        told = (await listener.until("replay")).data
        assert told["source"] == "Rebuilt from results; of 1 of 2 tasks the steps between are not known."
        assert "Step 2" in (await page.panel()).text
        again = Opened(built, await built.ask("/runs/imported/replay", headers=HTML))
        assert again.status["source"] == told["source"]


async def test_many_replays_end_the_oldest_and_those_of_one_browser_first() -> None:
    async with house() as built:
        await record_run(built)
        first = await opened(built)
        own = [first, *[await opened(built, cookie=first.cookies) for _ in range(MAX_PER_BROWSER)]]
        assert (await built.ask(own[0].base)).code == 404
        assert [(await built.ask(page.base)).code for page in own[1:]] == [200] * MAX_PER_BROWSER
        listener = await own[1].listen()
        await listener.until("replay")
        others = [await opened(built) for _ in range(MAX_REPLAYS - MAX_PER_BROWSER)]
        assert len(built.replays) == MAX_REPLAYS
        await opened(built)
        assert len(built.replays) == MAX_REPLAYS
        assert (await built.ask(own[1].base)).code == 200  # somebody watches it
        assert (await built.ask(own[2].base)).code == 404
        assert (await built.ask(others[-1].base)).code == 200


async def test_a_replay_that_has_to_go_says_bye() -> None:
    async with house() as built:
        await record_run(built)
        first = await opened(built)
        pages = [first, *[await opened(built, cookie=first.cookies) for _ in range(MAX_PER_BROWSER - 1)]]
        listeners = [await page.listen() for page in pages]
        for listener in listeners:
            await listener.until("replay")
        await opened(built, cookie=first.cookies)
        assert (await listeners[0].until("bye")).data == {}
        assert [(await built.ask(page.base)).code for page in pages] == [404, 200, 200, 200]


async def test_time_stands_while_nobody_watches_and_after_minutes_the_replay_ends() -> None:
    async with house() as built:
        await record_run(built)
        page = await opened(built, "?speed=1")
        built.stream_clock.now += AWAY_S + 1
        built.replays.turn()
        assert json.loads((await built.ask(page.base)).body)["at"] == 0
        built.stream_clock.now += KEPT_S + 1
        await until(lambda: not len(built.replays), "the replay has ended")
        for path in (page.base, f"{page.base}/fragments/run-head?run={RUN}", f"{page.base}/stream?panels=run-head&run={RUN}"):
            answer = await built.ask(path)
            assert (answer.code, "has ended" in json.loads(answer.body)["error"]["message"]) == (404, True)
        assert (await page.post(at=3)).code == 404


async def test_a_replay_with_a_page_open_stays() -> None:
    async with house() as built:
        await record_run(built)
        page = await opened(built, "?speed=1&at=0")
        await page.order(playing="false")
        listener = await page.listen()
        await listener.until("replay")
        for _ in range(3):
            built.stream_clock.now += KEPT_S
            built.replays.turn()
        assert len(built.replays) == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("speed=0", "speed"),
        ("speed=1001", "speed"),
        ("speed=fast", "speed"),
        ("at=-1", "at"),
        ("at=later", "at"),
        ("at=nan", "at"),
        ("speed=nan", "speed"),
    ],
)
async def test_wrong_asking_is_told(query: str, field: str) -> None:
    async with house() as built:
        await record_run(built)
        answer = await built.ask(f"{PATH}?{query}")
        assert (answer.code, json.loads(answer.body)["error"]["field"]) == (422, field)
        page = await opened(built)
        name, _, value = query.partition("=")
        answer = await page.post(**{name: value})
        assert (answer.code, json.loads(answer.body)["error"]["field"]) == (422, field)


async def test_only_its_own_page_may_steer_a_replay() -> None:
    async with house() as built:
        await record_run(built)
        page = await opened(built)
        assert (await built.ask(page.base, "POST", body="at=50", headers=FORM)).code == 403
        evil = FORM | {"Cookie": page.cookies, "Origin": "https://evil.example.org"}
        assert (await built.ask(page.base, "POST", body=urlencode({"_xsrf": page.xsrf, "at": 50}), headers=evil)).code == 403
        assert (await page.post(volume=11)).code == 422
        assert (await built.ask(f"{page.base}/fragments/fleet")).code == 404
        assert (await built.ask(f"{page.base}/stream?panels=run-head,fleet&run={RUN}")).code == 404
        assert (await built.ask(f"{page.base}/stream?panels=run-head&run=other")).code == 404
        assert (await built.ask(f"{page.base}/stream")).code == 404
        assert (await built.ask(page.base)).headers["Cache-Control"] == "no-store"
        assert len(page.base.rpartition("/")[2]) == 24


async def test_a_look_at_the_head_opens_nothing() -> None:
    async with house() as built:
        await record_run(built)
        head = await built.ask(PATH, "HEAD")
        assert (head.code, len(built.replays)) == (200, 0)
        assert (await built.ask(PATH.replace(RUN, "nobody"))).code == 404


async def test_replays_of_one_ended_run_share_its_line() -> None:
    async with house() as built:
        await record_run(built)
        (run,) = built.recorder.state.runs.values()
        await opened(built)
        line = built.replays.known_line(run, T0 + 7200)
        assert line is not None
        await opened(built)
        assert built.replays.known_line(run, T0 + 7200) is line
        assert built.replays.known_line(run, T0 + 102) is None
