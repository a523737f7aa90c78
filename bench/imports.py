"""Importing a finished run of 154 tasks and 5,000 steps: time and memory, from a folder and from an archive.

The peers, in the same run: reading the same files with Python's own json and nothing else, and unpacking the archive with GNU tar. See
docs/bench.md. Needs nothing but the product and tar.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.server import Server, wait_for
from tests.support.tree import png, waa_tree

TASKS = 154


def main() -> int:
    """The exit status: 1 where the import did not end as it must."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=33, help="steps of each of the 154 tasks (default 33: 5,082 in all)")
    parser.add_argument("--rounds", type=int, default=3, help="each in a server of its own (default 3)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tree = root / "tree"
        waa_tree(tree, tasks=TASKS, steps=given.steps, picture=png(1280, 800, shade=90))
        archive = root / "tree.tar.gz"
        subprocess.run(["tar", "-czf", archive, "-C", tree, "."], check=True)
        size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
        files = sum(path.is_file() for path in tree.rglob("*"))
        packed = archive.stat().st_size
        print(f"{TASKS} tasks, {TASKS * given.steps:,} steps, {files:,} files, {size / 1e6:.0f} MB, {packed / 1e6:.1f} MB packed")
        plain = [timed(lambda: read_plainly(tree)) for _ in range(given.rounds)]
        unpacked = [timed(lambda: unpack(archive, root / "unpacked")) for _ in range(given.rounds)]
        by_folder, by_archive = [], []
        for number in range(given.rounds):
            by_folder.append(one(root / f"f{number}", TASKS * given.steps, body={"path": str(tree)}))
            by_archive.append(one(root / f"a{number}", TASKS * given.steps, archive=archive))
        report("folder", by_folder, "json alone", plain)
        report("archive", by_archive, "tar -xzf", unpacked)
    return 0


def one(folder: Path, steps: int, *, body: object = None, archive: Path | None = None) -> tuple[float, float, float]:
    """Seconds from the request to the end of the job, MB of memory that the server took more at its peak, and the longest wait for
    another request meanwhile, ms."""
    folder.mkdir()
    server = Server(folder, config='demo = "off"\n').start()
    try:
        server.get("/api/runs")
        before = peak_mb(server.pid)
        began = time.perf_counter()
        if archive is not None:
            _, answer = server.send("POST", "/api/traces/import", archive.read_bytes(), {"Content-Type": "application/gzip"})
        else:
            _, answer = server.send("POST", "/api/traces/import", body)
        longest_s = 0.0

        def look() -> bool:
            nonlocal longest_s
            asked = time.perf_counter()
            status = server.get(f"/api/jobs/{answer['job_id']}")["status"]
            longest_s = max(longest_s, time.perf_counter() - asked)
            return bool(status not in ("pending", "running"))

        wait_for(look, within_s=300, what="the end of the import")
        took = time.perf_counter() - began
        result = server.get(f"/api/jobs/{answer['job_id']}")["result"]
        if result is None or (result["tasks"], result["steps"]) != (TASKS, steps):
            raise SystemExit(f"not imported: {result}")
        return took, peak_mb(server.pid) - before, longest_s * 1000
    finally:
        server.stop()


def peak_mb(pid: int) -> float:
    """The most memory that a process had so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    return 0.0


def read_plainly(tree: Path) -> None:
    """Each trajectory and result, decoded and forgotten."""
    for path in tree.rglob("*"):
        if path.name == "traj.jsonl":
            for line in path.read_bytes().splitlines():
                json.loads(line)
        elif path.name == "result.txt":
            float(path.read_text())


def unpack(archive: Path, into: Path) -> None:
    """By GNU tar."""
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    subprocess.run(["tar", "-xzf", archive, "-C", into], check=True)


def timed(work: Callable[[], None]) -> float:
    """Seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def report(name: str, rounds: list[tuple[float, float, float]], peer: str, peers: list[float]) -> None:
    """Medians, and the ratio."""
    took, memory, wait = (statistics.median(values) for values in zip(*rounds, strict=True))
    other = statistics.median(peers)
    print(f"{name}: {took:.2f} s, {memory:+.0f} MB at the peak, another request waited {wait:.0f} ms at most")
    print(f"  {peer}: {other:.2f} s; ratio {took / other:.1f}")


if __name__ == "__main__":
    sys.exit(main())
