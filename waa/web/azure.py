"""Azure for programs, and the button that watches one of its VMs."""

from http import HTTPStatus

from waa.core.error import Invalid, NotFound
from waa.web import api, wire_azure
from waa.web.api import ApiHandler
from waa.web.pages import PageHandler
from waa.web.views.azure import log_key

MAX_ID = 1000


class AzureJobsHandler(ApiHandler):
    """``GET /api/azure-jobs``: the jobs of the configured Azure ML workspaces, newest first."""

    def get(self) -> None:
        self.write_json(wire_azure.jobs_payload(self.deps.recorder.state, self.deps.azure.look_at_jobs()))


class AzureJobLogsHandler(ApiHandler):
    """``GET /api/azure-job-logs?job_id=[&log=]``: the end of a job's log. It is read while somebody asks."""

    def get(self) -> None:
        job_id, wanted = self.one_argument("job_id"), self.one_argument("log")
        if not job_id:
            raise Invalid("job_id", "is required")
        standing = self.deps.azure.look_at_jobs()
        if not standing.is_on:
            self.write_json(wire_azure.no_logs(job_id, standing.message))
            return
        job = self.deps.azure.find_job(job_id)
        seen = self.deps.azure.look_at_log(job)
        if wanted is not None and seen.logs and wanted not in seen.logs:
            raise NotFound(f"log: the job has no log {wanted!r}; there are: {', '.join(seen.logs)}")
        log = wanted if wanted is not None and wanted in seen.logs else next(iter(seen.logs), "")
        lines = self.deps.look().lines_of(seen.source, log_key(log)) if log else ()
        self.write_json(wire_azure.logs_payload(job, seen, log, lines))


class AzureVmsHandler(ApiHandler):
    """``GET /api/azure-vms``: the VMs of the configured subscriptions, with power and addresses."""

    def get(self) -> None:
        self.write_json(wire_azure.vms_payload(self.deps.recorder.state, self.deps.azure.look_at_vms()))


class AzureWatchHandler(PageHandler):
    """``POST /azure/vms/watch``: watch a VM that Azure lists. It keeps its identity there, whatever its address becomes."""

    async def post(self) -> None:
        resource_id = self.get_body_argument("id", "")
        if not resource_id or len(resource_id) > MAX_ID:
            raise Invalid("id", "is the resource id of a VM")
        spec = self.deps.azure.spec_of(resource_id)
        await api.register(self, spec)
        self.redirect(f"/vms/{spec.name}", status=HTTPStatus.SEE_OTHER)
