"""What a server has not taken survives the death of either side, and is sent once."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.client.board import Board, Served
from tests.client.conftest import JOB
from tests.client.test_batch import adds_up, files, give, steps
from tests.support.server import ROOT
from tests.support.wait import PATIENCE_S, wait_for
from waa.client import Client

Told = Callable[[], list[str]]
Train = Callable[..., subprocess.Popen[str]]

TRAINING = """
import os, resource, sys
from waa.client import Client

url, spool, first, last, end = sys.argv[1:]
batch = Client(url, spool=spool).training_predictions.batch("clock-1", close_timeout_s=20)
if end == "small":
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
for number in range(int(first), int(last)):
    batch.create(epoch=0, step=number, prompt=str(number), prediction="one")
if end == "fork" and os.fork() == 0:
    print(os.getpid(), flush=True)
    sys.stdin.read()
    os._exit(0)
if end != "fork":
    print("given", flush=True)
if end != "exit":
    sys.stdin.read()
    print(batch.close())
"""


@pytest.fixture
def train(served: Served, spool: Path) -> Iterator[Train]:
    """Start a process that gives predictions and then waits for its input to end, or exits without a word."""
    started = []

    def start(first: int, last: int, end: str = "wait", url: str | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", TRAINING, url or served.url, str(spool), str(first), str(last), end]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    """The next line of it."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def has(spool: Path, count: int) -> bool:
    """Whether so many whole records are on the disk."""
    return sum(path.read_bytes().count(b"\n") for path in files(spool)) == count


class BoardProcess:
    """A board as a process, which keeps its port and what it took."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "board.jsonl"
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Until it serves."""
        command = [sys.executable, "-m", "tests.client.board", str(self.port), str(self.file)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.port = int(said(self._process).rpartition(":")[2])

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def holds(self, count: int) -> bool:
        """Whether it has taken so many, or more."""
        return len(self.steps()) >= count

    def steps(self) -> list[int]:
        """What it holds."""
        return steps(Board(self.file))


@pytest.fixture
def process(tmp_path: Path) -> Iterator[BoardProcess]:
    """It runs."""
    board = BoardProcess(tmp_path)
    board.start()
    yield board
    board.kill()


def test_a_server_that_is_killed_and_started_again_gets_everything_once(process: BoardProcess, spool: Path) -> None:
    client = Client(process.url, spool=spool)
    client.training_jobs.create(JOB)
    with client.training_predictions.batch(JOB, max_count=7, close_timeout_s=30) as predictions:
        for start in range(0, 600, 200):
            give(predictions, *range(start, start + 150))
            wait_for(partial(process.holds, start + 1))
            process.kill()
            give(predictions, *range(start + 150, start + 200))
            wait_for(lambda: predictions.report.trouble)
            assert predictions.report.waiting
            process.start()
        assert predictions.flush(30)
    assert process.steps() == list(range(600))
    assert adds_up(predictions.report)
    assert not predictions.report.dropped
    assert not files(spool)


def test_a_training_that_is_killed_is_sent_by_the_next_start(client: Client, board: Board, spool: Path, train: Train) -> None:
    board.is_open.clear()
    training = train(0, 50)
    assert said(training) == "given"
    wait_for(lambda: has(spool, 50))
    training.kill()
    training.wait()
    board.is_open.set()
    with client.training_predictions.batch(JOB) as predictions:
        give(predictions, *range(50, 60))
    report = predictions.report
    assert steps(board) == list(range(60))
    assert report.recovered == 50
    assert adds_up(report)
    assert not files(spool)


@pytest.mark.parametrize("seed", [1, 2])
def test_whoever_is_killed_whenever_all_are_stored_once_and_in_order(process: BoardProcess, spool: Path, train: Train, seed: int) -> None:
    chance = random.Random(seed)
    client = Client(process.url, spool=spool)
    client.training_jobs.create(JOB)
    starts = range(0, 40_000, 10_000)
    for start in starts:
        training = train(start, start + 2000, url=process.url)
        wait_for(partial(process.holds, len(process.steps()) + chance.randint(1, 1500)))
        if chance.random() < 0.5:
            process.kill()
            process.start()
        training.kill()
        training.wait()
    with client.training_predictions.batch(JOB, close_timeout_s=30) as predictions:
        assert predictions.flush(30)
    found = process.steps()
    assert found == sorted(set(found))
    for start in starts:
        numbers = [step - start for step in found if start <= step < start + 10_000]
        assert numbers == list(range(len(numbers))), "only what was given last can be missing"
    assert adds_up(predictions.report)
    assert not files(spool)


def test_a_forked_child_that_outlives_the_training_does_not_keep_its_spool(client: Client, board: Board, spool: Path, train: Train) -> None:
    board.is_open.clear()
    training = train(0, 20, "fork")
    child = int(said(training))
    wait_for(lambda: has(spool, 20))
    training.kill()
    training.wait()
    os.kill(child, 0)
    board.is_open.set()
    with client.training_predictions.batch(JOB) as predictions:
        assert predictions.flush(20)
    os.kill(child, signal.SIGKILL)
    assert predictions.report.recovered == 20
    assert steps(board) == list(range(20))


def test_processes_share_a_folder_but_no_files(client: Client, board: Board, spool: Path, train: Train) -> None:
    board.is_open.clear()
    trainings = [train(start, start + 100) for start in (0, 100, 200)]
    assert [said(training) for training in trainings] == ["given"] * 3
    wait_for(lambda: has(spool, 300))
    with client.training_predictions.batch(JOB) as mine:
        give(mine, 300)
        wait_for(lambda: has(spool, 301))
        trainings[0].kill()
        trainings[0].wait()
        board.is_open.set()
        for training in trainings[1:]:
            training.communicate()
    assert mine.report.recovered == 0
    with client.training_predictions.batch(JOB) as later:
        assert later.flush(20)
    found = steps(board)
    assert sorted(found) == list(range(301))
    for start in (0, 100, 200):
        assert [step for step in found if start <= step < start + 100] == list(range(start, start + 100))
    assert not files(spool)


def test_a_process_that_just_ends_sends_what_it_has(board: Board, spool: Path, train: Train) -> None:
    assert train(0, 300, "exit").wait(PATIENCE_S) == 0
    assert steps(board) == list(range(300))
    assert not files(spool)


def leave(client: Client, board: Board, spool: Path, count: int) -> Path:
    """A spool with so many records; gives its file."""
    board.planned += [(503, {}, None)] * 50
    predictions = client.training_predictions.batch(JOB)
    give(predictions, *range(count))
    assert predictions.close(0).waiting == count
    board.planned.clear()
    return next(path for path in files(spool) if path.suffix == ".jsonl")


def test_a_record_that_was_cut_by_a_crash_is_counted(client: Client, board: Board, spool: Path, told: Told) -> None:
    file = leave(client, board, spool, 4)
    file.write_bytes(file.read_bytes()[:-20])
    with client.training_predictions.batch(JOB) as predictions:
        assert predictions.flush()
    assert steps(board) == [0, 1, 2]
    assert predictions.report.dropped == {"torn": 1}
    assert predictions.report.recovered == 4
    assert adds_up(predictions.report)
    assert not files(spool)
    assert "torn" in told()[-1]


def test_what_the_disk_has_no_room_for_is_sent_from_memory(
    board: Board, spool: Path, train: Train, capfd: pytest.CaptureFixture[str]
) -> None:
    board.is_open.clear()
    training = train(0, 100, "small")
    assert said(training) == "given"
    wait_for(lambda: board.connections)
    board.is_open.set()
    output, _ = training.communicate(timeout=PATIENCE_S)
    assert output.startswith("100 stored, 0 waiting, dropped: none")
    told = output + capfd.readouterr().err  # in the end all may be well again: then the warning told of it
    assert "File too large" in told or "No space left" in told
    assert steps(board) == list(range(100))
    assert not files(spool)


@pytest.mark.parametrize("damage", [b"\0" * 9, b"!/finish", b"!/../jobs {}", b"}{", b"[]"])
def test_a_damaged_record_does_not_hold_up_the_others(client: Client, board: Board, spool: Path, told: Told, damage: bytes) -> None:
    file = leave(client, board, spool, 5)
    lines = file.read_bytes().splitlines()
    lines[2] = damage
    file.write_bytes(b"\n".join(lines) + b"\n")
    with client.training_predictions.batch(JOB) as predictions:
        assert predictions.flush()
        give(predictions, 5)
    assert steps(board) == [0, 1, 3, 4, 5]
    assert "rejected" in predictions.report.dropped
    assert adds_up(predictions.report)
    assert not files(spool)
    assert told()


def test_what_is_left_is_taken_up_only_as_far_as_there_is_room(client: Client, board: Board, spool: Path, told: Told) -> None:
    size = leave(client, board, spool, 50).stat().st_size
    with client.training_predictions.batch(JOB, max_spool_bytes=size // 2) as small:
        give(small, 100)
    assert steps(board) == [100]
    assert small.report.recovered == 0
    with client.training_predictions.batch(JOB) as predictions:
        assert predictions.flush()
    assert steps(board) == [100, *range(50)]
    assert not files(spool)
    assert told()


def test_full_files_go_when_all_in_them_is_sent(client: Client, board: Board, spool: Path) -> None:
    board.is_open.clear()
    predictions = client.training_predictions.batch(JOB)
    for number in range(60):
        give(predictions, number, metadata={f"t{entry}": "x" * 1000 for entry in range(32)})
        wait_for(partial(has, spool, number + 1))
    assert len([path for path in files(spool) if path.suffix == ".jsonl"]) >= 2
    board.is_open.set()
    assert predictions.flush(20)
    wait_for(lambda: has(spool, 0))
    assert len([path for path in files(spool) if path.suffix == ".jsonl"]) <= 1
    predictions.close()
    assert not files(spool)
    assert steps(board) == list(range(60))
