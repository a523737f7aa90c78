"""One laboratory for all end-to-end tests."""

import os
from collections.abc import Iterator

import pytest

from tests.e2e.lab import VM, Lab
from tests.support.netns import can_cut, leave_network
from tests.support.sshd import Sshd, has_sshd
from tests.support.winarena import WinArena, is_available


@pytest.fixture(scope="package", autouse=True)
def network() -> None:
    """All servers and their cables stand in one network, apart from that of the browsers."""
    if can_cut():
        leave_network()


@pytest.fixture(scope="package")
def arena() -> Iterator[WinArena]:
    """A container that runs, with a run log that no other test on this machine has."""
    if not is_available():
        pytest.skip("needs root, podman, runc and busybox")
    with WinArena(log_path=f"/tmp/waa-e2e-{os.getpid()}/benchmark.log") as arena:
        arena.start()
        yield arena


@pytest.fixture(scope="package")
def sshd(arena: WinArena, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """The way to it; ``docker`` is on the PATH there."""
    if not has_sshd():
        pytest.skip("needs openssh-server and openssh-client")
    with Sshd(tmp_path_factory.mktemp("sshd"), path_prefix=str(arena.bin)) as sshd:
        yield sshd


@pytest.fixture(scope="package")
def lab(arena: WinArena, sshd: Sshd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Everything, with a client that has been on the stream since the start."""
    lab = Lab(arena, sshd, tmp_path_factory.mktemp("server"))
    lab.server.start()
    try:
        with lab.observer:
            lab.wait_for_vm(VM, connected=True)
            yield lab
    finally:
        status = lab.server.stop()
    assert status == 0
    assert "Traceback" not in lab.server.text(), lab.server.text()
