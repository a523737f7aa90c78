"""The tasks and steps of a run as files for other programs: CSV, and JSON with a step in each line."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress

from tornado.iostream import StreamClosedError

from waa.core.codec import encode
from waa.core.cost import task_costs
from waa.core.entity import Run
from waa.web.base import BaseHandler
from waa.web.export_rows import STEP_COLUMNS, TASK_COLUMNS, StepRow, by_task, csv_line, step_rows, task_cells
from waa.web.views.run import need_run

FLUSH_BYTES = 128 * 1024
PATIENCE_S = 60.0
"""A folder that takes longer counts as not read."""
CSV = "text/csv; charset=utf-8; header=present"
NDJSON = "application/x-ndjson; charset=utf-8"
END = b""
"""A piece that says: send what there is."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class DownloadHandler(BaseHandler):
    """Sends a file piece by piece, as it is made. The client's going away ends the making."""

    cost = 10.0
    _sending: asyncio.Task[None] | None = None

    def on_connection_close(self) -> None:
        if self._sending is not None:
            self._sending.cancel()

    async def send(self, pieces: AsyncIterator[bytes], *, name: str, type_: str) -> None:
        """The whole answer. What goes wrong on the way cuts the connection: half a file must not look like a whole one."""
        self.set_header("Content-Type", type_)
        self.set_header("Content-Disposition", f'attachment; filename="{_UNSAFE.sub("_", name)[:150]}"')
        self.set_header("Cache-Control", "no-store")
        if self.request.method == "HEAD":
            return
        self._sending = asyncio.create_task(self._send(pieces))
        await asyncio.wait([self._sending])
        if self._sending.cancelled():
            return
        error = self._sending.exception()
        if error is not None:
            self.request.connection.close()  # type: ignore[union-attr]  # HTTP/1 has it
            raise error

    async def _send(self, pieces: AsyncIterator[bytes]) -> None:
        waiting = 0
        with suppress(StreamClosedError):
            async for piece in pieces:
                self.write(piece)
                waiting += len(piece)
                if waiting >= FLUSH_BYTES or not piece:
                    await self.flush()
                    await asyncio.sleep(0)  # a fast reader must not keep the others waiting
                    waiting = 0


class TasksCsvHandler(DownloadHandler):
    """``GET /runs/<id>/tasks.csv``: one line per attempt, in the order of their start."""

    async def get(self, run_id: str) -> None:
        run = need_run(self.deps.recorder.state, run_id)
        await self.send(self._lines(run), name=f"{run_id}-tasks.csv", type_=CSV)

    async def _lines(self, run: Run) -> AsyncIterator[bytes]:
        yield csv_line(TASK_COLUMNS)
        state = self.deps.recorder.state
        tasks, meter = list(state.tasks[run.run_id].values()), state.meters.get(run.vm)
        costs = task_costs(meter, tasks)
        currency = meter.currency if meter is not None else ""
        for task in tasks:
            cost = costs.get(task.key)
            yield csv_line(task_cells(run, task, cost=round(cost, 6) if cost is not None else None, currency=currency))


class StepsHandler(DownloadHandler):
    """Steps, task by task, each folder read when its turn comes. What is not known of a task has a line of its own (``lacking``)."""

    async def rows(self, run: Run) -> AsyncIterator[StepRow | None]:
        """The steps of a run; None after each task."""
        for task in by_task(list(self.deps.recorder.state.tasks[run.run_id].values())):
            seen = await self.deps.records.load(task, patience_s=PATIENCE_S)
            for row in step_rows(run, task, seen):
                yield row
            yield None


class StepsCsvHandler(StepsHandler):
    """``GET /runs/<id>/steps.csv``: one line per step."""

    async def get(self, run_id: str) -> None:
        run = need_run(self.deps.recorder.state, run_id)
        await self.send(self._lines(run), name=f"{run_id}-steps.csv", type_=CSV)

    async def _lines(self, run: Run) -> AsyncIterator[bytes]:
        yield csv_line(STEP_COLUMNS)
        async for row in self.rows(run):
            yield csv_line(row.cells()) if row is not None else END


class StepsJsonHandler(StepsHandler):
    """``GET /api/runs/<id>/steps``: an object per line and step."""

    async def get(self, run_id: str) -> None:
        run = need_run(self.deps.recorder.state, run_id)
        await self.send(self._lines(run), name=f"{run_id}-steps.ndjson", type_=NDJSON)

    async def _lines(self, run: Run) -> AsyncIterator[bytes]:
        async for row in self.rows(run):
            yield encode(row.payload()) + b"\n" if row is not None else END
