"""Known stuck set-ups are named, from recorded container logs."""

import pytest

from tests.core.builders import CONTAINER, T0, a_log_read, a_spec
from tests.core.logs.corpus import data
from tests.core.logs.fold import parse
from waa.core.attention import Limits, attention_of
from waa.core.entity import Vm
from waa.core.incident import Concern
from waa.core.logs import fact as f
from waa.core.observation import Container, LinkOpened, StatusSeen, VmNamed
from waa.core.state import State
from waa.core.status import BootStage, ContainerStatus
from waa.core.stuck import is_crash_loop, setup_error, stuck_setup
from waa.core.transition import Rules, decide


def told(facts: list[f.AnyFact], *, status: ContainerStatus = ContainerStatus.RUNNING) -> State:
    """A VM whose container's log said so."""
    state = State()
    for observation in (
        VmNamed(vm="vm-1", at=T0, spec=a_spec()),
        LinkOpened(vm="vm-1", at=T0),
        StatusSeen(vm="vm-1", at=T0, container=Container(status=status)),
        a_log_read(*facts, source=CONTAINER, at=T0 + 60),
    ):
        for change in decide(state, observation, Rules()):
            state.evolve(change)
    return state


def vm_after(name: str) -> Vm:
    return told(parse(data(name))).vms["vm-1"]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("generated/dockur_v4.35_no_kvm.log", "Windows cannot start: no KVM"),
        ("generated/dockur_v5.14_no_kvm.log", "Windows cannot start: no KVM"),
        ("generated/dockur_v6.05_no_kvm.log", "Windows cannot start: no KVM"),
        ("generated/dockur_v0.00_restart_loop_no_kvm.log", "Windows cannot start: no KVM"),
        ("generated/dockur_v4.35_microsoft_unreachable_curl6.log", "Windows cannot be downloaded"),
        ("generated/dockur_v5.14_download_failed_all_retries.log", "Windows cannot be downloaded"),
        ("generated/dockur_v6.05_download_failed.log", "Windows cannot be downloaded"),
        ("generated/dockur_v5.14_qemu_refuses_to_start.log", "QEMU refuses to start: the disk image is in use"),
        ("generated/dockur_v6.05_qemu_exits_unexpectedly.log", "QEMU does not start Windows"),
        ("real/openadapt_vm_idle_container_stuck.log", "The Windows ISO is missing"),
    ],
)
def test_the_container_names_the_cause(name: str, title: str) -> None:
    vm = vm_after(name)
    stuck = stuck_setup(vm)
    assert stuck is not None
    assert stuck.title == title
    assert stuck.remedy


@pytest.mark.parametrize(
    "name",
    [
        "generated/dockur_v3.16_fresh_install_mirror_fallback.log",
        "generated/dockur_v4.35_fresh_install.log",
        "generated/dockur_v6.05_fresh_install.log",
        "generated/dockur_v6.05_warm_boot_sigterm.log",
        "real/dockur_v4.07_compose_download.log",
        "real/waa_readme_prepare_image_console.txt",
        "real/dockur_v5.14_podman_win2019_console.log",
    ],
)
def test_a_set_up_that_gets_on_is_not_stuck(name: str) -> None:
    assert stuck_setup(vm_after(name)) is None


def test_a_container_that_fails_at_each_start_is_a_crash_loop() -> None:
    vm = vm_after("generated/dockur_v0.00_restart_loop_no_kvm.log")
    assert (vm.boot.boots, vm.boot.failed_boots) == (4, 3)
    assert is_crash_loop(vm)
    assert setup_error(vm).endswith("(started 4 times)")


BOOT = f.ContainerBooted(engine="Docker", version="5.14")
FAILS = f.BootFailed(message="KVM acceleration is not available")


def test_a_crash_loop_is_told_also_while_the_next_start_has_not_failed_yet() -> None:
    state = told([BOOT, FAILS, BOOT, FAILS, BOOT])
    (item,) = attention_of(state, now=T0 + 61, limits=Limits())
    assert (item.concern, item.title) == (Concern.SETUP_FAILING, "Windows cannot start: no KVM, again and again")
    assert item.detail == "KVM acceleration is not available (started 3 times)"
    ended = told([BOOT, FAILS, BOOT, FAILS], status=ContainerStatus.EXITED)
    (item,) = attention_of(ended, now=T0 + 61, limits=Limits())
    assert (item.concern, item.title) == (Concern.SETUP_FAILING, "Windows cannot start: no KVM")


def test_starts_that_went_well_are_no_loop() -> None:
    good: list[f.AnyFact] = [BOOT, f.BootStaged(stage=BootStage.WINDOWS, detail="boots")]
    vm = told([*good, *good, *good, BOOT]).vms["vm-1"]
    assert (vm.boot.boots, is_crash_loop(vm), stuck_setup(vm)) == (4, False, None)


def test_a_download_that_goes_on_by_another_mirror_has_overcome_the_error() -> None:
    downloading = f.BootStaged(stage=BootStage.DOWNLOADING, detail="Downloading")
    failed = f.BootFailed(message="Failed to download https://x , network failure!")
    assert stuck_setup(told([BOOT, downloading, failed, downloading]).vms["vm-1"]) is not None
    assert stuck_setup(told([BOOT, downloading, failed, downloading, f.BootProgressed(percent=3)]).vms["vm-1"]) is None
