"""The page of a task, its pictures, its JSON and its place in the stream."""

import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from tests.services.reader import PNG, PlayedFolders
from tests.store.test_thumbnail import a_png
from tests.web.house import T0, House, Message, house
from tests.web.markup import Element, judge, read
from waa.core.error import Invalid
from waa.core.logs import fact as f
from waa.core.logs.fact import TaskRef
from waa.core.results.folder import FolderLacking, Lack
from waa.core.results.picture import is_whole_webp
from waa.services.picture import WIDTHS
from waa.web.views.task import MAX_LISTED, TaskSubject

RUN = "vm-1-20260204T121231"
TASK = f"/runs/{RUN}/tasks/clock/t-1"
HOSTILE = '<script>alert(1)</script><img src=x onerror=alert(2)> "quoted" \'</section>'


def a_line(number: int, **fields: Any) -> str:
    """A step as WAA records it, ``number`` seconds after the task's start."""
    return json.dumps(
        {
            "step_num": number,
            "action_timestamp": f"20260204@12{13 + number // 60:02d}{number % 60:02d}",
            "action": f"act({number})",
            "reward": 0,
            "done": False,
            "screenshot": f"screenshot-step_{number - 1}_x.png",
            **fields,
        }
    )


RESET = json.dumps({"step_num": 0, "action": None, "screenshot": "screenshot-step_reset_x.png"})
CLICK = "# the OK button\ncomputer.mouse.move_abs(x=0.25, y=0.5)\ncomputer.mouse.single_click()\n"


async def begin(built: House, *, steps: int = 0, task_id: str = "t-1", domain: str = "clock", instruction: str = "Set a timer.") -> None:
    """A run whose task is at a step."""
    await built.name()
    planned = f.RunPlanned(at=T0, total=3, tasks=(TaskRef(domain=domain, task_id=task_id), TaskRef(domain="clock", task_id="t-2")))
    await built.tell(f.RunStarted(at=T0, dialect=f.Dialect.WAA), planned)
    await start(built, T0 + 28, task_id=task_id, domain=domain, instruction=instruction)
    for number in range(1, steps + 1):
        await step(built, number)


async def start(built: House, at: float, *, task_id: str, domain: str = "clock", instruction: str = "Set a timer.") -> None:
    await built.tell(f.TaskStarted(at=at, domain=domain, task_id=task_id), f.TaskInstructed(at=at, instruction=instruction))


async def step(built: House, number: int) -> None:
    await built.tell(f.StepStarted(at=T0 + 28 + number, number=number, action=f"act({number})"))


async def finish(built: House, score: float | None, *, task_id: str = "t-1", error: str = "") -> None:
    at = T0 + 200
    if score is None:
        await built.tell(f.TaskCrashed(at=at, domain="clock", task_id=task_id, error=error))
    else:
        await built.tell(f.TaskScored(at=at, score=score))
        await built.tell(f.TaskFinished(at=at, domain="clock", task_id=task_id))


async def page(built: House, path: str = TASK) -> Element:
    answer = await built.ask(path, headers={"Accept": "text/html"})
    assert answer.code == 200, answer.body
    root = read(answer.body)
    judge(root)
    return root


def texts(root: Element, class_: str) -> list[str]:
    return [each.text for each in root.all(class_=class_)]


async def test_the_last_step_is_shown_with_its_picture_thought_and_click() -> None:
    folders = PlayedFolders()
    folders.put("clock", "t-1", RESET, a_line(1), a_line(2, action=CLICK, response="It is the OK button."))
    async with house(reader=folders) as built:
        await begin(built, steps=2)
        root = await page(built)
        assert root.one(tag="h1").text == "clock t-1"
        assert texts(root, "task-instruction") == ["Set a timer."]
        assert texts(root, "step-summary") == ["act(1)", "move_abs(x=0.25, y=0.5) · single_click()"]
        (shown,) = root.all(class_="step-shown")
        assert shown.one(tag="h3").text == "Step 2 of 2"
        frame = shown.one(class_="shot-frame")
        image = frame.one(tag="img").attributes
        assert (image["src"], image["width"], image["height"]) == (f"{TASK}/1/files/screenshot-step_0_x.png", "1000", "500")
        marks = frame.one(class_="shot-marks")
        assert marks.attributes["viewbox"] == "0 0 1000 500"
        assert [(mark.attributes["cx"], mark.attributes["cy"]) for mark in marks.all(class_="dot")] == [("250.0", "250.0")]
        assert shown.one(class_="thought").text == "It is the OK button."
        assert "# the OK button" in shown.one(class_="code").text
        assert root.one(class_="shot-after").one(tag="img").attributes["src"].endswith("screenshot-step_1_x.png")
        assert [link.attributes["href"] for link in root.all(tag="a") if link.attributes.get("rel") == "prev"] == [f"{TASK}?step=1"]
        (current,) = [link for link in root.one(class_="step-list").all(tag="a") if "aria-current" in link.attributes]
        assert current.attributes["href"] == f"{TASK}?step=2"


async def test_every_step_has_an_address() -> None:
    folders = PlayedFolders()
    folders.put("clock", "t-1", RESET, a_line(1), a_line(2), a_line(2, action="more()"), a_line(3))
    async with house(reader=folders) as built:
        await begin(built, steps=3)
        for label, action in (("1", "act(1)"), ("2.1", "act(2)"), ("2.2", "more()"), ("2", "act(2)"), ("3", "act(3)")):
            root = await page(built, f"{TASK}?step={label}")
            assert root.one(class_="code").text == action
        root = await page(built, f"{TASK}?step=9")
        assert "There is no step 9 yet" in root.text
        assert root.one(class_="code").text == "act(3)"
        assert (await built.ask(f"{TASK}?step=x")).code == 422
        assert (await built.ask(f"{TASK}/2")).code == 404
        assert (await built.ask(f"/runs/{RUN}/tasks/clock/nothing")).code == 404
        assert (await built.ask("/runs/nobody/tasks/clock/t-1")).code == 404


async def test_scores_are_exact_and_said_to_be_provisional_until_then() -> None:
    folders = PlayedFolders()
    async with house(reader=folders) as built:
        await begin(built, steps=1)
        await finish(built, 0.86)
        score = (await page(built)).one(class_="task-facts").text
        assert "0.86 provisional passes from 1" in score
        assert "FAIL" in score
        folders.put("clock", "t-1", RESET, a_line(1), result=b"0.8571428571428571\n")
        built.clock.now += 60
        score = (await page(built)).one(class_="task-facts").text
        assert "0.8571428571428571 passes from 1" in score


async def test_a_crash_is_shown_with_its_traceback() -> None:
    folders = PlayedFolders()
    error = json.dumps({"Error": "Exception in clock/t-1", "Exception": "boom", "Traceback": "Traceback: line 5"})
    folders.put("clock", "t-1", RESET, error)
    async with house(reader=folders) as built:
        await begin(built)
        await finish(built, None, error="boom")
        root = await page(built)
        assert root.one(class_="task-error").one(tag="strong").text == "boom"
        assert "line 5" in root.one(class_="task-error").one(tag="pre").text
        assert "ended before the agent did anything" in root.text
        assert root.one(class_="shot-frame").one(tag="img").attributes["src"].endswith("screenshot-step_reset_x.png")


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        (FolderLacking(lack=Lack.UNSET, message="The run did not say where."), ["Where the results lie is not known", "results_dir"]),
        (FolderLacking(lack=Lack.ABSENT, where=("/a", "/b")), ["result folder is not there yet", "clock/t-1", "/a, /b"]),
        (
            FolderLacking(lack=Lack.OUT_OF_REACH, message="vm-1 cannot be reached now."),
            ["vm-1 cannot be reached now.", "as soon as that works"],
        ),
    ],
)
async def test_what_is_lacking_is_said_with_what_helps(lacking: FolderLacking, words: list[str]) -> None:
    folders = PlayedFolders()
    folders.lacking = lacking
    async with house(reader=folders) as built:
        await begin(built, steps=1)
        notice = (await page(built)).one(class_="task-lack").text
        for word in words:
            assert word in notice
        told = await built.json(f"/api{TASK}")
        assert (told["steps"], told["lacking"]["reason"]) == (None, lacking.lack.value)


async def test_what_was_read_is_still_shown_when_the_vm_is_gone() -> None:
    folders = PlayedFolders()
    folders.put("clock", "t-1", RESET, a_line(1))
    async with house(reader=folders) as built:
        await begin(built, steps=1)
        await page(built)
        folders.is_down = True
        await step(built, 2)
        root = await page(built)
        assert "Shown is what was read before" in root.one(class_="task-lack").text
        assert texts(root, "step-summary") == ["act(1)"]


async def test_a_task_that_has_not_begun_waits_and_shows_up_by_itself() -> None:
    folders = PlayedFolders()
    async with house(reader=folders) as built:
        await begin(built)
        path = f"/runs/{RUN}/tasks/clock/t-2"
        root = await page(built, path)
        assert "This task has not begun" in root.text
        assert (await built.ask(f"/api{path}")).code == 404
        listener = await built.listen(f"/stream?panels=task&task={quote(f'{RUN}/clock/t-2//', safe='')}")
        await listener.until("message")
        await finish(built, 1.0)
        await start(built, T0 + 300, task_id="t-2", instruction="Now.")
        await _until_shown(listener, "Now.")


async def _until_shown(listener: Any, words: str) -> Message:
    message: Message = await listener.until("message")
    while words not in str(message.data):
        message = await listener.until("message")
    return message


async def test_the_page_follows_a_running_task_over_its_stream() -> None:
    folders = PlayedFolders()
    folders.put("clock", "t-1", RESET, a_line(1))
    async with house(reader=folders) as built:
        await begin(built, steps=1)
        root = await page(built)
        stream = root.one(id_="live").attributes["hx-sse:connect"]
        listener = await built.listen(stream)
        await _until_shown(listener, "act(1)")
        folders.put("clock", "t-1", RESET, a_line(1), a_line(2))
        await step(built, 2)
        message = await _until_shown(listener, "act(2)")
        assert message.data.startswith('<hx-partial hx-target="#task-panel"')
        first = TaskSubject(run_id=RUN, domain="clock", task_id="t-1", step="1").text
        pinned = await built.listen(f"/stream?panels=task&task={quote(first, safe='')}")
        assert "Step 1 <span" in (await pinned.until("message")).data
        folders.put("clock", "t-1", RESET, a_line(1), a_line(2), a_line(3))
        await step(built, 3)
        assert "Step 1 <span" in (await _until_shown(pinned, "act(3)")).data
        readings = folders.readings
        await start(built, T0 + 300, task_id="t-2", instruction="Another.")
        await finish(built, 1.0, task_id="t-2")
        assert folders.readings == readings


async def test_pictures_are_served_to_be_kept() -> None:
    folders = PlayedFolders()
    folders.put("clock", "t-1", RESET, a_line(1))
    async with house(reader=folders) as built:
        await begin(built, steps=1)
        path = f"{TASK}/1/files/screenshot-step_0_x.png"
        answer = await built.ask(path)
        assert (answer.code, answer.body) == (200, PNG)
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["Cache-Control"] == "private, max-age=3600"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        etag = answer.headers["Etag"]
        assert not etag.startswith("W/")
        assert (await built.ask(path, headers={"If-None-Match": etag})).code == 304


async def test_thumbnails_are_served_like_pictures() -> None:
    folders = PlayedFolders()
    folders.put("clock", "t-1", RESET, a_line(1))
    folders.files["screenshot-step_0_x.png"] = a_png()
    async with house(reader=folders) as built:
        await begin(built, steps=1)
        path = f"{TASK}/1/files/screenshot-step_0_x.png"
        sizes = []
        for width in WIDTHS:
            answer = await built.ask(f"{path}?width={width}")
            assert (answer.code, answer.headers["Content-Type"]) == (200, "image/webp")
            assert is_whole_webp(answer.body)
            sizes.append(len(answer.body))
            etag = answer.headers["Etag"]
            assert not etag.startswith("W/")
            assert (await built.ask(f"{path}?width={width}", headers={"If-None-Match": etag})).code == 304
        assert sizes == sorted(sizes)
        for wrong in ("0", "161", "-160", "x", "", "160.0", "9" * 50):
            answer = await built.ask(f"{path}?width={wrong}")
            assert (answer.code, json.loads(answer.body)["error"]["field"]) == (422, "width")
        broken = await built.ask(f"{TASK}/1/files/screenshot-step_reset_x.png?width=160")
        assert (broken.code, "no picture that can be read" in broken.body.decode()) == (404, True)


@pytest.mark.parametrize(
    "name",
    [
        "traj.jsonl",
        "nothing.png",
        "..%2F..%2Fx.png",
        "../../x.png",
        "%2Fetc%2Fpasswd",
        "screenshot/../traj.jsonl",
        "-x.png",
        "a%00b.png",
        "a%0ab.png",
    ],
)
async def test_other_files_are_not_served_and_the_answer_says_why(name: str) -> None:
    folders = PlayedFolders()
    folders.put("clock", "t-1", RESET, a_line(1))
    async with house(reader=folders) as built:
        await begin(built, steps=1)
        answer = await built.ask(f"{TASK}/1/files/{name}")
        assert answer.code == 404
        assert "There is no" in json.loads(answer.body)["error"]["message"]
        assert folders.fetches == []


async def test_programs_get_all_of_it() -> None:
    folders = PlayedFolders()
    folders.put("clock", "t-1", RESET, a_line(1, action=CLICK, response="thought"), a_line(2, done=True, action="DONE"), result=b"1\n")
    async with house(reader=folders) as built:
        await begin(built, steps=2)
        await finish(built, 1.0)
        told = await built.json(f"/api{TASK}")
        assert (told["task_id"], told["status"], told["exact_score"], told["threshold"]) == ("t-1", "passed", 1.0, 1.0)
        assert (told["folder"], told["lacking"]) == ("/results/0/clock/t-1", None)
        first, last = told["steps"]
        url = f"{TASK}/1/files/screenshot-step_reset_x.png"
        named = {"name": "screenshot-step_reset_x.png", "url": url, "thumbnail": f"{url}?width=320", "width": 1000, "height": 500}
        assert first["before"] == named
        assert told["specification"] == f"/api{TASK}/spec"
        assert (first["points"], first["thought"], first["label"]) == ([{"x": 0.25, "y": 0.5}], "thought", "1")
        assert (last["done"], last["action"]) == (True, "DONE")
        assert (await built.ask(url)).code == 200


async def test_what_models_and_tasks_say_is_text() -> None:
    folders = PlayedFolders()
    domain, task_id = "<b>/..", HOSTILE
    error = json.dumps({"Error": HOSTILE, "Exception": HOSTILE, "Traceback": HOSTILE})
    folders.put(domain, task_id, RESET, a_line(1, action=HOSTILE, response=HOSTILE), error)
    async with house(reader=folders) as built:
        await begin(built, steps=1, task_id=task_id, domain=domain, instruction=HOSTILE)
        path = f"/runs/{RUN}/tasks/{quote(domain, safe='')}/{quote(task_id, safe='')}"
        answer = await built.ask(path)
        assert answer.code == 200
        judge(read(answer.body))
        html = answer.body.decode()
        assert "<script>alert" not in html
        assert "<img src=x" not in html
        listener = await built.listen(read(answer.body).one(id_="live").attributes["hx-sse:connect"])
        assert listener.status == 200
        results = await built.ask(f"/runs/{RUN}")
        links = [link.attributes["href"] for link in read(results.body).all(class_="task-id") if link.tag == "a"]
        assert links == [path]


async def test_long_tasks_list_the_steps_around_the_one_shown() -> None:
    folders = PlayedFolders()
    count = 2 * MAX_LISTED + 100
    folders.put("clock", "t-1", *(a_line(number, action_timestamp=None, response="x" * 5000) for number in range(1, count + 1)))
    async with house(reader=folders) as built:
        await begin(built, steps=1)
        last = await page(built)
        assert len(last.all(class_="step-label")) == MAX_LISTED
        assert texts(last, "step-more") == ["Earlier steps"]
        middle = await page(built, f"{TASK}?step={MAX_LISTED}")
        assert texts(middle, "step-more") == ["Earlier steps", "Later steps"]
        assert str(MAX_LISTED) in texts(middle, "step-label")
        first = await page(built, f"{TASK}?step=1")
        assert texts(first, "step-more") == ["Later steps"]
        assert len((await built.ask(TASK)).body) < 200_000


async def test_attempts_lead_to_each_other() -> None:
    folders = PlayedFolders()
    async with house(reader=folders) as built:
        await begin(built, steps=1)
        await finish(built, None, error="boom")
        await start(built, T0 + 3600, task_id="t-1", instruction="Set a timer.")
        late = [a_line(number, action_timestamp="20260204@131300", action="again()") for number in (1, 2)]
        folders.put("clock", "t-1", RESET, a_line(1), json.dumps({"Error": "x", "Exception": "boom"}), RESET, *late)
        newest, first = await page(built), await page(built, f"{TASK}/1")
        assert texts(newest, "step-summary") == ["again()", "again()"]
        assert texts(first, "step-summary") == ["act(1)"]
        tabs = newest.one(class_="tabs").all(tag="a")
        assert [tab.attributes["href"] for tab in tabs] == [f"{TASK}/1", f"{TASK}/2"]
        assert "aria-current" in tabs[1].attributes


@pytest.mark.parametrize("text", ["", "a/b/c", "a/b/c//x/", "a/b/c/0/", "a/b/c/x/", "a/b/c/1/x", "//c//"])
def test_a_subject_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        TaskSubject.parse(text)


def test_a_subject_is_read_as_it_was_written() -> None:
    subject = TaskSubject(run_id="r", domain="a/b", task_id=HOSTILE, attempt=2, step="3.1")
    for each in (subject, replace(subject, attempt=None, step=None)):
        assert TaskSubject.parse(each.text) == each
