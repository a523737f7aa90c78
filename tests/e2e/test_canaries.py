"""Secrets planted in everything that comes from outside are nowhere in what the server prints, stores and serves (requirement X1)."""

import io
import json
import re
import socket
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from tests.e2e.lab import toml
from tests.support.authority import Authority
from tests.support.server import ROOT, Server
from tests.support.tree import png
from tests.support.wait import PATIENCE_S, wait_for

LOG = ROOT / "tests" / "corpus" / "generated" / "waa_up_exception.plain.log"
DOMAIN, TASK_ID = "libreoffice_calc", "0bf05a7d-b28b-44d2-955a-50b41e24012a-WOS"
MAX_PAGES = 400


class Canaries:
    """A secret for each place, so that a leak names it."""

    def __init__(self) -> None:
        self.by_place: dict[str, str] = {}

    def __call__(self, place: str) -> str:
        """The secret of a place: of no known form, so that only what stands before it tells."""
        return self.by_place.setdefault(place, f"Canary{len(self.by_place):02d}x7Qz9Lk2Vw")

    def token(self, place: str) -> str:
        """The same in a form that is known wherever it stands."""
        return f"sk-proj-{self(place)}"

    def seen_in(self, text: str) -> list[str]:
        """The places whose secrets stand in a text."""
        return [place for place, secret in self.by_place.items() if secret in text]


def log_text(canary: Canaries) -> str:
    text = LOG.read_text()
    for shown, planted in (
        ("Namespace(", f"Namespace(api_key='{canary('argument')}', note='{canary.token('argument token')}', "),
        ("[Instruction]: ", f"[Instruction]: Log in with the password: {canary('instruction')} and "),
        (
            "computer.mouse.single_click()",
            f'computer.keyboard.write("export DB_PASSWORD={canary("action")}")\nprint("{canary.token("action token")}")',
        ),
        ("Exception in ", f"Exception for token={canary('exception')} in "),
        ("Error: ", f"Error: {canary.token('error')} "),
    ):
        assert shown in text, shown
        text = text.replace(shown, planted)
    key = "\n".join(
        ["-----BEGIN OPENSSH PRIVATE KEY-----", *(canary(f"key {line}") * 4 for line in range(3)), "-----END OPENSSH PRIVATE KEY-----"]
    )
    return text + (
        f"curl -H 'Authorization: Bearer {canary('header')}' https://me:{canary('login')}@example.org/x?sig={canary('signature')}\n"
        f"docker run -e OPENAI_API_KEY={canary('docker')} \x1b[31m-e AZURE_CLIENT_SECRET=\x1b[1m{canary('coloured')}\x1b[0m x\n"
        f"{key}\nDefaultEndpointsProtocol=https;AccountKey={canary('account')}==;x\nlast line token: {canary('open row')}"
    )


def task_folder(root: Path, canary: Canaries, name: str) -> None:
    """One task of the log, as the result tree tells of it."""
    folder = root / "pyautogui" / "a11y_tree" / "gpt-4o" / "0" / DOMAIN / TASK_ID
    folder.mkdir(parents=True)
    shot = "screenshot-step_0_20260204@121030.png"
    (folder / shot).write_bytes(png(40, 30))
    record = {
        "step_num": 1, "action_timestamp": "20260204@121030", "reward": 0, "done": False, "screenshot": shot,
        "action": f"type('{canary.token(f'{name} action')}')  # password={canary(f'{name} action name')}",
        "instruction": f"Log in with password={canary(f'{name} instruction')}",
        "plan_result": f"I think the api key is api_key: {canary(f'{name} thought')}.\nAuthorization: Basic {canary(f'{name} header')}",
    }  # fmt: skip
    (folder / "traj.jsonl").write_text(
        json.dumps(record) + "\n" + json.dumps({"Error": f"{DOMAIN}/{TASK_ID} - secret={canary(f'{name} error')}"}) + "\n"
    )
    (folder / "error.txt").write_text(f"Traceback: token={canary(f'{name} error.txt')}")
    (folder / "result.txt").write_text("0.0")
    settings = {"model": "gpt-4o", "client_password": canary(f"{name} setting"), "note": f"--api-key {canary(f'{name} note')}"}
    (root / "pyautogui" / "a11y_tree" / "gpt-4o" / "0" / "args.json").write_text(json.dumps(settings))
    specification = root.parent / "evaluation_examples_windows" / "examples" / DOMAIN
    specification.mkdir(parents=True, exist_ok=True)
    (specification / f"{TASK_ID}.json").write_text(
        json.dumps(
            {
                "id": TASK_ID,
                "instruction": f"password={canary(f'{name} specification')}",
                "config": [
                    {
                        "type": "execute",
                        "parameters": {"command": ["az", "login", "--password", canary(f"{name} words")], "token": canary(f"{name} field")},
                    }
                ],
            }
        )
    )


def archive(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, arcname="results")
    return buffer.getvalue()


@pytest.fixture
def talker(canary: Canaries) -> Iterator[int]:
    """A port where something that is no SSH server says a secret."""
    listener = socket.create_server(("127.0.0.1", 0))
    words = f"HTTP/1.1 400 token={canary('banner')}\r\n\r\n".encode()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.sendall(words)
            connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(PATIENCE_S)


@pytest.fixture
def canary() -> Canaries:
    return Canaries()


def crawl(client: httpx.Client) -> dict[str, str]:
    """Every page and answer that can be reached by links, and those that programs know, by their addresses."""
    runs = [run["run_id"] for run in client.get("/api/runs").json()["runs"]]
    of_runs = ("", "/tasks.csv", "/steps.csv", "/report.html", "/replay", "/rerun.json")
    task = f"tasks/{DOMAIN}/{TASK_ID}"
    waiting = [
        *(
            "/",
            "/runs",
            "/compare",
            "/vms/new",
            "/access",
            "/audit",
            "/audit.json",
            "/audit.csv",
            "/metrics",
            "/ready",
            "/api/openapi.json",
        ),
        *(
            "/api/runs",
            "/api/tasks",
            "/api/vms",
            "/api/benchmark-live",
            "/api/benchmark-progress",
            "/api/current-run",
            "/api/incidents",
            "/api/jobs",
        ),
        *(
            "/api/probe-vm",
            "/api/vms/here",
            "/api/vms/there",
            "/vms/here",
            "/vms/there",
            "/fragments/vms",
            "/fragments/attention",
            "/fragments/runs",
        ),
        *(f"/runs/{run}{part}" for run in runs for part in of_runs),
        *(f"/api/runs/{run}{part}" for run in runs for part in ("", "/steps", f"/{task}", f"/{task}/1", f"/{task}/spec")),
        *(f"/runs/{run}/{task}{part}" for run in runs for part in ("", "/1", "/1/log", "/spec")),
        *(f"/api/compare?runs={a},{b}" for a in runs for b in runs if a != b),
        *(f"/fragments/log?vm={vm}" for vm in ("here", "there")),
    ]
    seen: dict[str, str] = {}
    while waiting and len(seen) < MAX_PAGES:
        path = waiting.pop(0)
        if path in seen or path.startswith(("/stream", "/logout")) or "/stream" in path or "sse" in path:
            continue
        answer = client.get(path, headers={"Accept": "text/html"})
        assert answer.status_code < 500 or answer.status_code == 503, (path, answer.text[:300])
        seen[path] = f"{answer.headers}\n{answer.text if 'image' not in answer.headers.get('Content-Type', '') else ''}"
        for link in re.findall(r'(?:href|hx-get|src|action)="([^"#]+)', answer.text):
            target = urlsplit(urljoin(f"http://x{path}", link.replace("&amp;", "&")))
            if target.netloc == "x" and not target.path.startswith("/static/"):
                waiting.append(target.path + (f"?{target.query}" if target.query else ""))
    return seen


def streamed(client: httpx.Client, path: str, until: str) -> str:
    """What a stream tells a newcomer."""
    text = ""
    with client.stream("GET", path) as answer:
        for piece in answer.iter_text():
            text += piece
            if until in text:
                break
    return text


def test_no_planted_secret_is_printed_stored_or_served(canary: Canaries, talker: int, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text(log_text(canary))
    (tmp_path / "vm").mkdir()
    task_folder(tmp_path / "vm" / "results", canary, "watched")
    (tmp_path / "sent").mkdir()
    task_folder(tmp_path / "sent" / "results", canary, "imported")
    live = tmp_path / "live"
    live.mkdir()
    (live / "benchmark_live.json").write_text(
        json.dumps(
            {
                "status": "running",
                "current_task": {
                    "task_id": "t",
                    "instruction": f"password={canary('live instruction')}",
                    "steps": [{"step_idx": 0, "action": {"type": "type", "text": f"token={canary('live action')}"}}],
                },
            }
        )
    )
    (live / "benchmark_progress.json").write_text(json.dumps({"status": "running", "message": f"api_key={canary('live message')}"}))
    authority = Authority(tmp_path)
    authority.issue(tmp_path / "cert.pem", tmp_path / "key.pem")
    key_lines = (tmp_path / "key.pem").read_text().splitlines()[1:-1]
    for number, line in enumerate(key_lines):
        canary.by_place[f"TLS key {number}"] = line
    here = {
        "name": "here", "transport": "local", "container": "", "process": "never-at-all", "log_path": str(log), "log_side": "host",
        "results_dir": str(tmp_path / "vm" / "results"),
    }  # fmt: skip
    settings = {"demo": "off", "live_files": str(live), "status_interval_s": 1, "log_level": "debug"}
    server = Server(tmp_path, config=toml(settings, [here]))
    server.start()
    with httpx.Client(base_url=server.url, timeout=PATIENCE_S, trust_env=False) as client:
        there = {"name": "there", "ssh_host": "127.0.0.1", "ssh_port": talker, "container": ""}
        assert client.post("/api/vms/register", json=there).status_code == 201
        refused = client.post("/api/vms/register", json={**there, "name": "bad", "vnc_url": f"http://me:{canary('VNC login')}@h/"})
        assert refused.status_code == 422
        secret_headers = {
            "Authorization": f"Bearer {canary('request header')}",
            "X-API-Key": canary("request key"),
            "Cookie": f"session={canary('request cookie')}",
        }
        for path in ("/", "/api/vms", "/nothing", f"/api/vms?api_key={canary('query')}", f"/login/{canary('login link')}x"):
            client.get(path, headers=secret_headers)
        sent = client.post(
            "/api/traces/import?name=run.tgz", content=archive(tmp_path / "sent"), headers={"Content-Type": "application/gzip"}
        )
        job_id = sent.json()["job_id"]
        broken = client.post(
            "/api/traces/import?name=x.tgz", content=canary("archive").encode() * 100, headers={"Content-Type": "application/gzip"}
        )
        assert broken.status_code < 500
        wait_for(lambda: client.get(f"/api/jobs/{job_id}").json()["status"] not in ("queued", "running"), what="the import")
        wait_for(lambda: len(client.get("/api/runs").json()["runs"]) >= 2, what="the watched run and the imported one")
        wait_for(
            lambda: "last line" in client.get("/fragments/log?vm=here").text,
            what="the log's end",
            hint=lambda: client.get("/fragments/log?vm=here").text[-500:],
        )
        wait_for(lambda: server.vm("there")["failure"], what="the failure")
        pages = crawl(client)
        pages["SSE"] = streamed(client, "/api/benchmark-sse", "event: status")
        pages["panels"] = streamed(client, "/stream?panels=vms,runs,attention", "attention-panel")
        pages["the VM's stream"] = streamed(client, "/stream?panels=log,vm&vm=here", "last line")
    assert server.stop() == 0
    leaks = {path: found for path, text in pages.items() if (found := canary.seen_in(text))}
    assert leaks == {}, leaks
    assert canary.seen_in(server.text()) == []
    kept = [path for path in (tmp_path / "data").rglob("*") if path.is_file() and "imports" not in path.parts]
    assert any(path.name == "waa.db" for path in kept)
    stored = {str(path): found for path in kept if (found := canary.seen_in(path.read_bytes().decode("latin-1")))}
    assert stored == {}
    # Nor is it because nothing was looked at: what was hidden shows where it stood.
    task_pages = "".join(text for path, text in pages.items() if f"/{TASK_ID}" in path)
    for shown in ("I think the api key is api_key: ***", "password=***", "--password"):
        assert shown in task_pages, shown
    assert "AccountKey=***" in pages["the VM's stream"]
    assert "token=***" in pages["/vms/there"]


def test_what_the_server_writes_is_for_its_owner_only(tmp_path: Path) -> None:
    server = Server(tmp_path, config='demo = "off"\n')
    server.start()
    status, _ = server.send("POST", "/api/vms/register", {"name": "there", "ssh_host": "127.0.0.1", "ssh_port": 1})
    assert status == 201
    server.stop()
    data = tmp_path / "data"
    modes = {str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777 for path in (data, *data.rglob("*"))}
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}
