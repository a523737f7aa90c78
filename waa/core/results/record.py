"""What happened in one task, step by step: the meaning of its folder in the result tree."""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from waa.core.logs.files import read_score
from waa.core.logs.record import MAX_NAME, shown
from waa.core.results.click import Aim, Point, aim_of_record, aims, points_on
from waa.core.results.folder import SCREENSHOT_FOLDER, FolderFound, is_file_name
from waa.core.results.openadapt import ExecutedStep, read_execution
from waa.core.results.picture import png_size

MAX_TRAJECTORY_BYTES = 100_000_000
MAX_LINE_BYTES = 4_000_000
"""Of one step; a longer one is passed over. Models answer in kilobytes."""
MAX_STEPS = 10_000
MAX_TEXT = 20_000
"""Characters of an action, a thought or an error; what is longer is cut."""
MAX_NUMBER = 1_000_000
MAX_PATH = 4096
SLACK_S = 90.0
"""The log and the trajectory are written by one process, seconds apart."""

_STAMP = re.compile(r"(\d{8})@(\d{6})(\d{1,6})?", re.ASCII)
_NOT_SAVED = re.compile(r"key: .{0,200} not saved", re.DOTALL)
_STEP_FILE = re.compile(r"(screenshot/)?(?:screenshot-)?step_(reset|\d{1,7})_[^/]*\.png", re.ASCII)
_WHERE = re.compile(r"(?:Error: )?(?:Exception in |Time limit exceeded in )?[^\s/]{1,500}/[^\s/]{1,500}(?: - |\n|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A screenshot by its file's name; its size in pixels where that is known."""

    name: str
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One action. ``number`` is the step's as recorded (1-based), ``part`` the action's place among those of the step,
    ``attempt`` the 1-based one of the trajectory.

    ``before`` is what the agent saw when it chose the action (its ``points`` are where the action points on it), ``after`` what
    the action led to, ``screenshot`` the one of them that was recorded with the step. ``at`` is the runner's clock, taken as UTC.
    ``thought`` None: none was recorded, or it was not read.
    """

    number: int
    part: int = 1
    attempt: int = 1
    action: str
    thought: str | None = None
    screenshot: str | None = None
    before: Picture | None = None
    after: Picture | None = None
    points: tuple[Point, ...] = ()
    at: float | None = None
    reward: float | None = None
    done: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """All that a task's folder tells. ``steps`` are those of all attempts, in the order of writing.

    ``starts`` holds the picture after the set-up by attempt, ``errors`` what ended an attempt. ``score`` None: no result
    yet, or none that is a number. ``unreadable`` counts lines that made no sense (the half line at the end does not count).
    ``resets`` holds the moments at which the set-up of an attempt was over. ``step_count`` is how many steps the runner counts, where
    it says so; ``domain`` and ``task_id`` are "" where the files do not tell them.
    """

    steps: tuple[StepRecord, ...] = ()
    instruction: str = ""
    score: float | None = None
    has_result: bool = False
    error: str = ""
    traceback: str = ""
    attempts: int = 1
    starts: Mapping[int, Picture] = field(default_factory=dict)
    errors: Mapping[int, str] = field(default_factory=dict)
    resets: Mapping[int, float] = field(default_factory=dict)
    step_count: int | None = None
    domain: str = ""
    task_id: str = ""
    unreadable: int = 0
    is_cut: bool = False


def read_record(folder: FolderFound) -> TaskRecord:
    """The meaning of a folder. Never fails: what cannot be read is left out."""
    if folder.documents and folder.trajectory is None and folder.result is None:
        return _executed(folder)
    reader = _Reader(folder)
    reader.read(folder.trajectory or b"")
    error, traceback = reader.error, reader.traceback
    if not error and folder.error is not None:
        error, traceback = _told_error(_text(folder.error.decode("utf-8", "replace")))
    return TaskRecord(
        steps=tuple(reader.steps),
        instruction=reader.instruction,
        score=read_score(folder.result) if folder.result is not None else None,
        has_result=folder.result is not None and bool(folder.result.strip()),
        error=error,
        traceback=traceback,
        attempts=reader.attempt,
        starts=reader.starts,
        errors=reader.errors,
        resets=reader.resets,
        unreadable=reader.unreadable,
        is_cut=folder.is_cut or reader.is_full,
    )


def first_record(folder: FolderFound) -> tuple[bytes, float | None]:
    """The first record of a folder as it was written, and its moment; b"" where none is whole yet. It is never written again, so it
    tells whose folder this is."""
    if folder.trajectory is not None:
        line, is_whole = next(_lines(folder.trajectory), (b"", False))
        found = _object(line) if is_whole else None
        return (line, _moment(found.get("action_timestamp"))) if found is not None else (b"", None)
    executed = read_execution(folder.documents, folder="").steps[:1] if folder.documents else ()
    return (repr(executed[0]).encode("utf-8", "replace"), executed[0].at) if executed else (b"", None)


def attempt_of(record: TaskRecord, *, began_at: float, ended_at: float | None) -> int | None:
    """The attempt of a trajectory that was made from ``began_at`` to ``ended_at`` (None: it goes on); of several the last. None
    where all of them were made at other times: the folder has been used again, or has not been yet."""
    latest_at = ended_at + SLACK_S if ended_at is not None else math.inf
    undated: int | None = None
    for attempt in range(record.attempts, 0, -1):
        moments = [step.at for step in record.steps if step.attempt == attempt and step.at is not None]
        if not moments:
            undated = undated or attempt
        elif moments[-1] >= began_at - SLACK_S and moments[0] <= latest_at:
            return attempt
    return undated


class _Reader:
    """Reads a trajectory line by line; what a line means depends only on it and those before it."""

    def __init__(self, folder: FolderFound) -> None:
        self.steps: list[StepRecord] = []
        self.instruction = self.error = self.traceback = ""
        self.attempt = 1
        self.starts: dict[int, Picture] = {}
        self.errors: dict[int, str] = {}
        self.resets: dict[int, float] = {}
        self.unreadable = 0
        self.is_full = False
        self._folder = folder
        self._listed = {file.name for file in folder.files}
        self._by_step: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self._listed):
            match = _STEP_FILE.fullmatch(name)
            if match is not None:
                self._by_step[f"{match[1] or ''}{match[2]}"].append(name)
        self._is_over = False
        self._last: Picture | None = None

    def read(self, data: bytes) -> None:
        for line, is_whole in _lines(data[:MAX_TRAJECTORY_BYTES]):
            found = _object(line)
            if found is None:
                self.unreadable += is_whole and bool(line.strip())
            elif "Error" in found and "step_num" not in found:
                self._fail(found)
            elif not self._take(found):
                return

    def _take(self, found: Mapping[str, object]) -> bool:
        """One record; False where no more are kept."""
        number = found.get("step_num")
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MAX_NUMBER:
            self.unreadable += 1
            return True
        is_reset = number == 0 and found.get("action") is None
        self._begin(number, is_reset=is_reset)
        self.instruction = _text(found.get("instruction")) or self.instruction
        own = self._own(found, number, is_reset=is_reset)
        if is_reset:
            if own is not None:
                self.starts[self.attempt] = own
            if (at := _moment(found.get("action_timestamp"))) is not None:
                self.resets[self.attempt] = at
            self._last = own
            return True
        if len(self.steps) == MAX_STEPS:
            self.is_full = True
            return False
        self._add(found, number, own)
        return True

    def _begin(self, number: int, *, is_reset: bool) -> None:
        """A new attempt begins with a reset, with a lower number, or after the last one's end."""
        begun = [step for step in self.steps[-1:] if step.attempt == self.attempt]
        has_start = self.attempt in self.starts
        goes_back = bool(begun) and number < begun[0].number
        if self._is_over or goes_back or (is_reset and (begun or has_start)):
            self.attempt += 1
            self._last = None
            self.error = self.traceback = ""
        self._is_over = False

    def _add(self, found: Mapping[str, object], number: int, own: Picture | None) -> None:
        last = self.steps[-1] if self.steps and self.steps[-1].attempt == self.attempt else None
        part = last.part + 1 if last is not None and last.number == number else 1
        before: Picture | None
        if own is not None and own.name.startswith(f"{SCREENSHOT_FOLDER}/"):  # WAA-V2 records what it sees, the others what came of it
            before, after = own, self._following(own)
        else:
            before, after = self._last, own
        seen = before or after
        action, places = _action(found.get("action"))
        self.steps.append(
            StepRecord(
                number=number,
                part=part,
                attempt=self.attempt,
                action=action,
                thought=self._thought(found),
                screenshot=own.name if own is not None else None,
                before=before,
                after=after,
                points=points_on(places, seen.size) if seen is not None else (),
                at=_moment(found.get("action_timestamp")),
                reward=_number(found.get("reward")),
                done=found.get("done") is True,
            )
        )
        self._last = after
        self._is_over = found.get("done") is True

    def _fail(self, found: Mapping[str, object]) -> None:
        if self._is_over and self.errors.get(self.attempt):
            self.attempt += 1
        told, _ = _told_error(_text(found.get("Error")))
        self.error = _text(found.get("Exception")) or told
        self.traceback = _text(found.get("Traceback"))
        self.errors[self.attempt] = self.error
        self._is_over = True

    def _own(self, found: Mapping[str, object], number: int, *, is_reset: bool) -> Picture | None:
        """The screenshot that was recorded with a step; None where there is no such file."""
        for key in ("screenshot", "screenshot_file"):
            name = _file_name(found.get(key))
            if name.endswith(".png") and (name in self._listed or not self._listed):
                return self._picture(name)
        label = "reset" if is_reset else str(number - 1)
        return self._only(label) or self._only(f"{SCREENSHOT_FOLDER}/{label}")

    def _following(self, own: Picture) -> Picture | None:
        match = _STEP_FILE.fullmatch(own.name)
        if match is None or match[2] == "reset":
            return None
        return self._only(f"{match[1] or ''}{int(match[2]) + 1}")

    def _only(self, label: str) -> Picture | None:
        names = self._by_step.get(label, [])
        return self._picture(names[0]) if len(names) == 1 else None

    def _picture(self, name: str) -> Picture:
        return _seen(self._folder, name)

    def _thought(self, found: Mapping[str, object]) -> str | None:
        for key in ("plan_result", "response", "thought"):
            value = found.get(key)
            if not isinstance(value, str) or not value.strip() or _NOT_SAVED.fullmatch(value):
                continue
            name = _file_name(value)
            if name.startswith("plan_result-step_"):
                text = self._folder.texts.get(name)
                return _text(text.decode("utf-8", "replace")) or None if text is not None else None
            return _text(value) or None
        return None


def _executed(folder: FolderFound) -> TaskRecord:
    """What openadapt recorded: each step with the screen that the agent saw."""
    found = read_execution(folder.documents, folder=folder.path.rpartition("/")[2])
    listed = {file.name for file in folder.files}
    seen = [_seen(folder, step.screenshot) if step.screenshot in listed else None for step in found.steps]
    error = _text(found.error)
    return TaskRecord(
        steps=tuple(_executed_step(step, *pictures) for step, *pictures in zip(found.steps, seen, [*seen, None][1:], strict=True)),
        instruction=_text(found.instruction),
        score=found.score,
        has_result=found.has_result,
        error=error,
        errors={1: error} if error else {},
        step_count=found.step_count,
        domain=_text(found.domain)[:MAX_NAME],
        task_id=_text(found.task_id)[:MAX_NAME],
        unreadable=found.unreadable,
        is_cut=folder.is_cut or found.is_cut,
    )


def _seen(folder: FolderFound, name: str) -> Picture:
    return Picture(name=name, size=png_size(folder.heads.get(name, b"")))


def _executed_step(step: ExecutedStep, before: Picture | None, after: Picture | None) -> StepRecord:
    return StepRecord(
        number=step.number,
        action=_text(step.action),
        thought=_text(step.thought) or None,
        screenshot=before.name if before is not None else None,
        before=before,
        after=after,
        points=points_on(step.aims, before.size) if before is not None else (),
        at=step.at,
        done=step.is_last,
    )


def of_attempt(record: TaskRecord, attempt: int) -> TaskRecord:
    """The record as if it told of one attempt only. Result and files belong to the last one."""
    is_last = attempt == record.attempts
    return replace(
        record,
        steps=tuple(step for step in record.steps if step.attempt == attempt),
        error=record.error if is_last else record.errors.get(attempt, ""),
        traceback=record.traceback if is_last else "",
        score=record.score if is_last else None,
        has_result=record.has_result and is_last,
    )


def _lines(data: bytes) -> Iterator[tuple[bytes, bool]]:
    """Each line, and whether its end was there; over-long ones empty."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        stop = len(data) if end < 0 else end
        yield (data[start:stop] if stop - start <= MAX_LINE_BYTES else b"?"), end >= 0
        start = stop + 1


def _object(line: bytes) -> Mapping[str, object] | None:
    try:
        found = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _action(value: object) -> tuple[str, tuple[Aim, ...]]:
    if isinstance(value, str):
        return _text(value.strip("\n")), aims(value)
    if isinstance(value, Mapping):
        return _text(json.dumps(value, ensure_ascii=False)), aim_of_record(value)
    if isinstance(value, Sequence):
        return _text(json.dumps(value, ensure_ascii=False)), ()
    return "", ()


def _file_name(value: object) -> str:
    """The name of a file in the task's folder, "" for other text. The first WAA recorded whole paths."""
    if not isinstance(value, str) or len(value) > MAX_PATH:
        return ""
    name = value if value.startswith(f"{SCREENSHOT_FOLDER}/") else value.rpartition("/")[2]
    return name if is_file_name(name) else ""


def _told_error(text: str) -> tuple[str, str]:
    """The message and the traceback of an error's text: ``Exception in d/id``, ``d/id - text``, or that with lines below."""
    rest = _WHERE.sub("", text, count=1) if _WHERE.match(text) else text
    message, mark, trace = (rest.strip() or text.strip()).partition("Traceback (most recent call last):")
    return message.strip(), f"{mark}{trace}" if mark else ""


def _moment(value: object) -> float | None:
    match = _STAMP.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    try:
        whole = datetime.strptime(f"{match[1]}{match[2]}", "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return whole.timestamp() + (float(f"0.{match[3]}") if match[3] else 0.0)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _text(value: object) -> str:
    """Text fit to show: without control characters, lone surrogates and credentials, at most MAX_TEXT characters."""
    if not isinstance(value, str):
        return ""
    return shown(value[: 2 * MAX_TEXT].encode("utf-8", "replace").decode(), MAX_TEXT)
