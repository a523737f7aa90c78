"""The owner of all streams: takes connections over from their handlers, limits them, and keeps their time."""

import asyncio
import logging
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from tornado.iostream import IOStream
from tornado.web import HTTPError, RequestHandler

from waa.web import sse
from waa.web.fanout import Cause, Fanout, Pace, StreamCounts, Subscriber

logger = logging.getLogger(__name__)

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",
    "Connection": "keep-alive",
    "X-Accel-Buffering": "no",
}
BYE_RETRY_MS = 30_000
"""A program that does not know ``bye`` comes back, but not at once to push the next stream of its browser out."""
ENDS_PER_TURN = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """Bounds and times of the streams. ``lifetime_s`` varies by ``jitter`` (a fraction) both ways. ``retry_ms`` is the
    delay asked of clients whose stream ended, ``retry_spread_ms`` what is added at random on shutdown so that they
    do not all come back at once. ``linger_s`` bounds the wait for a client to close after the end of its stream,
    ``user_timeout_s`` how long sent bytes may stay unacknowledged."""

    max_streams: int = 10_000
    max_per_address: int = 256
    max_per_owner: int = 256
    max_per_browser: int = 4
    max_buffer_bytes: int = 1024 * 1024
    send_buffer_bytes: int = 64 * 1024
    user_timeout_s: float = 60.0
    lifetime_s: float = 30 * 60.0
    jitter: float = 0.2
    linger_s: float = 5.0
    retry_ms: int = 1000
    retry_spread_ms: int = 4000
    refused_retry_s: int = 30


class StreamService:
    """Makes groups and fills them. One timer, which runs only while there are streams, beats for all groups.

    For the loop's thread only. ``clock`` gives monotonic seconds; ``tick_s`` is how finely times are kept.
    """

    def __init__(
        self,
        limits: StreamLimits | None = None,
        *,
        tick_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.counts = StreamCounts()
        self._limits = limits or StreamLimits()
        self._tick_s = tick_s
        self._clock = clock
        self._chance = chance
        self._groups: dict[Fanout, None] = {}
        self._by_address: Counter[str] = Counter()
        self._by_key: dict[str, dict[Subscriber, None]] = {}
        self._by_owner: dict[str, dict[Subscriber, None]] = {}
        self._active = 0
        self._leaving: dict[Subscriber, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_closing = False
        self._left = asyncio.Event()
        self._left.set()

    @property
    def active(self) -> int:
        """Open streams, without those that are ending."""
        return self._active

    def fanout(
        self,
        *,
        catch_up: Callable[[Subscriber], bytes] | None = None,
        is_compressed: bool = False,
        heartbeat: Callable[[], bytes] | None = None,
        heartbeat_s: float = 30.0,
        idle_s: float | None = None,
    ) -> Fanout:
        """A new group: a log without ``catch_up``, a view with it. ``heartbeat`` returns a complete named message, sent
        every ``heartbeat_s``; a stream that was sent nothing but heartbeats for ``idle_s`` ends, and resumes by id. ``is_compressed``:
        for clients that accept gzip.

        The service does not keep a group that is empty: forget it, and it is gone.
        """
        return Fanout(
            self.counts,
            Pace(heartbeat=heartbeat, heartbeat_s=heartbeat_s, idle_s=idle_s),
            catch_up=catch_up,
            is_compressed=is_compressed,
            max_buffer_bytes=self._limits.max_buffer_bytes,
            on_leave=self._on_leave,
            on_gone=self._on_gone,
        )

    def adopt(
        self,
        handler: RequestHandler,
        fanout: Fanout,
        *,
        first: bytes,
        key: str | None,
        address: str,
        owner: str = "",
        headers: Mapping[str, str] | None = None,
        resumed: bool = False,
        on_close: Callable[[Subscriber], None] | None = None,
    ) -> Subscriber | None:
        """Take the connection from ``handler``, which is finished by this: send the headers, what it has set included,
        and ``first`` (complete messages), then whatever ``fanout`` publishes from this call on.

        Compute ``first`` with no ``await`` before this call, and nothing is lost or sent twice. ``key`` names the
        browser (None: not a browser, not capped), whose oldest stream makes room with ``bye``; ``owner``: see
        ``end_of``. ``on_close`` is called once when the stream leaves the group, whatever the reason (``subscriber.cause``), for a
        closing connection soon after.

        None: there is no stream, and the handler is answered, because it asked HEAD, the client has gone, there are too many
        streams from its ``address`` or of its ``owner`` (429) or in all (503), or the service closes (503).
        """
        refusal = self._refusal(address, owner)
        if refusal is not None:
            self._refuse(handler, refusal)
            return None
        if fanout.is_compressed:
            first = sse.GZIP_HEAD + sse.deflated(first)
            headers = {**(headers or {}), "Content-Encoding": "gzip"}
        stream = _detach(handler, first, headers or {})
        if stream is None:
            return None
        self._tune(stream)
        self._make_room(key)
        now = self._clock()
        spread = self._limits.jitter * (2 * self._chance() - 1)
        subscriber = Subscriber(
            fanout,
            stream,
            chunked=handler.request.version != "HTTP/1.0",
            opened_s=now,
            ends_s=now + self._limits.lifetime_s * (1 + spread),
            key=key,
            address=address,
            owner=owner,
            on_close=on_close,
        )
        self._register(subscriber, now)
        self.counts.resumed += resumed
        fanout.add(subscriber, len(first))
        return subscriber

    def end_of(self, owners: Collection[str]) -> None:
        """End the streams of sessions and keys that are not let in any more, with ``signed_out``."""
        for owner in owners:
            for subscriber in tuple(self._by_owner.get(owner, ())):
                subscriber.end(sse.encode("{}", event="signed_out", retry_ms=BYE_RETRY_MS), cause=Cause.SIGNED_OUT)

    async def close(self, *, grace_s: float = 2.0) -> None:
        """End every stream with ``retry:`` after all that was published is sent, and return when the last is gone; what
        has not drained within ``grace_s`` seconds is reset. New streams are refused from the first call on."""
        self._is_closing = True
        try:
            async with asyncio.timeout(grace_s):
                while any(fanout.is_busy for fanout in self._groups):  # noqa: ASYNC110 - nothing else to wait for: turns send it
                    await asyncio.sleep(0)
                await self._end_all()
                await self._left.wait()
        except TimeoutError:
            logger.info("streams cut on shutdown count=%d", self._active + len(self._leaving))
        for fanout in tuple(self._groups):
            for subscriber in fanout:
                subscriber.reset(Cause.SHUTDOWN)
        for subscriber in tuple(self._leaving):
            subscriber.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _end_all(self) -> None:
        ended = 0
        for fanout in tuple(self._groups):
            for subscriber in fanout:
                delay_ms = self._limits.retry_ms + int(self._limits.retry_spread_ms * self._chance())
                subscriber.end(_farewell(fanout, delay_ms), cause=Cause.SHUTDOWN, lingers=False)
                ended += 1
                if ended % ENDS_PER_TURN == 0:
                    await asyncio.sleep(0)

    def _refusal(self, address: str, owner: str) -> HTTPError | None:
        if self._is_closing:
            return HTTPError(503, "streams are closing")
        if self._active >= self._limits.max_streams:
            return HTTPError(503, "too many streams")
        if self._by_address[address] >= self._limits.max_per_address:
            return HTTPError(429, "too many streams from %s", address)
        if owner and len(self._by_owner.get(owner, ())) >= self._limits.max_per_owner:
            return HTTPError(429, "too many streams of one login or key")
        return None

    def _refuse(self, handler: RequestHandler, error: HTTPError) -> None:
        self.counts.refused += 1
        handler.clear()
        handler.set_status(error.status_code)
        handler.set_header("Retry-After", str(self._limits.refused_retry_s))
        handler.write_error(error.status_code, exc_info=(HTTPError, error, None))

    def _make_room(self, key: str | None) -> None:
        if key is None:
            return
        streams = self._by_key.get(key, {})
        while streams and len(streams) >= self._limits.max_per_browser:
            oldest = next(iter(streams))
            oldest.end(sse.encode("{}", event="bye", retry_ms=BYE_RETRY_MS), cause=Cause.BYE)

    def _register(self, subscriber: Subscriber, now: float) -> None:
        self.counts.opened += 1
        self._active += 1
        self._by_address[subscriber.address] += 1
        if subscriber.key is not None:
            self._by_key.setdefault(subscriber.key, {})[subscriber] = None
        if subscriber.owner:
            self._by_owner.setdefault(subscriber.owner, {})[subscriber] = None
        self._left.clear()
        if subscriber.fanout not in self._groups:
            self._groups[subscriber.fanout] = None
            pace = subscriber.fanout.pace
            pace.beat_due_s = now + pace.heartbeat_s
            pace.quiet_since_s = now
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._tick)

    def _on_leave(self, subscriber: Subscriber) -> None:
        now = self._clock()
        cause = subscriber.cause
        assert cause is not None
        logger.debug("stream left cause=%s address=%s", cause, subscriber.address)
        self.counts.closed[cause] += 1
        self.counts.duration_s += now - subscriber.opened_s
        self._active -= 1
        self._by_address[subscriber.address] -= 1
        if not self._by_address[subscriber.address]:
            del self._by_address[subscriber.address]
        if subscriber.key is not None:
            streams = self._by_key[subscriber.key]
            del streams[subscriber]
            if not streams:
                del self._by_key[subscriber.key]
        if subscriber.owner:
            owned = self._by_owner[subscriber.owner]
            del owned[subscriber]
            if not owned:
                del self._by_owner[subscriber.owner]
        if not len(subscriber.fanout):
            del self._groups[subscriber.fanout]
        if not subscriber.is_gone:
            self._leaving[subscriber] = now + self._limits.linger_s
        self._note_left()

    def _on_gone(self, subscriber: Subscriber) -> None:
        self._leaving.pop(subscriber, None)
        self._note_left()

    def _note_left(self) -> None:
        if not self._active and not self._leaving:
            self._left.set()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _tick(self) -> None:
        # The next one first: a heartbeat that raises is logged by the loop and must not stop the others for good.
        self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._tick)
        now = self._clock()
        for subscriber, due_s in list(self._leaving.items()):
            if due_s <= now:
                subscriber.close()
        for fanout in tuple(self._groups):
            self._end_old(fanout, now)
            self._beat(fanout, now)

    def _end_old(self, fanout: Fanout, now: float) -> None:
        pace = fanout.pace
        if fanout.published != pace.published:
            pace.published, pace.quiet_since_s = fanout.published, now
        for subscriber in fanout:
            if subscriber.ends_s <= now:
                subscriber.end(_farewell(fanout, self._limits.retry_ms), cause=Cause.LIFETIME)
            elif pace.idle_s is not None and now - max(pace.quiet_since_s, subscriber.opened_s) >= pace.idle_s:
                subscriber.end(_farewell(fanout, self._limits.retry_ms), cause=Cause.IDLE)

    def _beat(self, fanout: Fanout, now: float) -> None:
        pace = fanout.pace
        if pace.heartbeat is None or now < pace.beat_due_s or fanout.is_finished:
            return
        pace.beat_due_s = now + pace.heartbeat_s
        fanout.publish(pace.heartbeat())
        pace.published = fanout.published

    def _tune(self, stream: IOStream) -> None:
        stream.set_nodelay(True)
        sock = stream.socket
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return
        with suppress(OSError):  # the peer may have gone already, which is noticed in its place
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._limits.send_buffer_bytes)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._limits.user_timeout_s * 1000))


def _detach(handler: RequestHandler, first: bytes, headers: Mapping[str, str]) -> IOStream | None:
    """The connection with the head of the answer and ``first`` on its way; None where that is the whole answer."""
    for name, value in (HEADERS | dict(headers)).items():
        handler.set_header(name, value)
    if handler.settings.get("compress_response"):
        handler.set_header("Content-Encoding", "identity")  # or Tornado would compress the first bytes, and only those
    if handler.request.method == "HEAD":
        handler.flush()
        handler.finish()
        return None
    if handler.request.version == "HTTP/1.0":
        handler.request.headers["Connection"] = "close"  # or Tornado would promise to keep a connection with no length
        handler.set_header("Connection", "close")
    handler.write(first)
    handler.flush()
    stream = handler.detach()
    return None if stream.closed() else stream


def _farewell(fanout: Fanout, retry_ms: int) -> bytes:
    # A retry counts in every client only if it comes with a message; the heartbeat is one that all know.
    heartbeat = fanout.pace.heartbeat
    return sse.retry(retry_ms) + (heartbeat() if heartbeat else b"\n")
