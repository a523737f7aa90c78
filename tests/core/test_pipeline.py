"""Pipelines, pure: what is valid, what an answer says, hysteresis, gaps, uptime, and how often one is asked."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.builders import T0
from waa.core.codec import decode_entity, encode
from waa.core.error import Failure, Invalid
from waa.core.event import Change, EventType, topic_of
from waa.core.pipeline import (
    MAX_SPELLS,
    Answer,
    AuthKind,
    Credential,
    Pace,
    Pipeline,
    PipelineCheck,
    PipelineRules,
    PipelineSpec,
    PipelineStatus,
    Spell,
    place_of,
)
from waa.core.pipeline_answer import answer_of, failed
from waa.core.pipeline_change import DETAIL_GAP_S, PipelineForgotten, PipelineLooked, PipelineNamed, PipelinesChecked
from waa.core.pipeline_form import pipeline_from, pipelines_from
from waa.core.pipeline_history import Part, Uptime, is_lapsed, observed, parts_of, shown_status, uptime_of
from waa.core.spec import Origin
from waa.core.state import State
from waa.core.status import Reason
from waa.core.transition import Rules, decide

UP, DEGRADED, DOWN, UNKNOWN = PipelineStatus.UP, PipelineStatus.DEGRADED, PipelineStatus.DOWN, PipelineStatus.UNKNOWN
SPEC = PipelineSpec(pipeline_id="train", backend="http://10.0.0.9:8080/api")
RULES = Rules(pipelines=PipelineRules(down_after=3, gap_s=90))
REFUSED = failed(Reason.REFUSED, "10.0.0.9:8080 refuses the connection", "Start it.")
TIMED_OUT = failed(Reason.TIMEOUT, "10.0.0.9:8080 is silent")
GOOD = Answer(status=UP, said="healthy")


class Story:
    """Looks at one pipeline, with the state that they leave behind."""

    def __init__(self, spec: PipelineSpec = SPEC) -> None:
        self.state = State()
        self.changes: list[Change] = []
        self.at = T0
        self.looked_at: float | None = None
        self.failures = 0
        self.take(PipelineNamed(vm="", at=T0, spec=spec))

    @property
    def pipeline(self) -> Pipeline:
        return self.state.pipelines["train"]

    def take(self, seen: PipelineNamed | PipelineForgotten | PipelineLooked | PipelinesChecked) -> list[Change]:
        changes = decide(self.state, seen, RULES)
        for change in changes:
            self.state.evolve(change)
        self.changes += changes
        return changes

    def look(self, answer: Answer, *, after_s: float = 2.0) -> list[Change]:
        self.at += after_s
        self.failures = self.failures + 1 if answer.failure is not None else 0
        seen = PipelineLooked(
            vm="", at=self.at, pipeline_id="train", backend=SPEC.backend, answer=answer, looked_at=self.looked_at, failures=self.failures
        )
        self.looked_at = self.at
        return self.take(seen)

    def restart(self) -> None:
        """Another process: it remembers what is stored."""
        self.looked_at, self.failures = None, 0
        self.state = self.state.copy()


# --- what may be named ---


@pytest.mark.parametrize(
    "backend",
    [
        "", "ftp://x", "http://", "http:///x", "http://a b", "http://user@host", "http://user:secret@host", "http://host/?a=1",
        "http://host?", "http://host/#x", "http://host:0", "http://host:99999", "http://host:x", "http://[::1", "http://hö.st",
        "http://host/\nX: y", "//host", "http://host/?token=abc", "http://" + "a" * 2000, "http://-host",
    ],
)  # fmt: skip
def test_a_backend_that_cannot_be_asked_is_refused(backend: str) -> None:
    with pytest.raises(Invalid) as error:
        place_of(backend)
    assert error.value.field == "backend"


def test_where_a_backend_leads() -> None:
    place = place_of("https://Pipes.example.org/api/")
    assert (place.is_secure, place.host, place.port, place.path, place.netloc) == (
        True,
        "pipes.example.org",
        443,
        "/api",
        "pipes.example.org",
    )
    assert place_of("http://[::1]:8080").netloc == "[::1]:8080"
    assert SPEC.path == "/api/pipeline/train/health"


@pytest.mark.parametrize("name", ["", "-x", "a/b", "a b", "a,b", "..", "a" * 64, "a\n", "ä"])
def test_an_id_stands_in_addresses(name: str) -> None:
    with pytest.raises(Invalid) as error:
        PipelineSpec(pipeline_id=name, backend="http://host")
    assert error.value.field == "id"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"id": "a"}, "backend"),
        ({"backend": "http://h"}, "id"),
        ({"id": "new", "backend": "http://h"}, "id"),
        ({"id": "a", "backend": "http://h", "port": "1"}, "port"),
        ({"id": "a", "backend": 7}, "backend"),
        ({"id": "a", "backend": "http://h", "token": "x", "api_key": "y"}, "api_key"),
        ({"id": "a", "backend": "http://h", "token": ""}, "token"),
        ({"id": "a", "backend": "http://h", "token": "a\r\nX-Evil: 1"}, "token"),
        ({"id": "a", "backend": "http://h", "username": "me"}, "username"),
        ({"id": "a", "backend": "http://h", "username": "a:b", "password": "x"}, "username"),
        ({"id": "a", "backend": "http://h", "password": "x"}, "username"),
        ({"id": "a", "backend": "http://h", "api_key_header": "X-Key"}, "api_key_header"),
        ({"id": "a", "backend": "http://h", "api_key": "k", "api_key_header": "Host"}, "api_key_header"),
        ({"id": "a", "backend": "http://h", "api_key": "k", "api_key_header": "X: y"}, "api_key_header"),
        ({"id": "a", "backend": "http://h", "title": "x\ny"}, "title"),
    ],
)
def test_what_is_wrong_with_a_pipeline_is_named_by_its_field(values: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as error:
        pipeline_from(values, origin=Origin.API)
    assert error.value.field == field


def test_a_credential_is_no_part_of_the_pipeline_and_never_printed() -> None:
    spec, credential = pipeline_from({"id": "a", "backend": "http://h/", "token": "s3cr3t"}, origin=Origin.API)
    assert (spec.auth, spec.backend, credential.kind, credential.secret) == (AuthKind.BEARER, "http://h", AuthKind.BEARER, "s3cr3t")
    assert "s3cr3t" not in repr(credential) + repr(spec) + encode(spec).decode()
    with pytest.raises(Invalid) as error:
        Credential(kind=AuthKind.BEARER, secret="s3cr3t\n")
    assert "s3cr3t" not in str(error.value)


def test_one_table_may_name_several() -> None:
    made = pipelines_from({"ids": ["a", "b"], "backend": "http://h", "api_key": "k"}, origin=Origin.CONFIG)
    assert [(spec.pipeline_id, credential.secret) for spec, credential in made] == [("a", "k"), ("b", "k")]
    tables: list[dict[str, object]] = [{"ids": []}, {"ids": "a"}, {"ids": ["a"], "id": "b"}, {"ids": ["a", "b"], "title": "x"}]
    for wrong in tables:
        with pytest.raises(Invalid):
            pipelines_from({"backend": "http://h", **wrong}, origin=Origin.CONFIG)


def test_a_pipeline_and_a_check_come_back_equal() -> None:
    story = Story()
    story.look(GOOD)
    story.look(REFUSED)
    assert decode_entity("pipeline", encode(story.pipeline)) == story.pipeline
    check = PipelineCheck(at=T0, seen={"train": T0 + 0.5})
    assert decode_entity("pipelines", encode(check)) == check
    assert (topic_of(story.pipeline), topic_of(check)) == ("pipelines/train", "pipelines")


# --- what an answer says ---


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("healthy", UP), ("OK", UP), (" Up ", UP), ("running", UP), ("PASS", UP), ("degraded", DEGRADED), ("Warn", DEGRADED),
        ("unhealthy", DOWN), ("DOWN", DOWN), ("fail", DOWN), ("error", DOWN),
        ("warming up", UNKNOWN), ("", UNKNOWN), ("sch\u00f6n", UNKNOWN),
    ],
)  # fmt: skip
def test_the_usual_words_mean_what_they_say_and_others_nothing(word: str, status: PipelineStatus) -> None:
    answer = answer_of(SPEC, 200, "application/json", json.dumps({"status": word}).encode())
    assert (answer.status, answer.said, answer.failure) == (status, word.strip(), None)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html", b"<h1>fine</h1>"),
        ("text/plain", b"OK"),
        ("", b""),
        ("application/json", b'{"uptime": 3}'),
        ("application/json", b"[]"),
    ],
)
def test_a_success_without_a_word_is_up(content_type: str, body: bytes) -> None:
    assert answer_of(SPEC, 200, content_type, body) == Answer(status=UP)
    assert answer_of(SPEC, 204, "", b"") == Answer(status=UP)


@pytest.mark.parametrize(
    ("code", "body", "reason"),
    [
        (200, b'{"status": ', Reason.PARSE),
        (200, b'{"status": 7}', Reason.PARSE),
        (200, b'{"status": {"a": 1}}', Reason.PARSE),
        (200, b"\xff\xfe{", Reason.PARSE),
        (200, b"[" * 60_000, Reason.PARSE),
        (302, b"", Reason.REDIRECT),
        (401, b"", Reason.AUTH),
        (403, b"", Reason.FORBIDDEN),
        (404, b"", Reason.NOT_FOUND),
        (410, b"", Reason.NOT_FOUND),
        (429, b"", Reason.HTTP_STATUS),
        (400, b"", Reason.HTTP_STATUS),
        (500, b'{"status": "healthy"}', Reason.HTTP_STATUS),
        (503, b"<html>", Reason.HTTP_STATUS),
    ],
)
def test_any_other_answer_is_a_failure_with_a_reason_and_a_remedy(code: int, body: bytes, reason: Reason) -> None:
    answer = answer_of(SPEC, code, "application/json", body)
    assert answer.failure is not None
    assert (answer.status, answer.failure.reason) == (UNKNOWN, reason)
    assert answer.failure.message.startswith("10.0.0.9:8080 answers")
    assert answer.failure.remedy


def test_a_word_is_cut_and_credentials_in_it_are_hidden() -> None:
    said = answer_of(SPEC, 200, "application/json", json.dumps({"status": "\x1b[1mtoken=abcdefgh12345 " + "x" * 500}).encode()).said
    assert len(said) <= 60
    assert "abcdefgh" not in said
    assert said.isprintable()


@given(st.integers(200, 599), st.text(max_size=30), st.binary(max_size=200))
def test_no_answer_surprises(code: int, content_type: str, body: bytes) -> None:
    answer = answer_of(SPEC, code, content_type, body)
    assert answer.failure is None or answer.status is UNKNOWN


# --- hysteresis ---


def statuses(story: Story) -> list[str]:
    return [change.entity.status.value for change in story.changes if isinstance(change.entity, Pipeline)]


def test_one_failed_look_is_unknown_three_in_a_row_are_down_and_one_good_one_is_up() -> None:
    story = Story()
    for answer in (GOOD, REFUSED, REFUSED, REFUSED, REFUSED, GOOD):
        story.look(answer)
    told = [(change.previous, story_status(change)) for change in story.changes[1:]]
    assert told == [("unknown", "up"), ("up", "unknown"), ("unknown", "down"), ("down", "up")]
    assert {change.type for change in story.changes[1:]} == {EventType.PIPELINE_STATUS_CHANGED}
    assert story.pipeline.failure is None


def story_status(change: Change) -> str:
    assert isinstance(change.entity, Pipeline)
    return change.entity.status.value


def test_what_a_backend_says_counts_at_once() -> None:
    story = Story()
    for word in (UP, DOWN, DEGRADED, UP):
        story.look(Answer(status=word))
    assert statuses(story) == ["unknown", "up", "down", "degraded", "up"]


def test_a_look_that_says_the_same_costs_no_event() -> None:
    story = Story()
    story.look(GOOD)
    assert [story.look(GOOD) for _ in range(500)] == [[]] * 500
    for _ in range(3):
        story.look(REFUSED)
    assert [story.look(REFUSED) for _ in range(500)] == [[]] * 500


def test_reasons_that_change_with_every_look_are_told_now_and_then() -> None:
    story = Story()
    for _ in range(3):
        story.look(REFUSED)
    before = len(story.changes)
    for number in range(50):
        story.look(TIMED_OUT if number % 2 else REFUSED)
    assert len(story.changes) - before <= 50 * 2 / DETAIL_GAP_S + 1
    assert {change.type for change in story.changes[before:]} == {EventType.PIPELINE_CHANGED}


def test_what_was_down_stays_down_while_looks_fail_and_after_a_gap_it_is_not_known() -> None:
    story = Story()
    story.look(Answer(status=DOWN))
    story.look(REFUSED)
    assert story.pipeline.status is DOWN
    story.look(REFUSED, after_s=1000)
    story.failures = 1
    assert story.pipeline.status is UNKNOWN


def test_after_a_restart_failures_are_counted_anew() -> None:
    story = Story()
    for _ in range(5):
        story.look(REFUSED)
    story.restart()
    found = []
    for _ in range(3):
        story.look(REFUSED)
        found.append(story.pipeline.status)
    assert found == [UNKNOWN, UNKNOWN, DOWN]


@given(st.lists(st.sampled_from([GOOD, REFUSED, TIMED_OUT, Answer(status=DEGRADED), Answer(status=DOWN)]), max_size=40))
def test_down_needs_the_backends_word_or_three_failed_looks(answers: list[Answer]) -> None:
    story = Story()
    for number, answer in enumerate(answers):
        story.look(answer)
        last_three = answers[max(0, number - 2) : number + 1]
        status = story.pipeline.status
        if answer.failure is None:
            assert status is answer.status
        elif len(last_three) == 3 and all(each.failure is not None for each in last_three):
            assert status is DOWN
        else:
            assert status is (DOWN if last_word(answers[: number + 1]) is DOWN else UNKNOWN)


def last_word(answers: Sequence[Answer]) -> PipelineStatus | None:
    return next((answer.status for answer in reversed(answers) if answer.failure is None), None)


# --- naming ---


def test_naming_the_same_again_changes_nothing_and_another_place_begins_anew() -> None:
    story = Story()
    story.look(GOOD)
    assert story.take(PipelineNamed(vm="", at=T0, spec=SPEC)) == []
    (titled,) = story.take(PipelineNamed(vm="", at=T0, spec=replace(SPEC, title="Training")))
    assert (titled.type, story.pipeline.status, len(story.pipeline.spells)) == (EventType.PIPELINE_CHANGED, UP, 1)
    (moved,) = story.take(PipelineNamed(vm="", at=T0, spec=replace(SPEC, backend="http://other")))
    assert (moved.previous, story.pipeline.status, story.pipeline.spells) == ("up", UNKNOWN, ())
    assert story.look(GOOD) == []  # it was asked at the old place


def test_a_pipeline_that_was_taken_away_is_gone() -> None:
    story = Story()
    (change,) = story.take(PipelineForgotten(vm="", at=T0, pipeline_id="train"))
    assert change.type is EventType.PIPELINE_REMOVED
    assert story.state.pipelines == {}
    assert story.take(PipelineForgotten(vm="", at=T0, pipeline_id="train")) == []
    assert story.look(GOOD) == []


def test_a_check_holds_those_that_are_known_and_is_told_once() -> None:
    story = Story()
    (change,) = story.take(PipelinesChecked(vm="", at=T0, seen={"train": T0, "gone": T0}))
    assert change.entity == PipelineCheck(at=T0, seen={"train": T0})
    assert story.take(PipelinesChecked(vm="", at=T0 + 1, seen={"train": T0})) == []
    assert story.take(PipelinesChecked(vm="", at=T0 + 1, seen={})) == []


# --- history ---


def test_spells_touch_while_it_is_looked_at() -> None:
    story = Story()
    for answer in (GOOD, GOOD, REFUSED, GOOD):
        story.look(answer)
    assert story.pipeline.spells == (
        Spell(status=UP, from_at=T0 + 2, until_at=T0 + 6),
        Spell(status=UNKNOWN, from_at=T0 + 6, until_at=T0 + 8),
        Spell(status=UP, from_at=T0 + 8, until_at=T0 + 8),
    )


def test_a_time_in_which_nobody_looked_is_no_part_of_a_spell() -> None:
    story = Story()
    story.look(GOOD)
    story.look(GOOD, after_s=80)
    (change,) = story.look(GOOD, after_s=3600)
    assert (change.type, change.previous) == (EventType.PIPELINE_CHANGED, None)
    assert [(spell.from_at, spell.until_at) for spell in story.pipeline.spells] == [(T0 + 2, T0 + 82), (T0 + 3682, T0 + 3682)]


@pytest.mark.parametrize("checked_s", [None, 30.0])
def test_a_restart_leaves_a_gap_from_what_was_written_down_last(checked_s: float | None) -> None:
    story = Story()
    for _ in range(30):
        story.look(GOOD)
    if checked_s is not None:
        story.take(PipelinesChecked(vm="", at=T0 + 31, seen={"train": T0 + checked_s}))
    story.restart()
    story.look(GOOD, after_s=1)
    first, second = story.pipeline.spells
    assert (first.from_at, first.until_at) == (T0 + 2, T0 + (checked_s or 2))
    assert second.from_at == T0 + 61


def test_the_history_is_bounded() -> None:
    story = Story()
    for number in range(3 * MAX_SPELLS):
        story.look(GOOD if number % 2 else Answer(status=DOWN))
    assert len(story.pipeline.spells) == MAX_SPELLS
    assert story.pipeline.spells[-1].from_at == story.at


def test_old_knowledge_says_nothing_of_now() -> None:
    story = Story()
    story.look(Answer(status=DOWN))
    pipeline = story.pipeline
    assert shown_status(pipeline, T0 + 2, now=T0 + 90, gap_s=90) is DOWN
    assert shown_status(pipeline, T0 + 2, now=T0 + 93, gap_s=90) is UNKNOWN
    assert is_lapsed(None, now=T0, gap_s=90)
    (spell,) = observed(pipeline, T0 + 2, now=T0 + 50, gap_s=90)
    assert spell.until_at == T0 + 50
    (spell,) = observed(pipeline, T0 + 20, now=T0 + 500, gap_s=90)
    assert spell.until_at == T0 + 20


def test_uptime_leaves_out_what_is_not_known() -> None:
    spells = [
        Spell(status=UP, from_at=T0 - 500, until_at=T0 + 60),
        Spell(status=DOWN, from_at=T0 + 60, until_at=T0 + 80),
        Spell(status=UNKNOWN, from_at=T0 + 80, until_at=T0 + 90),
        Spell(status=DEGRADED, from_at=T0 + 190, until_at=T0 + 210),
    ]
    parts = parts_of(spells, T0, T0 + 400)
    assert [(part.status, part.from_at - T0, part.until_at - T0) for part in parts] == [
        (UP, 0, 60), (DOWN, 60, 80), (UNKNOWN, 80, 90), (None, 90, 190), (DEGRADED, 190, 210), (None, 210, 400),
    ]  # fmt: skip
    uptime = uptime_of(parts)
    assert (uptime.up_s, uptime.down_s, uptime.unknown_s, uptime.unobserved_s) == (80, 20, 10, 290)
    assert (uptime.rate, uptime.coverage) == (0.8, 0.25)
    assert uptime_of(parts_of([], T0, T0 + 10)).rate is None
    assert Uptime().coverage == 0.0


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 20), st.sampled_from(PipelineStatus)), max_size=8),
    st.integers(0, 100),
    st.integers(1, 60),
)
def test_the_parts_of_a_window_cover_it_without_a_hole(steps: list[tuple[int, int, PipelineStatus]], begin: int, length: int) -> None:
    spells, at = [], 0
    for gap, lasted, status in steps:
        spells.append(Spell(status=status, from_at=at + gap, until_at=at + gap + lasted))
        at += gap + lasted
    parts = parts_of(spells, begin, begin + length)
    assert parts[0].from_at == begin
    assert parts[-1].until_at == begin + length
    for left, right in itertools.pairwise(parts):
        assert left.until_at == right.from_at
        assert left.status is not right.status
    assert all(seconds_of(parts, second) == status_at(spells, second) for second in range(begin, begin + length))
    uptime = uptime_of(parts)
    assert uptime.up_s + uptime.down_s + uptime.unknown_s + uptime.unobserved_s == length


def seconds_of(parts: Sequence[Part], second: int) -> PipelineStatus | None:
    (found,) = [part for part in parts if part.from_at <= second < part.until_at]
    return found.status


def status_at(spells: Sequence[Spell], second: int) -> PipelineStatus | None:
    return next((spell.status for spell in spells if spell.from_at <= second < spell.until_at), None)


# --- pace ---


def every_s(*, watched: bool = True, doubt: bool = False, calm_s: float = 0.0, history: bool = True) -> float | None:
    return Pace(has_history=history).every_s(is_watched=watched, is_in_doubt=doubt, calm_s=calm_s)


def test_it_is_asked_fast_while_watched_and_slower_the_calmer_it_is() -> None:
    assert [every_s(calm_s=calm_s) for calm_s in (0, 59, 60, 119, 120, 179, 180, 1e9)] == [2, 2, 4, 4, 8, 8, 10, 10]
    assert every_s(calm_s=0) == 2


def test_unwatched_it_is_asked_slowly_or_not_at_all() -> None:
    assert [every_s(watched=False, history=history) for history in (True, False)] == [30, None]
    assert [every_s(watched=False, doubt=True, history=history) for history in (True, False)] == [2, None]
    assert every_s(watched=True, history=False) == 2


def test_a_slow_interval_stays_slow() -> None:
    pace = Pace(interval_s=600, background_s=30)
    assert [pace.every_s(is_watched=watched, is_in_doubt=False, calm_s=1e6) for watched in (True, False)] == [600, 600]


def test_failures_are_masked() -> None:
    answer = failed(Reason.NETWORK, "http://x: Authorization: Bearer abcdef123456789")
    assert isinstance(answer.failure, Failure)
    assert "abcdef" not in answer.failure.message
