"""A demo VM that waits for its container for ever (slow), or rushes through its cycles (quick)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from waa.core.spec import VmSpec
from waa.demo.vm import DemoVm


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VmSpec]:
    """A running demo VM at its usual pace, shared by the tests of a module that only run commands on it."""
    vm = DemoVm(folder=tmp_path_factory.mktemp("demo") / "vm")
    try:
        yield vm.start()
    finally:
        vm.stop()


@pytest.fixture
def rushing(tmp_path: Path) -> Iterator[VmSpec]:
    """A running demo VM whose cycles take seconds."""
    vm = DemoVm(folder=tmp_path / "vm", speed=400.0)
    try:
        yield vm.start()
    finally:
        vm.stop()
