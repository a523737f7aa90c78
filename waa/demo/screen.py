"""Draws what the demo's Windows shows: a desktop, one window per kind of task, a pointer."""

import functools
import math
from dataclasses import dataclass
from random import Random

from waa.demo.canvas import Canvas

WIDTH, HEIGHT = 960, 600
_SKY_TONES = 64
_BAR_HEIGHT = 36
_LEFT, _TOP, _WIDE, _HIGH = 130, 50, 700, 460
_TITLE_HEIGHT = 28
_LINE_CHARS = 78

_COLOURS = {
    "white": (255, 255, 255),
    "paper": (249, 250, 252),
    "panel": (237, 240, 245),
    "edge": (203, 209, 219),
    "dim": (150, 158, 172),
    "ink": (38, 44, 56),
    "accent": (15, 98, 254),
    "wash": (214, 228, 255),
    "bar": (226, 233, 245),
    "folder": (250, 196, 76),
    "folder_dark": (222, 160, 38),
    "green": (30, 132, 73),
    "red": (205, 62, 54),
    "code": (30, 33, 41),
    "code_side": (40, 44, 54),
    "code_ink": (171, 191, 219),
    "code_key": (198, 146, 233),
    "code_text": (154, 205, 130),
}
_NUMBER = {name: _SKY_TONES + index for index, name in enumerate(_COLOURS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is to be seen: the window of a ``domain`` ("": the bare desktop) after ``step`` actions.
    ``typed`` is the text last entered, one line. ``pointer`` is where the mouse was put, fractions of the screen, None: anywhere.
    """

    domain: str = ""
    title: str = ""
    step: int = 0
    typed: str = ""
    clock: str = "9:41"
    pointer: tuple[float, float] | None = None


@functools.lru_cache(maxsize=4)
def draw(scene: Scene) -> bytes:
    """The PNG of a scene; the same scene gives the same bytes."""
    canvas = Canvas(WIDTH, HEIGHT, _PALETTE)
    canvas.paste(_wallpaper())
    _taskbar(canvas, scene)
    rng = Random(f"{scene.domain}/{scene.title}")  # noqa: S311 - a play, not a secret
    if scene.domain:
        _window(canvas, scene)
        _CONTENTS.get(scene.domain, _document)(canvas, scene, rng)
    _badge(canvas)
    if scene.pointer is not None:
        _pointer(canvas, int(scene.pointer[0] * (WIDTH - 1)), int(scene.pointer[1] * (HEIGHT - 1)))
        return canvas.png()
    spot = Random(f"{scene.title}/{scene.step}/{scene.typed}")  # noqa: S311 - a play, not a secret
    _pointer(canvas, spot.randrange(_LEFT + 40, _LEFT + _WIDE - 60), spot.randrange(_TOP + 50, _TOP + _HIGH - 60))
    return canvas.png()


def _sky(tone: int) -> tuple[int, int, int]:
    share = tone / (_SKY_TONES - 1)
    return int(12 + 90 * share), int(36 + 130 * share), int(92 + 150 * share)


_PALETTE = [_sky(tone) for tone in range(_SKY_TONES)] + list(_COLOURS.values())


@functools.cache
def _wallpaper() -> tuple[bytes, ...]:
    """Rings of falling brightness around the middle; the same for every picture, therefore made once."""
    canvas = Canvas(WIDTH, HEIGHT, _PALETTE)
    middle_x, middle_y, reach = WIDTH // 2, HEIGHT * 0.56, 520.0
    for y in range(HEIGHT):
        across = (y - middle_y) * 1.25
        for tone in range(_SKY_TONES):
            radius = reach * (1 - tone / _SKY_TONES)
            if radius <= abs(across):
                break
            half = int(math.sqrt(radius * radius - across * across) * 1.15)
            canvas.box(middle_x - half, y, 2 * half, 1, tone)
    return canvas.rows


def _taskbar(canvas: Canvas, scene: Scene) -> None:
    top = HEIGHT - _BAR_HEIGHT
    canvas.box(0, top, WIDTH, _BAR_HEIGHT, _NUMBER["bar"])
    left = WIDTH // 2 - 110
    for x in (0, 10):
        for y in (0, 10):
            canvas.box(left + x, top + 8 + y, 9, 9, _NUMBER["accent"])
    for index, colour in enumerate(("dim", "folder", "accent", "green", "red", "code")):
        canvas.box(left + 40 + index * 32, top + 8, 20, 20, _NUMBER[colour], rounded=True)
    if scene.domain:
        canvas.box(left + 45, HEIGHT - 5, 10, 3, _NUMBER["accent"])
    canvas.text(WIDTH - 60, top + 13, scene.clock, _NUMBER["ink"])


def _badge(canvas: Canvas) -> None:
    canvas.box(12, 12, 62, 22, _NUMBER["ink"], rounded=True)
    canvas.text(24, 18, "DEMO", _NUMBER["white"])


def _window(canvas: Canvas, scene: Scene) -> None:
    canvas.box(_LEFT + 5, _TOP + 7, _WIDE, _HIGH, 2, rounded=True)
    canvas.box(_LEFT - 1, _TOP - 1, _WIDE + 2, _HIGH + 2, _NUMBER["edge"], rounded=True)
    canvas.box(_LEFT, _TOP, _WIDE, _HIGH, _NUMBER["paper"], rounded=True)
    canvas.box(_LEFT + 4, _TOP + 2, _WIDE - 8, _TITLE_HEIGHT - 2, _NUMBER["bar"])
    canvas.text(_LEFT + 14, _TOP + 9, scene.title[:60], _NUMBER["ink"])
    for index, colour in enumerate(("dim", "dim", "red")):
        canvas.box(_LEFT + _WIDE - 78 + index * 26, _TOP + 11, 10, 8, _NUMBER[colour])


def _document(canvas: Canvas, scene: Scene, rng: Random) -> None:
    """Lines of a text, the last one being what was typed."""
    top = _TOP + _TITLE_HEIGHT + 22
    for index in range(4 + scene.step):
        width = rng.randrange(180, 560)
        _words(canvas, (_LEFT + 24, top + (index if index < 4 else index + 3) * 22), width, "dim", rng)
    typed = scene.typed[:_LINE_CHARS]
    canvas.text(_LEFT + 24, top + 5 * 22, typed, _NUMBER["ink"])
    canvas.box(_LEFT + 26 + len(typed) * 8, top + 5 * 22 - 2, 2, 14, _NUMBER["accent"])


def _sheet(canvas: Canvas, scene: Scene, rng: Random) -> None:
    top, row_height, column_width = _TOP + _TITLE_HEIGHT + 32, 22, 88
    canvas.text(_LEFT + 14, top - 22, f"FX  {scene.typed}"[:_LINE_CHARS], _NUMBER["ink"])
    canvas.box(_LEFT + 2, top, _WIDE - 4, row_height, _NUMBER["panel"])
    for column, letter in enumerate("ABCDEFG"):
        canvas.text(_LEFT + 76 + column * column_width, top + 7, letter, _NUMBER["dim"])
    for row in range(1, 17):
        y = top + row * row_height
        canvas.box(_LEFT + 2, y, _WIDE - 4, 1, _NUMBER["edge"])
        canvas.text(_LEFT + 12, y + 7, str(row), _NUMBER["dim"])
        for column in range(5 if row > scene.step * 3 else 6):
            canvas.text(_LEFT + 60 + column * column_width, y + 7, str(rng.randrange(20, 990)), _NUMBER["ink"])
    for column in range(7):
        canvas.box(_LEFT + 40 + column * column_width, top, 1, row_height * 17, _NUMBER["edge"])
    canvas.box(_LEFT + 41 + 5 * column_width, top + (1 + scene.step) * row_height, column_width, 2, _NUMBER["green"])
    canvas.box(_LEFT + 41 + 5 * column_width, top + (2 + scene.step) * row_height, column_width, 2, _NUMBER["green"])


def _files(canvas: Canvas, scene: Scene, rng: Random) -> None:
    canvas.box(_LEFT + 2, _TOP + _TITLE_HEIGHT, 150, _HIGH - _TITLE_HEIGHT - 6, _NUMBER["panel"])
    for index, name in enumerate(("HOME", "DESKTOP", "DOCUMENTS", "DOWNLOADS", "PICTURES")):
        canvas.text(_LEFT + 20, _TOP + 48 + index * 26, name, _NUMBER["ink"])
    for index in range(12):
        x, y = _LEFT + 180 + index % 4 * 125, _TOP + 52 + index // 4 * 125
        if index == scene.step % 12:
            canvas.box(x - 12, y - 10, 98, 104, _NUMBER["wash"], rounded=True)
        if index < 5:
            canvas.box(x + 4, y + 2, 30, 10, _NUMBER["folder_dark"])
            canvas.box(x + 4, y + 9, 66, 46, _NUMBER["folder"], rounded=True)
        else:
            canvas.box(x + 12, y, 48, 58, _NUMBER["white"])
            canvas.box(x + 16, y + 6, 40, 30, rng.randrange(8, _SKY_TONES))
        _words(canvas, (x + 4, y + 68), rng.randrange(40, 74), "ink", rng)


def _browser(canvas: Canvas, scene: Scene, rng: Random) -> None:
    top = _TOP + _TITLE_HEIGHT
    canvas.box(_LEFT + 2, top, _WIDE - 4, 32, _NUMBER["panel"])
    canvas.box(_LEFT + 80, top + 5, _WIDE - 170, 22, _NUMBER["white"], rounded=True)
    canvas.text(_LEFT + 94, top + 11, (scene.typed or "https://demo.example")[:60], _NUMBER["ink"])
    canvas.box(_LEFT + 40, top + 56, 300, 170, 20 + scene.step * 4)
    for index in range(14):
        left = _LEFT + (370 if index < 8 else 40)
        _words(canvas, (left, top + 58 + index * 22 + (30 if index >= 8 else 0)), rng.randrange(160, 280), "dim", rng)
    if scene.step % 2:
        canvas.box(_LEFT + 430, top + 34, 230, 150, _NUMBER["edge"], rounded=True)
        canvas.box(_LEFT + 431, top + 35, 228, 148, _NUMBER["white"], rounded=True)
        _words(canvas, (_LEFT + 450, top + 56), 150, "ink", rng)
        canvas.box(_LEFT + 560, top + 148, 80, 22, _NUMBER["accent"], rounded=True)


def _settings(canvas: Canvas, scene: Scene, rng: Random) -> None:
    for index, name in enumerate(("SYSTEM", "DEVICES", "NETWORK", "PERSONAL", "APPS", "TIME", "ACCESS")):
        if index == 0:
            canvas.box(_LEFT + 12, _TOP + 62, 150, 26, _NUMBER["wash"], rounded=True)
        canvas.text(_LEFT + 26, _TOP + 70 + index * 32, name, _NUMBER["ink"])
    for index in range(6):
        y = _TOP + 60 + index * 62
        canvas.box(_LEFT + 190, y, _WIDE - 220, 52, _NUMBER["edge"], rounded=True)
        canvas.box(_LEFT + 191, y + 1, _WIDE - 222, 50, _NUMBER["white"], rounded=True)
        _words(canvas, (_LEFT + 210, y + 12), rng.randrange(120, 220), "ink", rng)
        _words(canvas, (_LEFT + 210, y + 30), rng.randrange(160, 300), "dim", rng)
        is_on = index < scene.step
        canvas.box(_LEFT + _WIDE - 86, y + 16, 40, 20, _NUMBER["accent" if is_on else "edge"], rounded=True)
        canvas.box(_LEFT + _WIDE - (66 if is_on else 82), y + 20, 12, 12, _NUMBER["white"], rounded=True)


def _editor(canvas: Canvas, scene: Scene, rng: Random) -> None:
    top = _TOP + _TITLE_HEIGHT
    canvas.box(_LEFT + 2, top, _WIDE - 4, _HIGH - _TITLE_HEIGHT - 3, _NUMBER["code"])
    canvas.box(_LEFT + 2, top, 140, _HIGH - _TITLE_HEIGHT - 3, _NUMBER["code_side"])
    for index in range(8):
        _words(canvas, (_LEFT + 20, top + 18 + index * 22), rng.randrange(50, 100), "code_ink", rng)
    for index in range(18):
        y = top + 18 + index * 22
        canvas.text(_LEFT + 156, y, str(index + 1), _NUMBER["dim"])
        left = _LEFT + 190 + rng.choice((0, 16, 16, 32))
        key_width = rng.randrange(20, 60)
        canvas.box(left, y + 1, key_width, 8, _NUMBER["code_key"])
        colour = "code_text" if index == scene.step * 2 else "code_ink"
        _words(canvas, (left + key_width + 10, y), rng.randrange(60, 320), colour, rng)
    if scene.typed:
        canvas.box(_LEFT + 190, top + 4, 420, 26, _NUMBER["code_side"], rounded=True)
        canvas.text(_LEFT + 202, top + 12, scene.typed[:48], _NUMBER["white"])


def _words(canvas: Canvas, place: tuple[int, int], width: int, colour: str, rng: Random) -> None:
    """A line of something to read, too small to be read."""
    left, top = place
    end = left + width
    while left < end:
        word = min(rng.randrange(14, 52), end - left)
        canvas.box(left, top + 1, word, 7, _NUMBER[colour])
        left += word + 7


def _pointer(canvas: Canvas, left: int, top: int) -> None:
    for offset in range(16):
        canvas.box(left, top + offset, max(2, offset * 2 // 3 + 2), 1, _NUMBER["white"])
        if offset < 14:
            canvas.box(left + 1, top + offset, max(1, offset * 2 // 3), 1, _NUMBER["ink"])


_CONTENTS = {
    "notepad": _document,
    "libreoffice_calc": _sheet,
    "file_explorer": _files,
    "chrome": _browser,
    "settings": _settings,
    "vs_code": _editor,
}
