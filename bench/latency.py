"""How long from a line in a run's log to the reader's eye: the live page against the same page polling every 5 seconds.

Lines are appended inside a real container behind a real sshd, as a run writes them; Chromium says when each stands in the page.
See docs/bench.md. Needs root, podman, runc, busybox, openssh-server and chromium.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.sync_api import Page, sync_playwright

from tests.support.server import Server, wait_for
from tests.support.sshd import Sshd, has_sshd
from tests.support.winarena import WinArena, is_available

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync")
VM = "bench"
WATCH = """
() => {
  window.seen = {};
  const look = () => {
    const at = performance.timeOrigin + performance.now();
    for (const row of [...document.querySelectorAll(".log-lines li")].slice(-40)) {
      const line = /^bench-line (\\d+) /.exec(row.textContent);
      if (line) window.seen[line[1]] ??= at;
    }
  };
  new MutationObserver(look).observe(document.body, {subtree: true, childList: true, characterData: true});
}
"""
APPEND = """
import random, sys, time
path, first, count, gap_s, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
rng = random.Random(seed)
for number in range(first, first + count):
    time.sleep(gap_s * (0.5 + rng.random()))
    at = time.time()
    with open(path, "a") as file:
        file.write(f"bench-line {number} of the run's log, as long as such lines are {'.' * 60}\\n")
    print(number, repr(at), flush=True)
"""


def main() -> int:
    """The exit status: 1 where a line never arrived, 2 where something is missing here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=200, help="lines in all (default 200)")
    parser.add_argument("--gap", type=float, default=0.15, help="seconds between two lines, varied by half both ways (default 0.15)")
    parser.add_argument("--rounds", type=int, default=4, help="the lines come in so many rounds, each told apart (default 4)")
    options = parser.parse_args()
    if not (is_available() and has_sshd() and CHROMIUM.exists()):
        print("needs root, podman, runc, busybox, openssh-server and chromium", file=sys.stderr)
        return 2
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        arena = stack.enter_context(WinArena(log_path=f"/tmp/waa-bench-{os.getpid()}/benchmark.log"))
        arena.start()
        arena.set_ready(True)
        _become_debian(arena)
        sshd = stack.enter_context(Sshd(folder / "sshd", path_prefix=str(arena.bin)))
        # No runner: its output would be in the container's log too, and the page shows one of the two.
        arena.exec("mkdir", "-p", str(Path(arena.log_path).parent))
        arena.write(arena.log_path, "bench-line 0 comes before all\n")
        fields = {"name": VM, **sshd.spec_fields(), **arena.spec_fields(), "engine": "docker", "log_side": "container"}
        live = _start(stack, folder / "live", fields, sse=True)
        polling = _start(stack, folder / "polling", fields, sse=False)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        stack.callback(browser.close)
        pages = {"live": browser.new_page(), "polling, every 5 s": browser.new_page()}
        for page, server in zip(pages.values(), (live, polling), strict=True):
            page.goto(f"{server.url}/vms/{VM}")
            page.evaluate(WATCH)
        live_page = pages["live"]
        live_page.wait_for_function("() => document.getElementById('sse-connection-indicator').textContent === 'Live'")
        written: dict[str, float] = {}
        for number in range(options.rounds):
            count = options.lines // options.rounds
            first = number * count + 1
            said = arena.exec(
                "python3", "-c", APPEND, arena.log_path, str(first), str(count), str(options.gap), str(Random(number).random())
            )
            written |= {line: float(at) for line, at in (row.split() for row in said.splitlines())}
        rows = {name: _ages(page, written) for name, page in pages.items()}
    return _report(rows, len(written))


def _become_debian(arena: WinArena) -> None:
    """The stand-in's image has busybox, whose tail looks once a second; the real one is a Debian, where tail is woken."""
    for program, name in (("dash", "sh"), ("tail", "tail")):
        arena.exec("rm", f"/bin/{name}")
        arena.run("cp", shutil.which(program) or f"/usr/bin/{program}", f"{arena.name}:/bin/{name}")


def _start(stack: ExitStack, folder: Path, fields: dict[str, object], *, sse: bool) -> Server:
    folder.mkdir()
    vm = "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())
    server = Server(folder, config=f'demo = "off"\nsse = {json.dumps(sse)}\n[[vm]]\n{vm}').start()
    stack.callback(server.stop)
    wait_for(lambda: "bench-line 0" in server.html(f"/fragments/log?vm={VM}"), what="the log is followed", within_s=60)
    return server


def _ages(page: Page, written: dict[str, float]) -> list[float]:
    """Milliseconds from the append to the page, of the lines that arrived."""
    last = max(written, key=int)
    page.wait_for_function("last => last in window.seen", arg=last, timeout=20_000)
    seen: dict[str, float] = page.evaluate("() => window.seen")
    return sorted(seen[line] - at * 1000 for line, at in written.items() if line in seen)


def _report(rows: dict[str, list[float]], count: int) -> int:
    print(f"{count} lines, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}\n")
    print("| page | lines seen | p50 | p90 | p99 | worst |")
    print("|---|---|---|---|---|---|")
    for name, ages in rows.items():
        print(f"| {name} | {len(ages)} | {' | '.join(f'{_quantile(ages, share):.0f} ms' for share in (0.5, 0.9, 0.99, 1.0))} |")
    live, polling = (statistics.median(ages) for ages in rows.values())
    print(f"\nmedian, polling to live: {polling / live:.0f} to 1")
    return 0 if all(len(ages) == count for ages in rows.values()) else 1


def _quantile(ages: Sequence[float], share: float) -> float:
    return ages[min(len(ages) - 1, int(share * len(ages)))]


if __name__ == "__main__":
    sys.exit(main())
