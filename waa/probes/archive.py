"""Result trees in archives: unpacked into a folder, whatever the archive says. Blocking: for a thread of an executor."""

from collections.abc import Callable
from pathlib import Path

from waa.core.results.tree import ExtractLimits, ExtractReport

DEFAULT_LIMITS = ExtractLimits()


def extract(
    path: Path,
    into: Path,
    *,
    limits: ExtractLimits = DEFAULT_LIMITS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> ExtractReport:
    """Unpack what matters to results from a zip or tar (plain, gzip, bzip2, xz; told by its content) into the folder ``into``.

    ``into`` appears when all of it is there (an earlier one is replaced), so that an interrupted call is simply repeated.
    ``on_progress`` gets the bytes of the archive that were read, and how many there are. Raises Invalid (``archive``) for whatever
    is no honest archive, and leaves nothing behind; Cancelled; Unavailable where the disk refuses.
    """
    raise NotImplementedError
