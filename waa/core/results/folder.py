"""A task's folder in the result tree, as it was read from a VM."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

SCREENSHOT_FOLDER = "screenshot"
"""A folder inside a task's folder whose files count (WAA-V2)."""
SCREENSHOTS_FOLDER = "screenshots"
"""The same of openadapt."""
DOCUMENTS = ("task.json", "execution.json", "summary.json")
"""What openadapt tells of a task; the last one lies beside the run's tasks."""

MAX_FILE_NAME = 255
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9 _.@+,=%:~-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFound:
    """A file; ``modified_at`` in whole seconds of the machine's clock."""

    name: str
    size: int
    modified_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFound:
    """What lies in a task's folder, whose absolute ``path`` is on the machine (``inner``: in its container).

    ``trajectory``, ``result``, ``error`` are the bytes of ``traj.jsonl``, ``result.txt``, ``error.txt`` (None: no such file),
    cut at a bound. ``texts`` holds the thoughts that lie in files of their own, ``heads`` the first bytes of the
    screenshots, both by name. ``documents`` holds openadapt's files by name (see DOCUMENTS). ``is_cut``: there is more than was read.
    """

    path: str
    inner: bool = False
    files: tuple[FileFound, ...] = ()
    trajectory: bytes | None = None
    result: bytes | None = None
    error: bytes | None = None
    texts: Mapping[str, bytes] = field(default_factory=dict)
    heads: Mapping[str, bytes] = field(default_factory=dict)
    documents: Mapping[str, bytes] = field(default_factory=dict)
    is_cut: bool = False


class Lack(StrEnum):
    """Why a folder could not be read."""

    UNSET = "unset"
    ABSENT = "absent"
    OUT_OF_REACH = "out_of_reach"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderLacking:
    """There is no folder to read: why, in one sentence. UNSET: nobody said where results lie. ABSENT: nothing lies there.
    ``where`` are the folders that were searched."""

    lack: Lack
    message: str = ""
    where: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRead:
    """A file of several that were looked for: which, and its bytes; None where none of those ``searched`` is there."""

    path: str = ""
    data: bytes | None = None
    searched: tuple[str, ...] = ()


def is_file_name(name: str) -> bool:
    """Whether it names a file of a task's folder or of its folder of screenshots: no other folder, no way out, no option."""
    folder, slash, base = name.rpartition("/")
    is_inside = not slash or folder in (SCREENSHOT_FOLDER, SCREENSHOTS_FOLDER)
    return len(name) <= MAX_FILE_NAME and is_inside and _NAME.fullmatch(base) is not None
