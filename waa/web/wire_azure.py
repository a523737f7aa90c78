"""Azure for programs: its jobs, their logs and its VMs as JSON."""

from collections.abc import Mapping, Sequence

from waa.core.cloud import CloudJob, CloudVm
from waa.core.entity import Run
from waa.core.state import State
from waa.services.azure import AzureSeen
from waa.services.azure_log import JobLogSeen
from waa.web.payload import (
    AzureJobPayload,
    AzureJobsPayload,
    AzureLogsPayload,
    AzureProblem,
    AzureVmPayload,
    AzureVmsPayload,
)
from waa.web.terminal import LogLine
from waa.web.views.azure import all_jobs, all_vms, runs_of_jobs


def job_payload(job: CloudJob, runs: Mapping[str, Run]) -> AzureJobPayload:
    """A job; ``runs``: see ``runs_of_jobs``."""
    run = runs.get(job.key)
    return {
        "job_id": job.name,
        "key": job.key,
        "resource_id": job.resource_id,
        "workspace": job.workspace_name,
        "display_name": job.title or None,
        "type": job.type or None,
        "status": job.status.value,
        "is_live": not job.is_over,
        "experiment": job.experiment or None,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
        "duration_s": job.duration_s,
        "compute": job.compute or None,
        "vm_size": job.vm_size or None,
        "low_priority": job.is_low_priority,
        "portal_url": job.portal_url or None,
        "parent": job.parent or None,
        "run_id": run.run_id if run is not None else None,
        "error": job.error or None,
    }


def jobs_payload(state: State, seen: AzureSeen) -> AzureJobsPayload:
    """All jobs that are known, newest first."""
    runs = runs_of_jobs(state) if seen.is_on else {}
    return {
        "enabled": seen.is_on,
        "message": seen.message,
        "refreshed_at": _refreshed_at(seen),
        "problems": _problems(seen),
        "is_whole": seen.is_whole,
        "jobs": [job_payload(job, runs) for job in all_jobs(state)] if seen.is_on else [],
    }


def logs_payload(job: CloudJob, seen: JobLogSeen, log: str, lines: Sequence[LogLine]) -> AzureLogsPayload:
    """The tail of one of a job's logs."""
    return {
        "enabled": True,
        "message": "",
        "job_id": job.name,
        "key": job.key,
        "status": job.status.value,
        "log": log or None,
        "logs": list(seen.logs),
        "lines": [{"number": line.number, "text": line.text} for line in lines],
        "reading": seen.is_reading,
        "complete": seen.is_whole,
        "error": seen.failure.message if seen.failure is not None else None,
    }


def no_logs(job_id: str, message: str) -> AzureLogsPayload:
    """Azure is off."""
    return {
        "enabled": False,
        "message": message,
        "job_id": job_id,
        "key": None,
        "status": None,
        "log": None,
        "logs": [],
        "lines": [],
        "reading": False,
        "complete": False,
        "error": None,
    }


def vms_payload(state: State, seen: AzureSeen) -> AzureVmsPayload:
    """All VMs that are meant, by name."""
    watched = {vm.spec.azure_id.lower(): vm.name for vm in state.vms.values() if vm.spec.azure_id is not None}
    return {
        "enabled": seen.is_on,
        "message": seen.message,
        "refreshed_at": _refreshed_at(seen),
        "problems": _problems(seen),
        "vms": [_vm_payload(vm, watched.get(vm.key)) for vm in all_vms(state)] if seen.is_on else [],
    }


def _vm_payload(vm: CloudVm, name: str | None) -> AzureVmPayload:
    return {
        "resource_id": vm.resource_id,
        "name": vm.name,
        "resource_group": vm.resource_group,
        "subscription": vm.subscription,
        "region": vm.region or None,
        "size": vm.size or None,
        "os": vm.os or None,
        "spot": vm.is_spot,
        "power": vm.power.value,
        "public_ip": vm.public_ip or None,
        "private_ip": vm.private_ip or None,
        "tags": vm.tags,
        "vm": name,
    }


def _refreshed_at(seen: AzureSeen) -> float | None:
    return max((part.refreshed_at for part in seen.parts if part.refreshed_at is not None), default=None)


def _problems(seen: AzureSeen) -> list[AzureProblem]:
    return [
        {
            "part": part.name,
            "message": part.failure.message,
            "remedy": part.failure.remedy,
            "since": part.failed_at,
            "retry_at": part.retry_at,
        }
        for part in seen.parts
        if part.failure is not None
    ]
