"""The files of tasks, wherever they lie: on this machine where the run was imported, else on the run's VM."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from waa.core.entity import Run, RunId
from waa.core.error import Invalid, NotFound
from waa.core.results.folder import FolderFound, FolderLacking, Lack
from waa.core.results.tree import FileListed
from waa.core.state import State
from waa.services.task_record import FolderReader


class TreeReader(Protocol):
    """Reads result trees on this machine, without following links. Methods block, and raise Invalid for a root that cannot be read."""

    def list_tree(self, root: str, *, on_count: Callable[[int], None], is_cancelled: Callable[[], bool]) -> Sequence[FileListed]:
        """The files below a folder that matter. Raises Cancelled."""

    def read_task_folder(self, path: str, *, root: str) -> FolderFound | None:
        """A task's folder at or below the root, None where it is gone."""

    def read_file(self, folder: str, name: str, max_bytes: int, *, root: str) -> bytes | None:
        """A plain file of a folder at or below the root, None where there is none or a longer one."""


class ResultReader:
    """A ``FolderReader``, see there."""

    def __init__(self, *, state: State, monitor: FolderReader, local: TreeReader) -> None:
        self._state = state
        self._monitor = monitor
        self._local = local

    async def task_record(self, run_id: RunId, domain: str, task_id: str) -> FolderFound | FolderLacking:
        """The folder of a task. Raises NotFound for an unknown run."""
        run = self._need(run_id)
        if not run.files:
            return await self._monitor.task_record(run_id, domain, task_id)
        try:
            for path in (f"{run.files}/{domain}/{task_id}", f"{run.files}/tasks/{task_id}"):
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

    def _need(self, run_id: RunId) -> Run:
        run = self._state.runs.get(run_id)
        if run is None:
            raise NotFound(f"There is no run {run_id!r}")
        return run
