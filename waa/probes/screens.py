"""The program that tells whether a task's newest screenshots are the same picture, by their checksums."""

import re
import shlex
from collections.abc import Iterable

from waa.probes.script import MARK, literal

_SUMS = (
    'export LC_ALL=C; one=$1 two=$2 most=$3; shift 3; find "$@" -maxdepth 12 -type f \\( -path "$one" -o -path "$two" \\) '
    "-exec /bin/sh -c '"
    'most=$1; shift; for file; do if [ -z "$new" ] || [ "$file" -nt "$new" ]; then new=$file; fi; done; '
    'cd -P -- "${new%/*}" 2>/dev/null || exit 0; '
    "ls -t | while IFS= read -r name; do "
    "case $name in *[!A-Za-z0-9_.@-]*) continue ;; screenshot*.png | step_*.png) ;; *) continue ;; esac; "
    '[ -f "./$name" ] && [ ! -L "./$name" ] || continue; '
    '[ "$most" -gt 0 ] || break; most=$((most - 1)); cksum <"./$name"; done'
    '\' "$0" "$most" {} + 2>/dev/null; exit 0'
)
_SUM = re.compile(rb"(\d{1,20})[ \t]{1,4}(\d{1,20})\s*")


def sums_command(*, domain: str, task_id: str, roots: Iterable[str], newest: int, prefix: Iterable[str] = ()) -> str:
    """The command that prints the POSIX ``cksum`` of the ``newest`` so many screenshots of a task below ``roots``, the newest first."""
    folder = f"*/{literal(domain)}/{literal(task_id)}"
    patterns = (f"{folder}/screenshot*.png", f"{folder}/step_*.png")
    return "exec " + shlex.join([*prefix, "/bin/sh", "-c", _SUMS, MARK, *patterns, str(newest), *roots])


def read_sums(output: bytes, *, newest: int) -> tuple[str, ...]:
    """A checksum with the length for each picture, the newest first; what is no checksum is left out."""
    matches = (_SUM.fullmatch(line) for line in output.splitlines()[:newest])
    return tuple(f"{match[1].decode()}-{match[2].decode()}" for match in matches if match is not None)
