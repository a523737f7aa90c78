"""Predictions on their way: taken by the training's threads, written to the spool by one thread, sent by another."""

import atexit
import dataclasses
import logging
import math
import os
import random
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import SupportsIndex, Unpack

from waa.sdk.record import Fields, checked_whole, count_of, encoded, mark, read_mark
from waa.sdk.spool import Segment, Spool
from waa.sdk.wire import FOREIGN, JOBS, MAX_MESSAGE, PUSH, ClientError, Invalid, Refused, Unavailable, Wire

_log = logging.getLogger("waa.client")

MAX_BATCH_BYTES = 512 * 1024
"""Half of what proxies usually let through."""
MAX_PAUSE_S = 15.0
"""Between two tries, and after a refusal, unless the server asks for more."""
MAX_RETRY_AFTER_S = 300.0
WARN_EVERY_S = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a batch's predictions: ``taken + recovered == created + duplicates + sum(dropped.values()) + waiting``.

    ``recovered`` were left by an earlier process. ``dropped`` counts by reason: invalid (no server takes it), rejected (this one does not),
    full (too much waits), closed, forked (given in a forked child), torn (half a record of a process that died); ``last_drop`` says more
    about the newest. ``waiting``: not sent yet; of a closed batch the next one of the job sends them. ``trouble`` is why the last try to
    send failed, ``spool_trouble`` why what waits is in memory only; empty where all is well.
    """

    taken: int
    recovered: int
    created: int
    duplicates: int
    dropped: Mapping[str, int]
    waiting: int
    last_drop: str
    trouble: str
    spool_trouble: str

    def __str__(self) -> str:
        lost = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items()) or "none"
        notes = "; ".join(note for note in (self.trouble, self.spool_trouble, self.last_drop) if note)
        return f"{self.created + self.duplicates} stored, {self.waiting} waiting, dropped: {lost}" + (f" ({notes})" if notes else "")


@dataclasses.dataclass(frozen=True, slots=True)
class _Held:
    """A record, written at a moment (monotonic) to a segment."""

    record: bytes
    at: float
    segment: Segment | None


class TrainingBatch:
    """One job's predictions on their way, in the order given; made by ``TrainingPredictions.batch``. Any thread may call.

    What a forked child gives is dropped, and counted there: it needs a batch of its own.
    """

    def __init__(
        self,
        *,
        job_id: str,
        wire: Wire,
        spool: Spool,
        is_strict: bool,
        max_count: int,
        max_age_s: float,
        max_bytes: int,
        close_timeout_s: float,
    ) -> None:
        self._job_id, self._wire, self._spool, self._is_strict = job_id, wire, spool, is_strict
        self._max_count, self._max_age_s, self._max_bytes, self._close_timeout_s = max_count, max_age_s, max_bytes, close_timeout_s
        self._fresh: deque[bytes] = deque()
        self._pending: deque[_Held] = deque()
        self._counts: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._bytes = self._waiting = 0
        self._trouble = self._last_drop = ""
        self._is_recovered = self._is_closing = self._is_written = self._is_forked = False
        self._deadline = math.inf
        self._told_at, self._told_drops = -math.inf, 0
        self._make_locks()
        self._writer = threading.Thread(target=self._write, name="waa-write", daemon=True)
        self._sender = threading.Thread(target=self._send, name="waa-send", daemon=True)
        methods = [weakref.WeakMethod(method) for method in (self._spool.freeze, self._spool.thaw, self._forget)]
        before, in_parent, in_child = (partial(_call, method) for method in methods)
        os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)
        atexit.register(self.close)
        self._writer.start()
        self._sender.start()

    def create(self, **fields: Unpack[Fields]) -> str | None:
        """Take one to be sent, and give its id; None where it is dropped. Touches neither disk nor network; copies what it is given."""
        try:
            name, record = encoded(**fields)
        except Invalid as error:
            self._refuse(error, count=1)
            return None
        return name if self._take(record) else None

    def complete_epoch(self, epoch: SupportsIndex) -> None:
        """Tell the server, after all that was given so far, that nothing more comes for this epoch."""
        try:
            self._take(mark(f"/epochs/{checked_whole('epoch', epoch)}/complete"))
        except Invalid as error:
            self._refuse(error)

    def finish(self, status: str = "completed", error: str | None = None) -> None:
        """Tell the server, after all that was given so far, that the training is over: completed, failed or cancelled."""
        if status in ("completed", "failed", "cancelled"):
            self._take(mark("/finish", status=status, **({"error": error[:1000]} if error else {})))
        else:
            self._refuse(Invalid("status", "is completed, failed or cancelled"))

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until the server has taken everything, also what was left by an earlier process; whether it has within the time."""
        with self._lock:
            return self._settled.wait_for(lambda: self._is_recovered and not self._bytes, timeout_s)

    @property
    def report(self) -> Report:
        """As of now."""
        with self._lock:
            return self._report()

    def close(self, timeout_s: float | None = None) -> Report:
        """Send what can be sent in the time; the rest stays in the spool. Warns of the rest and of drops. May be called twice."""
        if self._is_forked:
            return self.report
        with self._lock:
            is_first, self._is_closing = not self._is_closing, True
            self._deadline = time.monotonic() + (self._close_timeout_s if timeout_s is None else timeout_s)
            self._to_write.notify()
            self._to_send.notify()
        for thread in (self._writer, self._sender):
            thread.join(max(0.0, self._deadline - time.monotonic()))
        if self._sender.is_alive():
            self._wire.abort()
            self._sender.join(1.0)
        atexit.unregister(self.close)
        report = self.report
        if is_first and (report.waiting or report.dropped):
            _log.warning("predictions not sent: job=%s %s", self._job_id, report)
        return report

    def __enter__(self) -> "TrainingBatch":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _make_locks(self) -> None:
        """Nobody who holds the lock waits for disk or network."""
        self._lock = threading.Lock()
        self._to_write, self._to_send, self._settled = (threading.Condition(self._lock) for _ in range(3))

    def _forget(self) -> None:
        """In a forked child: the threads are gone, the locks in any state, and what waits is the parent's."""
        self._make_locks()
        self._is_forked = True
        self._fresh, self._pending, self._counts, self._dropped = deque(), deque(), Counter(), Counter()
        self._bytes = self._waiting = 0
        self._spool.forget()
        self._wire.close()

    def _refuse(self, error: Invalid, count: int = 0) -> None:
        if self._is_strict:
            raise error
        with self._lock:
            self._counts["taken"] += count
            self._drop("invalid", str(error), count)

    def _take(self, record: bytes) -> bool:
        with self._lock:
            count = count_of(record)
            self._counts["taken"] += count
            if self._is_forked:
                if not self._dropped:
                    _log.warning("predictions of a forked child are dropped, it needs a batch of its own: job=%s", self._job_id)
                self._drop("forked", "a forked child needs a batch of its own", count)
            elif self._is_closing:
                self._drop("closed", "the batch is closed", count)
            elif self._bytes + len(record) > self._max_bytes:
                self._drop("full", f"{self._bytes} bytes wait already", count)
            else:
                self._hold(record)
                self._fresh.append(record)
                self._to_write.notify()
                return True
        return False

    def _hold(self, record: bytes, sign: int = 1) -> None:
        self._bytes += sign * len(record)
        self._waiting += sign * count_of(record)

    def _drop(self, reason: str, why: str, count: int) -> None:
        self._dropped[reason] += count
        self._last_drop = f"{reason}: {why}"
        self._to_write.notify()

    def _report(self) -> Report:
        return Report(
            taken=self._counts["taken"],
            recovered=self._counts["recovered"],
            created=self._counts["created"],
            duplicates=self._counts["duplicates"],
            dropped=dict(self._dropped),
            waiting=self._waiting,
            last_drop=self._last_drop,
            trouble=self._trouble,
            spool_trouble=self._spool.trouble,
        )

    def _write(self) -> None:
        """The writer's thread. It also warns, since logging may write to a disk."""
        self._recover()
        while True:
            with self._lock:
                while not (self._fresh or self._is_closing or self._news_in_s() == 0):
                    self._to_write.wait(self._news_in_s())
                records, is_away = list(self._fresh), bool(self._trouble)
                self._fresh.clear()
                self._is_written = self._is_closing and not records
                news = self._news() if self._news_in_s() == 0 and not self._is_closing else None
            if records:
                segment = self._spool.write(records, is_synced=is_away)
                at = time.monotonic()
                with self._lock:
                    self._pending.extend(_Held(record, at, segment) for record in records)
                    self._to_send.notify()
            if news is not None:
                _log.warning("predictions wait or were dropped: job=%s %s", self._job_id, news)
            if self._is_written:
                with self._lock:
                    self._to_send.notify()
                return

    def _recover(self) -> None:
        for segment, records, torn in self._spool.recover(lambda size: self._bytes + size <= self._max_bytes):
            at = time.monotonic()
            with self._lock:
                for record in records:
                    self._hold(record)
                    self._counts["recovered"] += count_of(record)
                if torn:
                    self._counts["recovered"] += torn
                    self._drop("torn", "the process died while it was written", torn)
                self._pending.extend(_Held(record, at, segment) for record in records)
                self._to_send.notify()
        with self._lock:
            self._is_recovered = True
            self._settled.notify_all()

    def _news_in_s(self) -> float | None:
        """In how many seconds to warn; None: all is well, or told."""
        is_well = not self._trouble and not self._spool.trouble and self._dropped.total() == self._told_drops
        return None if is_well else max(0.0, self._told_at + WARN_EVERY_S - time.monotonic())

    def _news(self) -> Report:
        self._told_at, self._told_drops = time.monotonic(), self._dropped.total()
        return self._report()

    def _send(self) -> None:
        """The sender's thread."""
        limit, failures = self._max_count, 0
        while held := self._next(limit):
            error = self._push(held)
            if error is None:
                limit, failures = min(limit * 2, self._max_count), 0
            elif not _is_about(held, error):
                failures += 1
                if not self._pause(error, failures):
                    break
            elif len(held) > 1:
                limit = len(held) // 2  # One of them is not taken, or all are too long together: the halves will tell.
            else:
                self._settle(held, rejected=str(error), count=count_of(held[0].record))
        with self._lock:
            self._to_send.wait_for(lambda: self._is_written)
        self._spool.close()
        self._wire.close()

    def _next(self, limit: int) -> list[_Held]:
        """The next to be sent together, which stay pending; empty: no more will come, or the time is up."""
        with self._lock:
            while not (self._is_closing and time.monotonic() > self._deadline):
                age_s = time.monotonic() - self._pending[0].at if self._pending else 0.0
                is_due = age_s >= self._max_age_s or len(self._pending) >= limit or self._bytes >= MAX_BATCH_BYTES or self._is_closing
                if self._pending and is_due:
                    return _first(self._pending, limit)
                if self._is_written:
                    break
                self._to_send.wait(self._max_age_s - age_s if self._pending else None)
        return []

    def _push(self, held: Sequence[_Held]) -> ClientError | None:
        """Why they were not taken, None when they were."""
        try:
            if not count_of(held[0].record):
                path, given = read_mark(held[0].record)
                self._wire.ask("POST", f"{JOBS}/{self._job_id}{path}", given)
                self._settle(held)
                return None
            body = b'{"job_id":"%s","predictions":[%s]}' % (self._job_id.encode(), b",".join(item.record for item in held))
            results = self._wire.ask("POST", PUSH, body).get("results")
        except ClientError as error:
            return error
        except Invalid as error:  # A damaged spool.
            return Refused(400, str(error))
        found = [result for result in results if isinstance(result, dict)] if isinstance(results, list) else []
        outcome = Counter(str(result.get("status")) for result in found)
        if len(found) != len(held) or not outcome.keys() <= {"created", "duplicate", "invalid"}:
            return Unavailable(FOREIGN)
        reasons = [reason for result in found if isinstance(reason := result.get("error"), dict)]
        why = f"{reasons[-1].get('field')} {reasons[-1].get('message')}"[:MAX_MESSAGE] if reasons else "no reason is given"
        invalid = outcome["invalid"]
        self._settle(held, created=outcome["created"], duplicates=outcome["duplicate"], rejected=why if invalid else "", count=invalid)
        return None

    def _settle(self, held: Sequence[_Held], *, created: int = 0, duplicates: int = 0, rejected: str = "", count: int = 0) -> None:
        """The server has spoken: it has taken them, but for ``count``, ``rejected`` for a reason."""
        with self._lock:
            for item in held:
                self._pending.popleft()
                self._hold(item.record, -1)
            self._counts.update(created=created, duplicates=duplicates)
            if rejected:
                self._drop("rejected", rejected, count)
            self._trouble = ""
            self._settled.notify_all()
        self._spool.done(item.segment for item in held)

    def _pause(self, error: ClientError, failures: int) -> bool:
        """Wait before the next try, False: there is none. Closing allows one at once, unless the server has asked for patience."""
        asked_s = error.retry_after_s if isinstance(error, Unavailable) else None
        pause_s = MAX_PAUSE_S if isinstance(error, Refused) else min(0.5 * 2 ** min(failures - 1, 10), MAX_PAUSE_S)
        if asked_s is not None:
            pause_s = min(asked_s, MAX_RETRY_AFTER_S)
        until = time.monotonic() + pause_s * random.uniform(1.0, 1.25)  # noqa: S311 (no secret)
        with self._lock:
            self._trouble = str(error)
            self._to_write.notify()
            was_closing = self._is_closing
            if was_closing and isinstance(error, Refused):
                return False
            while (rest_s := until - time.monotonic()) > 0:
                if self._is_closing and not was_closing and asked_s is None:
                    return True
                if self._is_closing and until > self._deadline:
                    return False
                self._to_send.wait(rest_s)
        return True


def _call(reference: weakref.WeakMethod[Callable[[], None]]) -> None:
    """Where its object is still there."""
    method = reference()
    if method is not None:
        method()


def _first(pending: deque[_Held], limit: int) -> list[_Held]:
    """Those that go into one request: predictions, or a single mark."""
    held: list[_Held] = []
    size = 0
    for item in pending:
        size += len(item.record)
        if held and (len(held) == limit or size > MAX_BATCH_BYTES or not count_of(item.record)):
            break
        held.append(item)
        if not count_of(item.record):
            break
    return held


def _is_about(held: Sequence[_Held], error: ClientError) -> bool:
    """Whether it is these that are not taken: others may be. 401 and the like keep all waiting, for a key or a job that is put right."""
    return isinstance(error, Refused) and (error.status in (400, 413, 422) or (error.status == 404 and not count_of(held[0].record)))
