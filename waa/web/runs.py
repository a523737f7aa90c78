"""Runs, for people and for programs: the list, one run with its tasks, and the score from which on they pass."""

import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import TypeVar

from waa.core.codec import decode_fields
from waa.core.entity import Run
from waa.core.error import Invalid, NotFound
from waa.core.outside import ThresholdSet
from waa.web import run_wire, wire
from waa.web.api import ApiHandler
from waa.web.base import BaseHandler
from waa.web.pages import PageHandler
from waa.web.payload import ThresholdBody
from waa.web.views import run_table, runs
from waa.web.views.query import Query, pager
from waa.web.views.run import need_run
from waa.web.views.run_head import rejudged
from waa.web.views.run_page import run_page
from waa.web.views.run_table import TableSubject, TaskFilter, entries_of, matching
from waa.web.views.runs import IMPORTED, RunFilter, matching_runs, runs_page

Item = TypeVar("Item")

THRESHOLD = "is a number above 0 and at most 1: scores are fractions"


class RunListPageHandler(PageHandler):
    """``GET /runs[?q=&status=&vm=&since=&sort=&page=]``: the runs, searched, filtered and sorted."""

    def get(self) -> None:
        chosen = RunFilter.of(_query(self, runs.NAMES))
        self.write_page("pages/runs.html", page=runs_page(self.deps.look(), chosen))


class RunPageHandler(PageHandler):
    """``GET /runs/<id>[?status=&domain=&q=&only=&sort=&page=&by=]``: one run with its tasks. ``?was=`` tells what became of the verdicts
    since they were judged by that threshold."""

    def get(self, run_id: str) -> None:
        chosen, was = TaskFilter.of(_query(self, run_table.NAMES)), self.one_argument("was")
        told = need_threshold(was, "was") if was is not None else None
        configured = self.deps.settings.threshold
        self.write_page("pages/run.html", page=run_page(self.deps.look(), run_id, chosen, configured=configured, was=told))


class ThresholdFormHandler(PageHandler):
    """``POST /runs/<id>/threshold``: tasks pass from another score on; ``reset`` goes back to the configured one."""

    async def post(self, run_id: str) -> None:
        run = need_run(self.deps.recorder.state, run_id)
        chosen = TaskFilter.of(Query.parse(self.get_body_argument("query", ""), run_table.NAMES))
        typed = self.get_body_argument("threshold", "")
        configured = self.deps.settings.threshold
        try:
            threshold = configured if self.get_body_argument("reset", "") else need_threshold(typed, "threshold")
        except Invalid as error:
            self.set_status(HTTPStatus.UNPROCESSABLE_ENTITY)
            page = run_page(self.deps.look(), run_id, chosen, configured=configured, entered=typed[:40], error=str(error))
            self.write_page("pages/run.html", page=page)
            return
        was = run.threshold
        await set_threshold(self, run, threshold)
        url = TableSubject(run_id=run.run_id, filter=chosen).url
        self.redirect(f"{url}{'&' if '?' in url else '?'}was={was!r}", status=HTTPStatus.SEE_OTHER)


class RunListHandler(ApiHandler):
    """``GET /api/runs``: the runs with their counts, newest first. The page's filters; without ``page`` all that match."""

    def get(self) -> None:
        chosen = RunFilter.of(_query(self, runs.NAMES))
        state = self.deps.recorder.state
        name = self.one_argument("vm")
        if name is not None and name != IMPORTED and name not in state.vms and not any(run.vm == name for run in state.runs.values()):
            raise NotFound(f"vm: there is no VM named {name!r}")
        look = self.deps.look()
        found = matching_runs(look, chosen)
        shown = found if self.one_argument("page") is None else _part(found, chosen.page, runs.PAGE_SIZE)
        self.write_json({"runs": [wire.run_payload(look, run) for run in shown], "total": len(found)})


class RunHandler(ApiHandler):
    """``GET /api/runs/<id>``: one run with its coverage, its domains and its tasks. The filters of the page's table; without ``page``
    all tasks that match."""

    def get(self, run_id: str) -> None:
        state = self.deps.recorder.state
        run = need_run(state, run_id)
        about = TableSubject(run_id=run.run_id, filter=TaskFilter.of(_query(self, run_table.NAMES)))
        found = matching(entries_of(state, run), about.filter)
        shown = found if self.one_argument("page") is None else _part(found, about.filter.page, run_table.PAGE_SIZE)
        self.write_json({"run": run_wire.detail_payload(self.deps.look(), run, about, shown), "total": len(found)})


class ThresholdHandler(ApiHandler):
    """``POST /api/runs/<id>/threshold {"threshold": 0.5}``: tasks pass from this score on; null is the configured one."""

    async def post(self, run_id: str) -> None:
        run = need_run(self.deps.recorder.state, run_id)
        given = decode_fields(ThresholdBody, self.request.body, name="body")["threshold"]
        threshold = self.deps.settings.threshold if given is None else _fraction(given, "threshold")
        was = run.threshold
        await set_threshold(self, run, threshold)
        look = self.deps.look()
        told = rejudged(look, run.run_id, was)
        changes = {"was": was, "now_passed": told.passed, "now_failed": told.failed}
        self.write_json({"run": wire.run_payload(look, need_run(look.state, run_id)), **changes})


async def set_threshold(handler: BaseHandler, run: Run, threshold: float) -> None:
    """Judge a run anew; it is shown when this returns. Raises Unavailable."""
    handler.audit_detail = f"{run.threshold:g} to {threshold:g}"
    seen = ThresholdSet(vm="", at=handler.deps.clock(), run_id=run.run_id, threshold=threshold)
    await handler.deps.recorder.record(seen, wait=True)


def need_threshold(text: str, name: str) -> float:
    """What somebody typed, as a fraction. Raises Invalid."""
    try:
        return _fraction(float(text.strip().replace(",", ".")), name)
    except ValueError:
        raise Invalid(name, THRESHOLD) from None


def _fraction(value: float, name: str) -> float:
    if not math.isfinite(value) or not 0 < value <= 1:
        raise Invalid(name, THRESHOLD)
    return float(value)


def _part(found: list[Item], page: int, size: int) -> Sequence[Item]:
    return pager(len(found), page, size, lambda _page: "").part(found)


def _query(handler: BaseHandler, names: tuple[str, ...]) -> Query:
    return Query({name: handler.get_query_arguments(name) for name in names})
