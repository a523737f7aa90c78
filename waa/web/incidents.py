"""Incidents and rerun lists for programs."""

from http import HTTPStatus

from waa.core.codec import encode
from waa.core.entity import RunId
from waa.core.error import Invalid, NotFound
from waa.core.incident import Incident
from waa.core.rerun import read_again, task_list, tasks_again
from waa.web import wire
from waa.web.api import ApiHandler
from waa.web.base import BaseHandler
from waa.web.views.run import need_run

_FLAGS = {"1": True, "true": True, "0": False, "false": False}


class IncidentListHandler(ApiHandler):
    """``GET /api/incidents[?vm=&run_id=&open=]``: what went wrong, newest first."""

    def get(self) -> None:
        vm, run_id, is_open = self.chosen_vm(), self.one_argument("run_id"), self.flag("open")
        state = self.deps.recorder.state
        if run_id is not None and RunId(run_id) not in state.runs:
            raise NotFound(f"run_id: there is no run {run_id!r}")

        def is_asked(incident: Incident) -> bool:
            is_of_run = run_id is None or incident.run_id == run_id
            return (vm is None or incident.vm == vm.name) and is_of_run and is_open in (None, not incident.is_over)

        found = sorted(filter(is_asked, state.incidents.values()), key=lambda incident: incident.began_at, reverse=True)
        self.write_json({"incidents": [wire.incident_payload(incident) for incident in found]})

    def flag(self, name: str) -> bool | None:
        """A yes or no of the query, None where it is not given. Raises Invalid."""
        text = self.one_argument(name)
        if text is not None and text.lower() not in _FLAGS:
            raise Invalid(name, f"{text[:40]!r} is not one of: {', '.join(_FLAGS)}")
        return _FLAGS[text.lower()] if text is not None else None


class RerunHandler(BaseHandler):
    """``GET /runs/<id>/rerun.json[?status=error,unknown,missing,failed]``: the tasks to run again, as a task list of the benchmark."""

    def get(self, run_id: str) -> None:
        state = self.deps.recorder.state
        run = need_run(state, run_id)
        refs = tasks_again(run, state.tasks.get(run.run_id, {}).values(), read_again(self.one_argument("status")))
        name = f"rerun-{run.run_id}-{len(refs)}-task{'s' if len(refs) != 1 else ''}.json"
        self.set_status(HTTPStatus.OK)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        self.write(encode(task_list(refs)))
