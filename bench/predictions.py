"""A thousand predictions a second to two hundred streams: does each arrive once, in order, at each stream, and what does it cost?

Our server stores each prediction before it shows it; the peer in the same run only hands it on, in the way that a first version of such
a server does: Tornado, a queue and a coroutine per client, one write and flush per event. See docs/bench.md.
"""

import argparse
import asyncio
import http.client
import json
import os
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from tests.support.server import Server

JOB = "bench"
TICKS = os.sysconf("SC_CLK_TCK")
WORDS = [
    "the",
    "agent",
    "opens",
    "a",
    "folder",
    "and",
    "writes",
    "what",
    "it",
    "found",
    "into",
    "a",
    "new",
    "document",
    "before",
    "it",
    "saves",
    "it",
    "under",
    "another",
    "name",
]


def main() -> int:
    """The exit status: 1 where a prediction was lost, repeated or out of order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="how long (default 60)")
    parser.add_argument("--rate", type=int, default=1000, help="predictions a second (default 1000)")
    parser.add_argument("--batch", type=int, default=50, help="predictions of a request (default 50)")
    parser.add_argument("--streams", type=int, default=200, help="(default 200)")
    parser.add_argument("--only", choices=("ours", "gzip", "peer"), help="one of the three")
    parser.add_argument("--listen", nargs=3, metavar=("URL", "STREAMS", "GZIP"), help=argparse.SUPPRESS)
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.listen:
        return listen(given.listen[0], int(given.listen[1]), is_compressed=given.listen[2] == "yes")
    if given.peer:
        asyncio.run(serve_peer())
        return 0
    failed = False
    costs = {}
    for kind in (given.only,) if given.only else ("peer", "ours", "gzip"):
        with opened(kind) as (url, pid):
            found = measure(kind, url, pid, given)
        costs[kind] = found["cpu_s"]
        failed |= not found["is_whole"]
        print(kind, json.dumps(found), flush=True)
    if costs.get("peer"):
        print("ratio of CPU to the peer:", {kind: round(cost / costs["peer"], 2) for kind, cost in costs.items()})
    return int(failed)


@contextmanager
def opened(kind: str) -> Iterator[tuple[str, int]]:
    """The address of a server and its process."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if kind == "peer":
            peer = subprocess.Popen([sys.executable, __file__, "--peer"], stdout=subprocess.PIPE, text=True)
            stack.callback(peer.wait)
            stack.callback(peer.terminate)
            assert peer.stdout is not None
            yield peer.stdout.readline().strip(), peer.pid
            return
        server = Server(folder, environment={"WAA_DEMO": "off"}).start()
        stack.callback(server.stop)
        status, _ = server.send("POST", "/api/training/jobs", {"job_id": JOB})
        assert status == 201
        yield server.url, server.pid


def measure(kind: str, url: str, pid: int, given: argparse.Namespace) -> dict[str, object]:
    """Push at the rate, while a process of its own listens."""
    before_kb = memory_kb(pid)
    listener = subprocess.Popen(
        [sys.executable, __file__, "--listen", url, str(given.streams), "yes" if kind == "gzip" else "no"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert listener.stdin is not None
    assert listener.stdout is not None
    assert listener.stdout.readline() == "ready\n"
    stream_kb = (memory_kb(pid) - before_kb) / given.streams
    cpu, began_s = cpu_s(pid), time.monotonic()
    count, took_s = given.rate * given.seconds, []
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    for first in range(0, count, given.batch):
        time.sleep(max(0.0, began_s + first / given.rate - time.monotonic()))
        body = json.dumps({"job_id": JOB, "predictions": [prediction(number) for number in range(first, first + given.batch)]})
        at_s = time.monotonic()
        connection.request("POST", "/api/training/predictions", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        took_s.append(time.monotonic() - at_s)
    pushed_s = time.monotonic() - began_s
    told, _ = listener.communicate(f"{count}\n", timeout=60)
    found: dict[str, object] = json.loads(told)
    used_s = cpu_s(pid) - cpu
    return found | {
        "predictions": count,
        "pushed_in_s": round(pushed_s, 1),
        "cpu_s": round(used_s, 2),
        "cpu_percent": round(100 * used_s / pushed_s, 1),
        "kb_per_stream": round(stream_kb, 1),
        "post_ms_p50": round(1000 * statistics.median(took_s), 1),
        "post_ms_max": round(1000 * max(took_s), 1),
    }


def prediction(number: int) -> dict[str, object]:
    """Of some 400 bytes on the wire."""
    text = " ".join(WORDS[(number + place) % len(WORDS)] for place in range(12))
    return {
        "id": str(number),
        "epoch": number // 20_000,
        "step": number,
        "prompt": f"{number}: {text}",
        "prediction": text,
        "target": text if number % 3 else text.upper(),
        "scores": {"loss": 1 / (number + 1)},
        "created_at": time.time(),
    }


def cpu_s(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_kb(pid: int) -> int:
    """Resident."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * (os.sysconf("SC_PAGESIZE") // 1024)


# --- the listening process ---


class Stream:
    """One stream: takes its body out of its chunks, and checks that no number is left out or comes again."""

    def __init__(self, url: str, *, is_compressed: bool) -> None:
        netloc = urlsplit(url).netloc
        host, _, port = netloc.partition(":")
        self.sock = socket.create_connection((host, int(port)))
        coding = "Accept-Encoding: gzip\r\n" if is_compressed else ""
        self.sock.sendall(f"GET /api/training/predictions/{JOB}/stream HTTP/1.1\r\nHost: {netloc}\r\n{coding}\r\n".encode())
        self.raw, self.text = bytearray(), b""
        self.last = self.received = 0
        self.delays_ms: list[float] = []
        self.is_whole = True
        self.inflate = zlib.decompressobj(zlib.MAX_WBITS | 16) if is_compressed else None
        while b"\r\n\r\n" not in self.raw:
            self.raw += self.sock.recv(65536)
        del self.raw[: self.raw.index(b"\r\n\r\n") + 4]
        self.sock.setblocking(False)

    def read(self, *, notes_delay: bool) -> None:
        """Whatever is there."""
        self.raw += self.sock.recv(1 << 18)
        parts = [self.text]
        while (line := self.raw.find(b"\r\n")) >= 0:
            size = int(self.raw[:line], 16)
            if len(self.raw) < line + size + 4:
                break
            part = bytes(self.raw[line + 2 : line + 2 + size])
            parts.append(self.inflate.decompress(part) if self.inflate is not None else part)
            self.received += size
            del self.raw[: line + size + 4]
        text = b"".join(parts)
        end = text.rfind(b"\n\n") + 2 if b"\n\n" in text else 0
        whole, self.text = text[:end], text[end:]
        numbers = [int(number) for number in re.findall(rb'"seq":(\d+)', whole)]
        if numbers:
            self.is_whole &= numbers == list(range(self.last + 1, self.last + 1 + len(numbers)))
            self.last = numbers[-1]
            if notes_delay:
                at = time.time()
                self.delays_ms += [1000 * (at - float(made)) for made in re.findall(rb'"created_at":([\d.]+)', whole)]


def listen(url: str, count: int, *, is_compressed: bool) -> int:
    """Read all streams until each has got as many as standard input says in the end."""
    streams = [Stream(url, is_compressed=is_compressed) for _ in range(count)]
    selector = selectors.DefaultSelector()
    for stream in streams:
        selector.register(stream.sock, selectors.EVENT_READ, stream)
    selector.register(sys.stdin, selectors.EVENT_READ, None)
    print("ready", flush=True)
    wanted, until_s = None, float("inf")
    while time.monotonic() < until_s and (wanted is None or any(stream.last < wanted for stream in streams)):
        for key, _ in selector.select(timeout=1):
            if key.data is None:
                wanted, until_s = int(sys.stdin.readline()), time.monotonic() + 30
                selector.unregister(sys.stdin)
            else:
                key.data.read(notes_delay=key.data is streams[0])
    delays = sorted(streams[0].delays_ms) or [0.0]
    found = {
        "is_whole": all(stream.is_whole and stream.last == wanted for stream in streams),
        "streams": count,
        "mb_per_stream": round(streams[0].received / 1e6, 1),
        "delay_ms_p50": round(delays[len(delays) // 2], 1),
        "delay_ms_p99": round(delays[int(len(delays) * 0.99)], 1),
    }
    print(json.dumps(found), flush=True)
    return 0


# --- the peer ---


class PeerEvents(RequestHandler):
    """A queue and a coroutine per client."""

    async def get(self, _job: str) -> None:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.settings["queues"].append(queue)
        self.set_header("Content-Type", "text/event-stream")
        await self.flush()
        while True:
            self.write(await queue.get())
            await self.flush()


class PeerPush(RequestHandler):
    """Hands everything on, and stores nothing."""

    def post(self) -> None:
        for item in json.loads(self.request.body)["predictions"]:
            told = {"type": "prediction", "prediction": {**item, "seq": item["step"] + 1}, "total_count": item["step"] + 1}
            message = f"event: prediction\nid: {item['id']}\ndata: {json.dumps(told, separators=(',', ':'))}\n\n".encode()
            for queue in self.settings["queues"]:
                queue.put_nowait(message)
        self.write({"status": "ok"})


async def serve_peer() -> None:
    """Until it is terminated."""
    routes = [(r"/api/training/predictions", PeerPush), (r"/api/training/predictions/(\w+)/stream", PeerEvents)]
    (sock,) = bind_sockets(0, "127.0.0.1")
    HTTPServer(Application(routes, queues=[], log_function=lambda _handler: None)).add_socket(sock)
    print(f"http://127.0.0.1:{sock.getsockname()[1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
