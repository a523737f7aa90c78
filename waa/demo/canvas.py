"""A picture with a palette, and its PNG bytes, by the standard library alone."""

import re
import struct
import zlib

_GLYPH_COLUMNS = 3
# Three by five dots, a digit per row from the top, its bits from left to right.
_FONT = (
    "A 25755|B 65656|C 34443|D 65556|E 74647|F 74644|G 34553|H 55755|I 72227|J 11152|K 55655|L 44447|M 57755|N 65555|O 25552|"
    "P 65644|Q 25561|R 65655|S 34216|T 72222|U 55557|V 55522|W 55775|X 55255|Y 55222|Z 71247|0 75557|1 26227|2 61247|3 61216|"
    "4 55711|5 74616|6 34757|7 71122|8 75757|9 75716|. 00002|, 00024|: 02020|; 02024|- 00700|_ 00007|/ 11244|( 12221|) 42224|"
    "= 07070|+ 02720|% 51245|' 22000|\" 55000|! 22202|? 71202|# 57575|[ 32223|] 62226|{ 32623|} 62326|< 12421|> 42124|* 52725|"
    "& 25256|@ 75647|$ 36236|\\ 44211"
)


def _runs(rows: str) -> list[tuple[int, int, int]]:
    """Line, first column and length of each run of dots."""
    dots = [f"{int(digit):03b}" for digit in rows]
    return [(line, found.start(), len(found[0])) for line, bits in enumerate(dots) for found in re.finditer("1+", bits)]


_RUNS = {entry[0]: _runs(entry[2:]) for entry in _FONT.split("|")} | {" ": []}
_UNKNOWN_RUNS = _runs("75557")
_CORNER = 2


class Canvas:
    """``width`` by ``height`` dots of 8-bit palette numbers; the origin is at the top left. What lies outside is cut off."""

    def __init__(self, width: int, height: int, palette: list[tuple[int, int, int]]) -> None:
        self.width = width
        self.height = height
        self._palette = palette
        self._rows = [bytearray(width) for _ in range(height)]

    @property
    def rows(self) -> tuple[bytes, ...]:
        """The dots as they are now, row by row."""
        return tuple(bytes(row) for row in self._rows)

    def paste(self, rows: tuple[bytes, ...]) -> None:
        """Replace all dots by ``rows`` of a canvas of the same size."""
        self._rows = [bytearray(row) for row in rows]

    def box(self, left: int, top: int, width: int, height: int, colour: int, *, rounded: bool = False) -> None:
        """A filled rectangle, with its corners taken off where ``rounded``."""
        if rounded:
            for edge in range(_CORNER):
                inset = 2 * (_CORNER - edge)
                self.box(left + inset, top + edge, width - 2 * inset, 1, colour)
                self.box(left + inset, top + height - 1 - edge, width - 2 * inset, 1, colour)
            top, height = top + _CORNER, height - 2 * _CORNER
        start, end = max(left, 0), min(left + width, self.width)
        if start < end:
            run = bytes((colour,)) * (end - start)
            for y in range(max(top, 0), min(top + height, self.height)):
                self._rows[y][start:end] = run

    def text(self, left: int, top: int, text: str, colour: int, *, scale: int = 2) -> None:
        """One line of capitals."""
        for glyph in text.upper():
            for line, start, length in _RUNS.get(glyph, _UNKNOWN_RUNS):
                self.box(left + start * scale, top + line * scale, length * scale, scale, colour)
            left += (_GLYPH_COLUMNS + 1) * scale

    def png(self) -> bytes:
        """The picture as a PNG file."""
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 3, 0, 0, 0)
        palette = b"".join(bytes(colour) for colour in self._palette)
        dots = zlib.compress(b"".join(b"\0" + row for row in self._rows), 6)
        return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"PLTE", palette) + _chunk(b"IDAT", dots) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
