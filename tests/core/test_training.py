"""What pushes cause, which predictions are taken, and how texts differ (requirements E1, E2)."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.builders import T0
from waa.core.diff import MAX_WORDS, Part, difference
from waa.core.error import Invalid
from waa.core.event import Change, EventType
from waa.core.outside import EpochClosed, PredictionsPushed, TrainingForgotten, TrainingSeen
from waa.core.state import State
from waa.core.training import (
    MAX_SCORES,
    MAX_TEXT,
    GivenPrediction,
    Prediction,
    PredictionBatch,
    Training,
    TrainingStatus,
    check_job_id,
    check_title,
    checked,
)
from waa.core.transition import Rules, decide


def a_training(job_id: str = "digits", **fields: Any) -> Training:
    told: dict[str, Any] = {"owner": "local", "created_at": T0, "changed_at": T0} | fields
    return Training(job_id=job_id, **told)


def a_prediction(number: int, epoch: int = 0, **fields: Any) -> Prediction:
    told: dict[str, Any] = {
        "job_id": "digits",
        "client_id": f"{epoch}-{number}",
        "epoch": epoch,
        "step": number,
        "prompt": f"p{number}",
        "prediction": "a",
        "target": "a",
        "exact_match": True,
        "created_at": T0,
        "received_at": T0 + number,
    }
    return Prediction(**(told | fields))


def decided(state: State, *observations: Any) -> list[Change]:
    """Decide on them one after the other, and take the changes over."""
    changes = []
    for observation in observations:
        for change in decide(state, observation, Rules()):
            state.evolve(change)
            changes.append(change)
    return changes


def a_state() -> State:
    state = State()
    state.put(a_training())
    return state


def pushed(*predictions: Prediction) -> PredictionsPushed:
    return PredictionsPushed(vm="", at=T0 + 100, job_id="digits", predictions=predictions)


def test_e1_predictions_are_numbered_in_their_order_without_holes() -> None:
    state = a_state()
    batches = [change.entity for change in decided(state, pushed(a_prediction(1), a_prediction(2)), pushed(a_prediction(3)))]
    assert [[item.seq for item in batch.predictions] for batch in batches if isinstance(batch, PredictionBatch)] == [[1, 2], [3]]
    assert state.trainings["digits"].total == 3
    assert state.trainings["digits"].step == 3


def test_e2_an_epoch_is_complete_when_a_later_one_begins() -> None:
    state = a_state()
    first, second = (change.entity for change in decided(state, pushed(a_prediction(1)), pushed(a_prediction(2), a_prediction(1, 1))))
    assert isinstance(first, PredictionBatch)
    assert isinstance(second, PredictionBatch)
    assert (first.completed, second.completed) == ((), (0,))
    assert [epoch.is_complete for epoch in state.epochs["digits"].values()] == [True, False]
    late = decided(state, pushed(a_prediction(3)))[0].entity
    assert isinstance(late, PredictionBatch)
    assert late.completed == ()
    assert state.epochs["digits"][0].count == 3
    assert state.trainings["digits"].epoch == 1


def test_e2_an_epoch_can_be_closed_once() -> None:
    state = a_state()
    decided(state, pushed(a_prediction(1)))
    assert (
        len(decided(state, EpochClosed(vm="", at=T0, job_id="digits", epoch=0), EpochClosed(vm="", at=T0, job_id="digits", epoch=0))) == 1
    )
    assert decided(state, EpochClosed(vm="", at=T0, job_id="digits", epoch=7)) == []
    assert state.epochs["digits"][0].is_complete


def test_a_push_opens_a_training_that_was_ended() -> None:
    state = a_state()
    ended = replace(state.trainings["digits"], status=TrainingStatus.FAILED, error="out of memory", ended_at=T0 + 5)
    (change,) = decided(state, TrainingSeen(vm="", at=T0 + 5, training=ended))
    assert (change.type, change.previous) == (EventType.TRAINING_ENDED, "running")
    assert decided(state, TrainingSeen(vm="", at=T0 + 6, training=ended)) == []
    decided(state, pushed(a_prediction(1)))
    assert state.trainings["digits"].status is TrainingStatus.RUNNING
    assert state.trainings["digits"].error == ""


def test_what_somebody_wants_of_a_training_does_not_touch_its_counts() -> None:
    state = a_state()
    before = state.trainings["digits"]
    decided(state, pushed(a_prediction(1)), TrainingSeen(vm="", at=T0, training=replace(before, title="New")))
    assert (state.trainings["digits"].title, state.trainings["digits"].total) == ("New", 1)


def test_a_training_that_is_removed_takes_its_epochs_along_and_pushes_nothing_any_more() -> None:
    state = a_state()
    changes = decided(state, pushed(a_prediction(1)), TrainingForgotten(vm="", at=T0, job_id="digits"), pushed(a_prediction(2)))
    assert [change.type for change in changes] == [EventType.PREDICTIONS_ADDED, EventType.TRAINING_REMOVED]
    assert (state.trainings, state.epochs) == ({}, {})


def test_deciding_does_not_touch_the_state() -> None:
    state = a_state()
    decided(state, pushed(a_prediction(1)))
    kept = state.copy()
    decide(state, pushed(a_prediction(2), a_prediction(1, 1)), Rules())
    assert state == kept


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([True, False, None]), st.floats(-10, 10)), min_size=1, max_size=30), st.data())
def test_however_predictions_are_batched_the_epochs_are_the_same(items: list[tuple[int, bool | None, float]], data: st.DataObject) -> None:
    predictions = [
        a_prediction(number, epoch, exact_match=match, scores={"loss": loss}) for number, (epoch, match, loss) in enumerate(items)
    ]
    whole, parts = a_state(), a_state()
    decided(whole, pushed(*predictions))
    rest = list(predictions)
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        decided(parts, pushed(*rest[:size]))
        rest = rest[size:]
    assert parts.trainings == whole.trainings
    assert parts.epochs == whole.epochs
    for number, epoch in whole.epochs["digits"].items():
        own = [item for item in predictions if item.epoch == number]
        assert epoch.count == len(own)
        assert epoch.judged == sum(item.exact_match is not None for item in own)
        assert epoch.matched == sum(item.exact_match is True for item in own)
        assert epoch.scores["loss"].mean == pytest.approx(sum(item.scores["loss"] for item in own) / len(own), abs=1e-9)


# --- what is taken ---


def check(**fields: Any) -> Prediction:
    told_fields: dict[str, Any] = {"epoch": 1, "step": 2, "prompt": "p", "prediction": "x"} | fields
    return checked(GivenPrediction(**told_fields), job_id="digits", fallback_id="made", now=T0)


def test_e1_whether_it_matches_is_found_where_the_pusher_does_not_say() -> None:
    assert check(target=" x\n").exact_match is True
    assert check(target="y").exact_match is False
    assert check().exact_match is None
    assert check(target="y", exact_match=True).exact_match is True


def test_e1_what_is_not_given_is_filled_in() -> None:
    taken = check()
    assert (taken.client_id, taken.created_at, taken.received_at, taken.seq) == ("made", T0, T0, 0)
    assert check(id="mine", created_at=5.0).client_id == "mine"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epoch", -1),
        ("epoch", 2**53),
        ("step", -1),
        ("prompt", "x" * (MAX_TEXT + 1)),
        ("prediction", "x" * (MAX_TEXT + 1)),
        ("target", "x" * (MAX_TEXT + 1)),
        ("id", ""),
        ("id", "x" * 129),
        ("id", "a\nb"),
        ("created_at", -1.0),
        ("created_at", float("nan")),
        ("created_at", 1e18),
        ("scores", {"loss": float("inf")}),
        ("scores", {"loss": float("nan")}),
        ("scores", {"": 1.0}),
        ("scores", {str(number): 1.0 for number in range(MAX_SCORES + 1)}),
        ("metadata", {"a": "x" * 1025}),
        ("metadata", {"a": 2**60}),
        ("metadata", {"a" * 65: 1}),
        ("metadata", {str(number): 1 for number in range(33)}),
    ],
)
def test_e1_what_cannot_be_taken_names_its_field(field: str, value: object) -> None:
    with pytest.raises(Invalid) as refused:
        check(**{field: value})
    assert refused.value.field == field


@pytest.mark.parametrize("job_id", ["", ".a", "a b", "a/b", "x" * 64, "é"])
def test_ids_of_trainings_are_plain(job_id: str) -> None:
    with pytest.raises(Invalid, match="job_id"):
        check_job_id(job_id)


def test_titles_are_one_line() -> None:
    assert check_title(" A title ") == "A title"
    for title in ("a\nb", "x" * 201):
        with pytest.raises(Invalid, match="title"):
            check_title(title)


def test_predictions_about_the_same_prompt_and_target_make_a_pair() -> None:
    first = a_prediction(1)
    assert first.pair == replace(first, epoch=5, prediction="other", job_id="another").pair
    assert (
        len({first.pair, replace(first, prompt="q").pair, replace(first, target="b").pair, replace(first, prompt="p1\0a", target="").pair})
        == 4
    )


# --- how texts differ ---

WORDS = st.text(st.sampled_from("ab ,\n\t.é"), max_size=60)


@given(WORDS, WORDS)
def test_the_pieces_give_both_texts_back(text: str, target: str) -> None:
    pieces = difference(text, target).pieces
    assert "".join(piece.text for piece in pieces if piece.part is not Part.MISSING) == text.strip()
    assert "".join(piece.text for piece in pieces if piece.part is not Part.EXTRA) == target.strip()


@given(WORDS)
def test_equal_texts_do_not_differ(text: str) -> None:
    assert all(piece.part is Part.SAME for piece in difference(text, text).pieces)


def test_a_word_is_told_as_a_word() -> None:
    parts = [(piece.part.value, piece.text) for piece in difference("one too three", "one two three").pieces]
    assert parts == [("same", "one "), ("missing", "two"), ("extra", "too"), ("same", " three")]


def test_long_texts_are_cut() -> None:
    long = "word " * (2 * MAX_WORDS)
    found = difference(long, long + "more")
    assert found.is_cut
    assert sum(len(piece.text) for piece in found.pieces) <= 5 * MAX_WORDS
