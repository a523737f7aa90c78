"""Why Windows set-up does not get on, from what the container says and how long it takes. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from waa.core.entity import Vm
from waa.core.status import BootStage, ContainerStatus

CRASH_LOOP_BOOTS = 3
"""So many starts in a row that failed are a loop."""

STILL_AFTER_S = 600.0
"""An installation writes all the time: a disk that did not change for so long is not being installed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """A set-up that stands: its cause in a few words, and what to do."""

    title: str
    remedy: str


_KNOWN: tuple[tuple[tuple[str, ...], Stuck], ...] = (
    (
        ("kvm",),
        Stuck(
            title="Windows cannot start: no KVM",
            remedy="Use a VM size with nested virtualisation (Azure: Dv3, Ev3 or later) and pass --device=/dev/kvm to the container.",
        ),
    ),
    (
        ("disk full", "no space left", "not enough free space", "disk space"),
        Stuck(
            title="Windows cannot be set up: the disk is full",
            remedy="Free space on the VM or attach a larger disk, then restart the container.",
        ),
    ),
    (
        ("iso file not found", "iso not found", "no iso"),
        Stuck(
            title="The Windows ISO is missing",
            remedy="Put the Windows ISO into the container's storage folder (setup.iso) and restart the container.",
        ),
    ),
    (
        ("download", "microsoft server", "internet connection", "products.xml"),
        Stuck(
            title="Windows cannot be downloaded",
            remedy="Check the VM's way to the internet, or put the ISO into the container's storage folder yourself.",
        ),
    ),
    (
        ('write" lock', 'get "write"'),
        Stuck(
            title="QEMU refuses to start: the disk image is in use",
            remedy="Another container or QEMU holds the same disk image: stop it, then restart this container.",
        ),
    ),
    (
        ("qemu", "could not boot"),
        Stuck(
            title="QEMU does not start Windows",
            remedy="The container's log says why. Memory and CPU cores asked for must be there; then restart the container.",
        ),
    ),
)

EXIT_WORDS: Mapping[int, str] = {
    15: "QEMU refused to start",
    17: "more memory is asked for than there is",
    61: "Windows could not be downloaded",
    62: "the image could not be extracted",
    65: "the image could not be built",
    88: "there is no KVM",
    137: "killed: out of memory, or by hand",
    143: "stopped by a signal",
}
"""What the container's exit status means where it ended."""


def stuck_setup(vm: Vm) -> Stuck | None:
    """The cause that the container itself names, None where it names none. One that fails at each start is a crash loop."""
    boot = vm.boot
    error = boot.error or (boot.last_error if is_crash_loop(vm) else "")
    if not error:
        return None
    named = next((stuck for words, stuck in _KNOWN if any(word in error.lower() for word in words)), None)
    if named is not None:
        return named
    return Stuck(title="Windows set-up fails", remedy="See the container's log.")


def is_crash_loop(vm: Vm) -> bool:
    """Whether the container is started again and again and fails each time."""
    container = vm.container.value
    is_restarting = container is not None and container.status is ContainerStatus.RESTARTING
    return vm.boot.failed_boots + 1 >= CRASH_LOOP_BOOTS or (is_restarting and vm.boot.boots >= CRASH_LOOP_BOOTS)


def setup_error(vm: Vm) -> str:
    """What the container said last of what failed, and how often it was started."""
    text = vm.boot.error or vm.boot.last_error
    return f"{text} (started {vm.boot.boots} times)" if is_crash_loop(vm) else text


def waits_for_answer(vm: Vm, *, now: float) -> bool:
    """Whether the installer may wait for a person: Windows installs itself, and nothing on the machine changes.

    A possibility only: nothing but the screen shows what the installer asks.
    """
    machine = vm.machine
    is_installing = vm.boot.stage in (BootStage.INSTALLING, BootStage.WINDOWS)
    return is_installing and machine.failure is None and machine.since_at is not None and now - machine.since_at >= STILL_AFTER_S


WAITS = Stuck(
    title="Windows set-up may wait for an answer",
    remedy="Look at the screen: a product key, a licence or an edition may be asked for. Set them for the container, or use another ISO.",
)
"""The installer shows a question that no log tells of."""
