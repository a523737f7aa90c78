"""A picture with a palette, and its PNG bytes, by the standard library alone."""

import struct
import zlib

_GLYPH_ROWS = 5
_GLYPH_COLUMNS = 3
# Three by five dots, a digit per row from the top, its bits from left to right.
_FONT = (
    "A 25755|B 65656|C 34443|D 65556|E 74647|F 74644|G 34553|H 55755|I 72227|J 11152|K 55655|L 44447|M 57755|N 65555|O 25552|"
    "P 65644|Q 25561|R 65655|S 34216|T 72222|U 55557|V 55522|W 55775|X 55255|Y 55222|Z 71247|0 75557|1 26227|2 61247|3 61216|"
    "4 55711|5 74616|6 34757|7 71122|8 75757|9 75716|. 00002|, 00024|: 02020|; 02024|- 00700|_ 00007|/ 11244|( 12221|) 42224|"
    "= 07070|+ 02720|% 51245|' 22000|\" 55000|! 22202|? 71202|# 57575|[ 32223|] 62226|{ 32623|} 62326|< 12421|> 42124|* 52725|"
    "& 25256|@ 75647|$ 36236|\\ 44211"
)
_GLYPHS = {entry[0]: tuple(int(digit) for digit in entry[2:]) for entry in _FONT.split("|")}
_UNKNOWN = (7, 5, 5, 5, 7)
_RADIUS_STEPS = 2


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

    def row(self, y: int, left: int, right: int, colour: int) -> None:
        """A horizontal line from ``left`` up to ``right``, not included."""
        left, right = max(left, 0), min(right, self.width)
        if left < right and 0 <= y < self.height:
            self._rows[y][left:right] = bytes((colour,)) * (right - left)

    def box(self, left: int, top: int, width: int, height: int, colour: int, *, rounded: bool = False) -> None:
        """A filled rectangle, with its corners taken off where ``rounded``."""
        for offset in range(height):
            inset = max(0, _RADIUS_STEPS * 2 - offset * 2, _RADIUS_STEPS * 2 - (height - 1 - offset) * 2) if rounded else 0
            self.row(top + offset, left + inset, left + width - inset, colour)

    def text(self, left: int, top: int, text: str, colour: int, *, scale: int = 2) -> None:
        """One line of capitals."""
        for glyph in text.upper():
            rows = (0,) * _GLYPH_ROWS if glyph == " " else _GLYPHS.get(glyph, _UNKNOWN)
            for number, bits in enumerate(rows):
                for column in range(_GLYPH_COLUMNS):
                    if bits >> (_GLYPH_COLUMNS - 1 - column) & 1:
                        self.box(left + column * scale, top + number * scale, scale, scale, colour)
            left += (_GLYPH_COLUMNS + 1) * scale

    def png(self) -> bytes:
        """The picture as a PNG file."""
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 3, 0, 0, 0)
        palette = b"".join(bytes(colour) for colour in self._palette)
        dots = zlib.compress(b"".join(b"\0" + row for row in self._rows), 6)
        return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"PLTE", palette) + _chunk(b"IDAT", dots) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
