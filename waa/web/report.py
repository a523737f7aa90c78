"""``GET /runs/<id>/report.html``: a run as one file that opens offline, without a script and without a network."""

import asyncio
import base64
import hashlib
import itertools
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass

from waa.core.entity import Task
from waa.core.error import NotFound, Unavailable
from waa.services.task_record import RecordSeen
from waa.web.export import END, PATIENCE_S, DownloadHandler
from waa.web.export_rows import by_task
from waa.web.views.report import (
    MAX_PICTURE_BYTES,
    WIDTHS,
    Figure,
    Pictures,
    Report,
    ReportRow,
    Shot,
    figure_of,
    first_shot,
    need_pictures,
    report_of,
    shots_of,
    step_of,
    task_of,
)
from waa.web.views.task import labels_of

AHEAD = 4
"""Screenshots that are fetched and made small at a time."""
FULL = "left out: the report has as many screenshots as it may hold"


@dataclass(slots=True)
class Tally:
    """What became of the screenshots; ``bytes_left``: room for more of them."""

    bytes_left: int
    is_full: bool = False
    shown: int = 0
    left_out: int = 0
    missing: int = 0


class ReportHandler(DownloadHandler):
    """``GET /runs/<id>/report.html[?pictures=none|thumbs|all]``: made and sent task by task."""

    async def get(self, run_id: str) -> None:
        pictures = need_pictures(self.one_argument("pictures"))
        report = report_of(self.deps.look(), run_id, pictures)
        style = self.deps.renderer.page("report/report.css")
        policy = policy_of(style)
        self.set_header("Content-Security-Policy", f"{policy}; frame-ancestors 'self'; sandbox")
        await self.send(self._pieces(report, pictures, policy), name=f"{run_id}-report.html", type_="text/html; charset=utf-8")

    async def _pieces(self, report: Report, pictures: Pictures, policy: str) -> AsyncIterator[bytes]:
        tally = Tally(bytes_left=MAX_PICTURE_BYTES)
        yield self._part("head", report=report, policy=policy)
        tasks = self.deps.recorder.state.tasks.get(report.head.run.run_id, {})
        known = {(task.domain, task.task_id, task.attempt): task for task in list(tasks.values())}
        rows = {(row.domain, row.task_id, row.attempt): row for row in report.rows}
        for task in by_task(known[name] for name in rows if name in known):
            seen = await self.deps.records.load(task, patience_s=PATIENCE_S)
            async for piece in self._task(rows[task.domain, task.task_id, task.attempt], task, seen, pictures, tally):
                yield piece
            yield END
        yield self._part("foot", tally=tally, pictures=report.pictures, max_bytes=MAX_PICTURE_BYTES)

    async def _task(self, row: ReportRow, task: Task, seen: RecordSeen, pictures: Pictures, tally: Tally) -> AsyncIterator[bytes]:
        first = first_shot(seen, task, pictures)
        figure = await self._figure(first, task, pictures, tally) if first is not None else None
        yield self._part("task", task=task_of(row, task, seen), figure=figure)
        steps = seen.record.steps if seen.record is not None else ()
        labels = labels_of(steps)
        told = [shots_of(steps, place, label, task, pictures) for place, label in enumerate(labels)]
        async with aclosing(self._ahead(itertools.chain.from_iterable(told), task, pictures, tally)) as figures:
            for step, label, shots in zip(steps, labels, told, strict=True):
                own = [await anext(figures) for _ in shots]
                yield self._part("step", step=step_of(step, label, task), figures=own)
        yield self._part("task_end", has_steps=bool(steps))

    async def _ahead(self, shots: Iterable[Shot], task: Task, pictures: Pictures, tally: Tally) -> AsyncGenerator[Figure, None]:
        """The figures in their order; the next ones are made meanwhile."""
        waiting: deque[asyncio.Task[Figure]] = deque()
        try:
            for shot in shots:
                waiting.append(asyncio.create_task(self._figure(shot, task, pictures, tally)))
                if len(waiting) == AHEAD:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for left in waiting:
                left.cancel()

    async def _figure(self, shot: Shot, task: Task, pictures: Pictures, tally: Tally) -> Figure:
        if tally.is_full:
            return self._left_out(shot, tally)
        try:
            thumbnail = await self.deps.records.picture(task, shot.picture.name, width=WIDTHS[pictures])
        except (NotFound, Unavailable) as error:
            tally.missing += 1
            return figure_of(shot, None, str(error))
        figure = figure_of(shot, thumbnail, "")
        if len(figure.data) > tally.bytes_left:
            return self._left_out(shot, tally)
        tally.bytes_left -= len(figure.data)
        tally.shown += 1
        return figure

    def _left_out(self, shot: Shot, tally: Tally) -> Figure:
        tally.is_full = True
        tally.left_out += 1
        return figure_of(shot, None, FULL)

    def _part(self, name: str, **context: object) -> bytes:
        return self.deps.renderer.page(f"report/{name}.html", look=self.deps.look(), **context)


def policy_of(style: bytes) -> str:
    """What the file may do, wherever it is opened: show its own style and pictures, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
