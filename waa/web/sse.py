"""Bytes of server-sent events and of HTTP/1.1 chunks. Lines end in LF alone: a chunk that is cut between CR and LF
makes some clients dispatch an event without its data."""

import zlib

END = b"0\r\n\r\n"
"""The last chunk of a chunked body."""


def encode(data: str | bytes, *, event: str | None = None, id: str | None = None, retry_ms: int | None = None) -> bytes:
    """One complete message. Line breaks in ``data`` (LF, CR, CRLF) all reach the client as LF; bytes must be UTF-8.

    ``retry_ms`` sets the client's delay before it reconnects. Raises ValueError where ``event`` is empty, ``event`` or
    ``id`` holds a line break or NUL, or ``retry_ms`` is negative.
    """
    head = ""
    if id is not None:
        head = f"id: {_one_line('id', id)}\n"
    if event is not None:
        if not event:
            raise ValueError("event is empty")
        head += f"event: {_one_line('event', event)}\n"
    if retry_ms is not None:
        if retry_ms < 0:
            raise ValueError(f"retry_ms {retry_ms} is negative")
        head += f"retry: {retry_ms:d}\n"
    return head.encode() + b"data: " + b"\ndata: ".join(_lines(data)) + b"\n\n"


def comment(text: str = "") -> bytes:
    """Lines that every client ignores: they open a stream or keep it open, and tell a script nothing."""
    return b": " + b"\n: ".join(_lines(text)) + b"\n\n"


def retry(delay_ms: int) -> bytes:
    """A line that sets the client's delay before it reconnects; goes before a message, or alone with an empty line."""
    return b"retry: %d\n" % delay_ms


def chunk(payload: bytes) -> bytes:
    """``payload`` as one chunk of a chunked body; nothing for nothing, as an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""


def unchunk(frame: bytes) -> bytes:
    """The payload of what ``chunk`` returned."""
    return frame[frame.index(b"\n") + 1 : -2] if frame else b""


GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
"""Before the first part of a compressed stream."""
GZIP_LEVEL = 6


def deflated(payload: bytes) -> bytes:
    """``payload`` compressed, for whoever reads a stream that began with GZIP_HEAD, whatever came before: it refers to nothing that not
    all of them have got, and ends where it can be read at once."""
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)


def _lines(data: str | bytes) -> list[bytes]:
    # Not str.splitlines: it also splits at U+2028 and others, which are plain text to a client.
    raw = data.encode() if isinstance(data, str) else data
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return raw.split(b"\n")


def _one_line(field: str, value: str) -> str:
    if any(letter in value for letter in "\r\n\0"):
        raise ValueError(f"{field} {value!r} holds a line break or NUL")
    return value
