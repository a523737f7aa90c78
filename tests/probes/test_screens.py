"""Checksums of a task's newest screenshots, by the real program in a real shell."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.wait import PATIENCE_S
from waa.core.stall import count_same
from waa.probes.screens import read_sums, sums_command

HOSTILE = "x'$(touch hit)`touch hit`*[a]"


def shots(folder: Path, *contents: bytes, pattern: str = "screenshot-step_{}_20260204@121231.png") -> None:
    """Pictures, each a second younger than the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(contents):
        path = folder / pattern.format(number)
        path.write_bytes(content)
        os.utime(path, (1_770_000_000 + number, 1_770_000_000 + number))


def asked(root: Path, *, domain: str = "vlc", task_id: str = "t1", newest: int = 4, shell: str = "/bin/sh") -> tuple[str, ...]:
    command = sums_command(domain=domain, task_id=task_id, roots=[str(root)], newest=newest)
    done = subprocess.run([shell, "-c", command], capture_output=True, check=True, cwd=root, timeout=PATIENCE_S)
    assert done.stderr == b""
    return read_sums(done.stdout, newest=newest)


def cksum(content: bytes) -> str:
    done = subprocess.run(["cksum"], input=content, capture_output=True, check=True)
    return "-".join(done.stdout.decode().split()[:2])


@pytest.mark.parametrize(
    ("below", "pattern"),
    [
        ("pyautogui/a11y/gpt/0/vlc/t1", "screenshot-step_{}_20260204@121231.png"),
        ("0/navi/vlc/t1/screenshot", "screenshot-step_{}_20260204@121231.png"),
        ("pyautogui/screenshot/org/model/vlc/t1", "step_{}_20260204@121231000000.png"),
    ],
    ids=["WAA", "WAA-V2", "OSWorld"],
)
def test_the_newest_pictures_come_first(tmp_path: Path, below: str, pattern: str) -> None:
    contents = [f"picture {number}".encode() for number in range(12)]
    shots(tmp_path / below, *contents, pattern=pattern)
    assert asked(tmp_path) == tuple(cksum(content) for content in contents[:-5:-1])


def test_the_newest_folder_of_a_task_counts(tmp_path: Path) -> None:
    shots(tmp_path / "old/vlc/t1", b"a", b"b")
    shots(tmp_path / "new/vlc/t1", b"c", b"d", b"e")
    assert asked(tmp_path) == (cksum(b"e"), cksum(b"d"), cksum(b"c"))


def test_nothing_there_is_nothing_known(tmp_path: Path) -> None:
    assert asked(tmp_path) == ()
    shots(tmp_path / "x/vlc/other", b"a")
    assert asked(tmp_path) == ()
    assert count_same(()) is None


def test_links_odd_names_and_other_files_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "x/vlc/t1"
    shots(folder, b"a", b"b")
    (folder / "screenshot-step_9 $(touch hit).png").write_bytes(b"odd")
    (folder / "result.txt").write_bytes(b"1")
    (folder / "screenshot-step_8.png").symlink_to("/etc/passwd")
    assert asked(tmp_path) == (cksum(b"b"), cksum(b"a"))
    assert not (tmp_path / "hit").exists()


def test_names_are_data(tmp_path: Path) -> None:
    shots(tmp_path / "x" / HOSTILE / HOSTILE, b"a")
    assert asked(tmp_path, domain=HOSTILE, task_id=HOSTILE) == (cksum(b"a"),)
    assert not list(tmp_path.rglob("hit"))


def test_what_is_no_checksum_is_left_out() -> None:
    assert read_sums(b"1 2\nno sum\n\n3 4\n5 6\n", newest=4) == ("1-2", "3-4")


@pytest.mark.parametrize(
    ("sums", "same"),
    [
        ("aaaa", 4),
        ("aabb", 4),  # the clock of the task bar moved on
        ("abbb", 1),
        ("aabcc", 2),
        ("abcd", 1),
        ("a", 1),
    ],
)
def test_a_picture_belongs_to_a_still_screen_while_it_equals_a_neighbour(sums: str, same: int) -> None:
    assert count_same(sums) == same
