"""Opening and closing the whole application again and again leaves nothing behind: no file, no thread, no task, no child."""

import asyncio
import gc
import os
import threading
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from server import serve
from waa.config import Config, Switch
from waa.core.spec import Origin, VmSpec

TIMES = 20


def held() -> Counter[str]:
    """What this process has: its open files by what they are, and its threads."""
    gc.collect()
    files = []
    for name in os.listdir("/proc/self/fd"):
        try:
            files.append(os.readlink(f"/proc/self/fd/{name}").partition(":")[0])
        except FileNotFoundError:
            continue  # the listing's own
    return Counter([*files, *(f"thread {thread.name}" for thread in threading.enumerate())])


async def visit(port: int) -> list[asyncio.StreamWriter]:
    """A client of each kind, gone or left open."""
    writers = []
    for path in ("/", "/api/vms", "/api/benchmark-sse", "/stream?panels=fleet,live-eval", "/nothing"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 ")
        writers.append(writer)
    return writers


async def live_once(config: Config) -> list[str]:
    """Open, visit and close; gives the tasks that are left."""
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(serve(config))
        writers = await visit(port)
        for writer in writers:
            stack.callback(writer.close)
    for writer in writers:
        await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])
    return [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]


@pytest.mark.parametrize("demo", [Switch.OFF, Switch.ON])
def test_opening_and_closing_twenty_times_leaks_nothing(demo: Switch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "live").mkdir()
    shut = VmSpec(name="shut", ssh_host="127.0.0.1", ssh_port=1, origin=Origin.CONFIG)
    config = Config(port=0, data=tmp_path / "data", demo=demo, live_files=str(tmp_path / "live"), vms=(shut,))
    assert asyncio.run(live_once(config)) == []
    before = held()
    for _ in range(TIMES):
        assert asyncio.run(live_once(config)) == []
    deadline, pause = time.monotonic() + 30, threading.Event()
    while held() - before and time.monotonic() < deadline:
        pause.wait(0.02)  # a connection cut in its handshake leaves a timer of 15 s (paramiko)
    assert not held() - before  # what an earlier test had may have ended meanwhile
    assert [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR", "CRITICAL")] == []
