"""What the pages add to their panels."""

from dataclasses import dataclass

from waa.core.spec import Origin
from waa.core.status import Phase
from waa.web.view import Look
from waa.web.views.azure import chosen_job
from waa.web.views.run import need_run, need_vm
from waa.web.views.task import TaskSubject, find_task

MAX_TITLE = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewPage:
    """The start page. ``run``: the run that *Live Evaluation* is asked to show, None: the newest; ``job``: the same of *Azure Job Logs*."""

    run: str | None
    job: str | None
    has_demo: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VmPage:
    """The page of one VM. One that the configuration names is removed there, not here (``is_removable``). ``has_screen`` False: it
    stands for something whose screen nobody sees."""

    name: str
    has_screen: bool
    is_demo: bool
    is_removable: bool
    phase: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPage:
    """The page of a task. ``subject`` is its panel's; ``title`` tells it from other tabs."""

    subject: str
    domain: str
    task_id: str
    title: str


def overview_page(look: Look, run_id: str | None = None, job: str | None = None) -> OverviewPage:
    """The start page. Raises NotFound for an unknown run or job."""
    if run_id is not None:
        need_run(look.state, run_id)
    if job is not None:
        chosen_job(look, job)
    return OverviewPage(run=run_id, job=job, has_demo=any(vm.spec.origin is Origin.DEMO for vm in look.state.vms.values()))


def vm_page(look: Look, name: str) -> VmPage:
    """The page of one VM. Raises NotFound."""
    vm = need_vm(look.state, name)
    origin = vm.spec.origin
    return VmPage(
        name=vm.name, has_screen=origin is not Origin.JOB, is_demo=origin is Origin.DEMO, is_removable=origin is Origin.API, phase=vm.phase
    )


def task_page(look: Look, subject: TaskSubject) -> TaskPage:
    """The page of a task. Raises NotFound."""
    _, task = find_task(look, subject)
    name = task.instruction.strip() if task is not None else ""
    first = name.splitlines()[0] if name else ""
    title = first if 0 < len(first) <= MAX_TITLE else f"{first[:MAX_TITLE].rsplit(' ', 1)[0]}…" if first else ""
    return TaskPage(
        subject=subject.text, domain=subject.domain, task_id=subject.task_id, title=title or f"{subject.domain} {subject.task_id}"
    )
