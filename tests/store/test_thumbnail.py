"""Thumbnails: small, of the same shape, and refused for what is no screenshot."""

import io
import random
import struct
import zlib

import pytest
from PIL import Image

from waa.core.results.picture import is_whole_webp
from waa.store.thumbnail import MAX_PIXELS, shrink


def a_png(width: int = 1920, height: int = 1200, mode: str = "RGB") -> bytes:
    """A screen with something on it."""
    image = Image.linear_gradient("L").resize((width, height)).convert(mode)
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def a_head(width: int, height: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


START, END = b"\x89PNG\r\n\x1a\n", chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
def test_it_is_a_small_webp_of_the_same_shape(mode: str) -> None:
    png = a_png(mode=mode)
    small = shrink(png, width=320)
    assert small is not None
    assert is_whole_webp(small)
    with Image.open(io.BytesIO(small)) as image:
        assert (image.format, image.size) == ("WEBP", (320, 200))
    assert small == shrink(png, width=320)


def test_what_is_small_keeps_its_size_and_what_is_flat_keeps_a_line() -> None:
    for size, shown in (((100, 60), (100, 60)), ((4000, 2), (160, 1))):
        small = shrink(a_png(*size), width=160)
        assert small is not None
        with Image.open(io.BytesIO(small)) as image:
            assert image.size == shown


def test_one_that_would_fill_the_memory_is_not_opened() -> None:
    data = chunk(b"IDAT", zlib.compress(b"\0"))
    assert shrink(START + a_head(MAX_PIXELS, 1) + data + END, width=160) is None  # it is also broken
    assert shrink(START + a_head(MAX_PIXELS, 2) + data + END, width=160) is None
    assert shrink(START + a_head(32_000, 32_000) + data + END, width=160) is None
    second = START + a_head(10, 10) + a_head(32_000, 32_000) + data + END
    assert shrink(second, width=160) is None


@pytest.mark.parametrize("kind", ["GIF", "JPEG", "BMP", "TIFF", "WEBP"])
def test_only_png_is_read(kind: str) -> None:
    written = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(written, kind)
    assert shrink(written.getvalue(), width=160) is None
    assert shrink(START + a_head(256, 256)[:17] + written.getvalue(), width=160) is None


def test_a_damaged_one_is_refused_or_shown_and_never_an_error() -> None:
    png = a_png(200, 100, "P")
    for seed in range(1500):
        chance = random.Random(seed)
        damaged = bytearray(png)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(8, min(len(damaged), 900))] = chance.randrange(256)
        small = shrink(bytes(damaged[: chance.choice((len(damaged), chance.randrange(len(damaged))))]), width=160)
        assert small is None or is_whole_webp(small)
    assert shrink(b"", width=160) is None
