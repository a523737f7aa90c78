"""Frames of the status program and marks in a followed log."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waa.core.error import LinkError
from waa.core.status import Reason
from waa.probes.follow import Mark, MarkSplitter
from waa.probes.frame import MAX_BODY_BYTES, MAX_PREAMBLE_BYTES, Frame, FrameDecoder

NONCE = "0123456789abcdef0123456789abcdef"
MARKER = b"\x00@" + NONCE.encode() + b" "

names = st.sampled_from(["beat", "container", "logs"])
bodies = st.text(st.characters(codec="utf-8"), max_size=60) | st.just("@hello 0 1 1\n")
frames = st.lists(st.builds(Frame, names, st.integers(0, 255), bodies), max_size=8)


def encoded(frame: Frame) -> bytes:
    body = frame.body.encode()
    return b"@%s %d %d %s\n" % (frame.name.encode(), frame.code, len(body), body)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)] or [b""]


@given(frames, st.lists(st.integers(0, 2000), max_size=12), st.sampled_from([b"", b"Welcome!\r\n@motd 1\n", b"@hell"]))
def test_the_same_bytes_give_the_same_frames_whatever_the_chunking(sent: list[Frame], cuts: list[int], preamble: bytes) -> None:
    hello = Frame("hello", 0, "1")
    data = preamble + b"".join(map(encoded, [hello, *sent]))
    decoder = FrameDecoder(first="hello")
    received = [frame for piece in pieces(data, cuts) for frame in decoder.feed(piece)]
    assert received == [hello, *sent]


def test_text_inside_a_frame_cannot_begin_another_one() -> None:
    decoder = FrameDecoder(first="hello")
    forged = Frame("logs", 0, "x\n@container 0 2 no\n")
    assert decoder.feed(b"@hello 0 1 1\n" + encoded(forged)) == [Frame("hello", 0, "1"), forged]


@pytest.mark.parametrize("noise", [b"login: \n", b"@hello 0 x\n", b"@beat 0 3 abcd\n", b"@beat 0 %d " % (MAX_BODY_BYTES + 1), b"x" * 50])
def test_anything_else_between_frames_ends_the_link(noise: bytes) -> None:
    decoder = FrameDecoder(first="hello")
    decoder.feed(b"@hello 0 1 1\n")
    with pytest.raises(LinkError) as caught:
        decoder.feed(noise)
    assert caught.value.failure.reason is Reason.PROTOCOL


def test_an_endless_preamble_ends_the_link() -> None:
    decoder = FrameDecoder(first="hello")
    with pytest.raises(LinkError) as caught:
        for _ in range(3):
            decoder.feed(b"y\n" * (MAX_PREAMBLE_BYTES // 4))
    assert caught.value.failure.reason is Reason.PROTOCOL


@given(
    st.lists(st.binary(max_size=20) | st.just(b"\x00@") | st.just(MARKER[:-1]) | st.just(b"\x00@" + b"f" * 32 + b" R 1\n"), max_size=8),
    st.lists(st.integers(0, 2000), max_size=12),
)
def test_marks_are_found_between_any_bytes_whatever_the_chunking(texts: list[bytes], cuts: list[int]) -> None:
    data = b"noise of a login shell" + MARKER + b"B 7.1\n" + (MARKER + b"R 8\n").join(texts)
    splitter = MarkSplitter(NONCE)
    received = [piece for part in pieces(data, cuts) for piece in splitter.feed(part)]
    joined = [b""]
    for piece in received:
        if isinstance(piece, Mark):
            joined.append(b"")
        else:
            joined[-1] += piece
    joined[-1] += splitter.finish()
    assert joined == [b"", *texts] if texts else [b"", b""]
    assert [piece for piece in received if isinstance(piece, Mark)] == [Mark("B", "7.1")] + [Mark("R", "8")] * (len(texts) - 1)


def test_ordinary_bytes_are_never_held_back() -> None:
    splitter = MarkSplitter(NONCE)
    splitter.feed(MARKER + b"B 7\n")
    assert splitter.feed(b"Step 3: click\n") == [b"Step 3: click\n"]
    assert splitter.feed(b"x\x00") == [b"x"]
    assert splitter.feed(b"y") == [b"\x00y"]
