"""The report of a run: one file with everything in it, which needs no network and runs nothing."""

import asyncio
import base64
import hashlib
import json
import re

import pytest

from tests.services.reader import PlayedFolders
from tests.store.test_thumbnail import a_png
from tests.support.wait import PATIENCE_S
from tests.web.house import T0, House, house, until
from tests.web.markup import Element, read
from tests.web.test_task_page import CLICK, HOSTILE, RESET, RUN, a_line, begin, finish, start
from waa.web import report as report_module
from waa.web.views.report import LAST_STEPS

PATH = f"/runs/{RUN}/report.html"
REMOTE = re.compile(r"(?:https?:)?//[a-z0-9]", re.IGNORECASE)


def with_pictures(folders: PlayedFolders) -> PlayedFolders:
    """The same with screenshots that can be read."""
    folders.files = dict.fromkeys(folders.files, a_png(1000, 500))
    return folders


def failing(count: int = 6) -> PlayedFolders:
    """A task with that many steps."""
    folders = PlayedFolders()
    folders.put("clock", "t-1", RESET, *(a_line(number) for number in range(1, count)), a_line(count, action=CLICK, response="thought"))
    return with_pictures(folders)


async def fetched(built: House, query: str = "") -> bytes:
    answer = await built.ask(f"{PATH}{query}")
    assert answer.code == 200, answer.body
    return answer.body


def judge_alone(html: bytes) -> Element:
    """Fails where the file would ask for anything, run anything, or be invalid. Gives its elements."""
    root = read(html)
    ids = [each.attributes["id"] for each in root.walk() if "id" in each.attributes]
    assert len(ids) == len(set(ids))
    for each in root.walk():
        assert each.tag not in ("script", "link", "iframe", "object", "form", "base")
        assert not [name for name in each.attributes if name.startswith("on") or name in ("style", "srcset", "action", "poster")]
        if each.tag == "img":
            assert each.attributes["src"].startswith("data:image/webp;base64,")
            assert each.attributes["alt"]
        if each.tag == "a":
            target = each.attributes["href"]
            assert target.startswith("#")
            assert target[1:] in ids
    (style,) = root.all(tag="style")
    assert "url(" not in style.text
    assert "@import" not in style.text
    return root


async def test_it_tells_the_numbers_with_both_denominators() -> None:
    async with house(reader=failing()) as built:
        await begin(built, steps=6)
        await finish(built, 0.25)
        root = judge_alone(await fetched(built))
        assert root.one(tag="h1").text == RUN
        numbers = root.one(class_="numbers").text
        assert "Of the scored0 % 0–79 %" in numbers
        assert "0 of 1 passed" in numbers
        assert "0 of 2 passed" in numbers
        assert "scored 1 of 2 planned" in numbers
        assert "0 infrastructure errors, 0 unknown, 1 not begun" in numbers
        assert "Mean score0.250" in numbers
        assert "The run was still going on" in root.text
        assert root.one(class_="chart-line").attributes["d"].startswith("M")
        (row,) = root.one(class_="tasks").all(class_="c-result")
        assert row.text == "FAIL"
        assert root.one(class_="tasks").one(tag="a").attributes["href"] == f"#{root.one(class_='task').attributes['id']}"
        cells = [cell.text for cell in root.one(id_="domains").all(class_="number")]
        assert cells[-6:-2] == ["1/2", "0", "1", "0"]


async def test_each_step_has_its_words_and_a_failed_task_the_screens_that_tell() -> None:
    folders = failing()
    async with house(reader=folders) as built:
        await begin(built, steps=6)
        await finish(built, 0.0)
        root = judge_alone(await fetched(built))
        steps = root.one(class_="steps").all(tag="li")
        assert [step.one(tag="pre").text for step in steps[:2]] == ["act(1)", "act(2)"]
        assert steps[-1].one(class_="thought").text == "thought"
        pictures = [[image.attributes["alt"] for image in step.all(tag="img")] for step in steps]
        last = [[f"Before step {number}"] for number in range(7 - LAST_STEPS, 6)]
        assert pictures == [["Before step 1"], [], [], *last, ["Before step 6", "After step 6"]]
        assert [mark.attributes["cx"] for mark in steps[-1].all(class_="dot")] == ["250.0"]
        assert "open" in root.one(class_="task").all(tag="details")[-1].attributes
        assert f"{LAST_STEPS + 2} are in this file" in root.one(tag="footer").text


async def test_a_task_that_passed_is_folded_and_has_screens_only_where_all_are_wanted() -> None:
    folders = failing()
    async with house(reader=folders) as built:
        await begin(built, steps=6)
        await finish(built, 1.0)
        root = judge_alone(await fetched(built))
        assert not root.all(tag="img")
        assert "open" not in root.one(class_="task").all(tag="details")[-1].attributes
        assert folders.fetches == []
        assert len(judge_alone(await fetched(built, "?pictures=all")).all(tag="img")) == 7
        none = judge_alone(await fetched(built, "?pictures=none"))
        assert not none.all(tag="img")
        assert "Without screenshots." in none.one(tag="footer").text


async def test_what_is_wrong_and_what_cannot_be_had_is_said() -> None:
    folders = PlayedFolders()
    error = json.dumps({"Error": "Exception in clock/t-1", "Exception": "boom", "Traceback": "line 5"})
    folders.put("clock", "t-1", RESET, error)
    async with house(reader=folders) as built:
        await begin(built)
        await finish(built, None, error="boom")
        await start(built, T0 + 300, task_id="t-2")
        root = judge_alone(await fetched(built))
        crashed, unread = root.all(class_="task")
        assert crashed.one(class_="task-error").text == "boom"
        assert "line 5" in crashed.one(tag="pre").text
        assert "no picture that can be read" in crashed.one(tag="figcaption").text
        assert unread.one(class_="lacking").text == "Steps: nothing there (/results)."
        assert "1 could not be had" in root.one(tag="footer").text
        assert "1 infrastructure error" in root.one(class_="numbers").text


async def test_screenshots_stay_within_their_bound_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(reader=failing()) as built:
        await begin(built, steps=6)
        await finish(built, 0.0)
        whole = judge_alone(await fetched(built)).all(tag="img")
        monkeypatch.setattr(report_module, "MAX_PICTURE_BYTES", int(2.5 * len(whole[0].attributes["src"])))
        root = judge_alone(await fetched(built))
        assert (len(whole), len(root.all(tag="img"))) == (LAST_STEPS + 2, 2)
        assert f"{LAST_STEPS} more did not fit" in root.one(tag="footer").text
        assert "left out" in root.all(tag="figcaption")[-1].text


async def test_it_may_do_nothing_but_show_its_own_style_and_pictures() -> None:
    async with house(reader=failing()) as built:
        await begin(built, steps=6)
        answer = await built.ask(PATH)
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{RUN}-report.html"'
        text = re.search(rb"<style>(.*?)</style>", answer.body, re.DOTALL)
        assert text is not None
        allowed = base64.b64encode(hashlib.sha256(text[1]).digest()).decode()
        policy = f"default-src 'none'; style-src 'sha256-{allowed}'; img-src data:; base-uri 'none'; form-action 'none'"
        (meta,) = [each for each in read(answer.body).all(tag="meta") if each.attributes.get("http-equiv") == "Content-Security-Policy"]
        assert meta.attributes["content"] == policy
        assert answer.headers["Content-Security-Policy"] == f"{policy}; frame-ancestors 'self'; sandbox"
        assert not REMOTE.search(answer.body.decode())


async def test_what_models_and_tasks_say_is_text() -> None:
    folders = PlayedFolders()
    error = json.dumps({"Error": HOSTILE, "Exception": HOSTILE, "Traceback": HOSTILE})
    folders.put("<b>/..", HOSTILE, RESET, a_line(1, action=HOSTILE, response=HOSTILE), error)
    async with house(reader=folders) as built:
        await begin(built, steps=1, task_id=HOSTILE, domain="<b>/..", instruction=HOSTILE)
        html = await fetched(built, "?pictures=all")
        judge_alone(html)
        assert b"<script" not in html
        assert b"<img src=x" not in html
        assert html.count(b"&lt;script&gt;alert(1)") >= 4


async def test_it_is_sent_task_by_task() -> None:
    folders = failing()
    async with house(reader=folders) as built:
        await begin(built, steps=6)
        await start(built, T0 + 300, task_id="t-2")
        await built.json(f"/api/runs/{RUN}/tasks/clock/t-1")
        folders.gate.clear()
        reader, writer = await built.connect()
        writer.write(f"GET {PATH}?pictures=none HTTP/1.1\r\nHost: {built.netloc}\r\n\r\n".encode())
        async with asyncio.timeout(PATIENCE_S):
            await reader.readuntil(b"act(5)")
        await until(lambda: folders.readings == 2, "the second task is read")
        folders.gate.set()
        async with asyncio.timeout(PATIENCE_S):
            await reader.readuntil(b"</html>")
        writer.close()


async def test_wrong_asking_is_told() -> None:
    async with house(reader=failing()) as built:
        await begin(built)
        for wrong in ("some", "", "ALL"):
            answer = await built.ask(f"{PATH}?pictures={wrong}")
            assert (answer.code, json.loads(answer.body)["error"]["field"]) == (422, "pictures")
        assert (await built.ask(PATH.replace(RUN, "nobody"))).code == 404
        head = await built.ask(PATH, "HEAD")
        assert (head.code, head.body) == (200, b"")


async def test_a_run_without_tasks_has_a_report_too() -> None:
    async with house() as built:
        await built.name()
        await built.start_run(total=None)
        root = judge_alone(await fetched(built))
        assert "none was scored" in root.one(class_="numbers").text
        assert "No task was scored." in root.text
