"""``docs/events.md`` names everything that is on the wire: every event, every endpoint, every internal event type."""

import re
from pathlib import Path

import pytest

from tests.web.test_bad_input import sample
from waa.core.event import EventType
from waa.web.app import ROUTES
from waa.web.pages import EmbedHandler, PageHandler

ROOT = Path(__file__).parent.parent
DOC = ROOT / "docs" / "events.md"
SOURCES = (
    "waa/web/feed.py",
    "waa/web/panel_stream.py",
    "waa/web/stream_service.py",
    "waa/web/training_feed.py",
    "waa/web/pipeline_feed.py",
)


def text() -> str:
    return DOC.read_text(encoding="utf-8")


def wire_events() -> set[str]:
    """The names that the code of the streams gives to its messages."""
    code = "".join((ROOT / source).read_text(encoding="utf-8") for source in SOURCES)
    named = re.findall(r'event="([a-z_]+)"|(?:_message|_now)\("([a-z_]+)"', code)
    return {first or second for first, second in named} | {"status", "progress"}


def endpoints() -> list[str]:
    """The paths of the route table that programs and embedding pages ask, as people write them."""
    paths = []
    for pattern, handler, _access in ROUTES:
        if issubclass(handler, PageHandler) and handler is not EmbedHandler:
            continue
        variants = [pattern.replace("(?:background-)?", word) for word in ("", "background-")] if "(?:" in pattern else [pattern]
        for variant in variants:
            subject = "<panel>" if variant.startswith(("/fragments", "/embed")) else "<name>"
            paths.append(sample(variant, subject))
    return paths


def test_the_names_of_events_are_found_in_the_code() -> None:
    assert {"connected", "status", "progress", "task_complete", "task_settled", "error", "heartbeat", "gap"} <= wire_events()
    assert {"hello", "hb", "notify", "bye"} <= wire_events()


@pytest.mark.parametrize("event", sorted(wire_events()))
def test_every_event_of_the_streams_is_explained(event: str) -> None:
    assert f"`{event}`" in text()


@pytest.mark.parametrize("type_", [each.value for each in EventType])
def test_every_internal_event_type_is_explained(type_: str) -> None:
    assert f"`{type_}`" in text()


@pytest.mark.parametrize("path", endpoints())
def test_every_endpoint_is_named(path: str) -> None:
    told = re.sub(r"<(?:run|domain|task|attempt|file|job|token|panel|format|epoch)>", "<name>", text())
    path = path.replace("\\.", ".").replace("<panel>", "<name>")
    assert re.search(rf"(?<![\w/-]){re.escape(path)}(?![\w/<-])", told)


def test_no_event_is_explained_that_is_not_sent() -> None:
    known = wire_events() | {each.value for each in EventType}
    headings = re.findall(r"^#{2,4} `([a-z_.]+)`", text(), re.MULTILINE)
    assert set(headings) <= known
