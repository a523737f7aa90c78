"""Frames as clients read them."""

import httpx
import pytest
from httpx_sse import EventSource, ServerSentEvent
from hypothesis import given
from hypothesis import strategies as st

from waa.web import sse

one_line = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))
any_text = st.text(st.characters(exclude_categories=["Cs"]))


def decoded(payload: bytes) -> list[ServerSentEvent]:
    """What a real client makes of a body."""
    response = httpx.Response(200, headers={"Content-Type": "text/event-stream; charset=utf-8"}, content=payload)
    return list(EventSource(response).iter_sse())


def test_a_message_has_its_fields_in_lines_that_end_in_lf() -> None:
    assert sse.encode('{"n":1}', event="progress", id="7", retry_ms=1000) == b'id: 7\nevent: progress\nretry: 1000\ndata: {"n":1}\n\n'


def test_data_of_several_lines_keeps_its_lines() -> None:
    assert sse.encode("a\nb\n") == b"data: a\ndata: b\ndata: \n\n"


def test_every_kind_of_line_break_becomes_lf() -> None:
    assert sse.encode("a\r\nb\rc") == b"data: a\ndata: b\ndata: c\n\n"


def test_bytes_are_taken_as_they_are() -> None:
    assert sse.encode("é".encode()) == "data: é\n\n".encode()


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b"])
@pytest.mark.parametrize("field", ["event", "id"])
def test_a_line_break_in_event_or_id_is_refused(field: str, value: str) -> None:
    fields = {field: value}
    with pytest.raises(ValueError, match=field):
        sse.encode("x", event=fields.get("event"), id=fields.get("id"))


def test_an_empty_event_and_a_negative_retry_are_refused() -> None:
    with pytest.raises(ValueError, match="event"):
        sse.encode("x", event="")
    with pytest.raises(ValueError, match="retry_ms"):
        sse.encode("x", retry_ms=-1)


def test_a_comment_reaches_no_client_whatever_its_lines() -> None:
    assert decoded(sse.comment("hello\ndata: no\rdata: no") + sse.encode("yes"))[0].data == "yes"


def test_a_retry_line_goes_before_a_message() -> None:
    (message,) = decoded(sse.retry(1500) + sse.encode("{}", event="heartbeat"))
    assert (message.event, message.retry) == ("heartbeat", 1500)


@given(data=any_text, event=one_line.filter(bool), id=one_line)
def test_a_client_reads_back_what_was_encoded(data: str, event: str, id: str) -> None:
    (message,) = decoded(sse.encode(data, event=event, id=id))
    assert message.data == data.replace("\r\n", "\n").replace("\r", "\n")
    assert (message.event, message.id) == (event, id)


@given(st.binary())
def test_unchunk_undoes_chunk(payload: bytes) -> None:
    assert sse.unchunk(sse.chunk(payload)) == payload


def test_nothing_makes_no_chunk_as_that_would_end_the_body() -> None:
    assert sse.chunk(b"") == b""
    assert sse.chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
