"""The route table."""

from pathlib import Path
from typing import Any

from tornado.web import Application, StaticFileHandler

from waa.web import api, health, pages, stream
from waa.web.base import NotFoundHandler, content_security_policy
from waa.web.deps import Deps

NAME = r"([A-Za-z0-9][A-Za-z0-9._-]{0,62})"
RUN_ID = r"([A-Za-z0-9][A-Za-z0-9._-]{0,120})"

ROUTES: tuple[tuple[str, type[Any]], ...] = (
    (r"/", pages.OverviewHandler),
    (r"/vms/new", pages.VmFormHandler),
    (r"/vms", pages.VmFormHandler),
    (rf"/vms/{NAME}", pages.VmPageHandler),
    (rf"/vms/{NAME}/remove", pages.VmRemoveHandler),
    (rf"/vms/{NAME}/retry", pages.VmRetryHandler),
    (rf"/vms/{NAME}/screenshot", pages.ScreenshotHandler),
    (r"/runs", pages.RunListPageHandler),
    (rf"/runs/{RUN_ID}", pages.RunPageHandler),
    (r"/fragments/([a-z-]{1,40})", pages.FragmentHandler),
    (r"/embed/([a-z-]{1,40})", pages.EmbedHandler),
    (r"/stream", stream.PanelStreamHandler),
    (r"/api/benchmark-sse", stream.BenchmarkStreamHandler),
    (r"/api/(?:background-)?tasks", api.TasksHandler),
    (r"/api/benchmark-live", api.BenchmarkLiveHandler),
    (r"/api/benchmark-progress", api.BenchmarkProgressHandler),
    (r"/api/current-run", api.CurrentRunHandler),
    (r"/api/runs", api.RunListHandler),
    (r"/api/azure-jobs", api.AzureJobsHandler),
    (r"/api/azure-job-logs", api.AzureJobLogsHandler),
    (r"/api/vms", api.VmListHandler),
    (r"/api/vms/register", api.VmRegisterHandler),
    (rf"/api/vms/{NAME}", api.VmHandler),
    (r"/api/probe-vm", api.ProbeVmHandler),
    (r"/live", health.LiveHandler),
    (r"/ready", health.ReadyHandler),
    (r"/metrics", health.MetricsHandler),
)

MAX_BODY_BYTES = 256 * 1024
"""Forms and JSON bodies; there are no uploads."""


class StaticHandler(StaticFileHandler):
    """Files under ``static/``: cached for good where the URL names their content, with the common headers."""

    def set_default_headers(self) -> None:
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", content_security_policy())
        self.set_header("Server", "waa-live")


def make_app(deps: Deps, static: Path) -> Application:
    """The application; everything it needs is in ``deps``."""
    return Application(
        [
            *((path, handler, {"deps": deps}) for path, handler in ROUTES),
            (r"/static/(.*)", StaticHandler, {"path": str(static)}),
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
