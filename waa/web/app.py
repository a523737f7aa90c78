"""The route table."""

from http import HTTPStatus
from pathlib import Path
from typing import Any

from tornado.web import Application, HTTPError, StaticFileHandler

from waa.core.access import Scope
from waa.web import (
    account,
    api,
    azure,
    compare,
    export,
    health,
    incidents,
    jobs,
    login,
    oidc,
    openapi,
    pages,
    pipelines,
    replay,
    report,
    runs,
    stream,
    task_text,
    training,
    training_pages,
)
from waa.web.base import BaseHandler, NotFoundHandler
from waa.web.decision import ADMIN, JOBS, KNOWN, METRICS, MINE, PANELS, PUBLIC, PUSH, READ, VIEW, Access, ingest, operate, train
from waa.web.deps import Deps

NAME = r"([A-Za-z0-9][A-Za-z0-9._-]{0,62})"
RUN_ID = r"([A-Za-z0-9][A-Za-z0-9._-]{0,120})"

JOB_ID = r"([0-9a-f]{16})"
KEY_ID = r"([0-9a-f]{12})"
LINK = r"([A-Za-z0-9_-]{32})"
TOKEN = r"([A-Za-z0-9_-]{24})"  # noqa: S105 - a pattern

TASK = rf"/runs/{RUN_ID}/tasks/([^/]+)/([^/]+)"
ATTEMPT = r"([1-9][0-9]{0,5})"
SEQ = r"([1-9][0-9]{0,15})"
EPOCH = r"(0|[1-9][0-9]{0,15})"

ROUTES: tuple[tuple[str, type[Any], Access], ...] = (
    (r"/", pages.OverviewHandler, READ),
    (r"/vms/new", pages.VmFormHandler, {"GET": VIEW, "POST": operate("vm.add")}),
    (r"/vms", pages.VmFormHandler, {"GET": VIEW, "POST": operate("vm.add")}),
    (rf"/vms/{NAME}", pages.VmPageHandler, READ),
    (rf"/vms/{NAME}/remove", pages.VmRemoveHandler, {"POST": operate("vm.remove")}),
    (rf"/vms/{NAME}/retry", pages.VmRetryHandler, {"POST": operate("vm.retry")}),
    (rf"/vms/{NAME}/screenshot", pages.ScreenshotHandler, READ),
    (r"/runs", runs.RunListPageHandler, READ),
    (rf"/runs/{RUN_ID}", runs.RunPageHandler, READ),
    (rf"/runs/{RUN_ID}/threshold", runs.ThresholdFormHandler, {"POST": operate("run.threshold")}),
    (rf"/runs/{RUN_ID}/tasks\.csv", export.TasksCsvHandler, READ),
    (rf"/runs/{RUN_ID}/steps\.csv", export.StepsCsvHandler, READ),
    (rf"/runs/{RUN_ID}/report\.html", report.ReportHandler, READ),
    (rf"/runs/{RUN_ID}/replay", replay.ReplayPageHandler, READ),
    (rf"/replay/{TOKEN}", replay.ReplayHandler, {"GET": VIEW, "POST": VIEW}),
    (rf"/replay/{TOKEN}/page", replay.ReplayPartHandler, READ),
    (rf"/replay/{TOKEN}/stream", replay.ReplayStreamHandler, READ),
    (rf"/replay/{TOKEN}/fragments/([a-z-]{{1,40}})", replay.ReplayFragmentHandler, READ),
    (r"/compare", compare.CompareHandler, READ),
    (r"/compare/task", compare.CompareTaskHandler, READ),
    (TASK, pages.TaskPageHandler, READ),
    (rf"{TASK}/{ATTEMPT}", pages.TaskPageHandler, READ),
    (rf"{TASK}/{ATTEMPT}/files/(.+)", pages.TaskFileHandler, READ),
    (rf"{TASK}/{ATTEMPT}/log", task_text.TaskLogHandler, READ),
    (rf"{TASK}/spec", task_text.TaskSpecificationHandler, READ),
    (rf"/runs/{RUN_ID}/rerun\.json", incidents.RerunHandler, READ),
    (r"/pipelines", pipelines.PipelineListPageHandler, {"GET": VIEW, "POST": operate("pipeline.add")}),
    (r"/pipelines/new", pipelines.PipelineFormHandler, READ),
    (rf"/pipelines/{NAME}", pipelines.PipelinePageHandler, READ),
    (rf"/pipelines/{NAME}/remove", pipelines.PipelineRemoveHandler, {"POST": operate("pipeline.remove")}),
    (r"/fragments/([a-z-]{1,40})", pages.FragmentHandler, PANELS),
    (r"/embed/([a-z-]{1,40})", pages.EmbedHandler, PANELS),
    (r"/stream", stream.PanelStreamHandler, PANELS),
    (r"/api/openapi\.json", openapi.OpenApiHandler, {"GET": KNOWN}),
    (r"/api/benchmark-sse", stream.BenchmarkStreamHandler, READ),
    (r"/api/(?:background-)?tasks", api.TasksHandler, READ),
    (r"/api/benchmark-live", api.BenchmarkLiveHandler, READ),
    (r"/api/benchmark-progress", api.BenchmarkProgressHandler, READ),
    (r"/api/current-run", api.CurrentRunHandler, READ),
    (r"/api/runs", runs.RunListHandler, READ),
    (rf"/api/runs/{RUN_ID}", runs.RunHandler, READ),
    (rf"/api/runs/{RUN_ID}/threshold", runs.ThresholdHandler, {"POST": operate("run.threshold")}),
    (rf"/api/runs/{RUN_ID}/steps", export.StepsJsonHandler, READ),
    (rf"/api{TASK}", api.TaskHandler, READ),
    (rf"/api{TASK}/{ATTEMPT}", api.TaskHandler, READ),
    (rf"/api{TASK}/spec", task_text.TaskSpecificationApiHandler, READ),
    (r"/api/compare", compare.CompareApiHandler, READ),
    (r"/api/incidents", incidents.IncidentListHandler, READ),
    (r"/api/azure-jobs", azure.AzureJobsHandler, READ),
    (r"/api/azure-job-logs", azure.AzureJobLogsHandler, READ),
    (r"/api/azure-vms", azure.AzureVmsHandler, READ),
    (r"/azure/vms/watch", azure.AzureWatchHandler, {"POST": operate("vm.add")}),
    (r"/api/traces/import", jobs.ImportHandler, {"POST": ingest("results.import")}),
    (r"/imports", jobs.ImportFormHandler, {"POST": ingest("results.import")}),
    (r"/api/jobs", jobs.JobListHandler, {"GET": JOBS}),
    (rf"/api/jobs/{JOB_ID}", jobs.JobHandler, {"GET": JOBS, "DELETE": ingest("job.cancel")}),
    (rf"/api/jobs/{JOB_ID}/stream", jobs.JobStreamHandler, {"GET": JOBS}),
    (r"/api/vms", api.VmListHandler, READ),
    (r"/api/spending", api.SpendingHandler, READ),
    (r"/api/vms/register", api.VmRegisterHandler, {"POST": operate("vm.add")}),
    (rf"/api/vms/{NAME}", api.VmHandler, {"GET": VIEW, "DELETE": operate("vm.remove")}),
    (r"/api/pipelines", pipelines.PipelineListHandler, {"GET": VIEW, "POST": operate("pipeline.add")}),
    (rf"/api/pipelines/{NAME}", pipelines.PipelineHandler, {"GET": VIEW, "DELETE": operate("pipeline.remove")}),
    (r"/ui-api/pipeline/status", pipelines.PipelineStatusHandler, READ),
    (r"/ui-api/pipeline/status/stream", pipelines.PipelineStreamHandler, READ),
    (r"/api/probe-vm", api.ProbeVmHandler, READ),
    (r"/training", training_pages.TrainingsPageHandler, {"GET": MINE, "POST": train("training.create")}),
    (r"/training/monitor", training_pages.MonitorPageHandler, {"GET": MINE}),
    (r"/training/compare", training_pages.ComparePredictionsHandler, {"GET": MINE}),
    (rf"/training/{NAME}/predictions/{SEQ}", training_pages.PredictionPageHandler, {"GET": MINE}),
    (rf"/training/{NAME}/cancel", training_pages.TrainingCancelHandler, {"POST": train("training.finish", Scope.VIEW)}),
    (rf"/training/{NAME}/remove", training_pages.TrainingRemoveHandler, {"POST": train("training.remove", Scope.VIEW)}),
    (r"/api/training/jobs", training.TrainingListHandler, {"GET": MINE, "POST": train("training.create")}),
    (rf"/api/training/jobs/{NAME}", training.TrainingHandler, {"GET": MINE, "DELETE": train("training.remove", Scope.VIEW)}),
    (rf"/api/training/jobs/{NAME}/token", training.TrainingTokenHandler, {"POST": train("training.token")}),
    (rf"/api/training/jobs/{NAME}/finish", training.TrainingFinishHandler, {"POST": train("training.finish")}),
    (rf"/api/training/jobs/{NAME}/epochs/{EPOCH}/complete", training.EpochCompleteHandler, {"POST": PUSH}),
    (r"/api/training/predictions", training.PredictionPushHandler, {"POST": PUSH}),
    (rf"/api/training/predictions/{NAME}", training.PredictionListHandler, {"GET": MINE}),
    (rf"/api/training/predictions/{NAME}/stream", training.PredictionStreamHandler, {"GET": MINE}),
    (r"/login", login.LoginHandler, {"GET": PUBLIC, "POST": PUBLIC}),
    (rf"/login/{LINK}", login.LoginLinkHandler, {"GET": PUBLIC, "POST": PUBLIC}),
    (r"/login/oidc", oidc.OidcLoginHandler, {"GET": PUBLIC}),
    (r"/login/oidc/callback", oidc.OidcCallbackHandler, {"GET": PUBLIC}),
    (r"/logout", login.LogoutHandler, {"POST": PUBLIC}),
    (r"/access", account.AccessHandler, {"GET": KNOWN}),
    (r"/access/keys", account.KeyCreateHandler, {"GET": KNOWN, "POST": KNOWN}),
    (rf"/access/keys/{KEY_ID}/revoke", account.KeyRevokeHandler, {"POST": KNOWN}),
    (r"/access/sessions/end", account.OtherSessionsEndHandler, {"POST": KNOWN}),
    (rf"/access/sessions/{JOB_ID}/end", account.SessionEndHandler, {"POST": KNOWN}),
    (r"/audit", account.AuditHandler, {"GET": ADMIN}),
    (r"/audit\.(csv|json)", account.AuditExportHandler, {"GET": ADMIN}),
    (r"/live", health.LiveHandler, {"GET": PUBLIC}),
    (r"/ready", health.ReadyHandler, {"GET": METRICS}),
    (r"/metrics", health.MetricsHandler, {"GET": METRICS}),
)

DOCUMENT = openapi.document(ROUTES)

MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""Bodies up to this are read, so that one that is too long gets an answer that says so; beyond it the connection ends."""


class StaticHandler(BaseHandler, StaticFileHandler):
    """Files under ``static/``: cached for good where the URL names their content, else asked for again."""

    cost = 0.0

    def initialize(self, deps: Deps, access: Access, path: str) -> None:  # type: ignore[override]
        BaseHandler.initialize(self, deps, access)
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
            *((path, handler, {"deps": deps, "access": access}) for path, handler, access in ROUTES),
            (r"/static/(.*)", StaticHandler, {"deps": deps, "access": {"GET": PUBLIC}, "path": str(static)}),
        ],
        default_handler_class=NotFoundHandler,
        default_handler_args={"deps": deps},
        xsrf_cookies=True,
        xsrf_cookie_kwargs={"samesite": "Lax", "httponly": True},
        compress_response=False,
        hsts_s=deps.settings.hsts_s,
        openapi=DOCUMENT,
        log_function=_log_request,
    )


def _log_request(_handler: Any) -> None:
    """Requests are not news; errors are logged where they happen."""
