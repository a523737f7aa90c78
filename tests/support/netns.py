"""A network namespace with a cable to this one: a far machine whose network can really be cut."""

import ctypes
import functools
import os
import shutil
import subprocess
from types import TracebackType

from tests.support.wait import PATIENCE_S

NETWORK = "198.18"
"""Set aside for measurements between own devices (RFC 2544); routed nowhere."""


CLONE_NEWNET = 0x40000000
"""Of Linux's ``sched.h``."""


@functools.cache
def leave_network() -> None:
    """From now on this thread, and what it starts, has a network of its own, with a loopback. Cables that come and go in the machine's
    network make every Chromium there drop its connections (``ERR_NETWORK_CHANGED``). Wants root; raises OSError."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    _ip("link", "set", "lo", "up")


class FarNetwork:
    """``address`` is reachable from here while the cable is plugged in; ``runner`` starts programs over there.

    Wants root. As a context manager it is set up and taken away. Raises RuntimeError where namespaces are not allowed.
    """

    def __init__(self) -> None:
        number = os.getpid() % 64000
        self.name = f"waa-far-{os.getpid()}"
        self.runner = ("ip", "netns", "exec", self.name)
        block = f"{NETWORK}.{number // 250}.{number % 250 // 4 * 4}"
        base, last = block.rpartition(".")[0], int(block.rpartition(".")[2])
        self.address = f"{base}.{last + 2}"
        self._near = f"{base}.{last + 1}"
        self._cable = f"waa{number}"

    def __enter__(self) -> "FarNetwork":
        leave_network()
        _ip("netns", "add", self.name)
        try:
            _ip("link", "add", self._cable, "type", "veth", "peer", "name", "cable", "netns", self.name)
            _ip("addr", "add", f"{self._near}/30", "dev", self._cable)
            _ip("-n", self.name, "addr", "add", f"{self.address}/30", "dev", "cable")
            _ip("-n", self.name, "link", "set", "lo", "up")
            _ip("link", "set", self._cable, "up")
            self.plug_in()
        except RuntimeError:
            _ip("netns", "del", self.name)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _ip("netns", "del", self.name)  # and the cable with it

    def pull_out(self) -> None:
        """Cut the far machine off: packets get lost, nobody is told."""
        _ip("-n", self.name, "link", "set", "cable", "down")

    def plug_in(self) -> None:
        """Connect it again."""
        _ip("-n", self.name, "link", "set", "cable", "up")


def can_cut() -> bool:
    """Whether this machine and user can make namespaces."""
    if os.getuid() or not shutil.which("ip"):
        return False
    name = f"waa-try-{os.getpid()}"
    try:
        _ip("netns", "add", name)
        _ip("netns", "del", name)
    except RuntimeError:
        return False
    return True


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
