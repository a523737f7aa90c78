"""The folder of screenshots: whole ones only, within its bound, the oldest used go first."""

import hashlib
import os
from pathlib import Path

import pytest

from waa.store.pictures import PictureFolder


def a_picture(size: int = 100) -> bytes:
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01"
    end = b"IEND\xaeB`\x82"
    return head + bytes(size - len(head) - len(end)) + end


def a_thumbnail(size: int = 100) -> bytes:
    return b"RIFF" + (size - 8).to_bytes(4, "little") + b"WEBP" + bytes(size - 12)


def a_key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def test_what_is_put_is_got_also_by_the_next_server(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "screenshots"
    pictures = PictureFolder(folder, max_bytes=1000)
    assert pictures.get(a_key(1)) is None
    pictures.put(a_key(1), a_picture())
    assert pictures.get(a_key(1)) == a_picture()
    assert PictureFolder(folder, max_bytes=1000).get(a_key(1)) == a_picture()
    assert folder.stat().st_mode & 0o077 == 0


def test_the_oldest_used_go_first(tmp_path: Path) -> None:
    pictures = PictureFolder(tmp_path, max_bytes=1000)
    for number in range(10):
        pictures.put(a_key(number), a_picture())
        os.utime(tmp_path / f"{a_key(number)}.png", (1000 + number, 1000 + number))
    assert pictures.get(a_key(0)) is not None  # used now
    pictures.put(a_key(10), a_picture())
    kept = [number for number in range(11) if (tmp_path / f"{a_key(number)}.png").exists()]
    assert kept == [0, 3, 4, 5, 6, 7, 8, 9, 10]


def test_the_bound_counts_what_an_earlier_server_left(tmp_path: Path) -> None:
    first = PictureFolder(tmp_path, max_bytes=10_000)
    for number in range(20):
        first.put(a_key(number), a_picture())
    (tmp_path / "left.part").write_bytes(b"half")
    PictureFolder(tmp_path, max_bytes=500).put(a_key(99), a_picture())
    names = {path.name for path in tmp_path.iterdir()}
    assert f"{a_key(99)}.png" in names
    assert len(names) <= 5
    assert "left.part" not in names


def test_thumbnails_count_and_go_like_pictures(tmp_path: Path) -> None:
    pictures = PictureFolder(tmp_path, max_bytes=1000)
    for number in range(20):
        pictures.put(a_key(number), a_thumbnail())
    assert pictures.get(a_key(19)) == a_thumbnail()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000
    (tmp_path / f"{a_key(19)}.webp").write_bytes(a_thumbnail()[:50])
    assert pictures.get(a_key(19)) is None
    assert not (tmp_path / f"{a_key(19)}.webp").exists()


def test_a_damaged_picture_is_not_given_again(tmp_path: Path) -> None:
    pictures = PictureFolder(tmp_path, max_bytes=1000)
    pictures.put(a_key(1), a_picture())
    path = tmp_path / f"{a_key(1)}.png"
    path.write_bytes(a_picture()[:50])
    assert pictures.get(a_key(1)) is None
    assert not path.exists()


def test_what_the_disk_refuses_is_not_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    pictures = PictureFolder(tmp_path / "file" / "screenshots", max_bytes=1000)
    pictures.put(a_key(1), a_picture())
    assert pictures.get(a_key(1)) is None
    assert "screenshot not kept" in caplog.text
    caplog.clear()


def test_one_that_is_larger_than_all_that_is_kept_is_not_kept(tmp_path: Path) -> None:
    pictures = PictureFolder(tmp_path, max_bytes=50)
    pictures.put(a_key(1), a_picture())
    assert pictures.get(a_key(1)) is None


@pytest.mark.parametrize("key", ["", "../x", "ABC", "a" * 65, "a/b"])
def test_keys_are_digests(key: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="digest"):
        PictureFolder(tmp_path, max_bytes=50).get(key)
