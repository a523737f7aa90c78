"""The page of a task: its steps by keys and by links, live, with the marker on the picture, on a phone."""

import json
import re
import struct
import time
import zlib
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.desk import Desk
from tests.browser.test_look import AXE
from tests.browser.visit import Visit, expect_state

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

    def step(self, number: int, action: str, thought: str = "") -> None:
        """One step, with its picture."""
        name = self.show(str(number - 1), 60 + 4 * number % 160)
        stamp = time.strftime("%Y%m%d@%H%M%S", time.gmtime())
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
    expect(page.locator(".step-head h3")).to_have_text("Step 7 of 40")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".step-head h3")).to_have_text("Step 8 of 40")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".step-head h3")).to_have_text("Step 7 of 40")
    page.get_by_role("link", name="Previous").click()
    expect(page.locator(".step-head h3")).to_have_text("Step 6 of 40")
    page.locator(".step-list a", has_text="text 33").click()
    expect(page).to_have_url(re.compile(r"\?step=33$"))
    expect(page.locator(".step-list [aria-current]")).to_be_in_viewport()
    box, item = page.locator(".step-list").bounding_box(), page.locator(".step-list [aria-current]").bounding_box()
    assert box is not None
    assert item is not None
    assert box["y"] <= item["y"] <= box["y"] + box["height"]
    page.go_back()
    expect(page.locator(".step-head h3")).to_have_text("Step 6 of 40")


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
    desk.step("DONE")
    expect(pinned.locator(".step-head h3")).to_have_text("Step 1 of 3")
    expect(page.locator(".step-head h3")).to_have_text("Step 3 of 3")
    pinned.get_by_role("link", name="Follow live").click()
    expect(pinned.locator(".step-head h3")).to_have_text("Step 3 of 3")
    desk.finish(0.25)
    expect(page.locator(".task-facts .result-icon")).to_have_text("FAIL")
    expect(page.locator(".task-score")).to_have_text("0.25")


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(scheme: Literal["light", "dark"], long_task: str, visit: Visit) -> None:
    page = visit.open_live(f"{long_task}?step=7", color_scheme=scheme)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate(
        """() => axe.run({resultTypes: ["violations"]}).then(({violations}) => violations
             .filter(({impact}) => impact === "serious" || impact === "critical")
             .map(({id, nodes}) => [id, nodes.map(({html, any}) => [html, any.map(({message}) => message)])]))"""
    )
    assert found == []
