"""The SDK, and a training that uses it, against the real server."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.test_batch import adds_up, files, give
from tests.support.server import ROOT, Server
from tests.support.wait import PATIENCE_S, wait_for
from waa.client import Client, Refused

EPOCHS = 12
HELD_OUT = 240


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Without a login."""
    server = Server(tmp_path, config='demo = "off"\n').start()
    yield server
    server.stop()


def stored(server: Server, job: str, key: str = "") -> list[dict[str, Any]]:
    """All predictions of a job, oldest first."""
    found: list[dict[str, Any]] = []
    while not found or found[-1]["seq"] > 1:
        before = f"&before={found[-1]['seq']}" if found else ""
        status, page = server.send("GET", f"/api/training/predictions/{job}?limit=500{before}", headers={"X-API-Key": key} if key else {})
        assert status == 200
        if not page["predictions"]:
            break
        found += page["predictions"]
    return found[::-1]


def test_the_example_learns_and_everything_arrives_once(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "examples" / "train.py"), "--url", server.url, "--job", "clock", "--epochs", str(EPOCHS)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{EPOCHS * HELD_OUT} stored, 0 waiting, dropped: none"
    found = stored(server, "clock")
    assert [each["seq"] for each in found] == list(range(1, EPOCHS * HELD_OUT + 1))
    assert len({each["id"] for each in found}) == len(found)
    assert [each["epoch"] for each in found] == [epoch for epoch in range(EPOCHS) for _ in range(HELD_OUT)]
    right = [sum(each["exact_match"] for each in found if each["epoch"] == epoch) / HELD_OUT for epoch in range(EPOCHS)]
    assert right[0] < 0.1, right
    assert right[-1] > 0.8, right
    assert f"epoch {EPOCHS - 1}: {right[-1]:.1%} right" in done.stdout
    errors = [[each["scores"]["char_error_rate"] for each in found if each["epoch"] == epoch] for epoch in (0, EPOCHS - 1)]
    assert sum(errors[1]) < sum(errors[0]) / 4
    job = server.get("/api/training/jobs/clock")
    assert (job["status"], job["total_count"], job["latest_epoch"]) == ("completed", len(found), EPOCHS - 1)
    assert not files(tmp_path / "state")


def test_a_server_that_is_killed_and_started_again_stores_everything_once(server: Server, tmp_path: Path) -> None:
    client = Client(server.url, spool=tmp_path / "spool")
    client.training_jobs.create("killed")
    with client.training_predictions.batch("killed", max_count=10, close_timeout_s=60) as predictions:
        for start in range(0, 900, 300):
            give(predictions, *range(start, start + 200))
            wait_for(lambda least=start: predictions.report.created > least)  # type: ignore[misc]
            server.kill()
            give(predictions, *range(start + 200, start + 300))
            wait_for(lambda: predictions.report.trouble)
            assert predictions.report.waiting
            server.start()
        predictions.finish()
        assert predictions.flush(60)
    assert [each["step"] for each in stored(server, "killed")] == list(range(900))
    assert server.get("/api/training/jobs/killed")["status"] == "completed"
    assert adds_up(predictions.report)
    assert not predictions.report.dropped
    assert not files(tmp_path / "spool")


def test_the_server_says_of_each_prediction_what_it_does_not_take(server: Server, tmp_path: Path) -> None:
    client = Client(server.url, spool=tmp_path / "spool")
    job = client.training_jobs.create()
    with client.training_predictions.batch(job.job_id) as predictions:
        give(predictions, 1)
        give(predictions, 2, created_at=-1)
        give(predictions, 3, id="mine")
    assert [each["step"] for each in stored(server, job.job_id)] == [1, 3]
    assert predictions.report.dropped == {"rejected": 1}
    assert "created_at" in predictions.report.last_drop
    one: dict[str, Any] = {"job_id": job.job_id, "epoch": 0, "step": 3, "prompt": "3", "prediction": "one", "id": "mine"}
    assert client.training_predictions.create(**one).status == "duplicate"
    assert client.training_jobs.complete_epoch(job.job_id, 0)["is_complete"] is True
    with pytest.raises(Refused, match="created_at"):
        client.training_predictions.create(**{**one, "created_at": -1})


def test_the_example_of_the_readme_runs(server: Server, tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(from waa\.client .*?)```", text, re.DOTALL)
    assert found is not None
    code = found[1].replace("http://127.0.0.1:8765", server.url)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "100 stored, 0 waiting, dropped: none"
    assert len(stored(server, "clock-1")) == 100


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Server]:
    """With a login."""
    server = Server(tmp_path, config='auth = "on"\ndemo = "off"\n').start()
    yield server
    server.stop()


def made_key(server: Server, name: str) -> str:
    """A key that may push, made as an administrator does; the running server looks once a second whether there are new ones."""
    command = [sys.executable, str(ROOT / "server.py"), "keys", "create", "--name", name, "--scope", "training"]
    environment = {"PATH": os.environ["PATH"], "WAA_DATA": str(server.folder / "data")}
    made = subprocess.run(command, cwd=server.folder, env=environment, capture_output=True, text=True, check=True)
    key = next(word for word in made.stdout.split() if word.startswith("waa_"))
    wait_for(lambda: server.send("GET", "/api/training/jobs", headers={"X-API-Key": key})[0] == 200, what="the server to know the key")
    return key


def test_a_token_is_good_for_its_job_and_a_wrong_key_loses_nothing(guarded: Server, tmp_path: Path) -> None:
    mine = Client(guarded.url, made_key(guarded, "mine"), spool=tmp_path / "spool")
    other = Client(guarded.url, made_key(guarded, "other"), spool=tmp_path / "spool")
    with pytest.raises(Refused, match="401"):
        Client(guarded.url, spool=tmp_path / "spool").training_jobs.create("job")
    job = mine.training_jobs.create("job")
    assert job.token is not None
    with pytest.raises(Refused, match=r"404|409"):
        other.training_jobs.create("job")
    with other.training_predictions.batch("job", close_timeout_s=2) as predictions:
        give(predictions, 1)
    assert predictions.report.waiting == 1
    assert "404" in predictions.report.trouble
    with mine.with_key(job.token).training_predictions.batch("job") as predictions:
        give(predictions, 2)
        predictions.complete_epoch(0)
        predictions.finish()
    assert predictions.report.created == 2
    with pytest.raises(Refused, match=r"403|404"):
        mine.with_key(job.token).training_jobs.create("another")
    again = mine.with_key(mine.training_jobs.token("job"))
    assert again.training_predictions.create(job_id="job", epoch=1, step=3, prompt="", prediction="").seq == 3
