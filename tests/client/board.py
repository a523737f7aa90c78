"""A server of training predictions as the wire contract has it, small, which can also misbehave on order.

As a program (``python -m tests.client.board PORT FILE``) it keeps what it takes in a file, and survives kill -9.
"""

import json
import sys
import threading
import time
import urllib.parse
from collections import deque
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.wait import PATIENCE_S

Answer = tuple[int, Mapping[str, str], object]


class Board:
    """What was pushed. ``planned`` answers are given instead of its own, one each; while ``is_open`` is not set, requests hang."""

    def __init__(self, path: Path | None = None) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[Any] = []
        self.times: list[float] = []
        self.keys: set[str] = set()
        self.planned: deque[Answer] = deque()
        self.is_open = threading.Event()
        self.is_open.set()
        self.lost_answers = 0
        self.connections = 0
        self.lock = threading.Lock()
        self._path = path
        if path is not None and path.exists():
            written = path.read_bytes()
            for line in written[: written.rfind(b"\n") + 1].splitlines():  # the rest is being written
                kind, job, given = json.loads(line)
                self._apply(kind, job, given)

    def predictions(self, job: str) -> list[dict[str, Any]]:
        """Of a job, in their order."""
        with self.lock:
            return list(self.jobs.get(job, {}).get("predictions", []))

    def answer(self, path: str, body: Any, key: str) -> Answer:
        """What a POST gives."""
        with self.lock:
            self.requests.append((path, key))
            self.bodies.append(body)
            self.times.append(time.monotonic())
            if self.planned:
                return self.planned.popleft()
            if self.keys and key not in self.keys:
                return _error(401, "a key is needed")
            parts = path.strip("/").split("/")
            if parts == ["api", "training", "jobs"]:
                return self._create_job(body)
            job = body.get("job_id") if parts == ["api", "training", "predictions"] else parts[3]
            if job not in self.jobs:
                return _error(404, "there is no such job")
            if parts[-1] == "predictions":
                return self._push(job, body)
            return self._about(job, parts[4:], body)

    def _create_job(self, body: Any) -> Answer:
        job = body.get("job_id", "job-1")
        is_new = job not in self.jobs
        self._record("job", job, body)
        details = {"job_id": job, "title": body.get("title", ""), "status": "running"}
        token = "waa_token_of_" + job if is_new else None
        return (201 if is_new else 200), {}, {"job": details, "token": token, "url": f"/training/monitor?jobId={job}", "stream": ""}

    def _push(self, job: str, body: Any) -> Answer:
        if "predictions" not in body:
            result = self._one(job, {name: value for name, value in body.items() if name != "job_id"})
            if result["status"] == "invalid":
                return _error(422, result["error"]["message"], result["error"]["field"])
            return (201 if result["status"] == "created" else 200), {}, {name: result[name] for name in ("id", "seq", "status")}
        if len(body["predictions"]) > 500:
            return _error(422, "are up to 500", "predictions")
        results = [{"index": index, **self._one(job, given)} for index, given in enumerate(body["predictions"])]
        counts = {name: sum(result["status"] == name for result in results) for name in ("created", "duplicate", "invalid")}
        total = len(self.jobs[job]["predictions"])
        answer = {"results": results, "created": counts["created"], "duplicates": counts["duplicate"], "invalid": counts["invalid"]}
        return 200, {}, {**answer, "total_count": total}

    def _one(self, job: str, given: Any) -> dict[str, Any]:
        seqs = self.jobs[job]["seqs"]
        if not isinstance(given, dict):
            return {"id": None, "seq": None, "status": "invalid", "error": {"field": "predictions", "message": "is an object"}}
        if given["id"] in seqs:
            return {"id": given["id"], "seq": seqs[given["id"]], "status": "duplicate", "error": None}
        if given["prompt"] == "refuse me":
            error = {"field": "prompt", "message": "is not taken here"}
            return {"id": given["id"], "seq": None, "status": "invalid", "error": error}
        self._record("prediction", job, given)
        return {"id": given["id"], "seq": seqs[given["id"]], "status": "created", "error": None}

    def _about(self, job: str, parts: list[str], body: Any) -> Answer:
        if parts == ["token"]:
            return 201, {}, {"token": "waa_another_of_" + job}
        if parts == ["finish"]:
            self._record("finish", job, body)
            return 200, {}, {"job_id": job, "status": body["status"]}
        if not any(given["epoch"] == int(parts[1]) for given in self.jobs[job]["predictions"]):
            return _error(404, "there is no such epoch")
        self._record("epoch", job, int(parts[1]))
        return 200, {}, {"epoch": int(parts[1]), "is_complete": True}

    def _record(self, kind: str, job: str, given: Any) -> None:
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([kind, job, given]) + "\n")
        self._apply(kind, job, given)

    def _apply(self, kind: str, job: str, given: Any) -> None:
        found = self.jobs.setdefault(job, {"predictions": [], "seqs": {}, "epochs": [], "status": "running"})
        if kind == "prediction":
            found["predictions"].append(given)
            found["seqs"][given["id"]] = len(found["predictions"])
        elif kind == "epoch":
            found["epochs"].append((given, len(found["predictions"])))
        elif kind == "finish":
            found["status"] = given["status"]


class Served:
    """A board behind a port."""

    def __init__(self, board: Board, port: int = 0) -> None:
        self.board = board
        self.server = ThreadingHTTPServer(("127.0.0.1", port), _handler(board))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> "Served":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.board.is_open.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(5)


def _handler(board: Board) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def setup(self) -> None:
            super().setup()
            with board.lock:
                board.connections += 1

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            board.is_open.wait(PATIENCE_S)
            try:
                body = json.loads(data)
            except ValueError:
                status, headers, answer = _error(400, "is no JSON", "body")
            else:
                path, key = urllib.parse.urlsplit(self.path).path, self.headers.get("X-API-Key", "")
                status, headers, answer = board.answer(path, body, key)
            with board.lock:
                is_lost, board.lost_answers = board.lost_answers > 0, max(0, board.lost_answers - 1)
            if is_lost:
                self.close_connection = True
                return
            data = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        log_message: Callable[..., None] = lambda *_: None

    return Handler


def _error(status: int, message: str, field: str | None = None) -> Answer:
    return status, {}, {"error": {"status": status, "message": message, "field": field}}


def cut_torn_line(path: Path) -> None:
    """What was being written when the process was killed, and so was not answered."""
    written = path.read_bytes() if path.exists() else b""
    if not written.endswith(b"\n"):
        path.write_bytes(written[: written.rfind(b"\n") + 1])


if __name__ == "__main__":
    cut_torn_line(Path(sys.argv[2]))
    with Served(Board(Path(sys.argv[2])), int(sys.argv[1])) as served:
        print(served.url, flush=True)
        threading.Event().wait()
