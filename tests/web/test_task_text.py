"""What opens on the page of a task: the log's lines of a step, the task's specification, its film strip."""

import json

import pytest

from tests.services.reader import PlayedFolders
from tests.services.test_task_text import GONE, PlayedTexts
from tests.web.house import T0, House, house
from tests.web.markup import Element, judge, read
from tests.web.test_task_page import HOSTILE, RESET, RUN, TASK, a_line, begin, finish, page, start
from waa.core.logs.excerpt import Excerpt
from waa.core.results.folder import FileRead
from waa.core.results.span import SLACK_S
from waa.services.task_text import LOG_AGAIN_S
from waa.web.views.task import MAX_FRAMES

HTMX = {"HX-Request": "true", "Accept": "text/html"}
LOG = f"{TASK}/1/log"
LINES = b"\x1b[1;33m[2026-02-04 12:13:02,000 INFO x/1-MainProcess] \x1b[0mStep 2: act(2)\n<b>api_key=verysecret\n 10%|\r 20%|\n"


def some_folders(steps: int = 3) -> PlayedFolders:
    folders = PlayedFolders()
    folders.put("clock", "t-1", RESET, *(a_line(number) for number in range(1, steps + 1)))
    return folders


async def part(built: House, path: str) -> Element:
    answer = await built.ask(path, headers=HTMX)
    assert answer.code == 200, answer.body
    assert b"<html" not in answer.body
    return read(answer.body)


async def test_the_lines_of_a_step_are_those_of_its_time() -> None:
    texts = PlayedTexts()
    texts.excerpt = Excerpt(data=LINES)
    async with house(reader=some_folders(), texts=texts) as built:
        await begin(built, steps=3)
        root = await page(built, f"{TASK}?step=2")
        assert root.one(id_="step-log").attributes["data-load"] == f"{LOG}?step=2"
        assert [link.attributes["href"] for link in root.one(id_="step-log-body").all(tag="a")] == [f"{LOG}?step=2"]
        log = await part(built, f"{LOG}?step=2")
        lines = [line.text for line in log.all(tag="li")]
        assert lines == ["[2026-02-04 12:13:02,000 INFO x/1-MainProcess] Step 2: act(2)", "<b>api_key=***", "20%|"]
        assert "t-fg-yellow" in (await built.ask(f"{LOG}?step=2", headers=HTMX)).body.decode()
        assert "Step 2, " in log.text
        (asked,) = texts.asked
        assert isinstance(asked, tuple)
        assert asked == (T0 + 28, T0 + 32 + SLACK_S)
        assert "data-again" not in log.one(class_="step-log").attributes
        last = await part(built, f"{LOG}?step=3")
        assert last.one(class_="step-log").attributes["data-again"] == str(LOG_AGAIN_S)
        whole = await part(built, LOG)
        assert "The whole task" in whole.text


async def test_without_a_script_the_same_is_a_page() -> None:
    async with house(reader=some_folders(), texts=PlayedTexts()) as built:
        await begin(built, steps=3)
        for path, back in ((f"{LOG}?step=2", f"{TASK}/1?step=2"), (f"{TASK}/spec", TASK)):
            answer = await built.ask(path, headers={"Accept": "text/html"})
            judge(read(answer.body))
            assert back in [link.attributes["href"] for link in read(answer.body).all(tag="a")]
            assert "HX-Request" in answer.headers["Vary"]
        assert "a line" in read((await built.ask(LOG)).body).text


async def test_what_cannot_be_read_says_why_and_what_helps() -> None:
    texts = PlayedTexts()
    texts.failure = GONE
    async with house(reader=some_folders(), texts=texts) as built:
        await begin(built, steps=3)
        for path in (f"{LOG}?step=3", f"{TASK}/spec"):
            notice = (await part(built, path)).one(class_="notice").text
            assert GONE.message in notice
            assert GONE.remedy in notice
        told = await built.json(f"/api{TASK}/spec")
        assert (told["document"], told["lacking"]) == (
            None,
            {"reason": "timeout", "message": GONE.message, "remedy": GONE.remedy},
        )
        texts.failure = None
        built.clock.now += 60
        assert "a line" in (await part(built, f"{LOG}?step=3")).text
        texts.failure = GONE
        built.clock.now += 60
        kept = await part(built, f"{LOG}?step=3")
        assert "Shown is what was read before" in kept.text
        assert "a line" in kept.text


@pytest.mark.parametrize(
    ("excerpt", "words"),
    [
        (None, "The log is not there any more"),
        (Excerpt(data=b""), "no lines of that time."),
        (Excerpt(data=b"", is_end_only=True), "in its last 64 MiB"),
        (Excerpt(data=LINES, is_cut=True), "the first 64 KiB are shown"),
    ],
)
async def test_what_is_missing_in_a_log_is_said(excerpt: Excerpt | None, words: str) -> None:
    texts = PlayedTexts()
    texts.excerpt = excerpt
    async with house(reader=some_folders(), texts=texts) as built:
        await begin(built, steps=3)
        assert words in (await part(built, f"{LOG}?step=2")).text


async def test_a_step_without_a_time_has_no_lines() -> None:
    folders = PlayedFolders()
    folders.put("clock", "t-1", a_line(1, action_timestamp=None))
    texts = PlayedTexts()
    async with house(reader=folders, texts=texts) as built:
        await begin(built, steps=1)
        assert "Nobody recorded when this step was" in (await part(built, f"{LOG}?step=1")).text
        assert texts.asked == []


async def test_bad_addresses_are_refused_by_name() -> None:
    async with house(reader=some_folders(), texts=PlayedTexts()) as built:
        await begin(built, steps=3)
        for path, code, field in ((f"{LOG}?step=x", 422, "step"), (f"{LOG}?step=2&step=3", 422, "step"), (f"{LOG}?step=9", 404, None)):
            answer = await built.ask(path)
            assert (answer.code, json.loads(answer.body)["error"]["field"]) == (code, field)
        for path in (f"{TASK}/2/log", f"/runs/{RUN}/tasks/clock/t-2/1/log", f"/runs/{RUN}/tasks/clock/no/spec", "/runs/no/tasks/a/b/spec"):
            assert (await built.ask(path)).code == 404
            assert (await built.ask(f"/api{path}")).code == 404


async def test_the_specification_is_shown_in_lines_and_whole() -> None:
    told = {
        "instruction": HOSTILE,
        "config": [{"type": "open", "parameters": {"path": HOSTILE}}],
        "evaluator": {"func": ["a", "b"]},
        "key": 1,
    }
    texts = PlayedTexts()
    texts.file = FileRead(path="/client/x.json", data=json.dumps(told).encode())
    async with house(reader=some_folders(), texts=texts) as built:
        await begin(built)
        path = f"/runs/{RUN}/tasks/clock/t-2"  # also of a task that has not begun
        assert (await page(built, path)).one(id_="task-spec").attributes["data-load"] == f"{path}/spec"
        answer = await built.ask(f"{path}/spec", headers=HTMX)
        assert "<script>alert" not in answer.body.decode()
        root = read(answer.body)
        assert root.one(class_="spec-instruction").text == HOSTILE
        assert root.one(class_="spec-steps").text == f"open {HOSTILE}"
        assert json.loads(root.one(class_="spec-text").text)["key"] == 1
        assert "/client/x.json" in root.text
        twin = await built.json(f"/api{path}/spec")
        assert (twin["path"], twin["document"]["key"], twin["evaluator"]["functions"]) == ("/client/x.json", 1, ["a", "b"])
        assert twin["setup"] == [{"type": "open", "detail": HOSTILE}]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (FileRead(searched=("/a/t-1.json", "/b/t-1.json (in the container)")), "Looked for /a/t-1.json, /b/t-1.json (in the container)."),
        (FileRead(path="/a/t-1.json", data=b"[]"), "no JSON object of at most 64 KiB: /a/t-1.json"),
        (FileRead(), "nobody said where"),
    ],
)
async def test_a_specification_that_is_not_there_is_one_quiet_line(file: FileRead, words: str) -> None:
    texts = PlayedTexts()
    texts.file = file
    async with house(reader=some_folders(), texts=texts) as built:
        await begin(built, steps=3)
        root = await part(built, f"{TASK}/spec")
        assert words in root.one(class_="quiet").text


async def test_the_film_strip_is_a_window_and_ends_with_the_outcome() -> None:
    folders = some_folders(100)
    async with house(reader=folders) as built:
        await begin(built, steps=1)
        middle = (await page(built, f"{TASK}?step=50")).one(class_="film")
        assert len(middle.all(tag="li")) == MAX_FRAMES
        (current,) = [link for link in middle.all(tag="a") if "aria-current" in link.attributes]
        assert current.attributes["href"] == f"{TASK}?step=50"
        picture = current.one(tag="img").attributes
        assert picture["src"] == f"{TASK}/1/files/screenshot-step_48_x.png?width=160"
        assert (picture["width"], picture["height"], picture["loading"]) == ("120", "60", "lazy")
        assert middle.all(class_="result-icon") == []
        await finish(built, 1.0)
        last = (await page(built)).one(class_="film")
        assert last.all(tag="li")[-1].text == "Step 100 OK"
        assert last.one(class_="result-icon").text == "OK"


async def test_a_step_without_a_picture_keeps_its_place_in_the_strip() -> None:
    folders = PlayedFolders()
    folders.put("clock", "t-1", a_line(1, screenshot=None), a_line(2, screenshot=None))
    async with house(reader=folders) as built:
        await begin(built, steps=2)
        root = await page(built)
        assert [frame.text for frame in root.one(class_="film").all(tag="li")] == ["no picture Step 1", "no picture Step 2"]


async def test_one_step_needs_neither_strip_nor_playing() -> None:
    async with house(reader=some_folders(1)) as built:
        await begin(built, steps=1)
        root = await page(built)
        assert root.all(class_="film") == root.all(class_="play") == []


async def test_a_task_without_steps_offers_all_of_its_log() -> None:
    async with house(reader=PlayedFolders(), texts=PlayedTexts()) as built:
        await begin(built)
        assert (await page(built)).one(id_="step-log").attributes["data-load"] == LOG
        await finish(built, 1.0)
        await start(built, 1770207900.0, task_id="t-2")
        assert "a line" in (await part(built, LOG)).text
