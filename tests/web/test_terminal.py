"""The live tail of a log: what a terminal would show, whatever the pieces in which it came."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waa.core.observation import LogKind, LogSource
from waa.web.terminal import MAX_LINE_CHARS, MAX_LINES, MAX_OPEN_CHARS, MAX_TAILS, LogTail, LogTails

RUN = LogSource(kind=LogKind.FILE, path="/tmp/run.log")
BOOT = LogSource(kind=LogKind.CONTAINER, path="winarena")

written = st.lists(
    st.sampled_from([b"a", b"word ", b"\n", b"\r", b"\r\n", b"\x1b[31m", b"\x1b[0m", b"\x1b[2K", b"\xc3\xa9", b"\xe2\x82\xac", b"\xff",
                     b"\xe2\x82", b"\xf0\x9f\x92\xa5", b"\t", b"\0", b"<b>", b"&", b"10%"])
    | st.binary(max_size=4),
    max_size=40,
).map(b"".join)  # fmt: skip


def shown(tail: LogTail) -> list[str]:
    """The text of the lines."""
    return [re.sub(r"<[^>]*>", "", str(line.html)) for line in tail.lines]


def fed(*pieces: bytes) -> LogTail:
    tail = LogTail()
    for piece in pieces:
        tail.feed(piece)
    return tail


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\n\nb\n", ["a", "", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"10%\r20%\r30%", ["30%"]),
        (b"10%\r20%\r", ["20%"]),
        (b"10%\r\x1b[2K\n", ["10%"]),
        (b"\x1b[1mbold\x1b[0m plain", ["bold plain"]),
        (b"a\x00\x07b", ["ab"]),
        (b"<script>", ["&lt;script&gt;"]),
        ("naïve 💥".encode(), ["naïve 💥"]),
        (b"\xff\xfe", ["\ufffd\ufffd"]),
        (b"\x1b[2J\x1b[Hhome", ["home"]),
    ],
)
def test_a_tail_shows_what_a_terminal_shows(data: bytes, lines: list[str]) -> None:
    assert shown(fed(data)) == lines


@given(written, st.lists(st.integers(0, 200), max_size=8))
def test_the_pieces_do_not_matter(data: bytes, cuts: list[int]) -> None:
    places = sorted({min(cut, len(data)) for cut in cuts})
    pieces = [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
    assert shown(fed(*pieces)) == shown(fed(data))


@given(written)
def test_a_tail_is_harmless_markup(data: bytes) -> None:
    for line in fed(data).lines:
        rest = re.sub(r'<span class="[a-z0-9 -]+">|</span>', "", str(line.html))
        assert not set(rest) & {"<", ">", '"'}


def test_colours_become_classes_and_no_style() -> None:
    (line,) = fed(b"\x1b[1;31mred\x1b[0m \x1b[44mon blue\x1b[0m").lines
    assert str(line.html) == '<span class="t-b t-fg-red">red</span> <span class="t-bg-blue">on blue</span>'


def test_only_the_newest_lines_are_kept_and_numbers_go_on() -> None:
    tail = fed(b"".join(b"%d\n" % number for number in range(1, 1001)))
    assert len(tail.lines) == MAX_LINES
    assert (tail.lines[-1].number, shown(tail)[-1], tail.first_number) == (1000, "1000", 1001 - MAX_LINES)
    assert tail.feed(b"next") == 1001
    assert tail.feed(b" and more\n") == 1001
    assert [str(line.html) for line in tail.lines_from(1001)] == ["next and more"]


def test_a_log_that_begins_anew_uses_no_number_twice() -> None:
    tail = fed(b"one\ntwo")
    used = {line.number for line in tail.lines}
    tail.begin_anew()
    assert (tail.lines, tail.generation) == ((), 1)
    tail.feed(b"\xa9 three\n")
    assert shown(tail) == ["\ufffd three"]
    assert not used & {line.number for line in tail.lines}


def test_a_long_line_is_cut_and_says_so() -> None:
    (line,) = fed(b"x" * 100_000 + b"\n").lines
    assert str(line.html) == "x" * MAX_LINE_CHARS + "…"


def test_a_progress_bar_without_end_shows_its_newest_state_in_bounded_memory() -> None:
    tail = LogTail()
    for number in range(5000):
        tail.feed(b"\r%d %%" % number)
    assert shown(tail) == ["4999 %"]
    tail.feed(b"x" * MAX_OPEN_CHARS * 3)
    tail.feed(b"\rdone\n")
    assert shown(tail) == ["done"]
    whole = b"".join(b"\r%d %%" % number for number in range(5000))
    assert shown(fed(whole + b"\n")) == ["4999 %"]


def test_secrets_are_hidden_in_whatever_pieces_they_come() -> None:
    assert shown(fed(b"api_key=sk-abc", b"defghijkl\n")) == ["api_key=***"]


def test_tails_are_told_apart_and_bounded() -> None:
    tails = LogTails()
    heard: list[tuple[str, str, int | None]] = []
    tails.on_change = lambda vm, key, first: heard.append((vm, key, first))
    tails.take("vm-1", RUN, b"one\n")
    tails.take("vm-1", BOOT, b"boot\n")
    tails.take("vm-1", RUN, b"")
    assert heard == [("vm-1", RUN.key, 1), ("vm-1", BOOT.key, 1), ("vm-1", RUN.key, None)]
    assert tails.keys("vm-1") == [BOOT.key, RUN.key], "the one written last at the end"
    for number in range(MAX_TAILS):
        tails.take(f"vm-{number + 2}", RUN, b"x\n")
    assert tails.tail("vm-1", RUN.key) is None
    assert tails.tail("vm-2", RUN.key) is not None
