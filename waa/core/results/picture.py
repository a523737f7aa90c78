"""What the first bytes of a screenshot say."""

import struct

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_END = b"IEND\xaeB`\x82"
HEAD_BYTES = 24
"""As much of a PNG tells its size."""
MAX_SIDE = 32_768


def png_size(head: bytes) -> tuple[int, int] | None:
    """Width and height in pixels, from a PNG's first HEAD_BYTES bytes; None for anything else."""
    if len(head) < HEAD_BYTES or not head.startswith(PNG_START) or head[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", head[16:24])
    return (width, height) if 0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE else None


def is_whole_png(data: bytes) -> bool:
    """Whether it is a PNG from its start to its end, not one that is still being written."""
    return png_size(data[:HEAD_BYTES]) is not None and data.endswith(PNG_END)


def is_whole_webp(data: bytes) -> bool:
    """Whether it is a WebP file with nothing missing at its end."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) == struct.unpack("<I", data[4:8])[0] + 8
