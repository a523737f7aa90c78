"""Where on the screen an action points, as far as its text says so."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MAX_POINTS = 8
"""Of one action; a curve drawn by a hundred moves is no click."""
MAX_ACTION = 20_000

_LITERALS = re.compile(r"'''.*?(?:'''|\Z)|\"\"\".*?(?:\"\"\"|\Z)|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"|#[^\n]*", re.DOTALL)
_CALL = re.compile(r"(?:^|[;\n])[ \t]*(pyautogui|pg|computer\.mouse)\.([a-zA-Z_]{1,20})\(([^()\n]{0,200})\)")
_NUMBER = re.compile(r"[+-]?(?:\d{1,6}(?:\.\d{0,20})?|\.\d{1,20})")
_MOVES = frozenset({"move_abs", "moveto", "drag", "dragto"})
_PRESSES = frozenset(
    {"click", "doubleclick", "tripleclick", "rightclick", "leftclick", "middleclick", "mousedown", "mouseup"}
    | {"single_click", "double_click", "triple_click", "right_click", "left_click", "middle_click"}
)


@dataclass(frozen=True, slots=True)
class Aim:
    """A place as the text gives it: fractions of the screen, or pixels of it (``is_pixel``)."""

    x: float
    y: float
    is_pixel: bool


@dataclass(frozen=True, slots=True)
class Point:
    """A place on a picture: fractions of its width and height, 0 to 1, from its upper left corner."""

    x: float
    y: float


def aims(action: str) -> tuple[Aim, ...]:
    """The explicit places of a Python action in their order, at most MAX_POINTS; a repeated one once. What stands in its texts
    and comments does not count, nor does anything computed."""
    bare = _LITERALS.sub(_blank, action[:MAX_ACTION])
    found: list[Aim] = []
    for call in _CALL.finditer(bare):
        aim = _aim(call[1], call[2].lower(), call[3])
        if aim is not None and (not found or found[-1] != aim):
            found.append(aim)
        if len(found) == MAX_POINTS:
            break
    return tuple(found)


def aim_of_record(action: Mapping[str, object]) -> tuple[Aim, ...]:
    """The place of an action that is a record: ``{"action_type": "CLICK", "parameters": {"x": 10, "y": 20}}``, or flat."""
    inner = action.get("parameters")
    values = inner if isinstance(inner, Mapping) else action
    x, y = values.get("x"), values.get("y")
    if isinstance(x, bool) or isinstance(y, bool) or not isinstance(x, int | float) or not isinstance(y, int | float):
        return ()
    if not (0 <= x <= 100_000 and 0 <= y <= 100_000):
        return ()
    is_pixel = not (max(x, y) <= 1 and (isinstance(x, float) or isinstance(y, float)))
    return (Aim(float(x), float(y), is_pixel=is_pixel),)


def points_on(found: tuple[Aim, ...], size: tuple[int, int] | None) -> tuple[Point, ...]:
    """The places on a picture of ``size`` pixels; those that are not on it, and pixels where it is not known, are left out."""
    return tuple(_on(found, size))


def _on(found: tuple[Aim, ...], size: tuple[int, int] | None) -> Iterator[Point]:
    for aim in found:
        if not aim.is_pixel:
            yield Point(aim.x, aim.y)
        elif size is not None and aim.x < size[0] and aim.y < size[1]:
            yield Point(aim.x / size[0], aim.y / size[1])


def _blank(match: re.Match[str]) -> str:
    return "" if match[0].startswith("#") else "''"


def _aim(module: str, name: str, arguments: str) -> Aim | None:
    if name not in _MOVES and name not in _PRESSES:
        return None
    words = _coordinates(arguments)
    if words is None or any(_NUMBER.fullmatch(word) is None for word in words):
        return None
    x, y = (float(word) for word in words)
    if x < 0 or y < 0:
        return None
    if module == "computer.mouse":  # knows fractions only: anything else is a mistake of the agent's, and nobody knows which
        return Aim(x, y, is_pixel=False) if max(x, y) <= 1 else None
    is_fraction = max(x, y) <= 1 and any("." in word for word in words)
    return Aim(x, y, is_pixel=not is_fraction)


def _coordinates(arguments: str) -> tuple[str, str] | None:
    named: dict[str, str] = {}
    plain: list[str] = []
    for part in arguments.split(","):
        key, equals, value = part.partition("=")
        if equals:
            named[key.strip()] = value.strip()
        else:
            plain.append(part.strip())
    x = named.get("x") or (plain[0] if plain else "")
    y = named.get("y") or (plain[1] if len(plain) > 1 else "")
    return (x, y) if x and y else None
