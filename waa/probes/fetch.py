"""Result trees on a VM: listed by one command, fetched as tar streams of many files."""

from collections.abc import Callable, Sequence
from pathlib import Path

from waa.core.port import Link
from waa.core.results.tree import FileListed


async def list_results(link: Link, path: str, *, prefix: Sequence[str] = ()) -> list[FileListed]:
    """The plain files below the absolute folder ``path`` that matter to results. Links are not followed (``path`` may be one).
    ``prefix`` are the words of a command to run under. Raises Invalid (``path``) where there is no such folder or too much in it, LinkError."""
    raise NotImplementedError


async def fetch_results(
    link: Link,
    path: str,
    files: Sequence[FileListed],
    *,
    prefix: Sequence[str] = (),
    into: Path,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Bring ``files`` (of ``list_results``) into the folder ``into``, at their paths. Those that lie there with the same size and time are
    not fetched again, so an interrupted call is repeated. What vanished meanwhile is left out. ``on_progress`` gets bytes done and
    bytes in all, after each batch. May be cancelled. Raises LinkError, Invalid (``path``), Unavailable where the disk refuses."""
    raise NotImplementedError
