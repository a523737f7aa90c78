"""A short command on any link: run to its end, bounded in time and bytes, and gone from the machine if cut off."""

import asyncio
import shlex

from waa.core.error import Failure, LinkError
from waa.core.port import CommandResult, Link
from waa.core.status import Reason


async def run(link: Link, command: str, *, where: str, timeout_s: float, max_bytes: int) -> CommandResult:
    """What ``Link.run`` promises, by way of ``Link.start``. Output beyond ``max_bytes`` (both streams together) ends the
    command, with exit status -1. Raises LinkError (timeout, closed, command)."""
    out, err = bytearray(), bytearray()
    full = False
    ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    def settle(status: int | None) -> None:
        if not ended.done():
            ended.set_result(status)

    def take(buffer: bytearray, data: bytes) -> None:
        nonlocal full
        room = max_bytes - len(out) - len(err)
        buffer.extend(data[:room])
        if len(data) > room:
            full = True
            settle(-1)

    process = None
    try:
        async with asyncio.timeout(timeout_s):
            process = await link.start(
                guarded(command), on_stdout=lambda data: take(out, data), on_stderr=lambda data: take(err, data), on_end=settle
            )
            status = await ended
    except TimeoutError as error:
        raise LinkError(
            Failure(
                reason=Reason.TIMEOUT,
                message=f"a command on {where} did not end in {timeout_s:g} s: {_brief(command)}",
                remedy="the machine may be overloaded, or a program on it hangs",
            )
        ) from error
    finally:
        if process:
            process.close()
    if status is None:
        raise LinkError(
            Failure(reason=Reason.CLOSED, message=f"the connection to {where} ended during a command", remedy="it is tried again by itself")
        )
    return CommandResult(exit_status=status, stdout=bytes(out), stderr=bytes(err), truncated=full)


def guarded(command: str) -> str:
    """``command`` with a guard that ends its whole process group when our side of its standard input closes.

    An SSH server does not end a command whose channel closes, so one that hangs would stay for ever. The command itself
    reads ``/dev/null``; its exit status is kept.
    """
    guard = "{ read -r _ <&3; trap '' TERM; kill 0; } >/dev/null 2>&1 & w=$!"
    return f"exec 3<&0 </dev/null; {guard}; /bin/sh -c {shlex.quote(command)} 3<&-; s=$?; kill $w 2>/dev/null; exit $s"


def _brief(command: str) -> str:
    line = " ".join(command.split())
    return line if len(line) <= 80 else line[:79] + "…"
