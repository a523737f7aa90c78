"""A prediction as the line that is sent and spooled, checked for what no server takes.

A line is one JSON object; a mark, which starts with ``!``, is a request about the job that keeps its place among the predictions.
"""

import json
import math
import operator
import re
import time
import uuid
from collections.abc import Mapping
from typing import Required, SupportsFloat, SupportsIndex, TypedDict

from waa.sdk.wire import Invalid, Json

MAX_TEXT = 32_768
"""Characters of a prompt, a prediction, a target."""
MAX_ENTRIES = 32
"""Scores of a prediction, and its metadata."""
MAX_NUMBER = 1e100


class Fields(TypedDict, total=False):
    """What a prediction is. Numbers may be numpy's or torch's. ``id`` is made where there is none; ``exact_match`` is found by the server
    where it is None; ``created_at`` is in epoch seconds, None: now."""

    epoch: Required[SupportsIndex]
    step: Required[SupportsIndex]
    prompt: Required[str]
    prediction: Required[str]
    target: str | None
    scores: Mapping[str, SupportsFloat] | None
    exact_match: bool | None
    metadata: Mapping[str, str | SupportsFloat] | None
    id: str | None
    created_at: float | None


def mark(path: str, **body: str) -> bytes:
    """A request about the job, ``path`` below its own."""
    return b"!%s %s" % (path.encode(), json.dumps(body).encode())


def read_mark(record: bytes) -> tuple[str, bytes]:
    """Its path and body. Raises Invalid, for what was damaged on the disk."""
    found = re.fullmatch(rb"!(/finish|/epochs/\d{1,16}/complete) (\{.*\})", record)
    if found is None:
        raise Invalid("mark", "cannot be read")
    return found[1].decode(), found[2]


def count_of(record: bytes) -> int:
    """How many predictions: a mark is none."""
    return 0 if record.startswith(b"!") else 1


def encoded(
    *,
    epoch: SupportsIndex,
    step: SupportsIndex,
    prompt: str,
    prediction: str,
    target: str | None = None,
    scores: Mapping[str, SupportsFloat] | None = None,
    exact_match: bool | None = None,
    metadata: Mapping[str, str | SupportsFloat] | None = None,
    id: str | None = None,
    created_at: float | None = None,
) -> tuple[str, bytes]:
    """Its id and its record. Raises Invalid."""
    name = uuid.uuid4().hex if id is None else _text("id", id, 128)
    if not (name and name.isprintable()):
        raise Invalid("id", "is 1 to 128 printable characters")
    fields: Json = {
        "id": name,
        "epoch": checked_whole("epoch", epoch),
        "step": checked_whole("step", step),
        "prompt": _text("prompt", prompt, MAX_TEXT),
        "prediction": _text("prediction", prediction, MAX_TEXT),
        "target": None if target is None else _text("target", target, MAX_TEXT),
        "scores": {key: _number("scores", key, value) for key, value in _entries("scores", scores)},
        "metadata": {key: _plain(key, value) for key, value in _entries("metadata", metadata)},
        "created_at": time.time() if created_at is None else _number("created_at", "", created_at),
    }
    if exact_match is not None:
        fields["exact_match"] = _truth(exact_match)
    return name, json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def _text(field: str, value: object, most: int) -> str:
    if not isinstance(value, str):
        raise Invalid(field, f"is text, not {type(value).__name__}")
    if len(value) > most:
        raise Invalid(field, f"has {len(value)} characters; up to {most} are taken")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Invalid(field, "holds half of a surrogate pair, which is no text") from None
    return value


def checked_whole(field: str, value: SupportsIndex) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise Invalid(field, f"is a whole number, not {type(value).__name__}") from None
    if not 0 <= number < 2**53:
        raise Invalid(field, "is a whole number from 0 to 2^53 - 1")
    return number


def _entries(field: str, given: object) -> list[tuple[str, object]]:
    if given is None:
        return []
    if not isinstance(given, Mapping) or len(given) > MAX_ENTRIES:
        raise Invalid(field, f"is a mapping of up to {MAX_ENTRIES} names")
    for name in given:
        if not (_text(field, name, 64) and name.isprintable()):
            raise Invalid(field, "has a name that is not 1 to 64 printable characters")
    return list(given.items())


def _number(field: str, name: str, value: object) -> float:
    """Also of numpy's and torch's numbers."""
    try:
        number = float(value) if isinstance(value, SupportsFloat) else math.nan
    except (TypeError, ValueError, OverflowError, RuntimeError):
        number = math.nan
    if not abs(number) <= MAX_NUMBER:
        raise Invalid(field, f"{name}: is a finite number" if name else "is a finite number")
    return number


def _plain(name: str, value: object) -> str | float | bool:
    if isinstance(value, bool):
        return value
    return _text("metadata", value, 1024) if isinstance(value, str) else _number("metadata", name, value)


def checked_job(job_id: str) -> str:
    if not (isinstance(job_id, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", job_id)):
        raise Invalid("job_id", "is 1 to 63 letters, digits, '.', '_', '-', the first a letter or digit")
    return job_id


def _truth(value: object) -> bool:
    """Also numpy's."""
    if isinstance(value, str):
        raise Invalid("exact_match", "is true, false or None")
    return bool(value)
