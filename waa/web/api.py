"""JSON endpoints for programs: the polling twins of the benchmark stream (A10, A11) and the list of VMs."""

import dataclasses
from collections.abc import Mapping
from http import HTTPStatus

from waa.core.codec import decode, spec_from
from waa.core.entity import Run, RunId, Vm
from waa.core.error import Conflict, Invalid, NotFound
from waa.core.spec import Origin, VmSpec
from waa.core.status import RunStatus
from waa.web import wire
from waa.web.base import BaseHandler
from waa.web.cost_wire import spending_payload
from waa.web.payload import VmPayload
from waa.web.views.task import TaskSubject, find_task

ALIASES = {"docker_container": "container", "internal_ip": "guest_ip"}
"""Names of the register contract that differ from the configuration's."""
RESERVED_NAMES = ("new", "register")
"""Their pages would stand where another one does."""


class ApiHandler(BaseHandler):
    """For programs: no cookie, no token, and the choices that several endpoints share."""

    def check_xsrf_cookie(self) -> None:
        """A foreign form cannot send JSON, nor DELETE; a foreign script needs a preflight for both, and gets no leave.

        Raises Invalid for a body of another type.
        """
        self.admit()
        if self.request.method == "POST" and not self.is_json:
            raise Invalid("Content-Type", "must be application/json")

    def chosen_vm(self) -> Vm | None:
        """The VM of ``?vm=``, None where it is not given. Raises NotFound."""
        name = self.one_argument("vm")
        if name is None:
            return None
        vm = self.deps.recorder.state.vms.get(name)
        if vm is None:
            raise NotFound(f"vm: there is no VM named {name!r}")
        return vm

    def payload_of(self, vm: Vm) -> VmPayload:
        """A VM as programs see it."""
        return wire.vm_payload(self.deps.look(), vm)

    def chosen_run(self) -> Run | None:
        """The run of ``?run_id=`` or the newest (of ``?vm=``), None where there is none. Raises NotFound."""
        state = self.deps.recorder.state
        run_id = self.one_argument("run_id")
        if run_id is None:
            vm = self.chosen_vm()
            return wire.shown_run(state, vm.name if vm is not None else None)
        run = state.runs.get(RunId(run_id))
        if run is None:
            raise NotFound(f"run_id: there is no run {run_id!r}")
        return run


class TasksHandler(ApiHandler):
    """``GET /api/tasks``, ``/api/background-tasks``: everything that goes on, as a list."""

    def get(self) -> None:
        self.write_json(wire.background_rows(self.deps.recorder.state, self.deps.clock()))


class BenchmarkLiveHandler(ApiHandler):
    """``GET /api/benchmark-live``: the newest run in the shape of ``benchmark_live.json``."""

    def get(self) -> None:
        self.write_json(wire.live_payload(self.deps.recorder.state, self.chosen_run()))


class BenchmarkProgressHandler(ApiHandler):
    """``GET /api/benchmark-progress``: the newest run in the shape of ``benchmark_progress.json``, or that file itself
    where one is watched, no run is under way, and none was asked for."""

    def get(self) -> None:
        run, file = self.chosen_run(), self.deps.file_progress()
        is_free = not (self.one_argument("vm") or self.one_argument("run_id"))
        if file is not None and is_free and (run is None or run.status is not RunStatus.RUNNING):
            self.write_json(file)
        else:
            self.write_json(wire.progress_file_payload(self.deps.recorder.state, run))


class CurrentRunHandler(ApiHandler):
    """``GET /api/current-run``: the newest run with its tasks, ``{"run": null}`` where there is none."""

    def get(self) -> None:
        run = self.chosen_run()
        self.write_json({"run": wire.run_with_tasks(self.deps.look(), run) if run is not None else None})


class TaskHandler(ApiHandler):
    """``GET /api/runs/<id>/tasks/<domain>/<task>[/<attempt>]``: what the page of the task shows, with all its steps."""

    async def get(self, run_id: str, domain: str, task_id: str, attempt: str | None = None) -> None:
        subject = TaskSubject(run_id=run_id, domain=domain, task_id=task_id, attempt=int(attempt) if attempt else None)
        run, task = find_task(self.deps.look(), subject)
        if task is None:
            raise NotFound(f"The task {domain}/{task_id} has not begun")
        seen = await self.deps.records.load(task)
        self.write_json(wire.task_detail_payload(run, task, seen))


class VmListHandler(ApiHandler):
    """``GET /api/vms``: every VM with its readings."""

    def get(self) -> None:
        look = self.deps.look()
        self.write_json({"vms": [wire.vm_payload(look, vm) for vm in look.state.vms.values()]})


class SpendingHandler(ApiHandler):
    """``GET /api/spending``: what all VMs together cost this month (UTC)."""

    def get(self) -> None:
        self.write_json({"spending": spending_payload(self.deps.look())})


class ProbeVmHandler(ApiHandler):
    """``GET /api/probe-vm[?vm=]``: the newest status of one VM (or of all), as the prober last saw it."""

    def get(self) -> None:
        state, seen_at = self.deps.recorder.state, self.deps.monitor.seen_at
        vm = self.chosen_vm()
        if vm is not None:
            self.write_json(wire.aged_status(vm, seen_at))
        else:
            self.write_json({"vms": [wire.aged_status(known, seen_at) for known in state.vms.values()]})


class VmRegisterHandler(ApiHandler):
    """``POST /api/vms/register``: watch one more VM; registering the same again changes what is said about it."""

    async def post(self) -> None:
        spec = registered_spec(decode(dict[str, object], self.request.body, name="body"))
        is_new = await register(self, spec)
        vm = self.deps.recorder.state.vms[spec.name]
        payload = self.payload_of(vm)
        self.write_json({"status": "success", "vm": payload}, HTTPStatus.CREATED if is_new else HTTPStatus.OK)


class VmHandler(ApiHandler):
    """``GET`` and ``DELETE /api/vms/<name>``."""

    def get(self, name: str) -> None:
        state = self.deps.recorder.state
        if name not in state.vms:
            raise NotFound(f"There is no VM named {name!r}")
        self.write_json(self.payload_of(state.vms[name]))

    async def delete(self, name: str) -> None:
        await forget(self, name)
        self.set_status(HTTPStatus.NO_CONTENT)


def registered_spec(body: dict[str, object]) -> VmSpec:
    """The VM of a register request; null leaves a field at its default. Raises Invalid by the names of the contract."""
    for alias, name in ALIASES.items():
        if alias in body and name in body:
            raise Invalid(alias, f"is another name of {name}: give one of them")
    given = {name: value for name, value in body.items() if value is not None}
    need_named(given)
    allowed = {item.name for item in dataclasses.fields(VmSpec)} - {"origin"}
    for name in given:
        if name not in allowed and name not in ALIASES:
            raise Invalid(name[:80], f"is not a field of a VM; allowed: {', '.join(sorted(allowed | ALIASES.keys()))}")
    try:
        return spec_from({ALIASES.get(name, name): value for name, value in given.items()}, origin=Origin.API)
    except Invalid as error:
        for alias, name in ALIASES.items():
            if name == error.field and alias in given:
                raise Invalid(alias, str(error).partition(": ")[2]) from error
        raise


def need_named(values: Mapping[str, object]) -> None:
    """Raises Invalid unless a VM's name and host are given."""
    for name in ("name", "ssh_host"):
        if values.get(name) in (None, ""):
            raise Invalid(name, "is required")
    if values["name"] in RESERVED_NAMES:
        raise Invalid("name", f"{values['name']!r} is the name of a page; choose another")


async def register(handler: BaseHandler, spec: VmSpec) -> bool:
    """Watch a VM; gives whether it is new. Raises Conflict where its name belongs to the configuration file, Invalid where it leads to
    where the operator does not want it to."""
    handler.audit_subject = spec.name
    known = handler.deps.recorder.state.vms.get(spec.name)
    if known is not None and known.spec.origin is not Origin.API:
        raise Conflict(f"name: {spec.name!r} is defined by the {known.spec.origin}: change it there, or choose another name")
    handler.deps.settings.destinations.check(spec)
    handler.audit_detail = "added" if known is None else "changed"
    await handler.deps.monitor.name(spec)
    return known is None


async def forget(handler: BaseHandler, name: str) -> None:
    """Take a VM off the list. Raises NotFound, Conflict where the configuration file names it."""
    known = handler.deps.recorder.state.vms.get(name)
    if known is None:
        raise NotFound(f"There is no VM named {name!r}")
    if known.spec.origin is not Origin.API:
        raise Conflict(f"{name!r} is defined by the {known.spec.origin}: remove it there")
    await handler.deps.monitor.forget(name)
