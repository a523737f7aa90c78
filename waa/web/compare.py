"""Runs side by side, and one task of them step by step."""

import asyncio

from waa.web.api import ApiHandler
from waa.web.pages import PageHandler
from waa.web.panel_stream import PATIENCE_S
from waa.web.views.compare import compare_page, compare_picker, compare_runs, compare_url, need_runs
from waa.web.views.compare_task import ask_task, compared_task


class CompareHandler(PageHandler):
    """``GET /compare?runs=a,b[,c...]``: the runs side by side, the first is the base. Fewer than two: runs to choose from. What the form
    chose (``runs=a&runs=b``) is sent on to that address, the run that began first as the base."""

    cost = 5.0

    def get(self) -> None:
        given = self.get_query_arguments("runs")
        names = [name for value in given for name in value.split(",") if name]
        runs = need_runs(self.deps.look().state, ",".join(names), least=1) if names else []
        if len(runs) < 2:
            self.write_page("pages/compare_pick.html", page=compare_picker(self.deps.look(), [run.run_id for run in runs]))
        elif len(given) > 1:
            self.redirect(compare_url([run.run_id for run in sorted(runs, key=lambda run: run.started_at)]))
        else:
            self.write_page("pages/compare.html", page=compare_page(runs))


class CompareTaskHandler(PageHandler):
    """``GET /compare/task?runs=a,b[,c]&domain=&task=[&step=]``: one task of these runs, a step of each side by side."""

    async def get(self) -> None:
        told = self.arguments(("runs", "domain", "task", "step"))
        asked = ask_task(self.deps.look(), told["runs"], told["domain"], told["task"], told["step"])
        records = self.deps.records
        await asyncio.gather(*(records.load(task, patience_s=PATIENCE_S) for task in asked.tasks if task is not None))
        self.write_page("pages/compare_task.html", page=compared_task(self.deps.look(), asked))


class CompareApiHandler(ApiHandler):
    """``GET /api/compare?runs=a,b[,c...]``: the comparison with all its tasks."""

    cost = 5.0

    def get(self) -> None:
        self.write_json(compare_runs(self.deps.recorder.state, self.one_argument("runs")))
