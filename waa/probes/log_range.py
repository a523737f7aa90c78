r"""The programs that print what a log says of a span of time.

A log of WAA or OSWorld is made of records that begin with ``[YYYY-mm-dd HH:MM:SS,mmm LEVEL``, in colours or not, at the beginning of
a line or after a progress bar; what follows a record up to the next one belongs to it. Stamps are compared as text, so that
it does not matter which zone the clock that made them shows, as long as it was one. Parallel workers write slightly out of order, and a
model may print what looks like a record: reading ends only after many records that are late.
"""

import shlex
from collections.abc import Iterable

from waa.core.logs.excerpt import Excerpt, stamp
from waa.probes.script import MARK

MAX_SEARCHED_BYTES = 64 * 1024 * 1024
"""Of a file, from its end: a benchmark of 154 tasks writes some megabytes."""
MAX_ZONE_S = 15 * 3600
"""The engine knows when it was told a line, in UTC; the stamp in the line may be of any zone."""

MAX_UNTIL_AT = 4e9
"""Later than that is not told to the engine: the span is open."""

_DIGIT = "[0-9]"
_STAMP = f"{'-'.join((_DIGIT * 4, _DIGIT * 2, _DIGIT * 2))} {':'.join([_DIGIT * 2] * 3)},{_DIGIT * 3}"
_PICK = (
    'index($0, "[") && match($0, /\\['
    + _STAMP
    + r""" (\033\[[0-9;]*m)?[DIWEC]/) {
  at = substr($0, RSTART + 1, 23)
  inside = at >= from && at < until
  if (at < until) late = 0; else if (++late > 200) exit
}
inside { print }
"""
)

_COMMON = (
    "export LC_ALL=C; PATH=${PATH:-/usr/bin:/bin}:/usr/local/bin:/snap/bin; pick=$1 from=$2 until=$3 cap=$4; shift 4; "
    "command -v awk >/dev/null || { echo 'there is no awk, which searches the log' >&2; exit 69; }; "
    'pick() { awk -v "from=$from" -v "until=$until" "$pick" 2>/dev/null | head -c "$cap"; }; '
)

_IN_FILE = _COMMON + (
    '[ -f "$1" ] || exit 0; [ -r "$1" ] || { echo "$1 cannot be read" >&2; exit 77; }; '
    'size=$(wc -c <"$1"); if [ "$size" -gt "$2" ]; then printf "~"; tail -c "$2" -- "$1" | pick; else printf =; pick <"$1"; fi'
)

_IN_CONTAINER_LOG = _COMMON + (
    '"$1" container inspect "$2" >/dev/null || exit; printf =; "$1" logs --since "$3" ${4:+--until "$4"} "$2" 2>&1 </dev/null | pick'
)


def file_command(*, path: str, from_at: float, until_at: float, max_bytes: int, prefix: Iterable[str] = ()) -> str:
    """The command that prints ``=`` and the records of a log file from a moment until before another one, at most ``max_bytes`` bytes;
    ``~`` instead of ``=`` where only the file's end was searched, nothing where there is no such file."""
    words = [*_words(_IN_FILE, from_at, until_at, max_bytes), path, str(MAX_SEARCHED_BYTES)]
    return "exec " + shlex.join([*prefix, *words])


def container_command(*, engine: str, container: str, from_at: float, until_at: float, max_bytes: int) -> str:
    """The same of a container's own log."""
    since, until = f"{from_at - MAX_ZONE_S:.3f}", f"{until_at + MAX_ZONE_S:.3f}" if until_at < MAX_UNTIL_AT else ""
    return "exec " + shlex.join([*_words(_IN_CONTAINER_LOG, from_at, until_at, max_bytes), engine, container, since, until])


def read_range(output: bytes, *, max_bytes: int) -> Excerpt | None:
    """What the command printed, which was asked for one byte more than ``max_bytes``; None where there is no such log."""
    if output[:1] not in (b"=", b"~"):
        return None
    data = output[1:]
    is_cut = len(data) > max_bytes
    if is_cut:
        data = data[: data.rfind(b"\n", 0, max_bytes) + 1 or max_bytes]
    return Excerpt(data=data, is_cut=is_cut, is_end_only=output.startswith(b"~"))


def _words(program: str, from_at: float, until_at: float, max_bytes: int) -> list[str]:
    return ["/bin/sh", "-c", program, MARK, _PICK, stamp(from_at), stamp(until_at), str(max_bytes)]
