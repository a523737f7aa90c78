"""The benchmark stream for programs: ``/api/benchmark-sse`` (requirements A1 to A9).

Clients with the same interval share a group, so that each message is encoded once. ``status`` and ``progress`` are
paced per group; ``task_complete`` and ``error`` go out as they happen.
"""

import asyncio
import functools
import math
from collections.abc import Callable, Mapping, Sequence

from waa.core.cloud import CloudJob
from waa.core.codec import encode
from waa.core.entity import Run, RunId, Task, Trouble, Vm
from waa.core.event import Event, EventType
from waa.core.incident import Incident
from waa.core.observation import LogKind, LogSource
from waa.core.state import State
from waa.hub.hub import Hub
from waa.services.azure import AzureAccess, NoAzure
from waa.web import sse, wire, wire_azure
from waa.web.fanout import Fanout
from waa.web.stream_service import StreamService
from waa.web.terminal import LogTails
from waa.web.views.azure import all_jobs, runs_of_jobs

PROTOCOL_VERSION = "1.0"
DEFAULT_INTERVAL_S = 5
MIN_INTERVAL_S = 1
MAX_INTERVAL_S = 60
HEARTBEAT_S = 30.0
LOG_GAP_S = 0.2
"""Between two deliveries of lines of a job's log."""
INCIDENTS = (EventType.INCIDENT_OPENED, EventType.INCIDENT_RESOLVED)
REPLAYED = (EventType.TASK_COMPLETED, EventType.TASK_SETTLED, EventType.TROUBLE_MET, *INCIDENTS)
"""What a client that was away must still be told; the rest it learns from the snapshot."""
STATUS, PROGRESS, JOB = "status", "progress", "job"

Subject = tuple[str, str]
"""STATUS and the name of a VM, PROGRESS and the id of a run, or JOB and the key of a job of Azure."""
Saying = Mapping[str, object]
"""A payload, but for the age of the look."""


def clamp_interval(text: str | None) -> int:
    """Seconds from the query (A1): absent or not a number is 5, the rest is clamped to 1..60 and rounded."""
    try:
        value = float(text) if text is not None else float(DEFAULT_INTERVAL_S)
    except ValueError:
        return DEFAULT_INTERVAL_S
    if math.isnan(value):
        return DEFAULT_INTERVAL_S
    return round(min(max(value, MIN_INTERVAL_S), MAX_INTERVAL_S))


class BenchmarkFeed:
    """Turns events into the messages of the benchmark stream. Nothing is done for groups that nobody is in."""

    def __init__(
        self,
        *,
        state: State,
        hub: Hub,
        streams: StreamService,
        seen_at: Mapping[str, float],
        clock: Callable[[], float],
        azure: AzureAccess | None = None,
        tails: LogTails | None = None,
    ) -> None:
        self._state = state
        self._azure = azure or NoAzure()
        self._tails = tails
        if tails is not None:
            tails.on_job_change = self._hear_job_log
        self._hub = hub
        self._streams = streams
        self._seen_at = seen_at
        self._clock = clock
        self._groups: dict[tuple[int, str | None], _Group] = {}
        self._stop = hub.listen(self._hear)

    def group(self, interval_s: int, job: str | None = None) -> Fanout:
        """The group of one interval (and the key of the job whose log it is told); whoever joins it has been told what ``first`` gives."""
        group = self._groups.get((interval_s, job))
        if group is None:
            fanout = self._streams.fanout(heartbeat=functools.partial(self.heartbeat, job), heartbeat_s=HEARTBEAT_S)
            group = self._groups[interval_s, job] = _Group(self, fanout, interval_s, job)
        return group.fanout

    def first(self, interval_s: int, missed: Sequence[Event], *, has_gap: bool, job: str | None = None) -> bytes:
        """What a client gets at once: ``connected``, ``gap`` where events are lost to it, what it missed, a snapshot.

        Call with no ``await`` before the client joins its group.
        """
        parts = [_message("connected", {"timestamp": self._clock(), "interval": interval_s, "version": PROTOCOL_VERSION})]
        if has_gap:
            parts.append(self._now("gap", {"message": "earlier events are no longer held; a snapshot follows"}))
        parts.extend(filter(None, (self.told(event) for event in missed)))
        parts.extend(self.message(subject, saying) for subject, saying in self.snapshot().items() if subject[0] != JOB)
        if self._azure.look_at_jobs().is_on:
            runs = runs_of_jobs(self._state)
            jobs = [wire_azure.job_payload(known, runs) for known in all_jobs(self._state)]
            parts.append(self.jobs_message(jobs, [], is_whole=True))
        if job is not None:
            parts.append(self._job_log(job))
        return b"".join(parts)

    def snapshot(self) -> dict[Subject, Saying]:
        """What there is to say of every VM, every run that runs, and the newest run."""
        newest = wire.shown_run(self._state)
        runs = [*wire.active_runs(self._state), *([newest] if newest is not None else [])]
        subjects = [*((STATUS, name) for name in self._state.vms), *dict.fromkeys((PROGRESS, run.run_id) for run in runs)]
        runs_by_job = runs_of_jobs(self._state) if self._state.cloud_jobs else {}
        jobs: dict[Subject, Saying] = {(JOB, key): wire_azure.job_payload(job, runs_by_job) for key, job in self._state.cloud_jobs.items()}
        return jobs | {subject: saying for subject in subjects if (saying := self.saying(subject)) is not None}

    def saying(self, subject: Subject) -> Saying | None:
        """What there is to say of a VM or a run now, None where it is gone."""
        kind, name = subject
        if kind == JOB:
            job = self._state.cloud_jobs.get(name)
            return wire_azure.job_payload(job, runs_of_jobs(self._state)) if job is not None else None
        if kind == STATUS:
            vm = self._state.vms.get(name)
            return wire.status_payload(vm) if vm is not None else None
        run = self._state.runs.get(RunId(name))
        return wire.progress_payload(self._state, run) if run is not None else None

    def message(self, subject: Subject, saying: Saying) -> bytes:
        """The message that says it; a VM's with the age of the last look."""
        kind, name = subject
        return self._now(kind, wire.aged_status(self._state.vms[name], self._seen_at) if kind == STATUS else saying)

    def told(self, event: Event) -> bytes | None:
        """The message of an event that must reach every client, None for all others."""
        wire_id = self._hub.wire_id(event.id)
        match event.entity:
            case Task() if event.type is EventType.TASK_COMPLETED:
                return _message("task_complete", wire.task_payload(event.entity), wire_id)
            case Task() if event.type is EventType.TASK_SETTLED and event.previous != event.entity.status.value:
                return _message("task_settled", wire.task_payload(event.entity), wire_id)
            case Trouble():
                return _message("error", wire.error_payload(event.entity), wire_id)
            case Incident() if event.type in INCIDENTS or event.previous is not None:
                return _message("incident", wire.incident_payload(event.entity), wire_id)
        return None

    def jobs_message(self, jobs: Sequence[Saying], gone: Sequence[str], *, is_whole: bool) -> bytes:
        """What changed of the jobs of Azure."""
        return self._now("jobs", {"jobs": jobs, "gone": gone, "is_whole": is_whole})

    def heartbeat(self, job: str | None = None) -> bytes:
        """A6. A client that is there looks at the jobs, and at the log that it asked for."""
        self._azure.look_at_jobs()
        if job in self._state.cloud_jobs:
            self._azure.look_at_log(self._state.cloud_jobs[job])
        return _message("heartbeat", {"timestamp": self._clock()})

    def close(self) -> None:
        """Hear no more events."""
        self._stop()
        if self._tails is not None:
            self._tails.on_job_change = None
        for group in self._groups.values():
            group.close()

    def _hear_job_log(self, source: str, log_key: str, first: int | None) -> None:
        for (_, key), group in self._groups.items():
            job = self._state.cloud_jobs.get(key) if key is not None else None
            if job is not None and len(group.fanout) and self._azure.source_of(job) == source:
                group.take_log(log_key, first)

    def job_log_message(self, job_key: str, log_key: str, first: int | None) -> bytes:
        """Lines of a log of a job from a number on, None: all that are held."""
        job = self._state.cloud_jobs.get(job_key)
        tail = self._tails.tail(self._azure.source_of(job), log_key) if job is not None and self._tails is not None else None
        if job is None or tail is None:
            return b""
        lines = [{"number": line.number, "text": line.text} for line in tail.lines_from(first or 0)]
        if not lines and first is not None:
            return b""
        name = log_key.partition(":")[2]
        return self._now("job_log", {"job_id": job.name, "key": job.key, "log": name, "anew": first is None, "lines": lines})

    def _job_log(self, job_key: str) -> bytes:
        """What is held of all logs of a job, which are read from now on."""
        job = self._state.cloud_jobs.get(job_key)
        if job is None:
            return b""
        names = self._azure.look_at_log(job).logs
        return b"".join(self.job_log_message(job_key, LogSource(kind=LogKind.JOB, path=name).key, None) for name in names)

    def _now(self, name: str, payload: Saying) -> bytes:
        return _message(name, payload, self._hub.wire_id(self._hub.last_event_id))

    def _hear(self, events: Sequence[Event]) -> None:
        for interval_s in [key for key, group in self._groups.items() if not len(group.fanout)]:
            self._groups.pop(interval_s).close()
        if not self._groups:
            return
        for event in events:
            message = self.told(event)
            for group in self._groups.values():
                group.take(event, message)


class _Group:
    """Clients of one interval: what changed is collected and sent at most once per interval.

    ``_said`` is what was said last of each VM and run of the state: what says the same is not said again.
    """

    def __init__(self, feed: BenchmarkFeed, fanout: Fanout, interval_s: int, job: str | None) -> None:
        self.fanout = fanout
        self._job = job
        self._logs: dict[str, int | None] = {}
        self._log_timer: asyncio.TimerHandle | None = None
        self._feed = feed
        self._interval_s = interval_s
        self._touched: dict[Subject, None] = {}
        self._said = feed.snapshot()
        self._timer: asyncio.TimerHandle | None = None
        self._next_s = 0.0

    def take(self, event: Event, message: bytes | None) -> None:
        """Send at once what must not wait, and remember what changed."""
        if message is not None:
            self.fanout.publish(message)
        match event.entity:
            case Vm(name=name):
                self._touched[STATUS, name] = None
            case Run(run_id=run_id) | Task(run_id=run_id):
                self._touched[PROGRESS, run_id] = None
            case CloudJob(key=key):
                self._touched[JOB, key] = None
        if self._touched and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(self._next_s, loop.time()), self._flush)

    def take_log(self, log_key: str, first: int | None) -> None:
        """Lines of the job's log changed from a number on, None: it begins anew. They are told together, soon."""
        earlier = self._logs.get(log_key, first)
        self._logs[log_key] = None if first is None or earlier is None else min(first, earlier)
        if self._log_timer is None:
            self._log_timer = asyncio.get_running_loop().call_later(LOG_GAP_S, self._flush_logs)

    def _flush_logs(self) -> None:
        self._log_timer = None
        logs, self._logs = self._logs, {}
        for log_key, first in logs.items():
            message = self._feed.job_log_message(self._job, log_key, first) if self._job is not None else b""
            if message:
                self.fanout.publish(message)

    def close(self) -> None:
        """Send nothing more."""
        if self._log_timer is not None:
            self._log_timer.cancel()
            self._log_timer = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        self._timer = None
        self._next_s = asyncio.get_running_loop().time() + self._interval_s
        touched, self._touched = self._touched, {}
        jobs: list[Saying] = []
        gone: list[str] = []
        for subject in touched:
            saying = self._feed.saying(subject)
            if saying is None:
                if self._said.pop(subject, None) is not None and subject[0] == JOB:
                    gone.append(subject[1])
            elif self._said.get(subject) != saying and subject[0] == JOB:
                self._said[subject] = saying
                jobs.append(saying)
            elif self._said.get(subject) != saying:
                self._said[subject] = saying
                self.fanout.publish(self._feed.message(subject, saying))
        if jobs or gone:
            self.fanout.publish(self._feed.jobs_message(jobs, gone, is_whole=False))


def _message(name: str, payload: Mapping[str, object], wire_id: str | None = None) -> bytes:
    return sse.encode(encode(payload), event=name, id=wire_id)
