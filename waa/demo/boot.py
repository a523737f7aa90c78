"""What the container prints while it prepares and boots Windows, in the format of dockur/windows v5, and how fast."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

_VERSION = "v5.14"
_BLOCK_KB = 32768
_WAITING = "Waiting for a response from the windows server. This might take a while..."
_WAITING_EVERY_S = 5.0
_GUID = "3D2C0E51-7A86-4F0B-9C44-5B8E1F60A927"


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """After ``delay_s`` the container prints ``lines``; ``page`` is what its status page then says (None: as before)."""

    delay_s: float
    lines: tuple[str, ...]
    page: str | None = None


def first_boot(rng: Random) -> Iterator[Beat]:
    """Download, installation and first start: about 40 s."""
    return _with_waiting(_first_boot(rng))


def warm_boot(rng: Random) -> Iterator[Beat]:
    """Start of an installed disk: about 12 s."""
    return _with_waiting(_warm_boot(rng))


def ready_lines() -> tuple[str, ...]:
    """What the container prints once the guest's server answers."""
    return (
        "VM is up and running, and the Windows Arena Server is ready to use!",
        "VM started, server ready",
        "Skipping image preparation...",
        "Keeping container alive",
    )


def _first_boot(rng: Random) -> Iterator[Beat]:
    yield from _greeting(rng)
    yield _info(1.2, "Requesting Windows 11 from the Microsoft servers...", page="Requesting Windows 11...")
    yield _info(1.5, "Downloading Windows 11...", page="Downloading Windows 11...")
    yield from _download(rng)
    yield _info(0.8, "Extracting Windows 11 image...", page="Extracting Windows 11 image...")
    yield _info(4.0, "Adding drivers to image...", page="Adding drivers to image...")
    yield _info(1.5, "Adding OEM folder to image...", page="Adding OEM folder to image...")
    yield _info(1.2, "Adding win11x64-enterprise-eval.xml for automatic installation...", page="Adding win11x64-enterprise-eval.xml...")
    yield _info(1.5, "Building Windows 11 image...", page="Building Windows 11 image...")
    yield _info(4.0, "Creating a 64 GB growable disk image in raw format...", page="Creating disk image...")
    yield _info(1.2, "Booting Windows using QEMU v10.0.6...", page="")
    yield Beat(
        delay_s=2.0,
        lines=(
            'BdsDxe: skipped Boot0002 "UEFI QEMU QEMU HARDDISK " from PciRoot(0x0)/Pci(0xA,0x0)/Scsi(0x0,0x0)\r',
            *_firmware('Boot0001 "UEFI QEMU DVD-ROM QM00013 " from PciRoot(0x0)/Pci(0x5,0x0)/Sata(0x0,0xFFFF,0x0)'),
        ),
    )
    yield _started(3.5)
    yield Beat(delay_s=3.0, lines=_installed_disk())
    yield Beat(delay_s=3.0, lines=_installed_disk())
    yield Beat(delay_s=2.5, lines=())


def _warm_boot(rng: Random) -> Iterator[Beat]:
    yield from _greeting(rng)
    yield _info(2.0, "Booting Windows using QEMU v10.0.6...", page="")
    yield Beat(delay_s=2.0, lines=_installed_disk())
    yield _started(3.0)
    yield Beat(delay_s=3.5, lines=())


def _greeting(rng: Random) -> Iterator[Beat]:
    yield Beat(delay_s=0.3, lines=("Starting WinArena...", "Starting VM...", "Starting WinArena VM..."), page="Starting...")
    yield Beat(
        delay_s=0.7,
        lines=(f"❯ Starting Windows for Docker {_VERSION}...", "❯ For support visit https://github.com/dockur/windows"),
    )
    free_gb = rng.randint(26, 30)
    yield Beat(delay_s=0.5, lines=(f"❯ CPU: Demo vCPU | RAM: {free_gb}/32 GB | DISK: 78 GB (ext4) | KERNEL: 6.8.0-demo...", ""))


def _download(rng: Random) -> Iterator[Beat]:
    blocks = 48
    last = blocks - 1
    dots = "........ " * 4
    for block in range(blocks):
        percent = 100 * (block + 1) // blocks
        rate = rng.uniform(112, 138)
        if block == last:
            lines: tuple[str, ...] = (f"{block * _BLOCK_KB:6d}K {dots}{100:3d}% {rate:.0f}M=12s", "")
        else:
            lines = (f"{block * _BLOCK_KB:6d}K {dots}{percent:3d}% {rate:.0f}M {(last - block) / 4:.0f}s",)
        done = 100 * (block + 1) / blocks
        yield Beat(delay_s=0.25, lines=("", *lines) if block == 0 else lines, page=f"Downloading Windows 11 ({done:.1f}%)")


def _info(delay_s: float, text: str, *, page: str | None = None) -> Beat:
    return Beat(delay_s=delay_s, lines=(f"\x1b[1;34m❯ \x1b[1;36m{text}\x1b[0m",), page=page)


def _started(delay_s: float) -> Beat:
    return _info(delay_s, "Windows started successfully, visit http://127.0.0.1:8006/ to view the screen...")


def _firmware(entry: str) -> tuple[str, str]:
    return f"BdsDxe: loading {entry}\r", f"BdsDxe: starting {entry}\r"


def _installed_disk() -> tuple[str, str]:
    return _firmware(f'Boot0004 "Windows Boot Manager" from HD(1,GPT,{_GUID},0x800,0x64000)/\\EFI\\Microsoft\\Boot\\bootmgfw.efi')


def _with_waiting(beats: Iterator[Beat]) -> Iterator[Beat]:
    """The start script beside it polls the guest and says so every few seconds, in the same stream."""
    since_s = _WAITING_EVERY_S - 1.0
    for beat in beats:
        since_s += beat.delay_s
        if since_s >= _WAITING_EVERY_S:
            since_s = 0.0
            yield Beat(delay_s=beat.delay_s, lines=(*beat.lines, _WAITING), page=beat.page)
        else:
            yield beat
