"""The demo VM as a whole: cycles, ends, and several of them."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import paramiko
import pytest

from tests.demo.house import (
    Outcome,
    a_client,
    channel_of,
    facts_of,
    lives,
    outcomes_of,
    planned_outcomes,
    processes_about,
    read_line,
    run,
)
from tests.support.wait import PATIENCE_S, wait_for
from waa.core.error import Conflict, Failure, Invalid, Unavailable
from waa.core.logs.fact import AnyFact, StepStarted
from waa.core.logs.parser import LogParser
from waa.core.observation import Container, GuestProbe, LogFound, LogKind, LogSource, Runner, StatusSeen
from waa.core.spec import VmSpec
from waa.core.status import ContainerStatus
from waa.demo.plan import make_plan
from waa.demo.vm import DemoVm
from waa.probes.host import HostWatch
from waa.probes.ssh import SshOpener


def finished_run(spec: VmSpec, *, other_than: list[Outcome]) -> list[Outcome]:
    """The outcomes of the next run that comes to its end."""
    found: list[Outcome] = []

    def is_found() -> bool:
        nonlocal found
        for path in (Path(spec.log_path), Path(f"{spec.log_path}.1")):
            log = path.read_bytes() if path.exists() else b""
            if b"Average score: " in log:
                found = outcomes_of(facts_of(log))
                if found != other_than:
                    return True
        return False

    wait_for(is_found, what="a finished run")
    return found


def test_it_runs_again_and_again_each_time_with_other_results(rushing: VmSpec) -> None:
    first = finished_run(rushing, other_than=[])
    assert first == planned_outcomes(make_plan(7, 1))
    later = finished_run(rushing, other_than=first)
    assert later in [planned_outcomes(make_plan(7, cycle)) for cycle in range(2, 6)]
    assert Path(f"{rushing.log_path}.1").exists()


async def until(condition: Callable[[], bool], *, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        await asyncio.sleep(0.01)


async def test_the_product_sees_container_set_up_guest_runner_and_log(tmp_path: Path) -> None:
    vm = DemoVm(folder=tmp_path / "vm", speed=8.0)  # the set-up must last longer than a slow machine needs for a look
    opener = SshOpener(data_dir=tmp_path)
    spec = await asyncio.to_thread(vm.start)
    seen: list[StatusSeen] = []
    logs: list[tuple[LogFound, ...]] = []
    facts: list[AnyFact] = []
    parser = LogParser()
    try:
        link = await opener.open(spec)
        watch = HostWatch(link, spec, clock=time.time, interval_s=0.2, on_status=seen.append, on_alive=lambda _: None, on_logs=logs.append)
        watching = asyncio.create_task(watch.run())
        await until(lambda: any(isinstance(one.container, Container) for one in seen), what="the container")
        await until(lambda: any(_page(one) for one in seen), what="the set-up page")
        await until(lambda: any(isinstance(one.probe, GuestProbe) and one.probe.ready for one in seen), what="the guest")
        await until(lambda: any(isinstance(one.runner, Runner) and one.runner.pid is not None for one in seen), what="the runner")
        await until(lambda: any(found for found in logs), what="the run log")
        containers = [one.container for one in seen if isinstance(one.container, Container)]
        assert containers[-1].status is ContainerStatus.RUNNING
        assert containers[-1].image == "winarena:demo"
        assert "--agent_name navi" in next(one.runner.command for one in reversed(seen) if isinstance(one.runner, Runner))
        ended: list[Failure | None] = []
        await watch.follow(
            LogSource(kind=LogKind.FILE, path=spec.log_path),
            0,
            on_data=lambda data: facts.extend(parser.feed(data)),
            on_reset=lambda _: None,
            on_end=ended.append,
        )
        await until(lambda: any(isinstance(fact, StepStarted) and fact.number == 2 for fact in facts), what="a second step")
        watching.cancel()
        await link.close()
    finally:
        await opener.close()
        await asyncio.to_thread(vm.stop)


def _page(seen: StatusSeen) -> str:
    return "" if seen.setup_page is None or isinstance(seen.setup_page, Failure) else seen.setup_page.text


def test_stop_leaves_no_process_thread_or_descriptor(tmp_path: Path) -> None:
    threads, descriptors = threading.enumerate(), len(os.listdir("/proc/self/fd"))
    for round_number in range(3):
        vm = DemoVm(folder=tmp_path / "vm", speed=400.0)
        vm.stop()
        spec = vm.start()
        with a_client(spec) as client:
            sleeping = channel_of(client, "setsid sleep 600 & sleep 600; wait")
            with client.open_sftp() as files:
                files.listdir("/")
            wait_for(Path(spec.log_path).exists, what="the run log")
            log = channel_of(client, f"tail -F {spec.log_path} 2>/dev/null")
            read_line(log)
            if round_number == 0:
                with pytest.raises(Conflict):
                    vm.start()
            assert not sleeping.closed
            vm.stop()
            vm.stop()
            assert processes_about(str(tmp_path)) == []
            wait_for(lambda: not any(thread.name.startswith("demo") for thread in threading.enumerate()), what="the end of its threads")
        wait_for(lambda: threading.enumerate() == threads, what="the client's thread")
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1  # whatever the library opened once


def test_two_demos_run_side_by_side(tmp_path: Path) -> None:
    vms = [DemoVm(folder=tmp_path / name, speed=60.0, seed=seed) for name, seed in (("a", 1), ("b", 2))]
    try:
        specs = [vm.start() for vm in vms]
        assert len({port for spec in specs for port in (spec.ssh_port, spec.waa_port, spec.vnc_port)}) == 6
        for spec in specs:
            with a_client(spec) as client:
                command = f"pgrep -f '{spec.process}' | wc -l"
                wait_for(partial(_is_one, client, command), what="its own runner")
                assert run(client, f"pgrep -af '{spec.process}'")[1].count(f"{spec.results_dir} ") == 1
        vms[0].stop()
        with a_client(specs[1]) as client:
            assert run(client, "echo alive")[1] == "alive\n"
    finally:
        for vm in vms:
            vm.stop()


def _is_one(client: paramiko.SSHClient, command: str) -> bool:
    return run(client, command)[1].strip() == "1"


SERVER = """
import sys, threading
from pathlib import Path
from waa.demo.vm import DemoVm
spec = DemoVm(folder=Path(sys.argv[1]), speed=100.0).start()
print(spec.ssh_port, spec.ssh_key, spec.known_hosts, spec.log_path, spec.waa_port, flush=True)
threading.Event().wait()
"""


def test_nothing_outlives_a_server_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SERVER, str(tmp_path / "vm")], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port, key, known_hosts, log_path, waa_port = server.stdout.readline().split()
        spec = VmSpec(name="demo", ssh_port=int(port), ssh_user="demo", ssh_key=key, known_hosts=known_hosts, log_path=log_path)
        with a_client(spec) as client:
            stubborn = channel_of(client, "trap '' HUP TERM; echo $$; while :; do sleep 600; done")
            hiding = channel_of(client, "setsid sh -c 'echo $$; exec sleep 600 <&- >/dev/null 2>&1' & wait")
            started = [int(read_line(channel)) for channel in (stubborn, hiding)]
            wait_for(lambda: bool(processes_about(f"--emulator_port\0{waa_port}")), what="the runner")
            runner = processes_about(f"--emulator_port\0{waa_port}")[0]
            family = [*started, runner]
            assert all(lives(pid) for pid in family)
            server.send_signal(signal.SIGKILL)
            wait_for(lambda: not any(lives(pid) for pid in family), what="the end of what it started")
        wait_for(lambda: processes_about(str(tmp_path)) == [], what="the guard's end")


def test_a_speed_that_is_not_positive_is_refused(tmp_path: Path) -> None:
    for speed in (0.0, -1.0, float("nan")):
        with pytest.raises(Invalid, match="speed"):
            DemoVm(folder=tmp_path, speed=speed)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot start"):
        DemoVm(folder=tmp_path / "file" / "vm").start()
