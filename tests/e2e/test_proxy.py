"""nginx in front, with its default buffering and the server block that the documentation shows."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.lab import VM, Lab, names, tasks
from tests.support.observer import Observer
from tests.support.sshd import free_port
from tests.support.wait import PATIENCE_S, wait_for

pytestmark = [pytest.mark.sshd, pytest.mark.container, pytest.mark.nginx]

NAME = "localhost"
PLAIN = """
server {
    listen 80;
    server_name waa.example.org;

    location / {
        proxy_pass http://127.0.0.1:8765;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_read_timeout 120s;
    }
}
"""
"""As short as it can be: no buffering is turned off, the server asks for that itself."""


@pytest.fixture
def proxy(lab: Lab, tmp_path: Path) -> Iterator[str]:
    """The address of an nginx in front of the laboratory's server."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if program is None:
        pytest.skip("needs nginx")
    port = free_port()
    example = PLAIN
    for shown, here in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("waa.example.org", NAME),
        ("127.0.0.1:8765", f"127.0.0.1:{lab.server.port}"),
    ):
        assert shown in example
        example = example.replace(shown, here)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {tmp_path / kind};\n" for kind in kinds)
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"daemon off;\nmaster_process off;\npid {tmp_path / 'pid'};\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}{example}}}\n"
    )
    process = subprocess.Popen([program, "-p", str(tmp_path), "-c", str(config)], stderr=subprocess.DEVNULL)
    url = f"http://{NAME}:{port}".replace(NAME, "127.0.0.1")
    try:
        wait_for(lambda: _answers(url), what="nginx answers")
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def test_events_pass_at_once(lab: Lab, proxy: str) -> None:
    lab.make_ready()
    with Observer(lambda: proxy) as client:
        client.next("status", vm=VM)
        since = client.mark
        lab.arena.start_run(tasks(2, "proxied"))
        for task in tasks(2, "proxied"):
            lab.finish(1)
            client.next("task_complete", since=since, vm=VM, task_id=task[1])
        client.cut()
        client.next("connected", since=since)
        assert names(client.all("task_complete", since=since, vm=VM)) == tasks(2, "proxied")


def test_panels_pass_at_once(lab: Lab, proxy: str) -> None:
    lab.make_ready()
    with httpx.stream("GET", f"{proxy}/stream?panels=vms,tasks", timeout=PATIENCE_S, trust_env=False) as answer:
        assert answer.status_code == 200
        assert "x-accel-buffering" not in answer.headers  # it was for nginx
        text = ""
        for piece in answer.iter_text():
            text += piece
            if VM in text and "hx-partial" in text:
                break
    assert VM in text


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/live", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
