"""Pushes a training's predictions to a WAA Live server. Needs the standard library of Python 3.11 only, on Linux or macOS.

    client = Client("https://waa.example.org", key)  # or WAA_URL, and WAA_KEY or WAA_KEY_FILE
    job = client.training_jobs.create("clock-1", title="Telling the time")
    with client.training_predictions.batch(job.job_id) as predictions:
        predictions.create(epoch=0, step=10, prompt="07:10", prediction="ten past six", target="ten past seven", scores={"loss": 0.7})

``training_jobs`` and ``training_predictions.create`` ask at once, over a connection each, and raise ClientError. A batch never waits for
the server and never raises because of it. Each prediction has an id, so one that is sent again is not stored again.

Two threads work behind a batch. One writes what is given to the spool (``waa.sdk.spool``), the other sends it; what the server has taken
leaves the spool. A process that is killed leaves its spool, and the next batch of that job on this machine sends it first. The files are
synced to the disk while the server is away, and each when it is full: a killed process loses what was given in its last milliseconds, a
power cut also what was being sent.
"""

import dataclasses
import json
import os
import urllib.parse
from typing import Unpack

from waa.sdk.batch import Report, TrainingBatch
from waa.sdk.record import Fields, checked_job, checked_whole, encoded
from waa.sdk.spool import Spool
from waa.sdk.wire import (
    DEFAULT_URL,
    FOREIGN,
    JOBS,
    PUSH,
    ClientError,
    Invalid,
    Json,
    Refused,
    Target,
    Unavailable,
    Wire,
    ask_once,
    key_of_environment,
    target_at,
)

__all__ = ["Client", "ClientError", "Invalid", "Receipt", "Refused", "Report", "TrainingBatch", "TrainingJob", "Unavailable"]

MAX_BATCH = 500
"""Predictions of a request."""


@dataclasses.dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one prediction: ``seq`` counts within its job, ``status`` is created or duplicate."""

    id: str
    seq: int
    status: str


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingJob:
    """A job as the server tells of it. ``token`` is a key for this job only, told once, when the job is new; ``url`` is its page."""

    job_id: str
    url: str
    token: str | None = dataclasses.field(repr=False)


class Client:
    """A server and a key; a server that only listens locally needs none.

    ``ca_file`` replaces the system's authorities. ``spool`` is a folder, else ``$XDG_STATE_HOME/waa-live/spool``. Raises Invalid, OSError.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        ca_file: str | None = None,
        timeout_s: float = 10.0,
        spool: str | os.PathLike[str] | None = None,
    ) -> None:
        self._ca_file, self._timeout_s = ca_file, timeout_s
        self._target = target_at(
            url or os.environ.get("WAA_URL") or DEFAULT_URL, key or key_of_environment(), ca_file=ca_file, timeout_s=timeout_s
        )
        self._spool = os.path.abspath(spool if spool is not None else _default_spool())
        self.training_jobs = TrainingJobs(self._target)
        self.training_predictions = TrainingPredictions(self._target, self._spool)

    def with_key(self, key: str) -> "Client":
        """The same server with another key, such as a job's token."""
        return Client(self._target.url, key, ca_file=self._ca_file, timeout_s=self._timeout_s, spool=self._spool)

    def __repr__(self) -> str:
        return f"Client({self._target.url!r})"


class TrainingJobs:
    """The jobs that predictions belong to. Everything here asks the server at once and raises ClientError."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def create(self, job_id: str | None = None, title: str | None = None) -> TrainingJob:
        """A new job, or yours of that id; without an id the server makes one."""
        answer = self._ask("", job_id=job_id, title=title)
        job, token = answer.get("job"), answer.get("token")
        return TrainingJob(
            job_id=str(job["job_id"] if isinstance(job, dict) else job_id),
            url=f"{self._target.url}{answer.get('url', '')}",
            token=token if isinstance(token, str) else None,
        )

    def token(self, job_id: str) -> str:
        """Another key that is good for this job only."""
        return str(self._ask(f"/{checked_job(job_id)}/token").get("token"))

    def complete_epoch(self, job_id: str, epoch: int) -> Json:
        """Nothing more comes for this epoch; a batch does this in order (``TrainingBatch.complete_epoch``). Gives the epoch."""
        return self._ask(f"/{checked_job(job_id)}/epochs/{checked_whole('epoch', epoch)}/complete")

    def finish(self, job_id: str, status: str = "completed", error: str | None = None) -> Json:
        """The training is over: completed, failed or cancelled; a batch does this in order (``TrainingBatch.finish``). Gives the job."""
        return self._ask(f"/{checked_job(job_id)}/finish", status=status, error=error)

    def _ask(self, path: str, **body: str | None) -> Json:
        given = {name: value for name, value in body.items() if value is not None}
        return ask_once(self._target, "POST", JOBS + path, json.dumps(given).encode())


class TrainingPredictions:
    """Predictions, one at a time or by a batch."""

    def __init__(self, target: Target, spool: str) -> None:
        self._target, self._spool = target, spool

    def create(self, *, job_id: str, **fields: Unpack[Fields]) -> Receipt:
        """Send one now. Raises Invalid, Refused, Unavailable. Sending it again with the same ``id`` is harmless."""
        _, record = encoded(**fields)
        answer = ask_once(self._target, "POST", PUSH, b'{"job_id":"%s",%s' % (checked_job(job_id).encode(), record[1:]))
        seq = answer.get("seq")
        if not isinstance(seq, int):
            raise Unavailable(FOREIGN)
        return Receipt(id=str(answer.get("id")), seq=seq, status=str(answer.get("status")))

    def batch(
        self,
        job_id: str,
        *,
        strict: bool = False,
        max_count: int = 200,
        max_age_s: float = 0.2,
        max_spool_bytes: int = 64 * 1024 * 1024,
        close_timeout_s: float = 10.0,
    ) -> TrainingBatch:
        """Predictions of an existing job are sent in the background, ``max_count`` at a time, or after ``max_age_s`` what there is.

        What waits, in memory as on the disk, is bounded by ``max_spool_bytes``: beyond it the newest are dropped and counted. With
        ``strict`` an argument that no server takes raises Invalid, instead of being counted. Raises Invalid for ``job_id``.
        """
        server = urllib.parse.quote(self._target.url.partition("://")[2], safe="")[:200]
        return TrainingBatch(
            job_id=checked_job(job_id),
            wire=Wire(self._target),
            spool=Spool(os.path.join(self._spool, server, job_id)),
            is_strict=strict,
            max_count=max(1, min(max_count, MAX_BATCH)),
            max_age_s=max_age_s,
            max_bytes=max_spool_bytes,
            close_timeout_s=close_timeout_s,
        )


def _default_spool() -> str:
    """A folder of the user's own."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "waa-live", "spool")
