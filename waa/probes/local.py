"""Links to this machine itself, without SSH: the same commands by ``/bin/sh``, the same promises."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

from waa.core.destination import REMEDY, Destinations
from waa.core.error import Failure, Invalid, LinkError
from waa.core.port import CommandResult, Link
from waa.core.spec import VmSpec
from waa.core.status import Reason
from waa.probes import command as commands

CLOSE_S = 3.0
"""Killed processes are gone within milliseconds; longer is not waited for."""


class LocalOpener:
    """Opens links to this machine; see ``LinkOpener``. ``destinations`` is what the operator allows."""

    def __init__(self, destinations: Destinations | None = None) -> None:
        self._destinations = destinations or Destinations()

    async def open(self, spec: VmSpec) -> Link:
        """A link that runs commands here, as the user of this server. Raises LinkError (denied)."""
        try:
            self._destinations.check(spec)
        except Invalid as error:
            raise LinkError(Failure(reason=Reason.DENIED, message=str(error), remedy=REMEDY)) from error
        return LocalLink(spec.name)

    async def close(self) -> None:
        """Holds nothing."""


class LocalLink:
    """Commands on this machine; see ``Link``. It ends only when it is closed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._end: asyncio.Future[LinkError] = asyncio.get_running_loop().create_future()
        self._processes: set[LocalProcess] = set()

    async def start(
        self,
        command: str,
        *,
        on_stdout: Callable[[bytes], None],
        on_stderr: Callable[[bytes], None],
        on_end: Callable[[int | None], None],
    ) -> "LocalProcess":
        """Run ``command`` by ``/bin/sh`` in a process group of its own. Raises LinkError (command, closed).

        ``on_end`` gets -1 where a signal ended the command, None where it was closed here.
        """
        if self._end.done():
            raise LinkError(self._end.result().failure)
        process = LocalProcess(on_stdout=on_stdout, on_stderr=on_stderr, on_end=on_end)
        starting = asyncio.ensure_future(
            asyncio.get_running_loop().subprocess_exec(
                lambda: process, "/bin/sh", "-c", command, start_new_session=True, cwd=_home(), bufsize=0
            )
        )
        try:
            await asyncio.shield(starting)  # cancelled itself, it would wait for all that was started to end
        except asyncio.CancelledError:
            starting.add_done_callback(process.forget)
            raise
        except OSError as error:
            failure = Failure(
                reason=Reason.COMMAND,
                message=f"/bin/sh cannot be started here ({error.strerror})",
                remedy="look at the limits of this machine",
            )
            raise LinkError(failure) from error
        self._processes.add(process)
        process.gone.add_done_callback(lambda _: self._processes.discard(process))
        if self._end.done():  # closed meanwhile
            process.close()
            raise LinkError(self._end.result().failure)
        return process

    async def run(self, command: str, *, timeout_s: float = 10.0, max_bytes: int = 1_000_000) -> CommandResult:
        """Run a short command to its end; when time or bytes are up, its process group is ended."""
        return await commands.run(self, command, where=self._name, timeout_s=timeout_s, max_bytes=max_bytes)

    async def wait_closed(self) -> LinkError:
        """Return when the link was closed."""
        return await asyncio.shield(self._end)

    async def close(self) -> None:
        """End everything that runs on it. May be called twice."""
        if not self._end.done():
            self._end.set_result(LinkError(Failure(reason=Reason.CLOSED, message=f"the link to {self._name} was closed here")))
        processes = list(self._processes)
        for process in processes:
            process.close()
        if processes:
            await asyncio.wait({process.gone for process in processes}, timeout=CLOSE_S)


class LocalProcess(asyncio.SubprocessProtocol):
    """A command on this machine; see ``RemoteProcess``. ``gone`` is done when nothing of it is left to wait for."""

    def __init__(
        self, *, on_stdout: Callable[[bytes], None], on_stderr: Callable[[bytes], None], on_end: Callable[[int | None], None]
    ) -> None:
        self._sinks = {1: on_stdout, 2: on_stderr}
        self._on_end = on_end
        self._transport: asyncio.SubprocessTransport | None = None
        self._over = False
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """For asyncio: the process runs."""
        if isinstance(transport, asyncio.SubprocessTransport):
            self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """For asyncio: output, at most 256 KiB in one turn of the loop."""
        if not self._over:
            self._sinks[fd](data)

    def connection_lost(self, exc: Exception | None) -> None:
        """For asyncio: it ended and its output was read to the end."""
        if not self.gone.done():
            self.gone.set_result(None)
        status = None
        if self._transport:
            status = self._transport.get_returncode()
            self._transport.close()  # or it complains that it was not, though nothing is left
        self._finish(None if status is None else max(-1, status))

    def write(self, data: bytes) -> None:
        """Send a few bytes; lost if it is gone."""
        pipe = self._pipe(0)
        if isinstance(pipe, asyncio.WriteTransport) and not pipe.is_closing() and not self._over:
            pipe.write(data)

    def pause(self) -> None:
        """Stop reading: it is held by its full pipes."""
        for pipe in self._outputs():
            if pipe.is_reading():
                pipe.pause_reading()

    def resume(self) -> None:
        """Read on."""
        for pipe in self._outputs():
            if not pipe.is_reading() and not pipe.is_closing():
                pipe.resume_reading()

    def close(self) -> None:
        """Close its standard input, end its process group and forget its output. ``on_end(None)`` follows."""
        if self._over or self._transport is None:
            return
        self._finish(None)
        with contextlib.suppress(ProcessLookupError):  # it is just ending by itself
            if self._transport.get_returncode() is None:
                os.killpg(self._transport.get_pid(), signal.SIGTERM)
        self._transport.close()

    def forget(self, starting: "asyncio.Future[tuple[asyncio.SubprocessTransport, LocalProcess]]") -> None:
        """End it now that its start is done: nobody waits for it any more."""
        if starting.exception() is None:
            self.close()

    def _finish(self, status: int | None) -> None:
        if not self._over:
            self._over = True
            asyncio.get_running_loop().call_soon(self._on_end, status)

    def _outputs(self) -> list[asyncio.ReadTransport]:
        return [pipe for pipe in (self._pipe(1), self._pipe(2)) if isinstance(pipe, asyncio.ReadTransport)]

    def _pipe(self, number: int) -> asyncio.BaseTransport | None:
        return self._transport.get_pipe_transport(number) if self._transport else None


def _home() -> str:
    """Where a login would start, too."""
    home = Path.home()
    return str(home) if home.is_dir() else "/"
