"""What a reader chose (a search, a filter, an order, a page of a list), as it stands in an address: read strictly, printed in one way."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote_plus

from waa.core.error import Invalid

MAX_TEXT = 300
"""Characters of a text once it is written into an address: the whole choice must fit into one query value."""
MAX_PAGE = 100_000
AROUND = 2
"""Pages that are linked on either side of the one shown."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """By which column, and which way."""

    column: str
    is_descending: bool = False

    @property
    def text(self) -> str:
        """As it stands in an address: ``-score``."""
        return f"-{self.column}" if self.is_descending else self.column

    def toward(self, column: str, *, descends: bool) -> "Order":
        """What a click on a column's head asks for: the other way where it is sorted by already, else the way that comes first."""
        return Order(column=column, is_descending=not self.is_descending if column == self.column else descends)

    def sort(self, items: Iterable[Item], value: Callable[[Item], Any]) -> list[Item]:
        """Sorted, equal ones in the order in which they come; those without a value (None) are last either way."""
        keyed = [(value(item), item) for item in items]
        known = sorted((pair for pair in keyed if pair[0] is not None), key=lambda pair: pair[0], reverse=self.is_descending)
        return [item for _, item in known] + [item for key, item in keyed if key is None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column that sorts. ``descends``: the greatest come first, when it is asked for first."""

    word: str
    descends: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A column's head. ``sort`` is what ``aria-sort`` says; ``url`` sorts by it, or the other way."""

    name: str
    word: str
    url: str
    sort: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLink:
    """A page of a list. ``is_apart``: pages before it are left out."""

    number: int
    url: str
    is_shown: bool
    is_apart: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pager:
    """Which part of a list is shown: rows ``first`` to ``last`` of ``total``, counted from 1; (0, 0) of nothing."""

    page: int
    first: int
    last: int
    total: int
    links: tuple[PageLink, ...]
    previous: str
    next: str

    def part(self, items: Sequence[Item]) -> Sequence[Item]:
        """The rows that are shown."""
        return items[max(0, self.first - 1) : self.last]


@dataclass(frozen=True, slots=True)
class Query:
    """The values of a query by name; each may be given several times."""

    values: Mapping[str, Sequence[str]]

    @classmethod
    def parse(cls, text: str, names: Collection[str]) -> "Query":
        """Raises Invalid for a name that is not one of ``names``."""
        try:
            values = parse_qs(text, keep_blank_values=True, max_num_fields=len(names) + 8)
        except ValueError:
            raise Invalid("query", "has too many values") from None
        for name in values:
            if name not in names:
                raise Invalid(name[:80], f"is not one of: {', '.join(names)}")
        return cls(values)

    def one(self, name: str) -> str:
        """A text without outer or doubled white space, "" where absent. Raises Invalid."""
        given = self.values.get(name, ())
        if len(given) > 1:
            raise Invalid(name, "is given more than once")
        text = " ".join("".join(char if char.isprintable() else " " for char in given[0]).split()) if given else ""
        if len(quote_plus(text)) > MAX_TEXT:
            raise Invalid(name, f"is too long: at most {MAX_TEXT} characters, fewer where they are not plain letters")
        return text

    def choice(self, name: str, allowed: Collection[str]) -> str:
        """One of the allowed values, to the letter; "" where absent. Raises Invalid."""
        self.one(name)
        text = "".join(self.values.get(name, ()))
        if text and text not in allowed:
            raise Invalid(name, f"is one of: {', '.join(allowed)}")
        return text

    def choices(self, name: str, allowed: Sequence[str]) -> tuple[str, ...]:
        """Several of the allowed values, in their order: given again and again, or with commas. Raises Invalid."""
        given = {value.strip() for values in self.values.get(name, ()) for value in values.split(",")} - {""}
        if not given <= set(allowed):
            raise Invalid(name, f"is one or more of: {', '.join(allowed)}")
        return tuple(value for value in allowed if value in given)

    def order(self, name: str, columns: Collection[str], default: Order) -> Order:
        """A column, with a minus for the greatest first. Raises Invalid."""
        text = self.one(name)
        column = text.removeprefix("-")
        if text and column not in columns:
            raise Invalid(name, f"is one of: {', '.join(columns)}; with a minus for the other way")
        return Order(column=column, is_descending=text.startswith("-")) if text else default

    def page(self, name: str) -> int:
        """The number of a page, counted from 1. Raises Invalid."""
        text = self.one(name) or "1"
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_PAGE):
            raise Invalid(name, f"is a number from 1 to {MAX_PAGE}")
        return int(text)


def printed(values: Mapping[str, str]) -> str:
    """A query without its empty values; ``Query.parse`` reads it."""
    return "&".join(f"{name}={quote_plus(value, safe=',')}" for name, value in values.items() if value)


def heads(columns: Mapping[str, Column], order: Order, url_of: Callable[[Order], str]) -> dict[str, Head]:
    """The heads of all columns by name."""
    way = "descending" if order.is_descending else "ascending"
    return {
        name: Head(
            name=name,
            word=column.word,
            url=url_of(order.toward(name, descends=column.descends)),
            sort=way if name == order.column else "none",
        )
        for name, column in columns.items()
    }


def pager(total: int, page: int, size: int, url_of: Callable[[int], str]) -> Pager:
    """The part of a list that a page shows; a page beyond the end is the last one."""
    pages = max(1, -(-total // size))
    page = min(page, pages)
    numbers = sorted({1, pages} | set(range(max(1, page - AROUND), min(pages, page + AROUND) + 1)))
    links = [
        PageLink(number=number, url=url_of(number), is_shown=number == page, is_apart=number - before > 1)
        for before, number in zip([0, *numbers], numbers, strict=False)
    ]
    return Pager(
        page=page,
        first=(page - 1) * size + 1 if total else 0,
        last=min(total, page * size),
        total=total,
        links=tuple(links) if pages > 1 else (),
        previous=url_of(page - 1) if page > 1 else "",
        next=url_of(page + 1) if page < pages else "",
    )


def has_words(haystack: Iterable[str], words: str) -> bool:
    """Whether each of the words occurs in one of the texts, whatever its case."""
    if not words:
        return True
    text = "\n".join(haystack).casefold()
    return all(word in text for word in words.casefold().split())
