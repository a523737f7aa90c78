"""Result trees on this machine: listed and read without following a link. Blocking: for a thread of an executor."""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace

from waa.core.error import Cancelled, Invalid
from waa.core.results.folder import SCREENSHOT_FOLDER, SCREENSHOTS_FOLDER, FileFound, FolderFound, is_file_name
from waa.core.results.picture import HEAD_BYTES
from waa.core.results.tree import MAX_DEPTH, MAX_FILES, MAX_SETTINGS_BYTES, FileListed, matters
from waa.probes.task_folder import MAX_EXTRAS, MAX_OUTPUT_BYTES, MAX_SMALL_BYTES, MAX_TEXT_BYTES, MAX_TRAJECTORY_BYTES
from waa.probes.task_folder import MAX_FILES as MAX_FILES_OF_TASK

COUNT_EVERY = 500
"""Files between two calls of ``on_count`` and two looks whether it is cancelled."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe must not make us wait for its writer
_BOUNDS = {"traj.jsonl": MAX_TRAJECTORY_BYTES, "result.txt": MAX_SMALL_BYTES, "error.txt": MAX_SMALL_BYTES}
_OWN_DOCUMENTS = ("task.json", "execution.json")
_EVALS_FOLDER = "tasks"


def list_tree(
    root: str, *, on_count: Callable[[int], None] = lambda _: None, is_cancelled: Callable[[], bool] = lambda: False
) -> list[FileListed]:
    """The plain files below ``root`` (an absolute folder, which may be a link itself) that matter to results, in any order.

    Links are not followed, sockets and devices do not count, nor do names that are no text. What vanishes or cannot be read below the
    root is left out. ``on_count`` is told how many files were seen, of any kind. Raises Invalid (``path``) where the root is no folder
    or cannot be read, or holds more than MAX_FILES files; Cancelled.
    """
    lister = _Lister(on_count, is_cancelled)
    with _root(root) as folder:
        lister.walk(folder, "")
    on_count(lister.count)
    return lister.found


def read_task_folder(path: str, *, root: str) -> FolderFound | None:
    """A task's folder by its absolute path, at or below ``root`` (also absolute, which alone may be reached by a link).

    None where there is none (but for a task of openadapt that only ``summary.json`` tells of), or where a link below the root leads to
    it. What is longer than the bounds of ``task_folder`` is cut, and said to be. Raises Invalid (``path``) where the root cannot be read
    or the folder is not below it.
    """
    below = _below(root, path)
    with _root(root) as top:
        summary = _summary(top, below)
        with _inside(top, below) as folder:
            if folder is None:
                return FolderFound(path=path, documents={"summary.json": summary}) if summary is not None else None
            found = _Reader(folder).read()
    if summary is not None and "execution.json" not in found.documents:
        found = replace(found, documents={**found.documents, "summary.json": summary})
    return replace(found, path=path)


def read_file(folder: str, name: str, max_bytes: int, *, root: str) -> bytes | None:
    """A plain file of a task's folder (``name`` as in ``FolderFound.files``), or one of a run's ``settings``; ``folder`` and ``root`` as
    for ``read_task_folder``. None where there is none, it is longer, a link leads to it, or the name leads out of the folder. Raises
    Invalid as there."""
    if not is_file_name(name):
        return None
    part, _, base = name.rpartition("/")
    below = [*_below(root, folder), *([part] if part else [])]
    with _root(root) as top, _inside(top, below) as inner:
        data = _content(inner, base, max_bytes + 1) if inner is not None else None
    return data if data is not None and len(data) <= max_bytes else None


class _Lister:
    """Walks a tree by descriptors: a folder that is swapped for a link meanwhile is not entered."""

    def __init__(self, on_count: Callable[[int], None], is_cancelled: Callable[[], bool]) -> None:
        self.found: list[FileListed] = []
        self.count = 0
        self._on_count = on_count
        self._is_cancelled = is_cancelled

    def walk(self, folder: int, prefix: str, depth: int = 1) -> None:
        inner: list[str] = []
        for entry in _entries(folder):
            self._tick()
            name = f"{prefix}{entry.name}"
            if not entry.name.isprintable():
                continue
            if entry.is_dir(follow_symlinks=False):
                inner.append(entry.name)
            elif matters(name) and (found := _listed(entry, name)) is not None:
                self.found.append(found)
        for part in inner if depth < MAX_DEPTH else ():
            if part.startswith("."):
                continue
            with _opened(part, folder) as below:
                if below is not None:
                    self.walk(below, f"{prefix}{part}/", depth + 1)

    def _tick(self) -> None:
        self.count += 1
        if self.count > MAX_FILES:
            raise Invalid("path", f"there are more than {MAX_FILES:,} files; choose a folder further down")
        if self.count % COUNT_EVERY == 0:
            self._on_count(self.count)
            if self._is_cancelled():
                raise Cancelled("The listing was cancelled")


class _Reader:
    """Reads one task's folder within the bounds of the program that does so on a VM."""

    def __init__(self, folder: int) -> None:
        self._folder = folder
        self._left = MAX_OUTPUT_BYTES
        self._is_cut = False

    def read(self) -> FolderFound:
        files = self._files(self._folder, "")
        parts = {name: data for name, bound in _BOUNDS.items() if (data := self._take(name, bound)) is not None}
        documents = {name: data for name in _OWN_DOCUMENTS if (data := self._take(name, MAX_TRAJECTORY_BYTES)) is not None}
        texts = self._some(files, lambda name: name.startswith("plan_result-step_") and name.endswith(".txt"), MAX_TEXT_BYTES)
        heads = self._some(files, lambda name: name.endswith(".png"), HEAD_BYTES)
        for part in (SCREENSHOT_FOLDER, SCREENSHOTS_FOLDER):
            with _opened(part, self._folder) as below:
                if below is not None:
                    inner = self._files(below, f"{part}/")
                    heads |= self._some(inner, lambda name: name.endswith(".png"), HEAD_BYTES, below)
                    files += inner
        return FolderFound(
            path="",
            files=tuple(files),
            trajectory=parts.get("traj.jsonl"),
            result=parts.get("result.txt"),
            error=parts.get("error.txt"),
            texts=texts,
            heads=heads,
            documents=documents,
            is_cut=self._is_cut,
        )

    def _files(self, folder: int, prefix: str) -> list[FileFound]:
        found: list[FileFound] = []
        for entry in _entries(folder):
            name = f"{prefix}{entry.name}"
            if not is_file_name(name) or (listed := _listed(entry, name)) is None:
                continue
            if len(found) == MAX_FILES_OF_TASK:
                self._is_cut = True
                break
            found.append(FileFound(name=name, size=listed.size, modified_at=listed.modified_at))
        return sorted(found, key=lambda file: file.name)

    def _some(self, files: list[FileFound], is_one: Callable[[str], bool], bound: int, folder: int | None = None) -> dict[str, bytes]:
        names = [file.name for file in files if is_one(file.name)][:MAX_EXTRAS]
        found = {name: self._take(name, bound, folder, is_cut_told=False) for name in names}
        return {name: data for name, data in found.items() if data is not None}

    def _take(self, name: str, bound: int, folder: int | None = None, *, is_cut_told: bool = True) -> bytes | None:
        data = _content(self._folder if folder is None else folder, name.rpartition("/")[2], min(bound, self._left) + 1)
        if data is None:
            return None
        if len(data) > bound or len(data) > self._left:
            self._is_cut = self._is_cut or is_cut_told or len(data) > self._left
            data = data[: min(bound, self._left)]
        self._left -= len(data)
        return data


def _summary(top: int, below: list[str]) -> bytes | None:
    """What the run of an openadapt task says of all its tasks."""
    if below[-2:-1] != [_EVALS_FOLDER]:
        return None
    with _inside(top, below[:-2]) as run:
        return _content(run, "summary.json", MAX_SETTINGS_BYTES) if run is not None else None


def _below(root: str, path: str) -> list[str]:
    """The names that lead from the root to a folder. Raises Invalid."""
    names = [name for name in root.split("/") if name not in ("", ".")]
    parts = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in parts or not path.startswith("/") or parts[: len(names)] != names:
        raise Invalid("path", f"{path} is no folder below {root}")
    return parts[len(names) :]


@contextlib.contextmanager
def _root(root: str) -> Iterator[int]:
    """The descriptor of the root, which alone may be reached by a link. Raises Invalid."""
    if not root.startswith("/") or "\0" in root:
        raise Invalid("path", "an absolute path of a folder is needed, such as /home/me/results")
    try:
        folder = os.open(os.path.realpath(root), _FOLDER)
    except FileNotFoundError:
        raise Invalid("path", f"there is no folder {root}") from None
    except NotADirectoryError:
        raise Invalid("path", f"{root} is no folder") from None
    except OSError as error:
        raise Invalid("path", f"{root} cannot be read ({error.strerror})") from error
    try:
        yield folder
    finally:
        os.close(folder)


@contextlib.contextmanager
def _inside(top: int, below: list[str]) -> Iterator[int | None]:
    """The descriptor of a folder below another one, each step of the way without a link; None where there is none."""
    with contextlib.ExitStack() as stack:
        folder: int | None = top
        for name in below:
            if folder is not None:
                folder = stack.enter_context(_opened(name, folder))
        yield folder


@contextlib.contextmanager
def _opened(name: str, above: int) -> Iterator[int | None]:
    try:
        folder = os.open(name, _FOLDER, dir_fd=above)
    except (OSError, ValueError):  # it vanished, is a link, is not for us, or is no name at all
        yield None
        return
    try:
        yield folder
    finally:
        os.close(folder)


def _entries(folder: int) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:  # it vanished, or is not for us
        return


def _listed(entry: "os.DirEntry[str]", name: str) -> FileListed | None:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:  # it vanished
        return None
    return FileListed(name, found.st_size, float(int(found.st_mtime))) if stat.S_ISREG(found.st_mode) else None


def _content(folder: int, name: str, max_bytes: int) -> bytes | None:
    """The first bytes of a plain file; None where there is none."""
    try:
        file = os.open(name, _FILE, dir_fd=folder)
    except OSError:  # there is none, it is a link, or not for us
        return None
    with os.fdopen(file, "rb") as opened:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return None
        try:
            return opened.read(max_bytes)
        except OSError:  # the disk cannot give it
            return None
