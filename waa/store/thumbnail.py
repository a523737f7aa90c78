"""Thumbnails of screenshots. The only place that decodes pictures, which come from VMs: what they claim is bounded first."""

import io

from PIL import Image

from waa.core.results.picture import HEAD_BYTES, png_size

MAX_PIXELS = 16_000_000
"""A screen of 5120 x 2880 has 15 million, which take 130 MB for a moment."""
QUALITY = 78

Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # for what a damaged file says of itself after its head


def shrink(png: bytes, *, width: int) -> bytes | None:
    """See ``Shrink``. One that is not wider than that keeps its size."""
    size = png_size(png[:HEAD_BYTES])
    if size is None or size[0] * size[1] > MAX_PIXELS:
        return None
    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            image.load()
            image.info.pop("transparency", None)  # a screen has none, and what a damaged file says of it may make no sense
            small = image.convert("RGB")
    except (Image.DecompressionBombError, OSError, ValueError, SyntaxError, AssertionError):
        return None  # what Pillow raises on damaged files
    if small.width > width:
        height = max(1, round(small.height * width / small.width))
        small = small.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
    written = io.BytesIO()
    small.save(written, "WEBP", quality=QUALITY)
    return written.getvalue()
