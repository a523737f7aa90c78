"""How jobs stand, as programs are told: as JSON, and by the stream of each (requirement C2)."""

from collections.abc import Sequence

from waa.core.codec import encode
from waa.core.entity import RunId
from waa.core.event import Event
from waa.core.job import Job, JobStatus
from waa.core.state import State
from waa.hub.hub import Hub
from waa.web import sse
from waa.web.fanout import Fanout
from waa.web.payload import JobPayload
from waa.web.stream_service import StreamService

HEARTBEAT_S = 30.0
IDLE_S = 300.0


def job_payload(state: State, job: Job) -> JobPayload:
    """A job for programs; ``runs`` names what came of it."""
    result = job.result
    runs = [state.runs[run_id] for name in (result.run_ids if result is not None else ()) if (run_id := RunId(name)) in state.runs]
    return {
        "job_id": job.job_id,
        "kind": f"import_{job.request.kind}",
        "source": job.request.source,
        "label": job.request.label or None,
        "status": job.status.value,
        "progress": job.progress,
        "detail": job.detail or None,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
        "result": {
            "runs": [{"run_id": run.run_id, "name": run.name, "url": f"/runs/{run.run_id}"} for run in runs],
            "tasks": result.tasks,
            "steps": result.steps,
            "new": result.new,
            "changed": result.changed,
            "notes": list(result.notes),
        }
        if result is not None
        else None,
        "error": job.error or None,
        "details": list(job.details),
    }


class JobFeed:
    """The streams of jobs; each ends with its job."""

    def __init__(self, *, state: State, hub: Hub, streams: StreamService) -> None:
        self._state = state
        self._hub = hub
        self._streams = streams
        self._groups: dict[str, Fanout] = {}
        self._stop = hub.listen(self._hear)

    def group(self, job_id: str) -> Fanout:
        """The group of one job."""
        self._groups = {name: fanout for name, fanout in self._groups.items() if len(fanout)}
        if job_id not in self._groups:
            self._groups[job_id] = self._streams.fanout(heartbeat=self._heartbeat, heartbeat_s=HEARTBEAT_S, idle_s=IDLE_S)
        return self._groups[job_id]

    def first(self, job_id: str) -> bytes:
        """How the job stands."""
        return self._message(self._state.jobs[job_id])

    def settle(self, job_id: str) -> None:
        """A job that is over has nothing more to tell: its streams end."""
        if self._state.jobs[job_id].is_over and job_id in self._groups:
            self._groups.pop(job_id).finish()

    def close(self) -> None:
        """Hear nothing more."""
        self._stop()

    def _hear(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event.entity, Job) and event.entity.job_id in self._groups:
                self._groups[event.entity.job_id].publish(self._message(event.entity))
                self.settle(event.entity.job_id)

    def _message(self, job: Job) -> bytes:
        wire_id = self._hub.wire_id(self._hub.last_event_id)
        payload = job_payload(self._state, job)
        if job.status is JobStatus.COMPLETED:
            return sse.encode(encode(payload), event="completed", id=wire_id)
        if job.is_over:
            error = job.error or "It was cancelled."
            return sse.encode(encode({**payload, "error": error}), event="failed", id=wire_id)
        return sse.encode(encode(payload), event="progress", id=wire_id)

    def _heartbeat(self) -> bytes:
        return sse.encode(encode({"id": self._hub.wire_id(self._hub.last_event_id)}), event="heartbeat")
