"""A laboratory: a real sshd in front of a real container, the server as a process, and a client on its stream."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.observer import Observer
from tests.support.server import Server
from tests.support.sshd import Sshd
from tests.support.wait import PATIENCE_S, wait_for
from tests.support.winarena import WinArena

VM = "lab"
HUNG = "hung"
"""The VMs that the configuration file of the laboratory names. On the second the container engine never answers, all the time."""

FAST = {"status_interval_s": 1, "runner_grace_s": 5, "demo": "off"}
Task = tuple[str, str]


def toml(settings: Mapping[str, object], vms: Sequence[Mapping[str, object]] = ()) -> str:
    """A ``waa.toml``."""

    def lines(table: Mapping[str, object]) -> str:
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())

    return lines(settings) + "".join(f"[[vm]]\n{lines(vm)}" for vm in vms)


class Lab:
    """What the tests share. ``server`` watches the VM ``lab``; more are registered by ``register``."""

    def __init__(self, arena: WinArena, sshd: Sshd, folder: Path) -> None:
        self.arena = arena
        self.sshd = sshd
        hung = folder / "docker"
        hung.write_text("#!/bin/sh\nexec sleep 1000\n")
        hung.chmod(0o755)
        self.server = Server(folder, config=toml(FAST, [self.vm_fields(VM), self.vm_fields(HUNG, engine=str(hung))]))
        self.observer = Observer(lambda: self.server.url)

    def vm_fields(self, name: str, **changes: object) -> dict[str, object]:
        """A VM of the configuration that leads to the container, found as ``docker`` on the PATH of the SSH session."""
        pattern = r"python.*run\.py.*" + self.arena.log_path
        here: dict[str, object] = {**self.sshd.spec_fields(), **self.arena.spec_fields(), "engine": "docker", "process": pattern}
        return {"name": name, **here, **changes}

    def register(self, name: str, **changes: object) -> None:
        """One more VM, by the API."""
        status, answer = self.server.send("POST", "/api/vms/register", self.vm_fields(name, **changes))
        assert status == 201, answer

    def remove(self, name: str) -> None:
        """Take it off the list again."""
        status, answer = self.server.send("DELETE", f"/api/vms/{name}")
        assert status == 204, answer

    def make_ready(self) -> None:
        """The container runs, its guest answers, and the server knows."""
        try:
            self.arena.say("")
        except OSError:
            self.arena.start()
        self.arena.set_ready(True)
        self.wait_for_vm(VM, waa_ready=True, connected=True)

    def wait_for_vm(self, name: str, *, within_s: float = PATIENCE_S, **fields: object) -> dict[str, Any]:
        """What programs are told of the VM, as soon as it holds these values."""

        def look() -> dict[str, Any] | None:
            vm: dict[str, Any] = self.server.vm(name)
            return vm if fields.items() <= vm.items() else None

        return wait_for(look, within_s=within_s, what=f"{name}: {fields}", hint=lambda: f"it is {self.server.vm(name)}")

    def wait_for_failure(self, name: str, reason: str, *, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """What programs are told of the VM, as soon as it is unreachable for this reason."""

        def look() -> dict[str, Any] | None:
            vm: dict[str, Any] = self.server.vm(name)
            return vm if vm["failure"] is not None and vm["failure"]["reason"] == reason else None

        return wait_for(look, within_s=within_s, what=f"{name}: {reason}", hint=lambda: f"it is {self.server.vm(name)}")

    def retry(self, name: str) -> None:
        """Try an unreachable VM at once, as the page's button does."""
        status, answer = self.server.send("POST", f"/vms/{name}/retry", {})
        assert status == 200, answer

    def wait_for_runner(self, name: str) -> None:
        """The server sees the benchmark's process."""
        wait_for(lambda: (self.server.vm(name)["runner"]["value"] or {}).get("pid"), what=f"{name}: its runner is seen")

    def finish(self, count: int, *, score: float = 1.0) -> None:
        """So many tasks end, each after one step."""
        for _ in range(count):
            self.arena.step("DONE")
            self.arena.finish_task(score)


def tasks(count: int, domain: str) -> list[Task]:
    """So many tasks, named after their domain: a VM that is new to the server reads the runs of earlier tests too."""
    return [(domain, f"{domain}-{number}") for number in range(1, count + 1)]


def names(completed: Sequence[Mapping[str, Any]]) -> list[Task]:
    """Which tasks these ``task_complete`` events are about."""
    return [(data["domain"], data["task_id"]) for data in completed]
