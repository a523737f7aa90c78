"""The files of tasks, wherever they lie: on this machine where the run was imported, else on the run's VM."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from waa.core.entity import Run, RunId
from waa.core.error import Failure, Invalid, LinkError, NotFound
from waa.core.logs.excerpt import Excerpt, excerpt_of
from waa.core.results.folder import FileRead, FolderFound, FolderLacking, Lack
from waa.core.results.tree import FileListed
from waa.core.state import State
from waa.core.status import Reason
from waa.services.task_record import FolderReader
from waa.services.task_text import TextReader

OWN_LOG = "runtime.log"
MAX_OWN_LOG_BYTES = 16 * 1024 * 1024
OWN_SPECIFICATION = "task.json"


class TreeReader(Protocol):
    """Reads result trees on this machine, without following links. Methods block, and raise Invalid for a root that cannot be read."""

    def list_tree(self, root: str, *, on_count: Callable[[int], None], is_cancelled: Callable[[], bool]) -> Sequence[FileListed]:
        """The files below a folder that matter. Raises Cancelled."""

    def read_task_folder(self, path: str, *, root: str) -> FolderFound | None:
        """A task's folder at or below the root, None where it is gone."""

    def read_file(self, folder: str, name: str, max_bytes: int, *, root: str) -> bytes | None:
        """A plain file of a folder at or below the root, None where there is none or a longer one."""


class TaskReader(FolderReader, TextReader, Protocol):
    """All that is asked of a VM about tasks."""


class ResultReader:
    """A ``TaskReader``, see there."""

    def __init__(self, *, state: State, monitor: TaskReader, local: TreeReader) -> None:
        self._state = state
        self._monitor = monitor
        self._local = local

    async def task_record(self, run_id: RunId, domain: str, task_id: str) -> FolderFound | FolderLacking:
        """The folder of a task. Raises NotFound for an unknown run."""
        run = self._need(run_id)
        if not run.files:
            return await self._monitor.task_record(run_id, domain, task_id)
        try:
            for path in _folders(run, domain, task_id):
                found = await asyncio.to_thread(self._local.read_task_folder, path, root=run.files)
                if found is not None:
                    return found
        except Invalid as error:
            return FolderLacking(lack=Lack.FAILED, message=str(error), where=(run.files,))
        return FolderLacking(lack=Lack.ABSENT, message=f"There is no folder {domain}/{task_id} there any more.", where=(run.files,))

    async def task_file(self, run_id: RunId, folder: FolderFound, name: str, *, max_bytes: int) -> bytes | None:
        """A file of a folder that ``task_record`` gave. Raises NotFound for an unknown run, Invalid where its folder cannot be read."""
        run = self._need(run_id)
        if not run.files:
            return await self._monitor.task_file(run_id, folder, name, max_bytes=max_bytes)
        return await asyncio.to_thread(self._local.read_file, folder.path, name, max_bytes, root=run.files)

    async def task_log(
        self, run_id: RunId, domain: str, task_id: str, *, from_at: float, until_at: float, max_bytes: int
    ) -> Excerpt | None:
        """The log's lines of a span of time, from the VM that the run was watched on; of an imported run only where the task's folder holds
        its own log (OSWorld). Raises NotFound for an unknown run, LinkError."""
        run = self._need(run_id)
        if run.vm:
            return await self._monitor.task_log(run_id, domain, task_id, from_at=from_at, until_at=until_at, max_bytes=max_bytes)
        found = await self._own_file(run, domain, task_id, OWN_LOG, MAX_OWN_LOG_BYTES)
        if found.data is None:
            return None
        return await asyncio.to_thread(excerpt_of, found.data, from_at=from_at, until_at=until_at, max_bytes=max_bytes)

    async def task_specification(self, run_id: RunId, domain: str, task_id: str, *, max_bytes: int) -> FileRead:
        """The file that specifies a task, from the VM that the run was watched on; of an imported run where it lies in the task's folder
        (openadapt). Raises NotFound for an unknown run, LinkError."""
        run = self._need(run_id)
        if run.vm:
            return await self._monitor.task_specification(run_id, domain, task_id, max_bytes=max_bytes)
        return await self._own_file(run, domain, task_id, OWN_SPECIFICATION, max_bytes)

    async def _own_file(self, run: Run, domain: str, task_id: str, name: str, max_bytes: int) -> FileRead:
        folders = _folders(run, domain, task_id)
        try:
            for folder in folders:
                data = await asyncio.to_thread(self._local.read_file, folder, name, max_bytes, root=run.files)
                if data is not None:
                    return FileRead(path=f"{folder}/{name}", data=data)
        except Invalid as error:
            raise LinkError(Failure(reason=Reason.COMMAND, message=str(error))) from error
        return FileRead(searched=tuple(f"{folder}/{name}" for folder in folders))

    def _need(self, run_id: RunId) -> Run:
        run = self._state.runs.get(run_id)
        if run is None:
            raise NotFound(f"There is no run {run_id!r}")
        return run


def _folders(run: Run, domain: str, task_id: str) -> tuple[str, str]:
    """Where the folder of a task of an imported run may lie."""
    return f"{run.files}/{domain}/{task_id}", f"{run.files}/tasks/{task_id}"
