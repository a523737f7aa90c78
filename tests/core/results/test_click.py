"""Where an action points: only what its text says, never a guess."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waa.core.results.click import MAX_POINTS, Point, aim_of_record, aims, points_on
from waa.core.results.folder import is_file_name
from waa.core.results.picture import is_whole_png, png_size

SIZE = (1000, 500)


def on(action: str, size: tuple[int, int] | None = SIZE) -> list[tuple[float, float]]:
    return [(point.x, point.y) for point in points_on(aims(action), size)]


@pytest.mark.parametrize(
    ("action", "points"),
    [
        ("pyautogui.click(500, 250)", [(0.5, 0.5)]),
        ("pyautogui.click(x=500, y=250, clicks=2)", [(0.5, 0.5)]),
        ("import pyautogui\npyautogui.moveTo(100, 50); pyautogui.click()", [(0.1, 0.1)]),
        ("pyautogui.mouseDown(100, 200)\npyautogui.dragTo(300, 400, duration=0.5)", [(0.1, 0.4), (0.3, 0.8)]),
        ("pyautogui.moveTo(100, 50)\npyautogui.click(100, 50)", [(0.1, 0.1)]),
        ("pyautogui.rightClick(0.25, 0.75)", [(0.25, 0.75)]),
        ("computer.mouse.move_abs(x=0.22, y=0.75)\ncomputer.mouse.single_click()", [(0.22, 0.75)]),
        ("computer.mouse.drag(x=1, y=0)", [(1, 0)]),
        ("pyautogui.click(1, 1)", [(0.001, 0.002)]),
        # what is not said
        ("computer.mouse.move_id(id=57)\ncomputer.mouse.single_click()", []),
        ("pyautogui.click()", []),
        ("pyautogui.click(x, y)", []),
        ("pyautogui.click(width // 2, 250)", []),
        ("pyautogui.click('button.png')", []),
        ("pyautogui.scroll(-3, 5)", []),
        ("pyautogui.moveRel(10, 10)", []),
        ("pyautogui.click(-5, 20)", []),
        ("computer.mouse.move_abs(x=500, y=250)", []),
        ("pyautogui.click(1000, 100)", []),
        # text is text
        ('pyautogui.typewrite("pyautogui.click(5, 5)")', []),
        ('pyautogui.write("""a\npyautogui.click(5, 5)\n""")', []),
        ("# pyautogui.click(5, 5)", []),
        ('x = "\\"; pyautogui.click(5, 5)"', []),
        ("if pyautogui.click(5, 5): pass", []),
        ("DONE", []),
        ("", []),
    ],
)
def test_places_of_an_action(action: str, points: list[tuple[float, float]]) -> None:
    assert on(action) == points


def test_pixels_need_the_size_of_the_picture_and_fractions_do_not() -> None:
    assert on("pyautogui.click(5, 5)", None) == []
    assert on("pyautogui.click(0.5, 0.5)", None) == [(0.5, 0.5)]


def test_records_have_places_too() -> None:
    assert points_on(aim_of_record({"action_type": "CLICK", "parameters": {"x": 100, "y": 50}}), SIZE) == (Point(0.1, 0.1),)
    assert points_on(aim_of_record({"type": "click", "x": 0.5, "y": 0.25}), SIZE) == (Point(0.5, 0.25),)
    for odd in ({}, {"x": 1}, {"x": "1", "y": 2}, {"x": True, "y": 2}, {"x": -1, "y": 2}, {"x": float("nan"), "y": 1}, {"parameters": 5}):
        assert aim_of_record(odd) == ()


def test_a_curve_is_cut() -> None:
    assert len(aims("\n".join(f"pyautogui.moveTo({place}, 5)" for place in range(100)))) == MAX_POINTS


@given(st.text(alphabet="pyautogui.click(),'\"\\\n# 0123456789xy=computer.mouse_abs;", max_size=300))
def test_any_text_has_places_on_the_picture_or_none(action: str) -> None:
    assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y in on(action))


def test_the_size_of_a_png_is_in_its_head() -> None:
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x07\x80\0\0\x04\xb0"
    assert png_size(head) == (1920, 1200)
    assert png_size(head[:-1]) is None
    assert png_size(head[:16] + bytes(8)) is None
    assert png_size(b"GIF89a" + bytes(30)) is None
    assert not is_whole_png(head)
    assert is_whole_png(head + b"...IEND\xaeB`\x82")


@pytest.mark.parametrize(
    "name", ["screenshot-step_0_20260204@121928.png", "screenshot/screenshot-step_0_20260204@123500.png", "result.txt"]
)
def test_names_of_files(name: str) -> None:
    assert is_file_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/x",
        "-x",
        "screenshot/",
        "screenshot/..",
        "screenshot/-x",
        "screenshot/a/b",
        "a\nb",
        "a\0b",
        "x" * 256,
        "$(id)",
        "a;b",
    ],
)
def test_names_that_lead_elsewhere(name: str) -> None:
    assert not is_file_name(name)
