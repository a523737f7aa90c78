"""Runs in a tree of results: which folders are tasks, which tasks are a run, and what their paths tell."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from waa.core.error import Invalid
from waa.core.logs.fact import Dialect
from waa.core.logs.mask import HIDDEN, is_secret
from waa.core.logs.record import MAX_NAME, shown
from waa.core.results.folder import SCREENSHOT_FOLDER, SCREENSHOTS_FOLDER

MAX_FILES = 2_000_000
MAX_TASKS = 5_000
"""Of one run; the largest benchmark has some 400."""
MAX_RUNS = 200
MAX_DEPTH = 32
"""Folders below the root; what lies deeper is no result tree."""
MAX_SETTINGS = 200
MAX_SETTINGS_BYTES = 8_000_000

SETTINGS_FILES = ("args.json", "metadata.json", "summary.json")
"""Beside the tasks of a run, what the runner says about it."""

_PARTS = frozenset({"traj.jsonl", "result.txt", "error.txt"})
_DOCUMENTS = frozenset({"execution.json", "task.json"})
_WANTED = _PARTS | _DOCUMENTS | frozenset({*SETTINGS_FILES, "all_result.json", "runtime.log"})
_NO_SCREENSHOT = ("window_image-", "foreground_window-")
_NO_TASK = frozenset({SCREENSHOT_FOLDER, SCREENSHOTS_FOLDER, "logs"})
_JUNK = frozenset({"__pycache__", "__MACOSX"})
_ROOTS = frozenset({"results", "result", "benchmark_results"})
_EVALS_FOLDER = "tasks"
_ACTIONS = frozenset({"pyautogui", "computer_13", "code_block", "claude_computer_use", "autoglm_computer_use"})
_VIEWS = frozenset({"a11y_tree", "screenshot", "screenshot_a11y_tree", "som", "uia", "oss", "mixed"})
_WAA_STEP = re.compile(r"(?:screenshot|plan_result)-step_(?:reset|\d+)_.*", re.DOTALL)
_OSWORLD_STEP = re.compile(r"step_\d+_.*\.png", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FileListed:
    """A plain file: its path relative to the root that was listed (POSIX, no ``..``), its size in bytes, its time in whole
    seconds of the machine's clock (0: unknown)."""

    path: str
    size: int
    modified_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractLimits:
    """What an archive may hold at most. ``max_ratio``: bytes unpacked for each byte packed, once more than 64 MiB were unpacked."""

    max_files: int = 500_000
    max_bytes: int = 20 * 1024**3
    max_file_bytes: int = 512 * 1024**2
    max_ratio: int = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractReport:
    """What was unpacked: ``files`` of ``bytes`` in all; ``passed_over`` other files lie in the archive."""

    files: int
    bytes: int
    passed_over: int


@dataclass(frozen=True, slots=True)
class TaskPlace:
    """A task's folder, relative to the root that was listed ("": the root itself). ``domain`` and ``task_id`` as the path says,
    never empty; openadapt's are told by the files (see ``TaskResult``), its ``domain`` here is "tasks"."""

    path: str
    domain: str
    task_id: str


@dataclass(frozen=True, slots=True)
class RunPlace:
    """A run's folder, relative to the root that was listed ("" also where it is above the root), and its tasks by domain and id.

    ``arguments`` are those that the path tells, with those of its ``settings`` (paths of files to be given to ``with_settings``)
    once they were read. ``names`` are the last names of the folder's path as far as they are known, below a folder ``results``:
    with the earliest record they tell runs apart, whatever part of the tree was listed.
    """

    path: str
    dialect: Dialect
    tasks: tuple[TaskPlace, ...]
    arguments: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """A name for people: the model and the trial, openadapt's name of the run, else the folder's names."""
        given = self.arguments
        if self.dialect is Dialect.OPENADAPT:
            return given.get("run_name") or "/".join(self.names) or "a run"
        model, trial = given.get("model") or given.get("agent", ""), given.get("trial_id", "")
        if not model:
            return "/".join(self.names) or "a run"
        return f"{model}, trial {trial}" if trial else model


def matters(path: str) -> bool:
    """Whether a file of a result tree is read by anybody: trajectories, results, errors, thoughts, screenshots, settings, logs.
    Most files of a tree are others (accessibility trees, window pictures, recordings)."""
    parts = path.split("/")
    name = parts[-1]
    if len(parts) > MAX_DEPTH or any(part[:1] in ("", ".") or part in _JUNK for part in parts):
        return False
    if name in _WANTED:
        return True
    if name.endswith(".png"):
        return not name.startswith(_NO_SCREENSHOT)
    if name.endswith(".log"):
        return len(parts) > 1 and parts[-2] == "logs"
    return name.startswith("plan_result-step_") and name.endswith(".txt")


def find_runs(files: Iterable[FileListed], *, base: str) -> tuple[RunPlace, ...]:
    """The runs that a listing holds, by path. ``base`` is the absolute path of the root that was listed, whose last names say
    what a root inside a run is; "" where its name means nothing (an unpacked archive).

    Tasks are found from the bottom: a folder with ``traj.jsonl``, ``result.txt`` or ``error.txt`` that holds no other one; for
    openadapt a folder in ``tasks`` with ``execution.json`` or ``task.json``, below a folder with its settings. Raises Invalid
    (``path``) where there are more files, runs or tasks than MAX_FILES, MAX_RUNS, MAX_TASKS.
    """
    tree = _Tree(tuple(name for name in base.split("/") if name not in ("", ".")))
    for count, file in enumerate(files):
        if count == MAX_FILES:
            raise Invalid("path", f"there are more than {MAX_FILES:,} files; choose a folder further down")
        tree.take(file.path)
    return tree.runs()


def with_settings(run: RunPlace, path: str, data: bytes) -> RunPlace:
    """The run with what one of its ``settings`` says: arguments, and tasks that only ``summary.json`` tells of (their folders are
    missing). What the path tells stays. Content that makes no sense changes nothing."""
    found = _object(data)
    name = path.rpartition("/")[2]
    if found is None or name not in SETTINGS_FILES:
        return run
    given = {key[:MAX_NAME]: _argument(key, value) for key, value in list(found.items())[:MAX_SETTINGS] if _is_plain(value)}
    if name == "summary.json":
        run = replace(run, tasks=_with_missing(run, found.get("tasks")))
        given = {key: given[key] for key in ("benchmark_name", "run_name", "model_id") if key in given}
    if "model_id" in given:
        given.setdefault("model", given["model_id"])
    return replace(run, arguments=given | run.arguments)


class _Tree:
    """Collects what a listing tells of each folder, file by file."""

    def __init__(self, base: tuple[str, ...]) -> None:
        self._base = base
        self._parts: dict[str, bool] = {}  # folders that may be tasks; whether they are openadapt's
        self._kinds: dict[str, Dialect] = {}
        self._settings: dict[str, list[str]] = defaultdict(list)

    def take(self, path: str) -> None:
        if not matters(path):
            return
        folder, _, name = path.rpartition("/")
        if name in _PARTS:
            self._parts[folder] = False
            if name == "error.txt":
                self._kinds[folder] = Dialect.WAA_V2
        elif name in _DOCUMENTS:
            self._parts.setdefault(folder, True)
        elif name in SETTINGS_FILES:
            self._settings[folder].append(path)
        elif name.endswith((".png", ".txt")):
            self._see_step(folder, name)
        elif name == "runtime.log":
            self._kinds.setdefault(folder, Dialect.OSWORLD)

    def _see_step(self, folder: str, name: str) -> None:
        if folder.rpartition("/")[2] == SCREENSHOT_FOLDER:
            self._kinds[folder.rpartition("/")[0]] = Dialect.WAA_V2
        elif _WAA_STEP.fullmatch(name):
            self._kinds.setdefault(folder, Dialect.WAA)
        elif _OSWORLD_STEP.fullmatch(name):
            self._kinds.setdefault(folder, Dialect.OSWORLD)

    def runs(self) -> tuple[RunPlace, ...]:
        found: dict[tuple[str, ...], list[tuple[TaskPlace, bool]]] = defaultdict(list)
        for folder, is_evals in self._task_folders():
            names = (*self._base, *_split(folder))
            place = TaskPlace(folder, names[-2] if len(names) > 1 else _EVALS_FOLDER, names[-1] if names else "task")
            tasks = found[names[:-2]]
            tasks.append((place, is_evals))
            if len(tasks) > MAX_TASKS:
                raise Invalid("path", f"the run {'/'.join(names[:-2])} has more than {MAX_TASKS:,} tasks")
            if len(found) > MAX_RUNS:
                raise Invalid("path", f"there are more than {MAX_RUNS} runs; choose a folder further down")
        return tuple(sorted((self._run(names, tasks) for names, tasks in found.items()), key=lambda run: (run.path, run.names)))

    def _task_folders(self) -> Iterator[tuple[str, bool]]:
        tasks = {folder: is_evals for folder, is_evals in self._parts.items() if self._is_task(folder, is_evals)}
        above: set[str] = set()
        for folder in tasks:
            while folder:
                folder = folder.rpartition("/")[0]  # noqa: PLW2901
                if folder in above:
                    break
                above.add(folder)
        yield from ((folder, is_evals) for folder, is_evals in tasks.items() if folder not in above)

    def _is_task(self, folder: str, is_evals: bool) -> bool:
        parts = _split(folder)
        if not _NO_TASK.isdisjoint(parts[-2:]):
            return False
        if not is_evals:
            return True
        is_known = len(parts) < 2 or "/".join(parts[:-2]) in self._settings
        return is_known and (*self._base, *parts)[-2:-1] == (_EVALS_FOLDER,)

    def _run(self, names: tuple[str, ...], tasks: Sequence[tuple[TaskPlace, bool]]) -> RunPlace:
        parts = names[len(self._base) :]
        path = "/".join(parts)
        has_folder = len(names) >= len(self._base)
        settings = tuple(sorted(self._settings.get(path, ()))) if has_folder else ()
        if all(is_evals for _, is_evals in tasks):
            dialect = Dialect.OPENADAPT
        else:
            dialect = self._dialect(names, [place for place, _ in tasks], settings)
        return RunPlace(
            path=path,
            dialect=dialect,
            tasks=tuple(sorted((place for place, _ in tasks), key=lambda task: (task.domain, task.task_id))),
            arguments=_arguments(names, dialect),
            names=_own_names(names)[-1:] if dialect is Dialect.OPENADAPT else _own_names(names),
            settings=settings,
        )

    def _dialect(self, names: Sequence[str], tasks: Sequence[TaskPlace], settings: Sequence[str]) -> Dialect:
        kinds = {kind for task in tasks if (kind := self._kinds.get(task.path)) is not None}
        for kind in (Dialect.WAA_V2, Dialect.WAA, Dialect.OSWORLD):
            if kind in kinds:
                return kind
        if any(path.endswith("args.json") for path in settings):
            return Dialect.OSWORLD
        view = _view_at(names)
        return Dialect.OSWORLD if view is not None and not names[-1].isdigit() else Dialect.WAA


def _arguments(names: Sequence[str], dialect: Dialect) -> dict[str, str]:
    """What the names of a run's folder say, as far as they are known."""
    if dialect is Dialect.OPENADAPT:
        return {"run_name": names[-1]} if names else {}
    if dialect is Dialect.WAA_V2:
        own = _own_names(names)
        return dict(zip(("trial_id", "agent"), own, strict=True)) if len(own) == 2 else {"agent": own[0]} if own else {}
    view = _view_at(names)
    if view is None:
        return {}
    given = {"action_space": names[view - 1], "observation_type": names[view]}
    rest = list(names[view + 1 :])
    if dialect is Dialect.WAA and len(rest) > 1:
        given["trial_id"] = rest.pop()
    return given | {"model": "/".join(rest)}


def _view_at(names: Sequence[str]) -> int | None:
    """Where in a run's path its observation type stands: behind an action space, before the model."""
    places = [at + 1 for at, (action, view) in enumerate(pairwise(names[:-1])) if view in _VIEWS and action in _ACTIONS]
    return places[-1] if places else None


def _own_names(names: Sequence[str]) -> tuple[str, ...]:
    """The last two names below a folder of results. The same whatever files there are yet."""
    roots = [at for at, name in enumerate(names) if name in _ROOTS]
    return tuple(names[roots[-1] + 1 if roots else 0 :])[-2:]


def _with_missing(run: RunPlace, told: object) -> tuple[TaskPlace, ...]:
    known = {task.task_id for task in run.tasks}
    ids = [found.get("task_id") for found in told if isinstance(found, Mapping)] if isinstance(told, list) else []
    prefix = f"{run.path}/{_EVALS_FOLDER}" if run.path else _EVALS_FOLDER
    missing = [
        TaskPlace(f"{prefix}/{task_id}", _EVALS_FOLDER, task_id)
        for task_id in dict.fromkeys(ids)
        if isinstance(task_id, str) and _is_name(task_id) and task_id not in known
    ]
    return tuple(sorted([*run.tasks, *missing], key=lambda task: (task.domain, task.task_id)))[:MAX_TASKS]


def _is_name(text: str) -> bool:
    return 0 < len(text) <= 255 and "/" not in text and not text.startswith(".") and text.isprintable()


def _split(folder: str) -> tuple[str, ...]:
    return tuple(folder.split("/")) if folder else ()


def _object(data: bytes) -> dict[str, object] | None:
    if len(data) > MAX_SETTINGS_BYTES:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) and value != ""


def _argument(key: str, value: object) -> str:
    return HIDDEN if is_secret(key) else shown(str(value), MAX_NAME)
