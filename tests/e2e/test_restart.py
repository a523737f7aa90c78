"""The server goes away in the middle of a run and comes back: nobody has to be told twice, and nobody misses anything."""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.lab import FAST, Lab, names, tasks, toml
from tests.support.observer import Observer
from tests.support.server import Server
from tests.support.sshd import Sshd
from tests.support.wait import wait_for
from waa.probes.script import MARK
from waa.store.sql import SqlStore

pytestmark = [pytest.mark.sshd, pytest.mark.container]

KILLS = 6
TASKS = 20


@pytest.fixture
def own(lab: Lab, tmp_path: Path) -> Iterator[Server]:
    """Another server, with a VM ``own`` that leads to the same container."""
    server = Server(tmp_path, config=toml(FAST, [lab.vm_fields("own")])).start()
    yield server
    server.stop()


def test_kill_9_at_any_moment_of_a_run_loses_and_doubles_no_task(lab: Lab, own: Server) -> None:
    lab.make_ready()
    chance = random.Random(20)
    plan = tasks(TASKS, "restarted")
    with Observer(lambda: own.url) as observer:
        wait_for(lambda: own.vm("own")["waa_ready"], what="own is ready")
        since = observer.mark
        lab.arena.start_run(plan)
        run_id = observer.next("progress", since=since, vm="own", current_task="restarted-1")["run_id"]
        done = 0
        for _ in range(KILLS):
            done = _advance(lab, chance, done)
            if chance.random() < 0.5:
                observer.next("task_complete", run_id=run_id, task_id=f"restarted-{done}")
            own.kill()
            done = _advance(lab, chance, done)
            own.start()
            if chance.random() < 0.5:
                wait_for(lambda: own.vm("own")["connected"], what="own is connected")
        lab.finish(TASKS - done)
        observer.next("progress", since=since, run_id=run_id, status="finished", tasks_completed=TASKS)

        assert names(observer.all("task_complete", run_id=run_id)) == plan
        assert not observer.all("gap")
        run = own.get(f"/api/current-run?run_id={run_id}")["run"]
        assert [(task["domain"], task["task_id"]) for task in run["tasks"]] == plan
        assert {task["attempt"] for task in run["tasks"]} == {1}
        with Observer(lambda: own.url, last_id=observer.events[since].last_id) as late:
            late.next("status", vm="own")
            assert names(late.all("task_complete", run_id=run_id)) == plan
    assert own.stop() == 0
    assert _digested(own) == len(lab.arena.exec("cat", lab.arena.log_path).encode())


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
def test_the_end_of_the_server_leaves_nothing_on_the_vm(lab: Lab, tmp_path: Path, end: str) -> None:
    lab.make_ready()
    others = _inside(lab)
    with Sshd(tmp_path / "sshd", path_prefix=str(lab.arena.bin)) as sshd:
        server = Server(tmp_path, config=toml(FAST, [lab.vm_fields("own", **sshd.spec_fields())])).start()
        try:
            wait_for(lambda: server.vm("own")["waa_ready"], what="own is ready")
            assert _ours(sshd)
        finally:
            if end == "SIGTERM":
                assert server.stop() == 0
            else:
                server.kill()
        wait_for(lambda: not _ours(sshd), what="its programs ended", hint=lambda: _ours(sshd))
    wait_for(lambda: _inside(lab) <= others, what="those inside the container ended", hint=lab.arena.processes)
    assert "Traceback" not in server.text()


def _advance(lab: Lab, chance: random.Random, done: int) -> int:
    """Some tasks end, and the next one is left somewhere in the middle."""
    count = chance.randrange(3)
    lab.finish(count, score=chance.choice((1.0, 0.5)))
    for _ in range(chance.randrange(3)):
        lab.arena.step("computer.mouse.move(0, 0)")
    return done + count


def _digested(server: Server) -> int:
    """How many bytes of the run log became events, as the stopped server's database says."""
    store = SqlStore(f"sqlite:///{server.folder / 'data' / 'waa.db'}")
    try:
        return next(cursor.offset for cursor in store.load().cursors if cursor.source.kind == "inner")
    finally:
        store.close()


def _inside(lab: Lab) -> int:
    """How many programs of the product run inside the container."""
    return sum(MARK in line and "ps -o" not in line for line in lab.arena.processes().splitlines())


def _ours(sshd: Sshd) -> dict[int, str]:
    """Everything that runs on the machine behind this sshd: what it started, and what that left behind."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has just ended, or is a kernel's
                if f"HOME={sshd.home}".encode() in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "cmdline").read_bytes()[:200].replace(b"\0", b" ").decode(errors="replace")
    return found
