"""Reads HTML strictly enough to judge it: every element with its attributes and its text."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = frozenset({"meta", "link", "input", "img", "br", "hr"})


@dataclass(slots=True)
class Element:
    """One element; ``text`` is all the text in it, white space folded."""

    tag: str
    attributes: dict[str, str]
    parent: "Element | None" = None
    pieces: list[str] = field(default_factory=list)
    children: list["Element"] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join("".join(self.pieces).split())

    @property
    def classes(self) -> set[str]:
        return set(self.attributes.get("class", "").split())

    def walk(self) -> Iterator["Element"]:
        """This element and all in it, in the order of the document."""
        yield self
        for child in self.children:
            yield from child.walk()

    def all(self, *, tag: str | None = None, class_: str | None = None) -> list["Element"]:
        """The elements of a tag, of a class, or both."""
        return [each for each in self.walk() if tag in (None, each.tag) and (class_ is None or class_ in each.classes)]

    def one(self, *, id_: str | None = None, tag: str | None = None, class_: str | None = None) -> "Element":
        """The only such element."""
        found = [each for each in self.all(tag=tag, class_=class_) if id_ in (None, each.attributes.get("id"))]
        assert len(found) == 1, f"{len(found)} of id={id_} tag={tag} class={class_}"
        return found[0]

    def has_id(self, id_: str) -> bool:
        return any(each.attributes.get("id") == id_ for each in self.walk())


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.at = self.root

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs}, self.at)
        self.at.children.append(element)
        if tag not in VOID:
            self.at = element

    def handle_endtag(self, tag: str) -> None:
        assert self.at.tag == tag, f"</{tag}> closes <{self.at.tag} {self.at.attributes}>"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        element: Element | None = self.at
        while element is not None:
            element.pieces.append(data)
            element = element.parent


def read(html: bytes) -> Element:
    """The elements of a document or a fragment. Fails where tags do not nest."""
    reader = _Reader()
    reader.feed(html.decode())
    reader.close()
    assert reader.at is reader.root, f"<{reader.at.tag} {reader.at.attributes}> is not closed"
    return reader.root


def judge(root: Element) -> None:
    """What a strict content security policy would refuse, and what no document may have."""
    ids = [each.attributes["id"] for each in root.walk() if "id" in each.attributes]
    assert sorted(ids) == sorted(set(ids)), "an id occurs twice"
    for each in root.walk():
        assert "style" not in each.attributes
        assert not [name for name in each.attributes if name.startswith(("on", "hx-on", "hx-vals", "hx-live"))]
        assert each.tag != "style"
        assert not any(value.strip().lower().startswith("javascript:") for value in each.attributes.values())
        if each.tag == "script":
            assert each.attributes["src"].startswith("/static/")
            assert not each.text
        if each.tag == "img":
            assert "alt" in each.attributes
        if "id" in each.attributes:
            assert not set(each.attributes["id"]) & set(" \t\n<>\"'"), each.attributes["id"]
