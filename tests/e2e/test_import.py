"""An import while the server is killed again and again: taken up each time, in the end whole and once (C1 to C3)."""

import io
import random
import tarfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Server
from tests.support.sshd import Sshd, has_sshd
from tests.support.tree import png, waa_tree
from tests.support.wait import wait_for
from waa.core.event import EventType
from waa.store.sql import SqlStore

TASKS, STEPS = 154, 12
KILLS = 3


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree") / "results"
    waa_tree(root, tasks=TASKS, steps=STEPS, picture=png(64, 48))
    return root


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, config='demo = "off"\n').start()
    yield server
    server.stop()


def test_kill_9_during_an_import_of_a_folder_loses_and_doubles_nothing(server: Server, tree: Path) -> None:
    status, answer = server.send("POST", "/api/traces/import", {"path": str(tree)})
    assert status == 202, answer
    killed_until_done(server, answer["job_id"], seed=1)
    whole_and_once(server, answer["job_id"])


def test_kill_9_during_an_import_of_an_archive_loses_and_doubles_nothing(server: Server, tree: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        archive.add(tree, arcname="results")
    status, answer = server.send("POST", "/api/traces/import?name=r.tgz", data.getvalue(), {"Content-Type": "application/gzip"})
    assert status == 202, answer
    killed_until_done(server, answer["job_id"], seed=2)
    whole_and_once(server, answer["job_id"])
    assert [folder.name for folder in (server.folder / "data" / "imports").iterdir()] == [answer["job_id"]]
    assert list((server.folder / "data" / "uploads").iterdir()) == []


@pytest.mark.sshd
@pytest.mark.skipif(not has_sshd(), reason="needs a real OpenSSH server")
def test_kill_9_during_an_import_from_a_vm_loses_and_doubles_nothing(server: Server, tree: Path, tmp_path: Path) -> None:
    with Sshd(tmp_path / "sshd") as sshd:
        status, answer = server.send("POST", "/api/vms/register", {"name": "far", **sshd.spec_fields(), "docker_container": ""})
        assert status == 201, answer
        wait_for(lambda: server.vm("far")["connected"], what="the VM is connected")
        status, answer = server.send("POST", "/api/traces/import", {"vm": "far", "path": str(tree)})
        assert status == 202, answer
        killed_until_done(server, answer["job_id"], seed=3)
        whole_and_once(server, answer["job_id"])
        server.send("DELETE", "/api/vms/far")
    run = server.get("/api/runs")["runs"][0]["run_id"]
    task = server.get(f"/api/current-run?run_id={run}")["run"]["tasks"][0]
    detail = server.get(f"/api/runs/{run}/tasks/{task['domain']}/{task['task_id']}")
    assert len(detail["steps"]) == STEPS


def killed_until_done(server: Server, job_id: str, *, seed: int) -> None:
    """Killed at whatever percentage is seen first beyond a random one, up to KILLS times."""
    chance = random.Random(seed)
    for _ in range(KILLS):
        seen = partial(seen_at, server, job_id, chance.randint(0, 90))
        job = wait_for(seen, what="more progress")
        server.kill()
        server.start()
        if job["status"] == "completed":
            break
    wait_for(lambda: server.get(f"/api/jobs/{job_id}")["status"] == "completed", what="the end of the import")


def seen_at(server: Server, job_id: str, limit: int) -> dict[str, Any] | None:
    job: dict[str, Any] = server.get(f"/api/jobs/{job_id}")
    return job if job["status"] != "running" or job["progress"] >= limit else None


def whole_and_once(server: Server, job_id: str) -> None:
    """One run with every task and step, each recorded once."""
    result = server.get(f"/api/jobs/{job_id}")["result"]
    assert (result["tasks"], result["steps"], result["changed"]) == (TASKS, TASKS * STEPS, 0)
    (run,) = server.get("/api/runs")["runs"]
    assert (run["tasks_completed"], run["passed"], run["failed"]) == (TASKS, TASKS // 2, TASKS // 2)
    server.stop()
    store = SqlStore(f"sqlite:///{server.folder / 'data' / 'waa.db'}")
    told = Counter(event.topic for event in store.events_since(0, types=[EventType.TASK_IMPORTED], limit=10_000))
    store.close()
    server.start()
    assert len(told) == TASKS
    assert set(told.values()) == {1}
