"""A batch sends what it is given once, in order, and never gets in the way of a training."""

import fcntl
import multiprocessing
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, SupportsFloat

import numpy as np
import pytest

from tests.client.board import Board, Served
from tests.client.conftest import JOB
from tests.support.wait import PATIENCE_S, wait_for
from waa.client import Client, Invalid, Report, TrainingBatch
from waa.sdk import batch as module

Told = Callable[[], list[str]]
FORK = multiprocessing.get_context("fork")


def give(predictions: TrainingBatch, *numbers: int, **more: Any) -> list[str | None]:
    return [predictions.create(epoch=0, step=number, prompt=f"{number}", prediction="one", target="two", **more) for number in numbers]


def steps(board: Board) -> list[int]:
    return [given["step"] for given in board.predictions(JOB)]


def adds_up(report: Report) -> bool:
    settled = report.created + report.duplicates + sum(report.dropped.values()) + report.waiting
    return report.taken + report.recovered == settled


def files(spool: Path) -> list[Path]:
    return [path for path in spool.rglob("*") if path.is_file()]


def test_predictions_arrive_in_order_over_one_connection_and_leave_no_files(client: Client, board: Board, spool: Path) -> None:
    with client.training_predictions.batch(JOB) as predictions:
        ids = []
        for start in range(0, 300, 50):
            ids += give(predictions, *range(start, start + 50))
            assert predictions.flush()
        report = predictions.report
    assert steps(board) == list(range(300))
    assert [given["id"] for given in board.predictions(JOB)] == ids
    assert report.created == report.taken == 300
    assert adds_up(report)
    assert not report.dropped
    assert board.connections == 1
    assert not files(spool)


def test_what_is_given_is_what_arrives(client: Client, board: Board) -> None:
    scores: dict[str, SupportsFloat] = {"loss": np.float32(0.5), "n": np.int64(3)}
    with client.training_predictions.batch(JOB, strict=True) as predictions:
        predictions.create(
            epoch=np.int64(2),
            step=7,
            prompt="a\nb\u2028c",
            prediction="é😀\0",
            target=None,
            scores=scores,
            metadata={"lr": 0.1, "who": "x", "ok": True},
            id="mine",
            exact_match=False,
            created_at=12.5,
        )
        scores["loss"] = np.float32(9)
    assert board.predictions(JOB) == [
        {
            "id": "mine",
            "epoch": 2,
            "step": 7,
            "prompt": "a\nb\u2028c",
            "prediction": "é😀\0",
            "target": None,
            "scores": {"loss": 0.5, "n": 3.0},
            "metadata": {"lr": 0.1, "who": "x", "ok": True},
            "created_at": 12.5,
            "exact_match": False,
        }
    ]


def test_a_request_is_bounded_by_count_and_by_bytes(client: Client, board: Board) -> None:
    with client.training_predictions.batch(JOB, max_count=4) as predictions:
        give(predictions, *range(10))
    few = [len(body["predictions"]) for body in board.bodies]
    assert max(few) <= 4
    with client.training_predictions.batch(JOB) as predictions:
        give(predictions, *range(10, 50), metadata={f"t{number}": "x" * 1000 for number in range(31)})
    many = [len(body["predictions"]) for body in board.bodies[len(few) :]]
    assert max(many) * 31_000 <= module.MAX_BATCH_BYTES
    assert len(many) >= 3
    assert steps(board) == list(range(50))


def test_epochs_and_the_end_keep_their_place(client: Client, board: Board) -> None:
    with client.training_predictions.batch(JOB) as predictions:
        give(predictions, 1, 2)
        predictions.complete_epoch(0)
        give(predictions, 3)
        predictions.complete_epoch(7)
        give(predictions, 4)
        predictions.finish("failed", "out of memory")
    assert steps(board) == [1, 2, 3, 4]
    assert board.jobs[JOB]["epochs"] == [(0, 2)]
    assert board.jobs[JOB]["status"] == "failed"
    assert board.bodies[-1] == {"status": "failed", "error": "out of memory"}
    assert "no such epoch" in predictions.report.last_drop


def test_a_server_that_asks_for_patience_gets_it(client: Client, board: Board) -> None:
    board.planned.append((503, {"Retry-After": "1"}, None))
    with client.training_predictions.batch(JOB) as predictions:
        give(predictions, 1)
        wait_for(lambda: len(board.requests) == 1)
        give(predictions, 2)
        assert predictions.flush(30)
    assert steps(board) == [1, 2]
    assert board.times[1] - board.times[0] >= 1.0


def test_a_server_that_asks_for_a_day_is_asked_sooner(client: Client, board: Board, monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    monkeypatch.setattr(module, "MAX_RETRY_AFTER_S", 0.01)
    board.planned += [(429, {"Retry-After": "86400"}, None)] * 3
    with client.training_predictions.batch(JOB) as predictions:
        give(predictions, 1)
        assert predictions.flush(30)
    assert steps(board) == [1]
    assert len(told()) <= 1, "one warning a minute"


@pytest.mark.parametrize("answer", [(200, {}, ["what?"]), (200, {}, {"results": []}), (302, {"Location": "/login"}, None), (500, {}, None)])
def test_an_answer_of_something_else_loses_nothing(client: Client, board: Board, answer: Any) -> None:
    board.planned.append(answer)
    predictions = client.training_predictions.batch(JOB)
    give(predictions, 1, 2, 3)
    wait_for(lambda: predictions.report.trouble or steps(board))
    predictions.close()
    assert steps(board) == [1, 2, 3]
    assert not predictions.report.trouble


def test_an_answer_that_is_lost_does_not_store_twice(client: Client, board: Board) -> None:
    board.lost_answers = 1
    with client.training_predictions.batch(JOB) as predictions:
        give(predictions, *range(5))
        assert predictions.flush(30)
    assert steps(board) == list(range(5))
    assert predictions.report.duplicates == 5
    assert adds_up(predictions.report)


def test_what_the_server_does_not_take_is_counted_and_the_rest_is_stored(client: Client, board: Board, told: Told) -> None:
    with client.training_predictions.batch(JOB) as predictions:
        give(predictions, 1)
        predictions.create(epoch=0, step=2, prompt="refuse me", prediction="")
        give(predictions, 3)
    assert steps(board) == [1, 3]
    assert predictions.report.dropped == {"rejected": 1}
    assert adds_up(predictions.report)
    assert "prompt is not taken here" in told()[-1]


def test_the_one_that_spoils_a_request_is_found(
    client: Client, served: Served, board: Board, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = board.answer

    def picky(path: str, body: Any, key: str) -> Any:
        is_spoilt = any(given["step"] == 5 for given in body.get("predictions", []))
        return (422, {}, {"error": {"status": 422, "message": "cannot be read", "field": "body"}}) if is_spoilt else answer(path, body, key)

    monkeypatch.setattr(board, "answer", picky)
    with client.training_predictions.batch(JOB) as predictions:
        give(predictions, *range(20))
    assert steps(board) == [number for number in range(20) if number != 5]
    assert predictions.report.dropped == {"rejected": 1}
    assert adds_up(predictions.report)
    assert "cannot be read" in told()[-1]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_keeps_everything_for_the_next(client: Client, board: Board, told: Told, spool: Path, status: int) -> None:
    board.planned += [(status, {}, {"error": {"status": status, "message": "not you", "field": None}})] * 100
    predictions = client.training_predictions.batch(JOB)
    give(predictions, 1, 2)
    wait_for(lambda: predictions.report.trouble)
    report = predictions.close()
    assert report.waiting == 2
    assert not report.dropped
    assert f"{status} not you" in report.trouble
    assert len(board.requests) <= 3, "it does not insist"
    board.planned.clear()
    with client.training_predictions.batch(JOB) as later:
        give(later, 3)
    assert steps(board) == [1, 2, 3]
    assert later.report.recovered == 2
    assert adds_up(later.report)
    assert not files(spool)
    assert "waa_secret" not in "".join([*told(), str(report), repr(report), repr(client)])


def test_the_key_is_not_in_the_spool(client: Client, board: Board, spool: Path, told: Told) -> None:
    board.planned += [(503, {}, None)] * 100
    predictions = client.training_predictions.batch(JOB)
    give(predictions, 1)
    predictions.close(0)
    assert "secret" not in "".join(str(path) + path.read_text() for path in files(spool))
    assert {path.stat().st_mode & 0o777 for path in files(spool)} == {0o600}
    assert all(not path.parent.stat().st_mode & 0o077 for path in files(spool))
    assert told()


def test_beyond_its_bound_the_newest_are_dropped_and_counted(client: Client, board: Board, spool: Path, told: Told) -> None:
    board.is_open.clear()
    predictions = client.training_predictions.batch(JOB, max_spool_bytes=5000)
    ids = give(predictions, *range(100))
    kept = len([name for name in ids if name is not None])
    assert 5 < kept < 50
    assert ids[kept:] == [None] * (100 - kept)
    assert predictions.report.dropped == {"full": 100 - kept}
    wait_for(told)
    assert sum(path.stat().st_size for path in files(spool)) <= 5000 + kept
    board.is_open.set()
    predictions.close()
    assert steps(board) == list(range(kept))
    assert adds_up(predictions.report)
    assert f"{100 - kept} full" in told()[-1]


def test_without_a_writable_spool_predictions_are_sent_all_the_same(served: Served, board: Board, tmp_path: Path, told: Told) -> None:
    (tmp_path / "file").write_text("no folder")
    client = Client(served.url, spool=tmp_path / "file" / "spool")
    with client.training_predictions.batch(JOB) as predictions:
        give(predictions, *range(10))
        wait_for(told)
    assert steps(board) == list(range(10))
    assert "Not a directory" in predictions.report.spool_trouble
    assert "Not a directory" in told()[0]


TOUCHES = {"posix", "_io", "_socket", "_ssl", "select", "fcntl"}


def test_create_touches_neither_network_nor_disk_while_the_server_hangs(client: Client, board: Board, told: Told) -> None:
    called: list[tuple[str | None, str]] = []

    def note(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call":
            owner = getattr(function, "__self__", None)
            called.append((function.__module__ or type(owner).__module__, function.__name__))

    board.is_open.clear()
    predictions = client.training_predictions.batch(JOB)
    give(predictions, 0)
    wait_for(lambda: board.connections)
    sys.setprofile(note)
    try:
        ids = give(predictions, *range(1, 1000))
    finally:
        sys.setprofile(None)
    assert None not in ids
    assert predictions.report.waiting == 1000
    assert ("_thread", "acquire") in called or ("_thread", "__enter__") in called, "the profile sees what is called"
    assert {(owner, name) for owner, name in called if owner in TOUCHES} <= {("posix", "urandom")}
    report = predictions.close(0)
    assert report.waiting == 1000
    assert told()
    board.is_open.set()
    with client.training_predictions.batch(JOB) as later:
        assert later.flush(30)
    assert steps(board) == list(range(1000))


BAD: list[tuple[str, dict[str, Any]]] = [
    ("epoch", {"epoch": -1}),
    ("epoch", {"epoch": 1.5}),
    ("step", {"step": "3"}),
    ("prompt", {"prompt": None}),
    ("prompt", {"prompt": "x" * 32_769}),
    ("prediction", {"prediction": "\ud800"}),
    ("target", {"target": 4}),
    ("scores", {"scores": {"loss": float("nan")}}),
    ("scores", {"scores": {"loss": np.array([1.0, 2.0])}}),
    ("scores", {"scores": {"loss": "0.5"}}),
    ("scores", {"scores": {"": 1.0}}),
    ("scores", {"scores": [1.0]}),
    ("scores", {"scores": {f"s{number}": 1.0 for number in range(33)}}),
    ("metadata", {"metadata": {"text": "x" * 1025}}),
    ("metadata", {"metadata": {"list": []}}),
    ("id", {"id": ""}),
    ("id", {"id": "x" * 129}),
    ("exact_match", {"exact_match": "no"}),
    ("created_at", {"created_at": float("inf")}),
]


@pytest.mark.parametrize(("field", "bad"), BAD)
def test_a_bad_argument_is_counted_or_raised_as_wished(client: Client, board: Board, told: Told, field: str, bad: dict[str, Any]) -> None:
    good: dict[str, Any] = {"epoch": 0, "step": 1, "prompt": "a", "prediction": "b"}
    with client.training_predictions.batch(JOB) as predictions:
        assert predictions.create(**{**good, **bad}) is None
        assert predictions.create(**good) is not None
    assert predictions.report.dropped == {"invalid": 1}
    assert adds_up(predictions.report)
    assert predictions.report.last_drop.startswith(f"invalid: {field}")
    assert len(board.predictions(JOB)) == 1
    with client.training_predictions.batch(JOB, strict=True) as strict, pytest.raises(Invalid) as caught:
        strict.create(**{**good, **bad})
    assert caught.value.field == field
    assert field in told()[-1]


def test_an_argument_that_does_not_exist_raises(client: Client) -> None:
    with client.training_predictions.batch(JOB) as predictions, pytest.raises(TypeError, match="promt"):
        predictions.create(epoch=0, step=0, promt="a", prediction="b")  # type: ignore[call-arg]


def test_marks_are_checked_as_well(client: Client, told: Told) -> None:
    with client.training_predictions.batch(JOB) as predictions:
        predictions.complete_epoch(-1)
        predictions.finish("done")
    assert "completed, failed or cancelled" in predictions.report.last_drop
    assert re.fullmatch(r"invalid: status .*", predictions.report.last_drop)


def test_after_closing_predictions_are_counted_as_dropped(client: Client, board: Board) -> None:
    with client.training_predictions.batch(JOB) as predictions:
        give(predictions, 1)
    assert give(predictions, 2) == [None]
    assert predictions.close().dropped == {"closed": 1}
    assert adds_up(predictions.report)
    assert steps(board) == [1]


def test_an_interrupted_training_sends_what_it_has(client: Client, board: Board) -> None:
    with pytest.raises(KeyboardInterrupt), client.training_predictions.batch(JOB) as predictions:
        give(predictions, 1, 2)
        raise KeyboardInterrupt
    assert steps(board) == [1, 2]


def test_a_forked_child_sends_nothing_of_its_parent_and_counts_its_own(client: Client, board: Board, spool: Path) -> None:
    board.is_open.clear()
    predictions = client.training_predictions.batch(JOB)
    give(predictions, *range(20))
    wait_for(lambda: board.connections)
    here, there = FORK.Pipe()

    def child() -> None:
        given = give(predictions, 100)
        flushed = predictions.flush(0)
        there.send((given, flushed, predictions.close()))

    process = FORK.Process(target=child)
    process.start()
    given, _, report = here.recv()
    process.join(PATIENCE_S)
    assert process.exitcode == 0
    assert given == [None]
    assert report.taken == 1
    assert report.dropped == {"forked": 1}
    assert report.waiting == 0
    board.is_open.set()
    predictions.close()
    assert steps(board) == list(range(20))
    assert predictions.report.duplicates == 0
    assert not files(spool)


def test_a_forked_child_can_have_a_batch_of_its_own(client: Client, board: Board) -> None:
    with client.training_predictions.batch(JOB) as predictions:
        give(predictions, 1)
        assert predictions.flush()

        def child() -> None:
            with client.training_predictions.batch(JOB) as own:
                give(own, 2)

        process = FORK.Process(target=child)
        process.start()
        process.join(PATIENCE_S)
        assert process.exitcode == 0
        give(predictions, 3)
    assert steps(board) == [1, 2, 3]


def test_a_fork_while_a_file_is_opened_takes_no_lock_along(client: Client, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_locking, has_forked = threading.Event(), threading.Event()
    flock = fcntl.flock

    def slow(fd: int, how: int) -> None:
        is_locking.set()
        has_forked.wait(0.3)  # a fork that waits for this, as it must, comes afterwards
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    here, there = FORK.Pipe()

    def child() -> None:
        there.send([os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{fd}")])

    with client.training_predictions.batch(JOB) as predictions:
        give(predictions, 1)
        assert is_locking.wait(PATIENCE_S)
        process = FORK.Process(target=child)
        process.start()
        has_forked.set()
        held = here.recv()
        process.join(PATIENCE_S)
    assert held
    assert not [path for path in held if path.startswith(str(spool))]
