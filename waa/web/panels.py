"""The panels: which there are, what each shows, and which events change it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from waa.core.cloud import CloudJob, CloudVm
from waa.core.entity import Entity, Run, Task, Trouble, Vm
from waa.core.event import Event, EventType, vm_of
from waa.core.incident import Incident
from waa.core.job import Job
from waa.core.meter import Meter
from waa.core.pipeline import Pipeline
from waa.core.training import PredictionBatch, Training
from waa.web.view import Look, View
from waa.web.views.attention import needs
from waa.web.views.azure import azure_job_logs, azure_jobs
from waa.web.views.background import tasks_panel
from waa.web.views.compare import compare_detail
from waa.web.views.incidents import run_incidents, vm_incidents
from waa.web.views.log import log_tail
from waa.web.views.pipelines import pipeline_detail, pipeline_list
from waa.web.views.run import live_evaluation, run_detail, run_of_vm
from waa.web.views.run_chart import run_chart
from waa.web.views.run_domains import run_domains
from waa.web.views.run_facts import run_facts
from waa.web.views.run_head import run_head
from waa.web.views.run_table import task_table
from waa.web.views.runs import run_list
from waa.web.views.task import TaskSubject, task_detail
from waa.web.views.training import prediction_table, training_head, training_list
from waa.web.views.training_compare import comparison_detail
from waa.web.views.training_subject import jobs_of
from waa.web.views.training_trends import training_trends
from waa.web.views.vm import fleet, vm_detail, vm_list

QUERY = (
    "vm",
    "run",
    "task",
    "runs",
    "results",
    "runlist",
    "training",
    "predictions",
    "comparison",
    "trainings",
    "pipeline",
    "pipelinelist",
    "job",
)
"""The query parameters that name what panels are about, wherever panels are asked for."""
TRAINING_GAP_S = 2.0
"""However fast predictions come (requirement E4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A piece of a page that is rendered alone too (requirement A23).

    ``subject``: what it is about, None (everything) or the query parameter that names it (one of QUERY). It may be left out
    where it ends in ``-or-`` and what is then shown: "run-or-newest".
    ``poll_s``: how often a page without a stream asks for it, None: the interval of live evaluation. ``view`` raises
    NotFound for an unknown subject. ``touched_by`` is conservative: it may name events that change nothing.
    ``is_timed``: time alone changes it, so it must be looked at again now and then (compare views, then render).
    ``gap_s``: between two renderings at the least. ``is_private``: without a subject it is about everybody's, for administrators only.
    ``clock_id`` "": the time of its refresh has the usual id.
    """

    name: str
    template: str
    element_id: str
    view: Callable[[Look, str | None], View]
    touched_by: Callable[[Event], bool]
    subject: str | None = None
    poll_s: float | None = 10.0
    is_timed: bool = False
    gap_s: float = 0.0
    clock_id: str = ""
    is_private: bool = False

    @property
    def refresh_id(self) -> str:
        """The id of the element that shows when the panel was refreshed (requirement A22)."""
        return self.clock_id or f"{self.name}-refresh-time"

    @property
    def parameter(self) -> str | None:
        """The query parameter that names the subject."""
        return self.subject.partition("-or-")[0] if self.subject is not None else None

    @property
    def needs_subject(self) -> bool:
        """Whether it shows nothing unless that parameter is given."""
        return self.subject is not None and self.subject == self.parameter

    @property
    def is_of_trainings(self) -> bool:
        """Whether it shows trainings and nothing else."""
        return self.touched_by is _about_trainings

    def url(self, subject: str | None = None) -> str:
        """Where the panel alone is served."""
        query = "?" + urlencode({self.parameter: subject}) if self.parameter is not None and subject is not None else ""
        return f"/fragments/{self.name}{query}"

    def period_s(self, look: Look) -> int:
        """How often a page that polls asks for it, whole seconds."""
        return max(1, math.ceil(self.poll_s if self.poll_s is not None else look.interval_s))

    def is_touched(self, event: Event, subject: str | None = None) -> bool:
        """Whether the event would change this panel about this subject (None: any)."""
        if not self.touched_by(event):
            return False
        entity = event.entity
        if subject is None or not self.needs_subject:
            return True
        touches = True
        match self.subject:
            case "task":
                touches = _is_about_task(entity, TaskSubject.parse(subject))
            case "vm":
                touches = subject == vm_of(entity)
            case "training" | "predictions" | "comparison":
                jobs = jobs_of(subject) if self.subject == "comparison" else (subject.partition("?")[0],)
                touches = isinstance(entity, Training | PredictionBatch) and entity.job_id in jobs
            case "run" | "runs" | "results":
                touches = not isinstance(entity, Run | Task) or entity.run_id in subject.partition("?")[0].split(",")
            case "pipeline":
                touches = not isinstance(entity, Pipeline) or entity.pipeline_id == subject
        return touches


_WITHIN_A_TASK = (EventType.TASK_STEPPED, EventType.TASK_CHANGED)


def _never(_event: Event) -> bool:
    return False


def _about_work(event: Event) -> bool:
    return isinstance(event.entity, Vm | Run | Task | Meter)


def _about_runs(event: Event) -> bool:
    comings = (EventType.VM_ADDED, EventType.VM_REMOVED, EventType.VM_CONNECTED, EventType.VM_DISCONNECTED)
    return isinstance(event.entity, Run | Task | Meter) or event.type in comings


def _about_results(event: Event) -> bool:
    return event.type is not EventType.TASK_STEPPED and _about_runs(event)


def _about_incidents(event: Event) -> bool:
    return isinstance(event.entity, Incident) or (isinstance(event.entity, Run | Task) and event.type not in _WITHIN_A_TASK)


def _about_task(event: Event) -> bool:
    return _about_runs(event) or isinstance(event.entity, Incident)


def _about_verdicts(event: Event) -> bool:
    return event.type is not EventType.TASK_CHANGED and _about_results(event)


def _about_vms(event: Event) -> bool:
    return isinstance(event.entity, Vm | CloudVm)


def _about_cloud_jobs(event: Event) -> bool:
    return isinstance(event.entity, CloudJob) or (isinstance(event.entity, Run) and event.type is not EventType.RUN_CHANGED)


def _about_trainings(event: Event) -> bool:
    return isinstance(event.entity, Training | PredictionBatch)


def _about_one_vm(event: Event) -> bool:
    return isinstance(event.entity, Vm | Run | Trouble | Meter)


def _is_about_task(entity: Entity, subject: TaskSubject) -> bool:
    """Its own events, those of its run, and of any VM: it may be the one that must be asked."""
    if isinstance(entity, Task):
        return (entity.run_id, entity.domain, entity.task_id) == (subject.run_id, subject.domain, subject.task_id)
    return not isinstance(entity, Run) or entity.run_id == subject.run_id


def _about_needs(event: Event) -> bool:
    return _about_work(event) or _about_pipelines(event)


def _about_pipelines(event: Event) -> bool:
    return isinstance(event.entity, Pipeline)


def _about_progress(event: Event) -> bool:
    steps = (EventType.TASK_STEPPED, EventType.TASK_CHANGED)
    return event.type not in steps and (_about_work(event) or isinstance(event.entity, Job))


_ALL = (
    Panel(
        name="attention", template="panels/attention.html", element_id="attention-panel", view=needs, touched_by=_about_needs, is_timed=True
    ),
    Panel(name="fleet", template="panels/fleet.html", element_id="fleet-panel", view=fleet, touched_by=_about_work, is_timed=True),
    Panel(
        name="live-eval",
        template="panels/live_eval.html",
        element_id="live-eval-panel",
        view=live_evaluation,
        touched_by=_about_runs,
        subject="run-or-newest",
        poll_s=None,
    ),
    Panel(name="tasks", template="panels/tasks.html", element_id="tasks-panel", view=tasks_panel, touched_by=_about_progress),
    Panel(
        name="vms",
        template="panels/vms.html",
        element_id="vms-panel",
        view=vm_list,
        touched_by=_about_vms,
        is_timed=True,
        clock_id="vm-refresh-time",
    ),
    Panel(
        name="azure-jobs",
        template="panels/azure_jobs.html",
        element_id="azure-jobs-panel",
        view=azure_jobs,
        touched_by=_about_cloud_jobs,
        is_timed=True,
    ),
    Panel(
        name="azure-job-logs",
        template="panels/azure_job_logs.html",
        element_id="azure-job-logs-panel",
        view=azure_job_logs,
        touched_by=_about_cloud_jobs,
        subject="job-or-newest",
        poll_s=5.0,
        is_timed=True,
    ),
    Panel(
        name="runs",
        template="panels/runs.html",
        element_id="runs-panel",
        view=run_list,
        touched_by=_about_verdicts,
        subject="runlist-or-all",
    ),
    Panel(
        name="vm",
        template="panels/vm.html",
        element_id="vm-panel",
        view=vm_detail,
        touched_by=_about_one_vm,
        subject="vm",
        is_timed=True,
        clock_id="vm-detail-refresh-time",
    ),
    Panel(
        name="vm-run",
        template="panels/run.html",
        element_id="vm-run-panel",
        view=run_of_vm,
        touched_by=_about_work,
        subject="vm",
        poll_s=5.0,
    ),
    Panel(
        name="run",
        template="panels/run.html",
        element_id="run-panel",
        view=run_detail,
        touched_by=_about_runs,
        subject="run",
        poll_s=5.0,
    ),
    Panel(
        name="run-head",
        template="panels/run_head.html",
        element_id="run-head-panel",
        view=run_head,
        touched_by=_about_runs,
        subject="run",
        poll_s=5.0,
    ),
    Panel(
        name="run-incidents",
        template="panels/run_incidents.html",
        element_id="run-incidents-panel",
        view=run_incidents,
        touched_by=_about_incidents,
        subject="run",
    ),
    Panel(
        name="vm-incidents",
        template="panels/vm_incidents.html",
        element_id="vm-incidents-panel",
        view=vm_incidents,
        touched_by=_about_incidents,
        subject="vm",
    ),
    Panel(
        name="run-chart",
        template="panels/run_chart.html",
        element_id="run-chart-panel",
        view=run_chart,
        touched_by=_about_verdicts,
        subject="run",
    ),
    Panel(
        name="run-domains",
        template="panels/run_domains.html",
        element_id="run-domains-panel",
        view=run_domains,
        touched_by=_about_verdicts,
        subject="results",
    ),
    Panel(
        name="run-tasks",
        template="panels/run_tasks.html",
        element_id="run-tasks-panel",
        view=task_table,
        touched_by=_about_results,
        subject="results",
        poll_s=5.0,
    ),
    Panel(
        name="run-facts",
        template="panels/run_facts.html",
        element_id="run-facts-panel",
        view=run_facts,
        touched_by=_about_verdicts,
        subject="run",
    ),
    Panel(
        name="task",
        template="panels/task.html",
        element_id="task-panel",
        view=task_detail,
        touched_by=_about_task,
        subject="task",
        poll_s=5.0,
        is_timed=True,
    ),
    Panel(
        name="compare",
        template="panels/compare.html",
        element_id="compare-panel",
        view=compare_detail,
        touched_by=_about_results,
        subject="runs",
    ),
    Panel(
        name="trainings",
        template="panels/trainings.html",
        element_id="trainings-panel",
        view=training_list,
        touched_by=_about_trainings,
        subject="trainings-or-all",
        gap_s=TRAINING_GAP_S,
        is_private=True,
    ),
    Panel(
        name="training",
        template="panels/training.html",
        element_id="training-panel",
        view=training_head,
        touched_by=_about_trainings,
        subject="training",
        gap_s=TRAINING_GAP_S,
        poll_s=5.0,
    ),
    Panel(
        name="training-trends",
        template="panels/training_trends.html",
        element_id="training-trends-panel",
        view=training_trends,
        touched_by=_about_trainings,
        subject="training",
        gap_s=TRAINING_GAP_S,
    ),
    Panel(
        name="predictions",
        template="panels/predictions.html",
        element_id="predictions-panel",
        view=prediction_table,
        touched_by=_about_trainings,
        subject="predictions",
        gap_s=TRAINING_GAP_S,
        poll_s=5.0,
    ),
    Panel(
        name="comparison",
        template="panels/comparison.html",
        element_id="comparison-panel",
        view=comparison_detail,
        touched_by=_about_trainings,
        subject="comparison",
        gap_s=TRAINING_GAP_S,
    ),
    Panel(
        name="pipelines",
        template="panels/pipelines.html",
        element_id="pipelines-panel",
        view=pipeline_list,
        touched_by=_about_pipelines,
        subject="pipelinelist-or-all",
        is_timed=True,
    ),
    Panel(
        name="pipeline",
        template="panels/pipeline.html",
        element_id="pipeline-panel",
        view=pipeline_detail,
        touched_by=_about_pipelines,
        subject="pipeline",
        is_timed=True,
    ),
    Panel(
        name="log",
        template="panels/log.html",
        element_id="log-panel",
        view=log_tail,
        touched_by=_never,
        subject="vm",
        poll_s=5.0,
    ),
)

PANELS: Mapping[str, Panel] = {panel.name: panel for panel in _ALL}
"""By name."""


def trainings_of(about: Mapping[str, str | None]) -> list[str]:
    """The trainings that the subjects of panels name. Raises Invalid."""
    named = [(about.get(name) or "").partition("?")[0] for name in ("training", "predictions")]
    comparison = about.get("comparison")
    return [job_id for job_id in (*named, *(jobs_of(comparison) if comparison is not None else ())) if job_id]


def log_list_id(vm: str) -> str:
    """The id of the list that holds a VM's log lines, whose own ids end in their numbers."""
    return f"log-lines-{vm}"
