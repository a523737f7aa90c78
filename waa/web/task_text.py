"""Handlers of what opens on the page of a task: the log's lines of a step, and the task's specification."""

import asyncio

from waa.core.error import NotFound
from waa.web import wire
from waa.web.api import ApiHandler
from waa.web.pages import PageHandler
from waa.web.panel_stream import PATIENCE_S
from waa.web.views.run import task_url
from waa.web.views.task import TaskSubject, find_task, need_step
from waa.web.views.task_text import log_part, specification_shown, step_log


class PartHandler(PageHandler):
    """A part of a page where htmx asks for it, else (a link was followed without JavaScript) a page of its own."""

    def write_part(self, name: str, *, title: str, back: str, **context: object) -> None:
        """Answer with ``panels/_<name>.html``, in a page where that is needed."""
        self.set_header("Vary", "HX-Request")
        if "HX-Request" in self.request.headers:
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.write(self.deps.renderer.page(f"panels/_{name}.html", now=self.deps.clock(), **context))
        else:
            self.write_page("pages/part.html", part=f"panels/_{name}.html", title=title, back=back, now=self.deps.clock(), **context)


class TaskLogHandler(PartHandler):
    """``GET /runs/<id>/tasks/<domain>/<task>/<attempt>/log[?step=]``: what the run's log says of a step, or of the whole attempt."""

    async def get(self, run_id: str, domain: str, task_id: str, attempt: str) -> None:
        step = need_step(self.one_argument("step"))
        subject = TaskSubject(run_id=run_id, domain=domain, task_id=task_id, attempt=int(attempt), step=step)
        run, task = find_task(self.deps.look(), subject)
        if task is None:
            raise NotFound(f"The task {domain}/{task_id} has not begun")
        part = log_part(task, await self.deps.records.load(task, patience_s=PATIENCE_S), step)
        seen = await self.deps.texts.log(run.run_id, domain, task_id, part.span) if part.span is not None else None
        back = task_url(run_id, domain, task_id, int(attempt)) + (f"?step={step}" if step is not None else "")
        self.write_part("step_log", title="Log", back=back, view=await asyncio.to_thread(step_log, run, part, seen))


class TaskSpecificationHandler(PartHandler):
    """``GET /runs/<id>/tasks/<domain>/<task>/spec``: how the guest is set up for a task, and what its evaluator asks for."""

    async def get(self, run_id: str, domain: str, task_id: str) -> None:
        run, _ = find_task(self.deps.look(), TaskSubject(run_id=run_id, domain=domain, task_id=task_id))
        seen = await self.deps.texts.specification(run.run_id, domain, task_id)
        view = specification_shown(run, seen)
        self.write_part("specification", title="Specification", back=task_url(run_id, domain, task_id), view=view)


class TaskSpecificationApiHandler(ApiHandler):
    """``GET /api/runs/<id>/tasks/<domain>/<task>/spec``: the same for programs."""

    async def get(self, run_id: str, domain: str, task_id: str) -> None:
        run, _ = find_task(self.deps.look(), TaskSubject(run_id=run_id, domain=domain, task_id=task_id))
        seen = await self.deps.texts.specification(run.run_id, domain, task_id)
        self.write_json(wire.specification_payload(run, domain, task_id, seen))
