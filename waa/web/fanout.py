"""Delivery of the same bytes to many open connections: encoded once, one non-blocking send for each of them.

The common case costs a subscriber one ``send`` on its socket. One that cannot take a frame whole goes on its IOStream's
buffer until that has drained. Connections that cannot take raw chunks (TLS, HTTP/1.0) stay on their IOStream.

For the loop's thread only. ``StreamService`` makes the groups, adopts the connections and keeps the time.
"""

import asyncio
import socket
import struct
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from tornado.iostream import IOStream, SSLIOStream, StreamBufferFullError, StreamClosedError

from waa.web import sse

SENDS_PER_TURN = 256
"""The loop runs in between: a publish to thousands delays other work by a few milliseconds, not by all of it."""
MAX_FRAME_BYTES = 32 * 1024
"""Bound of joined messages. More than the socket's buffer holds would make laggards of everybody at every burst."""
MAX_QUEUE_BYTES = 16 * 1024 * 1024
"""Bound of what was published and not yet sent; a publisher that is this far ahead loses the group's subscribers."""
MAX_IGNORED_BYTES = 64 * 1024
"""Bound of what a client may send during its stream: pipelined requests, which are not answered."""
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Cause(StrEnum):
    """Why a stream ended."""

    CLIENT = "client"
    OVERFLOW = "overflow"
    INPUT = "input"
    FAILED = "failed"
    FINISHED = "finished"
    IDLE = "idle"
    LIFETIME = "lifetime"
    SHUTDOWN = "shutdown"
    BYE = "bye"
    SIGNED_OUT = "signed_out"


@dataclass(slots=True)
class StreamCounts:
    """Sums since the start. ``frames`` and ``bytes`` were handed out, joined messages counting as one frame;
    ``duration_s`` adds up the streams that have ended; ``resumed`` of ``opened`` came back with an event id."""

    opened: int = 0
    resumed: int = 0
    refused: int = 0
    published: int = 0
    frames: int = 0
    bytes: int = 0
    lagged: int = 0
    caught_up: int = 0
    overflowed: int = 0
    duration_s: float = 0.0
    closed: Counter[Cause] = field(default_factory=Counter)


@dataclass(slots=True, kw_only=True)
class Pace:
    """What the service's timer does for a group: ``heartbeat()`` is sent every ``heartbeat_s`` (None: none), and a
    stream that has been told nothing else for ``idle_s`` ends (None: never). The rest is the timer's memory."""

    heartbeat: Callable[[], bytes] | None = None
    heartbeat_s: float = 30.0
    idle_s: float | None = None
    beat_due_s: float = 0.0
    quiet_since_s: float = 0.0
    published: int = 0


class Subscriber:
    """One open stream. ``key`` is its browser (None: a program), ``owner`` the session or key that it ends with ("": none),
    ``opened_s`` a reading of the service's clock; ``cause`` is None while it takes what its group publishes."""

    __slots__ = (
        "__weakref__", "_chunked", "_direct", "_ignored_bytes", "_is_stale", "_is_waiting", "_lingers",
        "_on_close", "_stream", "address", "cause", "ends_s", "fanout", "is_late", "key", "opened_s", "owner", "send",
    )  # fmt: skip

    send: Callable[[bytes], int]
    """Takes a frame in the present way and returns the bytes taken: raw, buffered, or ``len``, which drops it."""

    def __init__(
        self,
        fanout: "Fanout",
        stream: IOStream,
        *,
        chunked: bool,
        opened_s: float,
        ends_s: float,
        key: str | None,
        address: str,
        owner: str,
        on_close: "Callable[[Subscriber], None] | None",
    ) -> None:
        self.fanout = fanout
        self.key = key
        self.address = address
        self.owner = owner
        self.opened_s = opened_s
        self.ends_s = ends_s
        self.cause: Cause | None = None
        self.is_late = False
        self.send = len
        self._stream = stream
        self._chunked = chunked
        self._direct = chunked and not isinstance(stream, SSLIOStream)
        self._is_stale = False
        self._is_waiting = False
        self._lingers = True
        self._ignored_bytes = 0
        self._on_close = on_close

    @property
    def is_gone(self) -> bool:
        """Whether the connection is closed; one that is ending still drains."""
        return self._stream.closed()

    @property
    def is_direct(self) -> bool:
        """Whether the next frame goes to the socket itself: not for a laggard, TLS or HTTP/1.0."""
        return self.cause is None and self.send not in (len, self._buffer)

    def open(self, head_bytes: int) -> None:
        """Begin to take frames, after the first ``head_bytes``, which are on the stream already."""
        self._allow(head_bytes)
        self._stream.set_close_callback(self._on_stream_closed)
        self._read()
        self.refresh()
        self._watch()

    def end(self, farewell: bytes = b"", *, cause: Cause = Cause.FINISHED, lingers: bool = True) -> None:
        """Leave the group, send ``farewell`` (messages) and end the body cleanly; what the group has not sent yet is
        left out. With ``lingers`` the client closes the connection, or the service after a while."""
        if self.cause is not None:
            return
        self.leave(cause)
        self._lingers = lingers
        self._stream.max_write_buffer_size = None
        if self.fanout.is_compressed and farewell:
            farewell = sse.deflated(farewell)
        with suppress(StreamClosedError):
            self._stream.write(sse.chunk(farewell) + sse.END if self._chunked else farewell)
        if self._stream.writing():
            self._watch()
        elif not self._is_waiting and not self._stream.closed():
            self._close_softly()

    def reset(self, cause: Cause) -> None:
        """Throw the connection away with what is buffered: the client notices at once, and resumes by id."""
        if not self._stream.closed():
            with suppress(OSError):
                self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self._stream.close()
        self.leave(cause)

    def close(self) -> None:
        """Close what is still there of a connection that has ended: gently if all was sent."""
        if self._stream.writing():
            self.reset(Cause.FAILED)
        self._stream.close()

    def leave(self, cause: Cause) -> None:
        """Take nothing more; tells the owner, once."""
        if self.cause is not None:
            return
        self.cause = cause
        self.send = len
        self.fanout.remove(self)
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close(self)

    def deliver(self, frame: bytes) -> None:
        """Hand one frame over, whatever state the connection is in."""
        try:
            taken = self.send(frame)
        except OSError as error:
            self.stumble(frame, error)
            return
        if taken != len(frame):
            self.lag(frame[taken:])

    def stumble(self, frame: bytes, error: OSError) -> None:
        """``send`` raised ``error``: a full socket makes a laggard, anything else a closed connection."""
        if isinstance(error, BlockingIOError):
            self.lag(frame)
        else:
            self._stream.close(exc_info=error)
            self.leave(Cause.CLIENT)

    def lag(self, rest: bytes) -> None:
        """Put what the socket did not take on the IOStream and everything after it too, until it has drained."""
        self.fanout.counts.lagged += 1
        self._allow(len(rest))
        with suppress(StreamClosedError):
            self._stream.write(rest)
        self.refresh()
        self._watch()

    def refresh(self) -> None:
        """Choose how to take the next frame."""
        if self.is_late or self.cause is not None or self._stream.closed():
            self.send = len
        elif self._direct and not self._stream.writing():
            self.send = self._stream.socket.send
        else:
            self.send = self._buffer

    def _allow(self, extra_bytes: int) -> None:
        """Bound the IOStream's buffer by the group's limit beyond what is unavoidable now. A view's holds no more than
        one frame and one snapshot by itself."""
        bound = None if self.fanout.catch_up else self.fanout.max_buffer_bytes + extra_bytes
        self._stream.max_write_buffer_size = bound

    def _framed(self, payload: bytes) -> bytes:
        return sse.chunk(payload) if self._chunked else payload

    def _buffer(self, frame: bytes) -> int:
        if self.fanout.catch_up and self._stream.writing():
            self._is_stale = True
            return len(frame)
        try:
            self._stream.write(frame if self._chunked else sse.unchunk(frame))
        except StreamBufferFullError:
            self.fanout.counts.overflowed += 1
            self.reset(Cause.OVERFLOW)
        else:
            self._watch()
        return len(frame)

    def _watch(self) -> None:
        """See to it that ``_on_drained`` comes if there is anything to drain."""
        if self._stream.writing() and not self._is_waiting:
            self._is_waiting = True
            self._stream.write(b"").add_done_callback(self._on_drained)

    def _on_drained(self, _written: "asyncio.Future[None]") -> None:
        self._is_waiting = False
        if self._stream.closed():
            return
        if self._stream.writing():
            self._watch()
        elif self.cause is not None:
            self._close_softly()
        elif self._is_stale:
            self._catch_up()
        else:
            self.refresh()

    def _catch_up(self) -> None:
        assert self.fanout.catch_up is not None
        self._is_stale = False
        snapshot = None
        try:
            snapshot = self.fanout.catch_up(self)
        finally:
            if snapshot is None:
                self.reset(Cause.FAILED)
        if self.cause is not None:
            return
        self.fanout.postpone(self)
        self.fanout.counts.caught_up += 1
        with suppress(StreamClosedError):
            self._stream.write(self._framed(snapshot))
        self.refresh()
        self._watch()

    def _close_softly(self) -> None:
        """End our side and wait for theirs: a full close with unread input would reset what is on its way."""
        if not self._lingers or not self._chunked:
            self._stream.close()
            return
        try:
            if isinstance(self._stream, SSLIOStream):
                with suppress(OSError):  # it has sent its close_notify before it complains about the missing answer
                    self._stream.socket.unwrap()
            self._stream.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._stream.close()

    def _read(self) -> None:
        # A pending read is what notices the end of a connection even where pipelined bytes are in Tornado's buffer.
        with suppress(StreamClosedError):
            read = self._stream.read_bytes(MAX_IGNORED_BYTES, partial=True)
            asyncio.ensure_future(read).add_done_callback(self._on_input)

    def _on_input(self, read: "asyncio.Future[bytes]") -> None:
        if read.cancelled() or read.exception() is not None:
            return
        self._ignored_bytes += len(read.result())
        if self._ignored_bytes > MAX_IGNORED_BYTES:
            self.reset(Cause.INPUT)
        else:
            self._read()

    def _on_stream_closed(self) -> None:
        self.leave(Cause.CLIENT)
        self.fanout.on_gone(self)


class Fanout:
    """A group of subscribers that get the same messages. Made by ``StreamService.fanout``; costs nothing while empty.

    Without ``catch_up`` it is a log: a subscriber that lags by more than ``max_buffer_bytes`` is reset and resumes by
    id. With it, it is a view: a subscriber that lags is sent nothing until its buffer has drained, and then
    ``catch_up(subscriber)``, the present state as complete messages.

    ``is_compressed`` (logs only): what is published is compressed, once for all. The stream ends without gzip's last word, which holds
    a checksum of all that one client got; readers of streams do not wait for it.
    """

    def __init__(
        self,
        counts: StreamCounts,
        pace: Pace,
        *,
        catch_up: Callable[[Subscriber], bytes] | None,
        is_compressed: bool,
        max_buffer_bytes: int,
        on_leave: Callable[[Subscriber], None],
        on_gone: Callable[[Subscriber], None],
    ) -> None:
        self.counts = counts
        self.pace = pace
        self.catch_up = catch_up
        self.is_compressed = is_compressed
        self.max_buffer_bytes = max_buffer_bytes
        self.is_finished = False
        self.published = 0
        self.on_gone = on_gone
        self._on_leave = on_leave
        self._members: dict[Subscriber, None] = {}
        self._member_list: list[Subscriber] | None = None
        self._queue: deque[bytes] = deque()
        self._queue_bytes = 0
        self._taken = 0
        self._late: dict[Subscriber, int] = {}
        self._frame = b""
        self._targets: list[Subscriber] = []
        self._position = 0
        self._turn: asyncio.Handle | None = None

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Subscriber]:
        """Over those that are members now, oldest first; they may leave meanwhile."""
        return iter(self._list())

    @property
    def is_busy(self) -> bool:
        """Whether something published has not been handed out yet."""
        return bool(self._queue or self._frame)

    def publish(self, payload: bytes) -> None:
        """Send complete messages to every present subscriber, in the order of the calls. Returns at once: sending
        begins in the loop's next turn, and what is published until then, or while a send runs, is joined.

        Nobody there: nothing happens. Raises RuntimeError after ``finish``.
        """
        if self.is_finished:
            raise RuntimeError("this group is finished")
        if not self._members or not payload:
            return
        if self.is_compressed:
            payload = sse.deflated(payload)
        self.published += 1
        self.counts.published += 1
        self._queue.append(payload)
        self._queue_bytes += len(payload)
        if self._queue_bytes > MAX_QUEUE_BYTES:
            self._drop_all()
        elif self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._take_turn)

    def finish(self) -> None:
        """End every subscriber's stream once all that was published is sent. Later ones end after their first bytes."""
        self.is_finished = True
        if not self.is_busy:
            self._end_all()

    def add(self, subscriber: Subscriber, head_bytes: int) -> None:
        """Begin with what is published from now on (``StreamService`` only)."""
        self._members[subscriber] = None
        self._member_list = None
        self.postpone(subscriber)
        subscriber.open(head_bytes)
        if self.is_finished and not self.is_busy:
            subscriber.end()

    def remove(self, subscriber: Subscriber) -> None:
        """Forget a subscriber (which calls this itself)."""
        self._members.pop(subscriber, None)
        self._member_list = None
        self._late.pop(subscriber, None)
        self._on_leave(subscriber)

    def postpone(self, subscriber: Subscriber) -> None:
        """Keep what was published so far from a subscriber: what it has been sent shows it already."""
        if self.is_busy:
            self._late[subscriber] = self._taken + len(self._queue)
            subscriber.is_late = True

    def _take_turn(self) -> None:
        self._turn = None
        if self._queue and not self._frame:
            self._begin()
        self._send_some()
        if self._position >= len(self._targets):
            self._frame, self._targets, self._position = b"", [], 0
        if not self.is_busy:
            self._settle()
        elif self._turn is None:  # a close callback that published has asked for it already
            self._turn = asyncio.get_running_loop().call_soon(self._take_turn)

    def _begin(self) -> None:
        """Join what waits into one frame, and fix who gets it: nobody who comes while it is sent."""
        first = self._taken
        payloads = self._take()
        self._frame = sse.chunk(b"".join(payloads))
        if not self._late:
            self._targets = self._list()
            return
        late = self._late
        self._targets = [member for member in self._members if member not in late]
        for subscriber, since in list(late.items()):
            missing = payloads[max(0, since - first) :]
            if missing and late.pop(subscriber, None) is not None:
                subscriber.is_late = False
                subscriber.refresh()
                subscriber.deliver(self._frame if since <= first else sse.chunk(b"".join(missing)))

    def _take(self) -> list[bytes]:
        payloads = [self._queue.popleft()]
        size = len(payloads[0])
        while self._queue and size + len(self._queue[0]) <= MAX_FRAME_BYTES:
            size += len(self._queue[0])
            payloads.append(self._queue.popleft())
        self._queue_bytes -= size
        self._taken += len(payloads)
        return payloads

    def _send_some(self) -> None:
        frame, size = self._frame, len(self._frame)
        targets = self._targets[self._position : self._position + SENDS_PER_TURN]
        self._position += SENDS_PER_TURN
        for subscriber in targets:  # the hot loop: deliver(), written out
            try:
                taken = subscriber.send(frame)
            except OSError as error:
                subscriber.stumble(frame, error)
                continue
            if taken != size:
                subscriber.lag(frame[taken:])
        self.counts.frames += len(targets)
        self.counts.bytes += len(targets) * size

    def _settle(self) -> None:
        """All was sent: nobody is late any more."""
        while self._late:
            subscriber, _since = self._late.popitem()
            subscriber.is_late = False
            subscriber.refresh()
        if self.is_finished:
            self._end_all()

    def _list(self) -> list[Subscriber]:
        if self._member_list is None:
            self._member_list = list(self._members)
        return self._member_list

    def _end_all(self) -> None:
        for subscriber in self._list():
            subscriber.end()

    def _drop_all(self) -> None:
        self._taken += len(self._queue)
        self._queue.clear()
        self._queue_bytes = 0
        for subscriber in self._list():
            self.counts.overflowed += 1
            subscriber.reset(Cause.OVERFLOW)
