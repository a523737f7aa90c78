"""What goes wrong under a run, told with the task that it hits: a guest that falls silent, a container that is restarted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.lab import FAST, Lab, tasks, toml
from tests.support.observer import Observer
from tests.support.server import Server
from tests.support.wait import wait_for

pytestmark = [pytest.mark.sshd, pytest.mark.container]


@pytest.fixture
def own(lab: Lab, tmp_path: Path) -> Iterator[Server]:
    """Another server, with a VM ``own`` that leads to the same container, and little patience with the guest."""
    settings = {**FAST, "guest_down_after_s": 5, "runner_grace_s": 60}
    server = Server(tmp_path, config=toml(settings, [lab.vm_fields("own")])).start()
    yield server
    server.stop()


def incident(server: Server, concern: str, **fields: object) -> dict[str, Any]:
    """The incident, as soon as it is told so."""

    def look() -> dict[str, Any] | None:
        told: list[dict[str, Any]] = server.get("/api/incidents?vm=own")["incidents"]
        return next((each for each in told if {"concern": concern, **fields}.items() <= each.items()), None)

    return wait_for(look, what=f"{concern}: {fields}", hint=lambda: str(server.get("/api/incidents")))


def test_what_hits_a_task_is_one_incident_with_that_task(lab: Lab, own: Server) -> None:
    lab.make_ready()
    with Observer(lambda: own.url) as observer:
        wait_for(lambda: own.vm("own")["waa_ready"], what="own is ready")
        since = observer.mark
        lab.arena.start_run(tasks(3, "struck"))
        run_id = observer.next("progress", since=since, vm="own", current_task="struck-1")["run_id"]
        lab.arena.step()

        lab.arena.set_ready(False)
        silent = incident(own, "guest_down", ended_at=None)
        assert (silent["severity"], silent["run_id"], silent["tasks"]) == ("critical", run_id, ["struck/struck-1#1"])
        assert observer.next("incident", since=since, concern="guest_down")["incident_id"] == silent["incident_id"]
        lab.arena.set_ready(True)
        wait_for(lambda: incident(own, "guest_down")["ended_at"] is not None, what="it is over")

        lab.arena.restart()
        restarted = incident(own, "container_restarted")
        assert (restarted["run_id"], restarted["tasks"]) == (run_id, ["struck/struck-1#1"])
        assert restarted["ended_at"] is not None
        told = own.get("/api/incidents?vm=own")["incidents"]
        assert [each["concern"] for each in told].count("container_restarted") == 1
    lab.arena.start()
    lab.make_ready()
