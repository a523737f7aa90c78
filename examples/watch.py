"""Prints one line for each task that ends, from the JSON stream of a WAA Live server; resumes where it was cut off.

pip install httpx httpx-sse
python examples/watch.py [http://127.0.0.1:8765]
"""

import json
import sys
import time

import httpx
from httpx_sse import ServerSentEvent, connect_sse

SILENT_S = 45.0
"""The stream beats every 30 s: after this time without a byte it is dead."""


def show(event: ServerSentEvent) -> None:
    """One line for what a person wants to know."""
    data = json.loads(event.data)
    if event.event in ("task_complete", "task_settled"):
        score = "no score" if data["score"] is None else f"{data['score']:.2f}"
        print(f"{data['vm']}: {data['domain']}/{data['task_id']} {data['status']} ({score})", flush=True)
    elif event.event in ("error", "gap"):
        print(f"{event.event}: {data['message']}", flush=True)


def watch(client: httpx.Client, url: str, last_id: str) -> tuple[str, float]:
    """Follow one connection to its end; gives the id to resume with and how many seconds to wait before."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    wait_s = 1.0
    try:
        with connect_sse(client, "GET", url, headers=headers) as source:
            source.response.raise_for_status()
            for event in source.iter_sse():
                show(event)
                last_id = event.id or last_id
                wait_s = event.retry / 1000 if event.retry is not None else wait_s
    except httpx.HTTPStatusError as error:
        print(f"refused: {error}", file=sys.stderr)
        wait_s = float(error.response.headers.get("Retry-After", 30))
    except httpx.TransportError as error:
        print(f"connection lost: {error}", file=sys.stderr)
    return last_id, wait_s


def main() -> None:
    """Follow until Ctrl-C."""
    server = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8765"
    last_id = ""
    with httpx.Client(timeout=httpx.Timeout(10.0, read=SILENT_S)) as client:
        while True:
            last_id, wait_s = watch(client, f"{server.rstrip('/')}/api/benchmark-sse", last_id)
            time.sleep(wait_s)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
