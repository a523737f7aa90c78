"""The way to the machine: what cannot be reached is told with its reason, and nothing is lost or doubled on the way back."""

import re
from pathlib import Path

import pytest

from tests.e2e.lab import VM, Lab, names, tasks
from tests.support.netns import FarNetwork, can_cut
from tests.support.sshd import Sshd, known_hosts_line, make_key

pytestmark = [pytest.mark.sshd, pytest.mark.container]

NOTICE_S = 20.0
"""A cut is noticed after 9 s at most (B5); the rest is for a busy machine."""


def test_keys_and_names_that_do_not_fit_are_loud_and_say_what_to_do(lab: Lab, tmp_path: Path) -> None:
    changed = tmp_path / "changed_hosts"
    changed.write_text(known_hosts_line(lab.sshd.address, lab.sshd.port, make_key(tmp_path / "other")) + "\n")
    unknown = tmp_path / "unknown_hosts"
    unknown.touch()
    wrong: dict[str, tuple[str, dict[str, object]]] = {
        "wrong-key": ("auth", {"ssh_key": str(make_key(tmp_path / "stranger"))}),
        "no-key": ("key_file", {"ssh_key": str(tmp_path / "nothing")}),
        "changed": ("host_key", {"known_hosts": str(changed)}),
        "changed-trusting": ("host_key", {"known_hosts": str(changed), "trust_first": True}),
        "unknown": ("host_key", {"known_hosts": str(unknown)}),
        "nameless": ("dns", {"ssh_host": "no-such-host.invalid"}),
    }
    for name, (_, fields) in wrong.items():
        lab.register(name, **fields)
    lab.register("trusting", known_hosts=str(unknown), trust_first=True)
    seen = {name: lab.wait_for_failure(name, reason) for name, (reason, _) in wrong.items()}
    page = lab.server.html("/fragments/vms")
    for name, vm in seen.items():
        assert (vm["phase"], vm["connected"], vm["phase_detail"]) == ("unreachable", False, vm["failure"]["message"])
        assert vm["failure"]["remedy"]
        assert name in page
    assert "changed" in seen["changed"]["failure"]["message"] + seen["changed-trusting"]["failure"]["message"]
    assert "changed" not in seen["unknown"]["failure"]["message"]
    lab.wait_for_vm("trusting", connected=True)
    for name in (*wrong, "trusting"):
        lab.remove(name)


def test_a_machine_without_an_ssh_server_is_unreachable_never_off(lab: Lab, tmp_path: Path) -> None:
    lab.make_ready()
    with Sshd(tmp_path / "sshd", path_prefix=str(lab.arena.bin)) as sshd:
        since = lab.observer.mark
        lab.register("own", **sshd.spec_fields())
        lab.wait_for_vm("own", waa_ready=True, connected=True)
        sshd.stop()
        vm = lab.wait_for_failure("own", "refused")
        assert (vm["phase"], vm["connected"], vm["waa_ready"]) == ("unreachable", False, False)
        assert vm["failure"]["remedy"]
        assert vm["container"]["value"]["status"] == "running"  # the last known value, with its age
        sshd.start()
        lab.retry("own")
        back = lab.wait_for_vm("own", waa_ready=True, connected=True)
        assert back["phase"] in ("ready", "idle")
        assert "off" not in {status["phase"] for status in lab.observer.all("status", since=since, vm="own")}
    lab.remove("own")


def test_what_was_written_while_sshd_was_killed_arrives_once(lab: Lab, tmp_path: Path) -> None:
    lab.make_ready()
    with Sshd(tmp_path / "sshd", path_prefix=str(lab.arena.bin)) as sshd:
        lab.register("killed", **sshd.spec_fields())
        lab.wait_for_vm("killed", waa_ready=True)
        since = lab.observer.mark
        lab.arena.start_run(tasks(4, "killed"))
        run_id = lab.observer.next("progress", since=since, vm="killed", current_task="killed-1")["run_id"]
        lab.arena.step("computer.mouse.move(1, 1)")
        sshd.kill_sessions()
        lab.finish(1)
        lab.observer.next("task_complete", since=since, vm="killed", task_id="killed-1")
        sshd.stop()
        lab.wait_for_failure("killed", "refused")
        lab.finish(2)
        lab.arena.step("computer.mouse.move(2, 2)")
        sshd.start()
        lab.retry("killed")
        lab.observer.next("progress", since=since, vm="killed", current_task="killed-4", current_step=1)
        lab.finish(1)
        lab.observer.next("task_complete", since=since, vm="killed", task_id="killed-4")
        assert names(lab.observer.all("task_complete", run_id=run_id)) == tasks(4, "killed")
    lab.remove("killed")


def test_a_frozen_ssh_server_is_noticed_although_tcp_answers(lab: Lab, tmp_path: Path) -> None:
    lab.make_ready()
    with Sshd(tmp_path / "sshd", path_prefix=str(lab.arena.bin)) as sshd:
        lab.register("frozen", **sshd.spec_fields())
        lab.wait_for_vm("frozen", waa_ready=True)
        sshd.freeze()
        lab.wait_for_failure("frozen", "silent", within_s=NOTICE_S)
        assert lab.server.vm(VM)["connected"] is True
        sshd.thaw()
        lab.retry("frozen")
        lab.wait_for_vm("frozen", connected=True)
    lab.remove("frozen")


@pytest.mark.netns
def test_a_cut_network_is_noticed_and_nothing_is_lost_meanwhile(lab: Lab, tmp_path: Path) -> None:
    if not can_cut():
        pytest.skip("needs root and network namespaces")
    lab.make_ready()
    with FarNetwork() as far, Sshd(tmp_path / "sshd", address=far.address, runner=far.runner, path_prefix=str(lab.arena.bin)) as sshd:
        lab.register("far", **sshd.spec_fields())
        lab.wait_for_vm("far", connected=True)
        since = lab.observer.mark
        lab.arena.start_run(tasks(3, "far"))
        run_id = lab.observer.next("progress", since=since, vm="far", current_task="far-1")["run_id"]
        far.pull_out()
        lab.finish(2)
        vm = lab.wait_for_vm("far", within_s=NOTICE_S, connected=False)
        assert vm["failure"]["reason"] in ("silent", "timeout", "closed", "network")
        assert lab.server.vm(VM)["connected"] is True
        far.plug_in()
        lab.retry("far")
        lab.wait_for_vm("far", connected=True)
        lab.finish(1)
        lab.observer.next("task_complete", since=since, vm="far", task_id="far-3")
        assert names(lab.observer.all("task_complete", run_id=run_id)) == tasks(3, "far")
        assert not re.search(r"^.*(ERROR|Traceback)", lab.server.text(), re.MULTILINE)
    lab.remove("far")
