"""The examples of nginx and Caddy with HTTPS, run as they are but for names, ports and files."""

import io
import os
import shutil
import signal
import ssl
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.authority import Authority
from tests.support.server import ROOT, Server
from tests.support.sshd import free_port
from tests.support.wait import PATIENCE_S, wait_for

pytestmark = pytest.mark.nginx

NAME = "localhost"
JSON = {"Content-Type": "application/json"}
FAR = "127.0.0.9"
"""The address that the client calls from; the proxy calls the server from 127.0.0.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """A server behind a proxy. ``url`` is the proxy's."""

    url: str
    plain_url: str
    server: Server
    trust: ssl.SSLContext

    def client(self) -> httpx.Client:
        """Calls from an address of its own, by HTTPS."""
        return httpx.Client(
            base_url=self.url, transport=httpx.HTTPTransport(verify=self.trust, local_address=FAR), timeout=PATIENCE_S, trust_env=False
        )


def replaced(text: str, *changes: tuple[str, str]) -> str:
    for shown, here in changes:
        assert shown in text, shown
        text = text.replace(shown, here)
    return text


def nginx(folder: Path, ports: tuple[int, int], server: Server) -> list[str]:
    """The command that runs nginx with the example."""
    program = shutil.which("nginx", path=f"/usr/sbin:{os.environ['PATH']}")
    if program is None:
        pytest.skip("needs nginx")
    example = replaced(
        (ROOT / "examples" / "nginx.conf").read_text(),
        ("listen 80;", f"listen 127.0.0.1:{ports[0]};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{ports[1]} ssl;"),
        ("waa.example.org", NAME),
        ("/etc/ssl/waa/fullchain.pem", str(folder / "cert.pem")),
        ("/etc/ssl/waa/key.pem", str(folder / "key.pem")),
        ("127.0.0.1:8765", f"127.0.0.1:{server.port}"),
    )
    places = "".join(f"{kind}_temp_path {folder / kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off;\nmaster_process off;\npid {folder / 'pid'};\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}{example}}}\n"
    )
    return [program, "-p", str(folder), "-c", str(config)]


def caddy(folder: Path, ports: tuple[int, int], server: Server) -> list[str]:
    """The command that runs Caddy with the example."""
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("needs caddy")
    example = replaced(
        (ROOT / "examples" / "Caddyfile").read_text(),
        ("waa.example.org {", f"https://{NAME}:{ports[1]} {{\n\tbind 127.0.0.1\n"),
        (
            "# With files of your own: tls /etc/ssl/waa/fullchain.pem /etc/ssl/waa/key.pem",
            f"tls {folder / 'cert.pem'} {folder / 'key.pem'}",
        ),
        ("127.0.0.1:8765", f"127.0.0.1:{server.port}"),
    )
    config = folder / "Caddyfile"
    config.write_text(
        f"{{\n\tadmin off\n\thttp_port {ports[0]}\n\thttps_port {ports[1]}\n\tstorage file_system {folder / 'caddy'}\n}}\n{example}"
    )
    return [program, "run", "--adapter", "caddyfile", "--config", str(config)]


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    authority = Authority(folder)
    authority.issue(folder / "cert.pem", folder / "key.pem")
    server = Server(folder, config='demo = "off"\nauth = "off"\ntrusted_proxies = ["127.0.0.1"]\nupload_limit_mb = 100\n')
    ports = (free_port(), free_port())
    process: subprocess.Popen[bytes] | None = None
    try:
        server.start()
        command = request.param(folder, ports, server)
        environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stderr=log, stdout=log, env=environment, start_new_session=True)
        made = Front(
            url=f"https://{NAME}:{ports[1]}", plain_url=f"http://127.0.0.1:{ports[0]}", server=server, trust=authority.client_context()
        )
        wait_for(lambda: _answers(made), what="the proxy answers", hint=(folder / "log").read_text)
        yield made
    finally:
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)  # asked politely, Caddy waits for streams to end
            process.wait(PATIENCE_S)
        server.stop()


def test_a_page_loads_with_all_that_it_needs(front: Front) -> None:
    with front.client() as client:
        page = client.get("/", headers={"Accept": "text/html"})
        assert page.status_code == 200
        assert "script-src 'self'" in page.headers["Content-Security-Policy"]
        for path in ("/static/app.css", "/static/app.js", "/live"):
            assert client.get(path).status_code == 200
        form = client.get("/vms/new", headers={"Accept": "text/html"})
        token = form.text.split('name="_xsrf" value="')[1].split('"')[0]
        sent = client.post("/vms", data={"_xsrf": token, "name": "by-form", "ssh_host": "203.0.113.9"}, headers={"Origin": front.url})
        assert sent.status_code == 303, sent.text  # a form works: Host, Origin and cookies pass


def test_plain_http_leads_to_https(front: Front) -> None:
    if front.plain_url in httpx.get(front.plain_url, trust_env=False, headers={"Host": NAME}).headers.get("Location", ""):
        pytest.fail("it leads to itself")
    answer = httpx.get(f"{front.plain_url}/runs", trust_env=False, headers={"Host": NAME})
    assert answer.status_code in (301, 308)
    assert answer.headers["Location"].startswith(f"https://{NAME}")


def test_events_pass_at_once(front: Front) -> None:
    """Each is read before the next one is caused: a proxy that held back would be noticed, however big its buffer."""
    with front.client() as client, client.stream("GET", "/api/benchmark-sse?interval=1") as stream:
        assert stream.status_code == 200
        pieces = stream.iter_text()
        text = ""
        while "event: connected" not in text:
            text += next(pieces)
        for number in range(3):
            name = f"told-{number}"
            status, _ = front.server.send("POST", "/api/vms/register", {"name": name, "ssh_host": "203.0.113.9"})
            assert status == 201
            while f'"{name}"' not in text:
                text += next(pieces)


def test_panels_pass_at_once(front: Front) -> None:
    with front.client() as client, client.stream("GET", "/stream?panels=vms") as stream:
        text = ""
        for piece in stream.iter_text():
            text += piece
            if "vms-panel" in text:
                break


def test_a_large_upload_passes(front: Front) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in (("results/run/clock/t-1/result.txt", b"1.0"), ("results/run/clock/t-1/step_1_x.png", os.urandom(30_000_000))):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    with front.client() as client:
        answer = client.post("/api/traces/import?name=run.tar", content=buffer.getvalue(), headers={"Content-Type": "application/x-tar"})
        assert answer.status_code in (200, 201, 202), answer.text
        job = answer.json()
        wait_for(
            lambda: client.get(f"/api/jobs/{job['job_id']}").json()["status"] not in ("queued", "running"),
            what="the import",
            hint=lambda: job,
        )


def test_the_clients_address_arrives_and_cannot_be_forged(front: Front) -> None:
    with front.client() as client:
        answer = client.post(
            "/api/vms/register", json={"name": "from-afar", "ssh_host": "203.0.113.9"}, headers={"X-Forwarded-For": "192.0.2.66"}
        )
        assert answer.status_code == 201, answer.text
    told = front.server.html("/audit.json")
    assert FAR in told
    assert "192.0.2.66" not in told


def test_what_only_this_machine_may_do_is_refused_through_the_proxy(front: Front) -> None:
    with front.client() as client:
        answer = client.post("/api/traces/import", json={"path": "/etc"})
        assert answer.status_code in (403, 422), answer.text


def test_many_streams_pass_side_by_side(front: Front) -> None:
    """No connection is kept from others by one that stays open."""
    opened = threading.Barrier(6, timeout=PATIENCE_S)
    failures: list[str] = []

    def read() -> None:
        try:
            with front.client() as client, client.stream("GET", "/api/benchmark-sse") as stream:
                next(stream.iter_text())
                opened.wait()
        except (httpx.HTTPError, threading.BrokenBarrierError) as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert failures == []


def _answers(front: Front) -> bool:
    try:
        with front.client() as client:
            return client.get("/live").status_code == 200
    except httpx.TransportError:
        return False
