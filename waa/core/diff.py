"""How a text differs from what it should be, word by word."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum

MAX_WORDS = 160
"""Words of each text that are compared: the time grows with their product."""
_WORD = re.compile(r"\s+|\w+|[^\w\s]")


class Part(StrEnum):
    """SAME stands in both texts, EXTRA only in the one that is looked at, MISSING only in the one that it should be."""

    SAME = "same"
    EXTRA = "extra"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Piece:
    """Some words, with the white space between them."""

    part: Part
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The pieces in the order of reading. ``is_cut``: the rest of one of the texts was not compared, and is left out."""

    pieces: tuple[Piece, ...]
    is_cut: bool = False


def difference(text: str, target: str) -> Difference:
    """What is in ``text`` and not in ``target``, and the other way round. White space counts, but for that at the ends."""
    words, wanted = _WORD.findall(text.strip()), _WORD.findall(target.strip())
    limit = 2 * MAX_WORDS  # with what stands between them
    is_cut = len(words) > limit or len(wanted) > limit
    words, wanted = words[:limit], wanted[:limit]
    pieces: list[Piece] = []
    for tag, a1, a2, b1, b2 in SequenceMatcher(None, wanted, words, autojunk=False).get_opcodes():
        if tag == "equal":
            _add(pieces, Part.SAME, words[b1:b2])
        else:
            _add(pieces, Part.MISSING, wanted[a1:a2])
            _add(pieces, Part.EXTRA, words[b1:b2])
    return Difference(pieces=tuple(pieces), is_cut=is_cut)


def _add(pieces: list[Piece], part: Part, words: list[str]) -> None:
    if words:
        pieces.append(Piece(part, "".join(words)))
