"""What a task's own file says: how the guest is set up, and what the evaluator asks for."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from waa.core.logs.mask import HIDDEN, is_secret
from waa.core.logs.record import shown

MAX_BYTES = 64 * 1024
"""Of a file; those of WAA have two to ten thousand."""
MAX_STEPS = 100
MAX_DETAIL = 300
"""Characters of what a set-up step or the evaluator is told."""
MAX_TEXT = 20_000
FOLDERS = ("evaluation_examples_windows", "evaluation_examples")
"""Where Windows Agent Arena and OSWorld keep their tasks, below the folder they run in."""
INNER_FOLDER = "/client"
"""The folder that Windows Agent Arena runs in, in its container."""

_MAIN = ("command", "files", "path", "url", "urls_to_open", "window_name", "seconds", "apps", "text")
"""The parameter of a set-up step that says most, the first that is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupStep:
    """What is done to the guest: its kind as the file names it, and its main parameter in one line ("": it has none)."""

    kind: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Specification:
    """A task's file, fit to show. ``functions`` are the evaluator's, joined by ``joined`` where there are several; ``asked`` is what
    they are given and ``expected`` what it is compared with, in one line each. ``document`` is the whole file without
    credentials, ``text`` the same, printed."""

    instruction: str
    snapshot: str
    related_apps: tuple[str, ...]
    source: str
    steps: tuple[SetupStep, ...]
    functions: tuple[str, ...]
    joined: str
    asked: str
    expected: str
    after_steps: tuple[SetupStep, ...]
    document: Mapping[str, object]
    text: str


def places_of_specification(
    arguments: Mapping[str, str], roots: Sequence[str], *, domain: str, task_id: str, inner: bool
) -> tuple[str, ...]:
    """The files that may specify a task, likelier ones first. ``arguments`` are the run's, ``roots`` the absolute folders of its
    results; ``inner``: in the container."""
    if not (_is_name(domain) and _is_name(task_id)):
        return ()
    printed = arguments.get("test_config_base_dir", "").strip("'\"").removeprefix("./").rstrip("/")
    if printed.startswith("/"):
        bases = [printed]
    else:
        names = dict.fromkeys((*((printed,) if _is_below(printed) else ()), *FOLDERS))
        parents = (*((INNER_FOLDER,) if inner else ()), *(root.rstrip("/").rpartition("/")[0] for root in roots))
        bases = [f"{parent}/{name}" for parent in dict.fromkeys(parents) for name in names]
    return tuple(f"{base}/examples/{domain}/{task_id}.json" for base in bases)


def read_specification(data: bytes) -> Specification | None:
    """The meaning of a file; None where it is no JSON object, or a longer one than MAX_BYTES."""
    if len(data) > MAX_BYTES:
        return None
    try:
        found = json.loads(data.decode("utf-8-sig", "replace"))
        document = _masked(found)
        text = json.dumps(document, ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    evaluator = document.get("evaluator")
    evaluator = evaluator if isinstance(evaluator, dict) else {}
    functions = tuple(_names(evaluator.get("func")))
    return Specification(
        instruction=_word(document.get("instruction"), MAX_TEXT),
        snapshot=_word(document.get("snapshot")),
        related_apps=tuple(_names(document.get("related_apps"))),
        source=_word(document.get("source")),
        steps=tuple(_steps(document.get("config"))),
        functions=functions,
        joined=_word(evaluator.get("conj")) or "and" if len(functions) > 1 else "",
        asked=_line(evaluator.get("result")),
        expected=_line(evaluator.get("expected")),
        after_steps=tuple(_steps(evaluator.get("postconfig"))),
        document=document,
        text=text,
    )


def _masked(value: object) -> object:
    """The same without control characters and credentials."""
    if isinstance(value, str):
        return shown(value.encode("utf-8", "replace").decode(), MAX_TEXT)
    if isinstance(value, dict):
        return {
            str(_masked(name)): HIDDEN if is_secret(name) and isinstance(inner, str) and inner else _masked(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):  # of a command's words the one after such an option
        before = (None, *value)
        return [
            HIDDEN if _is_secret_option(option) and isinstance(inner, str) else _masked(inner)
            for option, inner in zip(before, value, strict=False)
        ]
    return value


def _is_secret_option(word: object) -> bool:
    return isinstance(word, str) and word.startswith("-") and is_secret(word)


def _steps(value: object) -> Iterator[SetupStep]:
    for step in value[:MAX_STEPS] if isinstance(value, list) else ():
        if isinstance(step, dict):
            given = step.get("parameters")
            main = next((given[name] for name in _MAIN if name in given), given) if isinstance(given, dict) else given
            yield SetupStep(kind=_word(step.get("type")) or "?", detail=_line(main))


def _line(value: object) -> str:
    """A value in one line: the paths of files, the words of a command, else its JSON."""
    if value is None or value in ({}, [], ""):
        return ""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        text = " ".join(value)
    elif isinstance(value, list) and all(isinstance(item, dict) and isinstance(item.get("path"), str) for item in value):
        text = ", ".join(item["path"] for item in value)
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= MAX_DETAIL else f"{text[: MAX_DETAIL - 1]}…"


def _names(value: object) -> Iterator[str]:
    values = value if isinstance(value, list) else [value]
    yield from (word for item in values[:MAX_STEPS] if (word := _word(item)))


def _word(value: object, limit: int = MAX_DETAIL) -> str:
    return value.strip()[:limit] if isinstance(value, str) else ""


def _is_name(text: str) -> bool:
    """Whether it can be one folder's or file's name."""
    return text not in ("", ".", "..") and len(text) <= 200 and "/" not in text and all(ord(letter) >= 32 for letter in text)


def _is_below(path: str) -> bool:
    """Whether a relative path leads nowhere else."""
    return all(_is_name(name) for name in path.split("/"))
