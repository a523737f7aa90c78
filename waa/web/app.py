"""The route table."""

from http import HTTPStatus
from pathlib import Path
from typing import Any

from tornado.web import Application, HTTPError, StaticFileHandler

from waa.web import api, compare, export, health, incidents, jobs, pages, replay, report, runs, stream, task_text
from waa.web.base import BaseHandler, NotFoundHandler
from waa.web.deps import Deps

NAME = r"([A-Za-z0-9][A-Za-z0-9._-]{0,62})"
RUN_ID = r"([A-Za-z0-9][A-Za-z0-9._-]{0,120})"

JOB_ID = r"([0-9a-f]{16})"
TOKEN = r"([A-Za-z0-9_-]{24})"

TASK = rf"/runs/{RUN_ID}/tasks/([^/]+)/([^/]+)"
ATTEMPT = r"([1-9][0-9]{0,5})"

ROUTES: tuple[tuple[str, type[Any]], ...] = (
    (r"/", pages.OverviewHandler),
    (r"/vms/new", pages.VmFormHandler),
    (r"/vms", pages.VmFormHandler),
    (rf"/vms/{NAME}", pages.VmPageHandler),
    (rf"/vms/{NAME}/remove", pages.VmRemoveHandler),
    (rf"/vms/{NAME}/retry", pages.VmRetryHandler),
    (rf"/vms/{NAME}/screenshot", pages.ScreenshotHandler),
    (r"/runs", runs.RunListPageHandler),
    (rf"/runs/{RUN_ID}", runs.RunPageHandler),
    (rf"/runs/{RUN_ID}/threshold", runs.ThresholdFormHandler),
    (rf"/runs/{RUN_ID}/tasks\.csv", export.TasksCsvHandler),
    (rf"/runs/{RUN_ID}/steps\.csv", export.StepsCsvHandler),
    (rf"/runs/{RUN_ID}/report\.html", report.ReportHandler),
    (rf"/runs/{RUN_ID}/replay", replay.ReplayPageHandler),
    (rf"/replay/{TOKEN}", replay.ReplayHandler),
    (rf"/replay/{TOKEN}/page", replay.ReplayPartHandler),
    (rf"/replay/{TOKEN}/stream", replay.ReplayStreamHandler),
    (rf"/replay/{TOKEN}/fragments/([a-z-]{{1,40}})", replay.ReplayFragmentHandler),
    (r"/compare", compare.CompareHandler),
    (r"/compare/task", compare.CompareTaskHandler),
    (TASK, pages.TaskPageHandler),
    (rf"{TASK}/{ATTEMPT}", pages.TaskPageHandler),
    (rf"{TASK}/{ATTEMPT}/files/(.+)", pages.TaskFileHandler),
    (rf"{TASK}/{ATTEMPT}/log", task_text.TaskLogHandler),
    (rf"{TASK}/spec", task_text.TaskSpecificationHandler),
    (rf"/runs/{RUN_ID}/rerun\.json", incidents.RerunHandler),
    (r"/fragments/([a-z-]{1,40})", pages.FragmentHandler),
    (r"/embed/([a-z-]{1,40})", pages.EmbedHandler),
    (r"/stream", stream.PanelStreamHandler),
    (r"/api/benchmark-sse", stream.BenchmarkStreamHandler),
    (r"/api/(?:background-)?tasks", api.TasksHandler),
    (r"/api/benchmark-live", api.BenchmarkLiveHandler),
    (r"/api/benchmark-progress", api.BenchmarkProgressHandler),
    (r"/api/current-run", api.CurrentRunHandler),
    (r"/api/runs", runs.RunListHandler),
    (rf"/api/runs/{RUN_ID}", runs.RunHandler),
    (rf"/api/runs/{RUN_ID}/threshold", runs.ThresholdHandler),
    (rf"/api/runs/{RUN_ID}/steps", export.StepsJsonHandler),
    (rf"/api{TASK}", api.TaskHandler),
    (rf"/api{TASK}/{ATTEMPT}", api.TaskHandler),
    (rf"/api{TASK}/spec", task_text.TaskSpecificationApiHandler),
    (r"/api/compare", compare.CompareApiHandler),
    (r"/api/incidents", incidents.IncidentListHandler),
    (r"/api/azure-jobs", api.AzureJobsHandler),
    (r"/api/azure-job-logs", api.AzureJobLogsHandler),
    (r"/api/traces/import", jobs.ImportHandler),
    (r"/imports", jobs.ImportFormHandler),
    (r"/api/jobs", jobs.JobListHandler),
    (rf"/api/jobs/{JOB_ID}", jobs.JobHandler),
    (rf"/api/jobs/{JOB_ID}/stream", jobs.JobStreamHandler),
    (r"/api/vms", api.VmListHandler),
    (r"/api/vms/register", api.VmRegisterHandler),
    (rf"/api/vms/{NAME}", api.VmHandler),
    (r"/api/probe-vm", api.ProbeVmHandler),
    (r"/live", health.LiveHandler),
    (r"/ready", health.ReadyHandler),
    (r"/metrics", health.MetricsHandler),
)

MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""Bodies up to this are read, so that one that is too long gets an answer that says so; beyond it the connection ends."""


class StaticHandler(BaseHandler, StaticFileHandler):
    """Files under ``static/``: cached for good where the URL names their content, else asked for again."""

    def initialize(self, deps: Deps, path: str) -> None:  # type: ignore[override]
        BaseHandler.initialize(self, deps)
        StaticFileHandler.initialize(self, path)

    async def head(self, path: str) -> None:  # type: ignore[override]
        await StaticFileHandler.head(self, path)

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        if "\0" in absolute_path:
            raise HTTPError(HTTPStatus.NOT_FOUND, "There is no file of this name")
        return super().validate_absolute_path(root, absolute_path)


def make_app(deps: Deps, static: Path) -> Application:
    """The application; everything it needs is in ``deps``."""
    return Application(
        [
            *((path, handler, {"deps": deps}) for path, handler in ROUTES),
            (r"/static/(.*)", StaticHandler, {"deps": deps, "path": str(static)}),
        ],
        default_handler_class=NotFoundHandler,
        default_handler_args={"deps": deps},
        xsrf_cookies=True,
        xsrf_cookie_kwargs={"samesite": "Lax", "httponly": True},
        compress_response=False,
        log_function=_log_request,
    )


def _log_request(_handler: Any) -> None:
    """Requests are not news; errors are logged where they happen."""
