"""A board behind a port, and clients of it with a spool of their own."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.client.board import Board, Served
from waa.client import Client

Connect = Callable[..., Client]
JOB = "clock-1"


@pytest.fixture
def served() -> Iterator[Served]:
    """With the job in it."""
    board = Board()
    board.answer("/api/training/jobs", {"job_id": JOB}, "")
    board.requests.clear()
    board.bodies.clear()
    board.times.clear()
    with Served(board) as running:
        yield running


@pytest.fixture
def board(served: Served) -> Board:
    """What was pushed."""
    return served.board


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A folder."""
    return tmp_path / "spool"


@pytest.fixture
def client(served: Served, spool: Path) -> Client:
    """Of the board, with a key."""
    return Client(served.url, "waa_secret", spool=spool)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the SDK has warned of."""
    caplog.set_level(logging.WARNING, "waa.client")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "waa.client"]
