"""Where a VM is on its way, from no container to a guest that answers."""

import pytest

from tests.e2e.lab import VM, Lab

pytestmark = [pytest.mark.sshd, pytest.mark.container]

BOOT = (
    ("❯ Starting Windows for Docker v4.35...\n", "booting"),
    ("\x1b[1;34m❯ \x1b[1;36mDownloading Windows 11...\x1b[0m\n\n     0K ........ ........ 10% 90.5M 3s\n", "downloading"),
    ("\x1b[1;34m❯ \x1b[1;36mExtracting Windows 11 image...\x1b[0m\n", "extracting"),
    ("\x1b[1;34m❯ \x1b[1;36mAdding win11x64-enterprise-eval.xml for automatic installation...\x1b[0m\n", "configuring"),
    ("\x1b[1;34m❯ \x1b[1;36mBuilding Windows 11 image...\x1b[0m\n", "building"),
    ("\x1b[1;34m❯ \x1b[1;36mBooting Windows using QEMU v9.2.1...\x1b[0m\n", "booting"),
    ('BdsDxe: starting Boot0001 "UEFI QEMU DVD-ROM QM00013 " from PciRoot(0x0)/Pci(0x5,0x0)/Sata(0x0,0xFFFF,0x0)\n', "oobe"),
)
"""What the container says while Windows is set up, and the phase that this means."""


def test_a_container_that_is_absent_stopped_booting_or_ready_is_told_as_such(lab: Lab) -> None:
    lab.arena.remove()
    vm = lab.wait_for_vm(VM, phase="off", connected=True, phase_detail="there is no container winarena")
    assert (vm["waa_ready"], vm["failure"]) == (False, None)

    since = lab.observer.mark
    lab.arena.start()
    lab.wait_for_vm(VM, phase="booting")
    for text, phase in BOOT:
        lab.arena.say(text)
        lab.wait_for_vm(VM, phase=phase, waa_ready=False)
    lab.arena.set_ready(True)
    vm = lab.wait_for_vm(VM, waa_ready=True)
    assert vm["phase"] in ("ready", "idle")  # idle: another test has run something on this VM
    assert vm["probe"]["status"] == "Probe successful"
    lab.observer.next("status", since=since, vm=VM, waa_ready=True, phase=vm["phase"])

    lab.arena.set_ready(False)
    vm = lab.wait_for_vm(VM, waa_ready=False)
    assert vm["container"]["value"]["status"] == "running"
    lab.arena.stop()
    vm = lab.wait_for_vm(VM, phase="off")
    assert vm["phase_detail"] == "container winarena exited with status 143"


def test_a_paused_container_does_not_silence_the_vm(lab: Lab) -> None:
    lab.make_ready()
    lab.arena.pause()
    try:
        vm = lab.wait_for_vm(VM, phase="off")
        assert vm["phase_detail"] == "container winarena is paused"
        assert vm["connected"] is True
    finally:
        lab.arena.unpause()
    lab.wait_for_vm(VM, waa_ready=True)
