"""Which VMs are watched: named by the file, by the API, or none but the demo."""

from pathlib import Path

import pytest

from tests.e2e.lab import FAST, VM, Lab, names, tasks, toml
from tests.support.observer import Observer
from tests.support.server import Server
from tests.support.wait import wait_for

pytestmark = [pytest.mark.sshd, pytest.mark.container]


def test_two_vms_at_once_by_ssh_and_on_this_machine(lab: Lab) -> None:
    lab.make_ready()
    lab.register("here", transport="local", engine=str(lab.arena.docker))
    lab.wait_for_vm("here", waa_ready=True)
    since = lab.observer.mark
    lab.arena.start_run(tasks(2, "twice"))
    lab.finish(2, score=0.25)
    for vm in (VM, "here"):
        lab.observer.next("progress", since=since, vm=vm, status="finished", tasks_completed=2)
        assert names(lab.observer.all("task_complete", since=since, vm=vm, domain="twice")) == tasks(2, "twice")
    lab.remove("here")
    assert lab.server.send("GET", "/api/vms/here")[0] == 404


def test_what_the_file_names_cannot_be_changed_by_the_api(lab: Lab) -> None:
    assert lab.server.send("POST", "/api/vms/register", lab.vm_fields(VM))[0] == 409
    assert lab.server.send("DELETE", f"/api/vms/{VM}")[0] == 409
    assert lab.server.send("DELETE", "/api/vms/nobody")[0] == 404
    status, answer = lab.server.send("POST", "/api/vms/register", {"name": "x; reboot", "ssh_host": "127.0.0.1"})
    assert (status, answer["error"]["field"]) == (422, "name")


def test_the_demo_gives_way_and_registered_vms_survive_a_restart(lab: Lab, tmp_path: Path) -> None:
    lab.make_ready()
    settings = {**FAST, "demo": "auto", "demo_speed": 20}
    server = Server(tmp_path, config=toml(settings)).start()
    try:
        (demo,) = server.get("/api/vms")["vms"]
        assert demo["origin"] == "demo"
        with Observer(lambda: server.url) as observer:
            observer.next("status", vm=demo["name"], connected=True)
            assert server.send("POST", "/api/vms/register", lab.vm_fields("added"))[0] == 201
            wait_for(lambda: [vm["name"] for vm in server.get("/api/vms")["vms"]] == ["added"], what="the demo is gone")
            observer.next("status", vm="added", waa_ready=True)
        assert server.stop() == 0

        server.start()
        assert [(vm["name"], vm["origin"]) for vm in server.get("/api/vms")["vms"]] == [("added", "api")]
        wait_for(lambda: server.vm("added")["waa_ready"], what="added is ready")
        server.kill()

        server.write_config(toml(settings, [lab.vm_fields("named")]))
        server.start()
        found = {vm["name"]: vm["origin"] for vm in server.get("/api/vms")["vms"]}
        assert found == {"added": "api", "named": "config"}
        assert server.send("DELETE", "/api/vms/added")[0] == 204
        assert server.send("POST", "/api/vms/register", lab.vm_fields("named"))[0] == 409
    finally:
        server.stop()
    assert "Traceback" not in server.text()
