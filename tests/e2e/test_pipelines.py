"""Pipelines through the whole process: real backends, real streams, restarts, and what a killed server leaves behind."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.lab import toml
from tests.support.backend import Backend, Reply, backend_apart
from tests.support.observer import Observer
from tests.support.server import Server
from tests.support.wait import wait_for

FAST = {"demo": "off", "pipeline_interval_s": 0.5, "pipeline_background_s": 1, "pipeline_timeout_s": 1}
STREAM = "/ui-api/pipeline/status/stream"
TOKEN = "s3cr3t-t0ken-of-the-backend"


@pytest.fixture
def pipes() -> Iterator[Backend]:
    with backend_apart() as built:
        yield built


@pytest.fixture
def server(tmp_path: Path, pipes: Backend) -> Iterator[Server]:
    """It watches ``a`` and ``b``, the latter with a token from the environment."""
    tables = f'[[pipeline]]\nid = "a"\nbackend = "{pipes.url}"\n[[pipeline]]\nid = "b"\nbackend = "{pipes.url}"\ntoken_env = "PIPES"\n'
    server = Server(tmp_path, config=toml(FAST) + tables, environment={"PIPES": TOKEN}).start()
    yield server
    server.stop()
    assert "Traceback" not in server.text(), server.text()


class Follower(Observer):
    """The same client, whose stream begins with another message."""

    def __enter__(self) -> "Follower":
        self._thread.start()
        self.next("batch_update")
        return self


def status(server: Server, key: str) -> str:
    return str(server.get(f"/api/pipelines/{key}")["status"])


def wait_for_status(server: Server, key: str, expected: str) -> dict[str, Any]:
    wait_for(lambda: status(server, key) == expected, what=f"{key} is {expected}", hint=lambda: server.get(f"/api/pipelines/{key}"))
    found: dict[str, Any] = server.get(f"/api/pipelines/{key}")
    return found


def test_d1_a_program_follows_two_pipelines_through_a_restart(server: Server, pipes: Backend) -> None:
    wait_for_status(server, "a", "up")
    with Follower(lambda: server.url, path=f"{STREAM}?pipelineIds=a,b") as client:
        wait_for_status(server, "b", "up")
        pipes.say("a", "degraded")
        client.next("status_update", pipelineId="a", status="degraded", previousStatus="up")
        since = client.mark
        pipes.replies["b"] = Reply("<html>", 500, "text/html")
        client.next("status_update", since=since, pipelineId="b", status="unknown", previousStatus="up")
        client.next("status_update", since=since, pipelineId="b", status="down", previousStatus="unknown")
        assert client.all("status_update", since=since, pipelineId="a") == []
        before = client.mark
        assert server.stop() == 0
        pipes.say("a", "healthy")
        server.start()
        client.next("batch_update", since=before)
        client.next("status_update", since=before, pipelineId="a", status="up")
        assert client.all("gap") == []
    assert pipes.requests[0].headers.get("Authorization", "") in ("", f"Bearer {TOKEN}")
    sent = {request.path: request.headers.get("Authorization") for request in pipes.requests}
    assert sent == {"/pipeline/a/health": None, "/pipeline/b/health": f"Bearer {TOKEN}"}


def test_a_killed_server_leaves_an_honest_gap_and_loses_no_history(server: Server, pipes: Backend) -> None:
    wait_for_status(server, "a", "up")
    pipes.say("a", "down")
    wait_for_status(server, "a", "down")
    pipes.say("a", "healthy")
    before = wait_for_status(server, "a", "up")
    assert [spell["status"] for spell in before["spells"]][-3:] == ["up", "down", "up"]
    server.kill()
    server.start()
    wait_for(lambda: len(server.get("/api/pipelines/a")["spells"]) == len(before["spells"]) + 1, what="a spell begins anew")
    after = server.get("/api/pipelines/a")["spells"]
    assert [spell["from_at"] for spell in after[:-1]] == [spell["from_at"] for spell in before["spells"]]
    assert after[-1]["from_at"] > after[-2]["until_at"]
    assert "Not observed" in server.html("/fragments/pipeline?pipeline=a")


def test_a_clean_stop_knows_how_long_it_looked(server: Server) -> None:
    wait_for_status(server, "a", "up")
    seen = server.get("/api/pipelines/a")["observed_at"]
    wait_for(lambda: server.get("/api/pipelines/a")["observed_at"] >= seen + 2, what="it is looked at again")
    last = server.get("/api/pipelines/a")["observed_at"]
    server.stop()
    server.start()
    wait_for(lambda: len(server.get("/api/pipelines/a")["spells"]) == 2, what="a spell begins anew")
    assert server.get("/api/pipelines/a")["spells"][0]["until_at"] >= last


def test_pipelines_of_the_api_survive_a_restart_with_their_credential(server: Server, pipes: Backend, tmp_path: Path) -> None:
    code, _ = server.send("POST", "/api/pipelines", {"id": "mine", "backend": pipes.url, "api_key": TOKEN, "api_key_header": "X-Pipes"})
    assert code == 201
    wait_for_status(server, "mine", "up")
    server.kill()
    asked = pipes.asked["mine"]
    server.start()
    wait_for(lambda: pipes.asked["mine"] > asked, what="it is looked at again")
    assert {request.headers.get("X-Pipes") for request in pipes.requests if "/mine/" in request.path} == {TOKEN}
    everything = "".join(
        server.html(path) for path in ("/pipelines", "/pipelines/mine", "/api/pipelines", "/api/pipelines/mine", "/metrics")
    )
    assert TOKEN not in everything + server.text()
    places = [path for path in (tmp_path / "data").rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert places == [tmp_path / "data" / "pipeline-secrets.json"]
    assert places[0].stat().st_mode & 0o077 == 0
    assert server.send("DELETE", "/api/pipelines/mine")[0] == 204
    assert json.loads(places[0].read_text()) == {}


def test_a_backend_that_hangs_delays_neither_the_others_nor_the_stream(server: Server, pipes: Backend) -> None:
    pipes.replies["hangs"] = Reply(is_held=True)
    for number in range(30):
        key = f"hangs-{number}"
        pipes.replies[key] = Reply(is_held=True)
        assert server.send("POST", "/api/pipelines", {"id": key, "backend": pipes.url.replace("127.0.0.1", "localhost")})[0] == 201
    with Follower(lambda: server.url, path=f"{STREAM}?pipelineIds=a") as client:
        wait_for_status(server, "a", "up")
        since = client.mark
        pipes.say("a", "down")
        client.next("status_update", since=since, pipelineId="a", status="down")
        assert wait_for_status(server, "hangs-1", "down")["failure"]["reason"] == "timeout"


def test_without_history_nothing_is_asked_until_somebody_watches(tmp_path: Path, pipes: Backend) -> None:
    config = toml({**FAST, "pipeline_history": False}) + f'[[pipeline]]\nids = ["a", "b"]\nbackend = "{pipes.url}"\n'
    server = Server(tmp_path, config=config).start()
    try:
        wait_for(lambda: server.get("/live"), what="it serves")
        assert not pipes.asked
        with Follower(lambda: server.url, path=f"{STREAM}?pipelineIds=a") as client:
            client.next("status_update", pipelineId="a", status="up")
            asked = pipes.asked["a"]
            wait_for(lambda: pipes.asked["a"] > asked + 2, what="a is asked again and again")
            assert "b" not in pipes.asked
    finally:
        server.stop()


@pytest.mark.parametrize("url", ["http://169.254.169.254", "http://metadata.google.internal"])
def test_a_file_that_names_a_metadata_service_stops_the_start(tmp_path: Path, url: str) -> None:
    server = Server(tmp_path, config=f'demo = "off"\n[[pipeline]]\nid = "a"\nbackend = "{url}"\n')
    with pytest.raises(AssertionError, match=r"backend: .* credentials of their machines"):
        server.start()
    server.stop()
