"""What one delivery costs: our fan-out against nginx with nchan, under one load client, in interleaved rounds.

    python bench/fanout.py [--streams 1000] [--size 400] [--broadcasts 300] [--rounds 5] [--window 1] [--seconds 240]

Everything runs on loopback, the server pinned to one CPU and the client to another. Needs gcc, and for the comparison
Debian's nginx-light and libnginx-mod-nchan; without them our side runs alone. Ends after ``--seconds`` at the latest,
with the rounds that are complete. Compare by the ratio only: absolute figures are this machine's of this minute.
"""

import argparse
import asyncio
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tornado.httpserver import HTTPServer  # noqa: E402 - the path comes first, so that it runs from a checkout
from tornado.netutil import bind_sockets  # noqa: E402
from tornado.web import Application, RequestHandler, url  # noqa: E402

from waa.web import sse  # noqa: E402
from waa.web.fanout import Fanout  # noqa: E402
from waa.web.stream_service import StreamLimits, StreamService  # noqa: E402

NCHAN = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
MAX_STREAMS = 19_000
WARM_UP = 20


class Events(RequestHandler):
    """The stream under test."""

    def initialize(self, service: StreamService, fanout: Fanout) -> None:
        self.service = service
        self.fanout = fanout

    def get(self) -> None:
        self.service.adopt(self, self.fanout, first=sse.comment("hello"), key=None, address="")


class Publish(RequestHandler):
    """Publishes the body as one event."""

    def initialize(self, fanout: Fanout) -> None:
        self.fanout = fanout

    def post(self) -> None:
        self.fanout.publish(sse.encode(self.request.body))
        self.set_status(202)


async def serve() -> None:
    """Serve until SIGTERM; prints the port."""
    service = StreamService(StreamLimits(max_streams=MAX_STREAMS, max_per_address=MAX_STREAMS))
    fanout = service.fanout(heartbeat=lambda: sse.encode("{}", event="heartbeat"))
    routes = [url("/events", Events, {"service": service, "fanout": fanout}), url("/pub", Publish, {"fanout": fanout})]
    server = HTTPServer(Application(routes, log_function=lambda handler: None))
    sockets = bind_sockets(0, "127.0.0.1", backlog=4096)
    server.add_sockets(sockets)
    print(sockets[0].getsockname()[1], flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.stop()
    await service.close()


@contextmanager
def ours(cpu: int, _folder: Path) -> Iterator[tuple[int, int]]:
    """Our server: its port and the process to measure."""
    process = subprocess.Popen(
        [*pinned(cpu), sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
    finally:
        stop(process)


@contextmanager
def nchan(cpu: int, folder: Path) -> Iterator[tuple[int, int]]:
    """nginx with nchan, one worker: its port and the worker."""
    port = free_port()
    config = folder / "nchan.conf"
    config.write_text((HERE / "nchan.conf.in").read_text().replace("@PORT@", str(port)).replace("@DIR@", str(folder)))
    command = [*pinned(cpu), shutil.which("nginx") or "nginx", "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        yield port, nchan_worker(process.pid)
    finally:
        stop(process)


def nchan_worker(master: int) -> int:
    """The pid of nginx's only worker, which comes a moment after the port."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for child in Path(f"/proc/{master}/task/{master}/children").read_text().split():
            with suppress(OSError):
                if b"worker process" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
        time.sleep(0.02)
    raise RuntimeError("nginx has no worker")


def pinned(cpu: int) -> list[str]:
    return ["taskset", "-c", str(cpu)] if shutil.which("taskset") else []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError("the server did not start")


def stop(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def measure(client: Path, cpu: int, target: tuple[int, int], options: argparse.Namespace) -> dict[str, Any]:
    """One run of the load client, as it reports it; raises RuntimeError where it fails."""
    port, pid = target
    command = [*pinned(cpu), client, "-a", f"127.0.0.1:{port}", "-u", "/events", "-p", "/pub", "-n", options.streams, "-s", options.size]
    command += ["-w", options.window, "-k", options.broadcasts, "-K", WARM_UP, "-P", pid, "-d", 60]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=90, check=False)
    if not done.stdout:
        raise RuntimeError(f"the load client failed: {done.stderr.strip()}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def build_client(folder: Path) -> Path:
    client = folder / "ssebench"
    subprocess.run(["gcc", "-O2", "-o", str(client), str(HERE / "ssebench.c")], check=True)
    return client


def run(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """The results of each server by round; only complete rounds."""
    cpus = sorted(os.sched_getaffinity(0))
    servers = {"fanout": ours} | ({"nchan": nchan} if NCHAN.exists() and shutil.which("nginx") else {})
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
    end = time.monotonic() + options.seconds
    longest_s = 0.0
    with tempfile.TemporaryDirectory(prefix="fanout-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        client = build_client(folder)
        for number in range(options.rounds):
            begin = time.monotonic()
            if begin + longest_s > end:
                break
            order = list(servers) if number % 2 == 0 else list(reversed(servers))
            for server in order:
                with servers[server](cpus[0], folder) as target:
                    results[server].append(measure(client, cpus[-1], target, options))
                    print(row(server, results[server][-1]), flush=True)
            longest_s = max(longest_s, time.monotonic() - begin)
    return results


def row(name: str, result: dict[str, Any]) -> str:
    return (
        f"{name:8} {result['server_cpu_s_per_million']:7.2f} CPU s/M  {result['kb_per_connection']:6.2f} kB/stream  "
        f"{result['events_per_s']:8.0f} deliveries/s  last p50 {result['last_ms']['p50']:7.1f} p99 {result['last_ms']['p99']:7.1f} ms  "
        f"{'complete' if is_complete(result) else 'INCOMPLETE'}"
    )


def is_complete(result: dict[str, Any]) -> bool:
    """Whether every subscriber got every event."""
    whole = not result["failed"] and not result["lost"] and result["completed"] == result["published"]
    return bool(whole and result["events"] == (result["published"] - WARM_UP) * result["connections"])


def summary(results: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> str:
    lines = [f"\n{options.streams} streams, {options.size} B, {options.window} outstanding, medians of {len(results['fanout'])} rounds:"]
    for name, runs in results.items():
        cost, memory = (statistics.median(run[key] for run in runs) for key in ("server_cpu_s_per_million", "kb_per_connection"))
        rate = statistics.median(run["events_per_s"] for run in runs)
        whole = all(is_complete(run) for run in runs)
        lines.append(f"{name:8} {cost:7.2f} CPU s/M  {memory:6.2f} kB/stream  {rate:8.0f} deliveries/s  complete {whole}")
    if "nchan" in results:
        pairs = zip(results["fanout"], results["nchan"], strict=True)
        ratios = [mine["server_cpu_s_per_million"] / theirs["server_cpu_s_per_million"] for mine, theirs in pairs]
        lines.append(f"ratio    {statistics.median(ratios):7.2f} (rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)})")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--size", type=int, default=400, help="bytes of an event's data")
    parser.add_argument("--broadcasts", type=int, default=300, help="measured events per run")
    parser.add_argument("--window", type=int, default=1, help="broadcasts outstanding")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=240.0, help="begin no round that might end after this")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.serve:
        asyncio.run(serve())
        return 0
    if not shutil.which("gcc"):
        print("gcc is missing: the load client cannot be built")
        return 0
    if not 1 <= options.streams <= MAX_STREAMS:
        parser.error(f"--streams is 1 to {MAX_STREAMS}")
    results = run(options)
    print(summary(results, options))
    return 0 if all(is_complete(result) for runs in results.values() for result in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
