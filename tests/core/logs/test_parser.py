"""The same bytes give the same facts: in any pieces, over a restart, behind any prefix, and at once."""

import json
import re
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.logs.corpus import data, names
from tests.core.logs.fold import fold, parse
from waa.core.logs.fact import (
    AnyFact,
    BootProgressed,
    RunFinished,
    StepDescribed,
    StepStarted,
    TaskActive,
    TaskFinished,
    TaskInstructed,
    TaskScored,
    TaskStarted,
)
from waa.core.logs.parser import LogParser

ALL = names("run-log", "boot-log", "launcher-log", "derived display", "stderr-only")
NORMAL = "generated/waa_up_normal.plain.log"


@cache
def _facts(name: str) -> list[AnyFact]:
    return parse(data(name))


def _resumed(content: bytes, cuts: list[int]) -> list[AnyFact]:
    """Facts of ``content`` by a reader that dies after each cut and goes on from what it stored."""
    facts: list[AnyFact] = []
    parser, offset = LogParser(), 0
    for cut in cuts:
        facts += parser.feed(content[offset:cut])
        stored, offset = json.dumps(parser.state()), parser.consumed
        assert offset <= cut
        parser = LogParser.resume(json.loads(stored))
        assert parser.consumed == offset
        assert json.dumps(parser.state()) == stored
    return facts + parser.feed(content[offset:]) + parser.finish()


@pytest.mark.parametrize("name", ALL)
def test_a_log_in_odd_pieces_says_the_same(name: str) -> None:
    content = data(name)
    for size in (1, 7, 4096) if len(content) < 15_000 else (61, 4096):
        parser = LogParser()
        facts = [fact for at in range(0, len(content), size) for fact in parser.feed(content[at : at + size])]
        assert facts + parser.finish() == _facts(name)
        assert parser.consumed == len(content)


@given(st.sampled_from(ALL), st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=30)
def test_a_log_in_any_pieces_says_the_same(name: str, places: list[float]) -> None:
    content = data(name)
    cuts = [0, *sorted(int(place * len(content)) for place in places), len(content)]
    parser = LogParser()
    facts = [fact for begin, end in pairwise(cuts) for fact in parser.feed(content[begin:end])]
    assert facts + parser.finish() == _facts(name)


@given(st.sampled_from(ALL), st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=30)
def test_a_reader_that_dies_loses_and_repeats_nothing(name: str, places: list[float]) -> None:
    content = data(name)
    assert _resumed(content, sorted(int(place * len(content)) for place in places)) == _facts(name)


@pytest.mark.parametrize("name", ["generated/waa_v2_loop_instance1_run2.log", "generated/dockur_v6.05_fresh_install.log"])
def test_a_reader_may_die_after_each_byte(name: str) -> None:
    content = data(name)[-1000:]
    assert _resumed(content, list(range(len(content)))) == parse(content)


def test_a_reader_may_die_between_the_lines_of_a_merged_log() -> None:
    content = data("generated/waa_up_par3.merged.log")
    ends = [match.end() for match in re.finditer(rb"\n", content)][::3]
    assert _resumed(content, ends) == parse(content)


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=4))
@settings(max_examples=60)
def test_any_bytes_in_any_pieces_say_the_same(content: bytes, places: list[int]) -> None:
    assert _resumed(content, sorted(min(place, len(content)) for place in places)) == parse(content)


@pytest.mark.parametrize("name", names("run-log"))
def test_the_state_is_small(name: str) -> None:
    content = data(name)
    parser = LogParser()
    for at in range(0, len(content), 3000):
        parser.feed(content[at : at + 3000])
        assert len(json.dumps(parser.state())) < 6000


def test_an_empty_state_begins_anew() -> None:
    parser = LogParser.resume({})
    assert parser.feed(data(NORMAL)) + parser.finish() == _facts(NORMAL)


def test_a_damaged_state_begins_without_what_is_damaged() -> None:
    parser = LogParser.resume(
        {
            "lines": 3,
            "journal": {"dialect": 7, "episodes": [1], "crew": "x", "domains": None},
            "passage": [],
            "boot": {"stage": []},
            "services": 1,
        }
    )
    assert parser.feed(data(NORMAL)) + parser.finish() == _facts(NORMAL)


def _kinds_by_line(name: str) -> list[tuple[bytes, list[AnyFact]]]:
    parser = LogParser()
    return [(line, parser.feed(line)) for line in data(name).splitlines(keepends=True)]


def test_what_a_line_tells_is_told_when_it_ends() -> None:
    expected: list[tuple[bytes, type]] = [
        (b"[Example ID]: ", TaskStarted),
        (b"[Instruction]: ", TaskInstructed),
        (b"] \x1b[0mStep ", StepStarted),
        (b"Running evaluator(s)...", TaskActive),
        (b"Result: ", TaskScored),
        (b"Finished ", TaskFinished),
        (b"Average score: ", RunFinished),
    ]
    for line, facts in _kinds_by_line(NORMAL):
        for text, kind in expected:
            if text in line and b"\x1b[1;33m" in line:
                assert kind in [type(fact) for fact in facts]


def test_nothing_is_told_before_a_line_ends() -> None:
    parser = LogParser()
    line = data("generated/dockur_v5.14_warm_boot_sigterm.log").split(b"\n")[0]
    assert parser.feed(line) == []
    assert len(parser.feed(b"\n")) == 1


def test_a_long_action_is_told_at_once_by_its_first_line_and_whole_when_its_record_ends() -> None:
    told = _kinds_by_line(NORMAL)
    begun = next(index for index, (line, _) in enumerate(told) if b"Step 2: computer.keyboard.write" in line)
    assert StepStarted in [type(fact) for fact in told[begun][1]]
    ended = next(index for index in range(begun + 1, len(told)) if told[index][1])
    assert told[ended][0].startswith(b"\x1b[1;33m[")
    described = told[ended][1][0]
    assert isinstance(described, StepDescribed)
    assert described.action == 'computer.keyboard.write("draft.txt")\ncomputer.keyboard.press("enter")'


def test_an_unterminated_last_line_counts_when_the_stream_is_over() -> None:
    content = data(NORMAL).rstrip(b"\n")
    parser = LogParser()
    facts = parser.feed(content)
    assert RunFinished not in [type(fact) for fact in facts]
    assert facts + parser.finish() == _facts(NORMAL)


# What readers put before the lines.


def _timeless(facts: list[AnyFact]) -> list[str]:
    return [re.sub(r"at=[^,]+, ", "", repr(fact)) for fact in facts]


def _docker(content: bytes) -> bytes:
    lines = content.removesuffix(b"\n").split(b"\n")
    return b"".join(b"2025-11-24T09:12:%02d.%09dZ %s\n" % (index % 60, index, line) for index, line in enumerate(lines))


def _compose(content: bytes) -> bytes:
    lines = content.removesuffix(b"\n").split(b"\n")
    return b"".join((b"winarena-1  | " if index % 7 else b"winarena-1 | ") + line + b"\n" for index, line in enumerate(lines))


def _coloured_compose(content: bytes) -> bytes:
    lines = content.removesuffix(b"\n").split(b"\n")
    return b"".join(b"\x1b[36mwinarena-1  |\x1b[0m " + line + b"\n" for line in lines)


def _wrapped(content: bytes) -> bytes:
    """openadapt's wrapper: bars become lines, empty lines are dropped, the rest gets a prefix."""
    lines = [line.strip(b"\r\n") for line in re.split(rb"\r\n|\r|\n", content)]
    return b"".join(b"[2026-01-28 17:55:07] [RUN] " + line + b"\n" for line in lines if line.strip())


def _stripped(content: bytes) -> bytes:
    return re.sub(rb"\x1b\[[0-9;=?]*[A-Za-z]", b"", content)


def _escapeless(content: bytes) -> bytes:
    return content.replace(b"\x1b", b"")


def _terminal(content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


CONTAINER = [
    "generated/waa_container_docker_logs_full_run.log",
    "generated/waa_v2_loop_instance1_run1.log",
    "generated/dockur_v4.35_fresh_install.log",
]
RUNS = [name for name in names("run-log") if "openadapt_evals" not in name and "v2_loop" not in name]


@pytest.mark.parametrize("name", CONTAINER)
@pytest.mark.parametrize("prefixed", [_docker, _compose, _coloured_compose])
def test_prefixes_of_container_logs_are_stripped(name: str, prefixed: object) -> None:
    assert callable(prefixed)
    content = data(name)
    if "v2" in name:  # the launcher writes around the container log
        content = content[content.index(b"Starting WinArena...") :]
    assert _timeless(parse(prefixed(content))) == _timeless(parse(content))


@pytest.mark.parametrize("name", RUNS)
def test_copies_of_run_logs_say_the_same(name: str) -> None:
    assert parse(_stripped(data(name))) == _facts(name)
    assert parse(_terminal(data(name))) == _facts(name)


@pytest.mark.parametrize("name", [name for name in RUNS if "v1" not in name and "merged" not in name])
def test_wrapped_run_logs_say_the_same(name: str) -> None:
    tasks = fold(parse(_wrapped(data(name)))).tasks
    expected = fold(_facts(name)).tasks
    assert [(task.task_id, task.status, task.score, task.steps, len(task.actions), task.instruction, task.error) for task in tasks] == [
        (task.task_id, task.status, task.score, task.steps, len(task.actions), task.instruction, task.error) for task in expected
    ]


def test_a_copy_that_lost_its_escape_bytes_is_read() -> None:
    assert len(fold(parse(_escapeless(data(NORMAL)))).tasks) == 5


def test_lines_with_a_bar_in_actions_are_not_compose_prefixes() -> None:
    log = parse(data(NORMAL).replace(b'computer.keyboard.press("enter")', b"a | b"))
    described = [fact for fact in log if isinstance(fact, StepDescribed)]
    assert any(fact.action.endswith("\na | b") for fact in described)


def test_a_download_in_a_terminal_tells_its_progress() -> None:
    parser = LogParser()
    parser.feed("❯ Starting Windows for Docker v6.05...\n❯ Downloading Windows 11...\n".encode())
    facts = parser.feed(b"\r\x1b[K[ 12.3% | 0.7 GB / 5.8 GB | 45 MB/s | ETA 1m ]\r\x1b[K[ 13.0% | 0.8 GB / 5.8 GB | 45 MB/s | ETA 1m ]\r")
    assert [fact.percent for fact in facts if isinstance(fact, BootProgressed)] == [12.3, 13.0]
