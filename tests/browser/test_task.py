"""The page of a task: its steps by keys and by links, live, with the marker on the picture, on a phone."""

import json
import re
import struct
import time
import zlib
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.axe import serious
from tests.browser.desk import Desk
from tests.browser.visit import Visit, expect_state
from tests.support.wait import wait_for

RESULTS = "results/pyautogui/a11y_tree/gpt-4o/0"
WIDTH, HEIGHT = 1600, 1000
CLICK = "computer.mouse.move_abs(x=0.25, y=0.5)\ncomputer.mouse.single_click()\n"


def a_png(shade: int) -> bytes:
    """A picture of one grey."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes([shade]) * WIDTH) * HEIGHT
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Folder:
    """The result folder of a task, written as WAA does. The runner keeps its trajectory, but for screenshots."""

    def __init__(self, desk: Desk, domain: str, task_id: str) -> None:
        self._path = Path(desk.folder / RESULTS / domain / task_id)
        self.show("reset")

    def show(self, label: str, shade: int = 60) -> str:
        """A screenshot; gives its name."""
        name = f"screenshot-step_{label}_x.png"
        (self._path / name).write_bytes(a_png(shade))
        return name

    def step(self, number: int, action: str, thought: str = "", *, at: float | None = None) -> None:
        """One step, with its picture."""
        name = self.show(str(number - 1), 60 + 4 * number % 160)
        stamp = time.strftime("%Y%m%d@%H%M%S", time.gmtime(at))
        record = {"step_num": number, "action_timestamp": stamp, "action": action, "screenshot": name, "response": thought}
        with (self._path / "traj.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


@pytest.fixture(scope="module")
def long_task(desk: Desk) -> str:
    """The address of a task of 40 steps that still runs; its seventh has a click and a long thought."""
    run = desk.start_run([("clock", "long-1"), ("clock", "live-1")])
    folder = Folder(desk, "clock", "long-1")
    for number in range(1, 41):
        thought = "I look at the screen and think about it at length. " * 120 if number == 7 else f"Thought {number}."
        folder.step(number, CLICK if number == 7 else f'computer.keyboard.write("text {number}")', thought)
    return f"{desk.url}/runs/{run}/tasks/clock/long-1"


def is_loaded(page: Page, selector: str) -> bool:
    return bool(page.wait_for_function("selector => document.querySelector(selector)?.naturalWidth > 0", arg=selector))


def test_keys_and_buttons_lead_from_step_to_step(long_task: str, visit: Visit) -> None:
    page = visit.open_live(f"{long_task}?step=7")
    pages = page.evaluate("history.length")
    page.on("load", lambda _: pytest.fail("the page was loaded anew"))
    expect(page.locator(".step-head h3")).to_have_text("Step 7 of 40")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".step-head h3")).to_have_text("Step 8 of 40")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".step-head h3")).to_have_text("Step 7 of 40")
    page.get_by_role("link", name="Previous").click()
    expect(page.locator(".step-head h3")).to_have_text("Step 6 of 40")
    expect(page).to_have_url(re.compile(r"\?step=6$"))
    page.locator(".step-list a", has_text="text 33").click()
    expect(page).to_have_url(re.compile(r"\?step=33$"))
    expect(page.locator(".step-head h3")).to_have_text("Step 33 of 40")
    expect(page.locator(".step-list [aria-current]")).to_be_in_viewport()
    box, item = page.locator(".step-list").bounding_box(), page.locator(".step-list [aria-current]").bounding_box()
    assert box is not None
    assert item is not None
    assert box["y"] <= item["y"] <= box["y"] + box["height"]
    for _ in range(3):  # faster than steps can be fetched
        page.keyboard.press("ArrowRight")
    expect(page.locator(".step-head h3")).to_have_text("Step 36 of 40")
    page.keyboard.press("Home")
    expect(page.locator(".step-head h3")).to_have_text("Step 1 of 40")
    page.keyboard.press("End")
    expect(page.locator(".step-head h3")).to_have_text("Step 40 of 40")
    expect(page).to_have_url(re.compile(r"\?step=40$"))
    assert page.evaluate("history.length") == pages  # back leads to where the reader came from
    expect_state(page, "connected")


def test_steps_are_played_until_the_reader_stops_them(long_task: str, visit: Visit) -> None:
    page = visit.open_live(f"{long_task}?step=3", reduced_motion="reduce")
    button = page.locator("#play-button")
    page.locator("#play-speed").select_option("2")
    button.click()
    expect(button).to_have_text("Pause")
    expect(page.locator(".step-head h3")).to_have_text(re.compile(r"Step ([6-9]|[123]\d) of 40"))
    expect(page.locator("#play-speed")).to_have_value("2")  # no swap takes the choice away
    page.locator(".step-head h3").click()
    page.keyboard.press("Space")
    expect(button).to_have_text("Play")
    page.wait_for_function(
        "() => location.search === `?step=${document.querySelector('.step-list [aria-current] .step-label').textContent}`"
    )
    page.reload()  # the address says where the reader stopped
    expect(page.locator(".step-list [aria-current] .step-label")).to_have_text(page.url.partition("?step=")[2])


def test_a_stop_while_a_step_comes_stays_at_that_step(long_task: str, visit: Visit) -> None:
    page = visit.open_live(f"{long_task}?step=3")
    asked: list[Route] = []
    page.route("**/fragments/task?*", lambda route: asked.append(route))  # noqa: PLW0108 - it wants a function; held back
    page.locator(".step-head h3").click()
    page.keyboard.press("Space")
    wait_for(lambda: page.evaluate("1") and len(asked) > 0, what="the next step is asked for")
    page.keyboard.press("Space")
    expect(page.locator("#play-button")).to_have_text("Play")
    asked[0].continue_()
    expect(page.locator(".step-head h3")).to_have_text("Step 4 of 40")
    expect(page).to_have_url(re.compile(r"\?step=4$"))
    assert len(asked) == 1  # not the live step


def test_in_the_end_of_playing_a_running_task_is_followed(long_task: str, visit: Visit) -> None:
    page = visit.open_live(f"{long_task}?step=38")
    page.locator("#play-speed").select_option("5")
    page.locator(".step-head h3").click()
    page.keyboard.press("Space")
    expect(page.locator(".step-list-head .chip")).to_have_text("following")
    expect(page.locator("#play-button")).to_have_text("Play")
    expect(page.locator(".step-head h3")).to_have_text("Step 40 of 40")
    assert "?" not in page.url


def test_the_film_strip_shows_the_steps_around(long_task: str, visit: Visit) -> None:
    page = visit.open_live(f"{long_task}?step=30")
    frame = page.locator(".film [aria-current]")
    expect(frame).to_have_text("Step 30")
    expect(frame).to_be_in_viewport()
    assert page.wait_for_function("() => document.querySelector('.film [aria-current] img').naturalWidth === 160")
    page.locator(".film a", has_text="32").click()
    expect(page.locator(".step-head h3")).to_have_text("Step 32 of 40")
    expect(page.locator(".film [aria-current]")).to_have_text("Step 32")
    page.locator(".film a", has_text="31").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".step-head h3")).to_have_text("Step 31 of 40")


def test_the_marker_lies_where_the_action_points(long_task: str, visit: Visit) -> None:
    page = visit.open_live(f"{long_task}?step=7")
    assert is_loaded(page, ".shot-frame img")
    picture, dot = page.locator(".shot-frame img").bounding_box(), page.locator(".shot-marks .dot").bounding_box()
    assert picture is not None
    assert dot is not None
    assert abs(picture["width"] / picture["height"] - WIDTH / HEIGHT) < 0.01
    assert abs(dot["x"] + dot["width"] / 2 - picture["x"] - 0.25 * picture["width"]) < 2
    assert abs(dot["y"] + dot["height"] / 2 - picture["y"] - 0.5 * picture["height"]) < 2


def test_a_running_task_is_followed_without_reloading(long_task: str, desk: Desk, visit: Visit) -> None:
    desk.finish(1.0)
    folder = Folder(desk, "clock", "live-1")
    page = visit.open_live(long_task.replace("long-1", "live-1"))
    expect(page.get_by_text("No step has been recorded yet.").or_(page.get_by_text("result folder is not there yet"))).to_be_visible()
    pinned = visit.open_live(long_task.replace("long-1", "live-1"))
    for number in (1, 2):
        folder.show(str(number - 1))
        desk.step(f'computer.keyboard.write("live {number}")')
        expect(page.locator(".step-head h3")).to_have_text(f"Step {number} of {number}")
        assert is_loaded(page, f'.shot-frame img[alt="Screen before step {number}"]')
    pinned.goto(f"{long_task.replace('long-1', 'live-1')}?step=1")
    expect_state(pinned, "connected")
    folder.show("2")
    desk.step('computer.keyboard.write("live 3")')
    expect(pinned.locator(".step-head h3")).to_have_text("Step 1 of 3")
    expect(page.locator(".step-head h3")).to_have_text("Step 3 of 3")
    with pinned.expect_request(re.compile("/stream")):  # it tells of what is shown now
        pinned.get_by_role("link", name="Follow live").click()
    expect(pinned.locator(".step-head h3")).to_have_text("Step 3 of 3")
    with pinned.expect_request(re.compile("/stream")):
        pinned.keyboard.press("Home")
    expect(pinned.locator(".step-head h3")).to_have_text("Step 1 of 3")
    folder.show("3")
    desk.step("DONE")
    expect(pinned.locator(".step-head h3")).to_have_text("Step 1 of 4")
    expect(pinned).to_have_url(re.compile(r"\?step=1$"))
    expect(page.locator(".step-head h3")).to_have_text("Step 4 of 4")
    desk.finish(0.25)
    expect(page.locator(".task-facts .result-icon")).to_have_text("FAIL")
    expect(page.locator(".task-score")).to_have_text("0.25")


def test_what_opens_is_read_and_follows_the_step(desk: Desk, visit: Visit) -> None:
    run = desk.start_run([("clock", "texts-1")])
    began_at = float(int(time.time())) + 1
    folder = Folder(desk, "clock", "texts-1")
    for number in (1, 2, 3):
        at = began_at + number
        folder.step(number, f"act({number})", at=at)
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
        desk.write(f"[{stamp},500 INFO agent/1-MainProcess] note {number} <b>x</b> token=secret{number}\ncontinued {number}\n")
    tasks = desk.folder / "evaluation_examples_windows" / "examples" / "clock"
    tasks.mkdir(parents=True, exist_ok=True)
    (tasks / "texts-1.json").write_text(json.dumps({"instruction": "Do it.", "evaluator": {"func": "exact_match"}}), encoding="utf-8")
    page = visit.open_live(f"{desk.url}/runs/{run}/tasks/clock/texts-1?step=2")
    lines = page.locator("#step-log-body .step-log-lines")
    expect(lines).to_have_count(0)
    page.locator("#step-log summary").click()
    expect(lines.locator("li")).to_have_text([re.compile(r"note 2 <b>x</b> token=\*\*\*$"), "continued 2"])
    page.locator("#task-spec summary").click()
    expect(page.locator("#task-spec-body .spec-facts")).to_contain_text("exact_match")
    page.locator("h1").click()
    page.keyboard.press("ArrowLeft")
    expect(lines).to_contain_text("continued 1")
    page.keyboard.press("End")
    expect(lines).to_contain_text("continued 3")
    folder.step(4, "act(4)", at=began_at + 4)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(began_at + 4))
    desk.write(f"[{stamp},100 INFO lib_run_single/56-MainProcess] Step 4: act(4)\n")
    expect(page.locator(".step-list-head .total")).to_have_text("4")  # the stream swapped the panel, and what is open stays
    expect(lines).to_contain_text("continued 3")
    page.keyboard.press("End")
    expect(lines).to_contain_text("Step 4: act(4)")
    desk.write(f"[{stamp},500 INFO agent/1-MainProcess] it goes on\n")
    expect(lines).to_contain_text("it goes on")  # asked for again while the step goes on
    expect(page.locator("#task-spec-body .spec-facts")).to_contain_text("exact_match")


def test_results_lead_to_their_task(long_task: str, visit: Visit) -> None:
    page = visit.open_live(long_task.partition("/tasks/")[0])
    page.locator("#task-results-list a", has_text="long-1").click()
    expect(page.locator("h1")).to_contain_text("long-1")


def test_it_works_without_javascript(long_task: str, visit: Visit) -> None:
    page = visit.open(f"{long_task}?step=7", java_script_enabled=False)
    page.get_by_role("link", name="Next").click()
    expect(page.locator(".step-head h3")).to_have_text("Step 8 of 40")


@pytest.mark.parametrize("step", ["7", "40"])
def test_a_phone_needs_no_sideways_scrolling(step: str, long_task: str, visit: Visit) -> None:
    page = visit.open(f"{long_task}?step={step}", viewport={"width": 390, "height": 800})
    assert is_loaded(page, ".shot-frame img")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_axe_finds_nothing_serious(long_task: str, visit: Visit) -> None:
    page = visit.open_live(f"{long_task}?step=7")
    assert serious(page) == []
