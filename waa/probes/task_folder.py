"""The program that reads a task's folder on a machine, and what it prints: bytes to values.

One command finds the newest folder of a task and prints, each behind a mark that nobody who wrote a file could foresee: its
path, its files with sizes and times, ``traj.jsonl``, ``result.txt``, ``error.txt``, the thoughts, and the first bytes of each
screenshot. Only plain files count: no link leads out of the folder.
"""

import re
import shlex
from collections.abc import Iterable, Iterator

from waa.core.results.folder import FileFound, FolderFound, is_file_name
from waa.core.results.picture import HEAD_BYTES
from waa.probes.script import MARK, literal

MAX_TRAJECTORY_BYTES = 16 * 1024 * 1024
"""Some ten thousand steps of WAA, or two thousand long answers of a model."""
MAX_TEXT_BYTES = 40_000
MAX_SMALL_BYTES = 64 * 1024
"""``result.txt`` and ``error.txt``."""
MAX_OUTPUT_BYTES = 24 * 1024 * 1024
MAX_FILES = 50_000
MAX_EXTRAS = 2_000
"""Thoughts, and screenshots, whose content is looked at."""

_READ_FOLDER = r"""
export LC_ALL=C
nonce=$1 trajectory=$2 small=$3 text=$4 head=$5 extras=$6 near=$7 nearby=$8 far=$9
shift 9
pick='for folder; do
  file=$folder/traj.jsonl; [ -f "$file" ] || file=$folder
  if [ -z "$new" ] || [ "$file" -nt "$when" ]; then new=$folder when=$file; fi
done; printf "%s\n" "$new"'
seek() { find "$@" -prune -exec /bin/sh -c "$pick" "$0" {} + 2>/dev/null; }
found=$(seek "$@" -maxdepth 12 -type d \( -path "$near" -o -path "$nearby" \))
[ -n "$found" ] || found=$(seek "$@" -maxdepth 12 -type d -path "$far")
[ -n "$found" ] && cd -P -- "$found" 2>/dev/null || exit 0
mark() { printf '\n@%s %s %s\n' "$nonce" "$1" "$2"; }
plain() { [ -f "$1" ] && [ ! -L "$1" ]; }
if stat -c %s / >/dev/null 2>&1; then
  sizes='exec stat -c "%s %Y %n" "$@"'
else
  sizes='for file; do printf "%s 0 %s\n" "$(wc -c <"$file")" "$file"; done'
fi
list() { find "$1" -maxdepth 1 -type f -exec /bin/sh -c "$sizes" "$0" {} + 2>/dev/null; }
inner=
if [ -d screenshot ] && [ ! -L screenshot ]; then inner=./screenshot; fi
mark folder "$PWD"
mark files .
list .
[ -z "$inner" ] || list "$inner"
if plain ./traj.jsonl; then mark trajectory .; head -c "$trajectory" -- ./traj.jsonl; fi
if plain ./result.txt; then mark result .; head -c "$small" -- ./result.txt; fi
if plain ./error.txt; then mark error .; head -c "$small" -- ./error.txt; fi
show() { kind=$1 bytes=$2 left=$extras; shift 2
  for file; do
    [ "$left" -gt 0 ] || break
    plain "$file" || continue
    left=$((left - 1))
    mark "$kind" "$file"
    head -c "$bytes" -- "$file"
  done
}
show text "$text" ./plan_result-step_*.txt
show head "$head" ./screenshot-step_*.png ./step_*.png
[ -z "$inner" ] || show head "$head" "$inner"/*.png
mark end .
"""

_READ_FILE = (
    'export LC_ALL=C; cd -P -- "$1" 2>/dev/null || exit 0; '
    "case $2 in screenshot/*) [ ! -L screenshot ] || exit 0 ;; esac; "
    '[ -f "./$2" ] && [ ! -L "./$2" ] || exit 0; printf =; exec head -c "$3" -- "./$2"'
)

_READ_FIRST = (
    "export LC_ALL=C; cap=$1 number=0; shift; for file; do "
    'if [ -f "$file" ] && [ ! -L "$file" ] && [ -r "$file" ]; then printf "%s=" "$number"; exec head -c "$cap" -- "$file"; fi; '
    "number=$((number + 1)); done"
)

_FILE_LINE = re.compile(rb"(\d{1,15}) (\d{1,12}) \./([^\n]{1,300})")


def folder_command(*, nonce: str, domain: str, task_id: str, within: str, roots: Iterable[str], prefix: Iterable[str] = ()) -> str:
    """The command that reads the newest folder ``<domain>/<task_id>`` below ``roots``; of those, one below a folder named
    ``within`` ("": no matter), where there is one. ``nonce``: letters and digits that cannot be foreseen."""
    task = f"{literal(domain)}/{literal(task_id)}"
    far = f"*/{task}"
    near, nearby = (f"*/{literal(within)}/{task}", f"*/{literal(within)}/*/{task}") if within else (far, far)
    bounds = (MAX_TRAJECTORY_BYTES, MAX_SMALL_BYTES, MAX_TEXT_BYTES, HEAD_BYTES, MAX_EXTRAS)
    folders = [f"{root.rstrip('/')}/." for root in roots]  # a root may be a link
    words = ["/bin/sh", "-c", _READ_FOLDER, MARK, nonce, *map(str, bounds), near, nearby, far, *folders]
    return "exec " + shlex.join([*prefix, *words])


def file_command(*, folder: str, name: str, max_bytes: int, prefix: Iterable[str] = ()) -> str:
    """The command that prints ``=`` and the first ``max_bytes`` bytes of a plain file in ``folder``, or nothing.
    The caller has checked ``name`` by ``is_file_name``."""
    return "exec " + shlex.join([*prefix, "/bin/sh", "-c", _READ_FILE, MARK, folder, name, str(max_bytes)])


def first_command(*, paths: Iterable[str], max_bytes: int, prefix: Iterable[str] = ()) -> str:
    """The command that prints the place in ``paths`` (from 0) of the first plain file that is there, ``=``, and its first
    ``max_bytes`` bytes, or nothing."""
    return "exec " + shlex.join([*prefix, "/bin/sh", "-c", _READ_FIRST, MARK, str(max_bytes), *paths])


def read_folder(output: bytes, *, nonce: str, inner: bool, is_cut: bool = False) -> FolderFound | None:
    """What the command printed; None where there is no such folder. ``is_cut``: the output was."""
    path = ""
    files: tuple[FileFound, ...] = ()
    parts: dict[str, bytes] = {}
    texts: dict[str, bytes] = {}
    heads: dict[str, bytes] = {}
    has_end = False
    for kind, name, content in _sections(output, nonce):
        if kind == "folder":
            path = name
        elif kind == "files":
            files = tuple(_files(content))
        elif kind in ("text", "head"):
            (texts if kind == "text" else heads)[name.removeprefix("./")] = content
        elif kind == "end":
            has_end = True
        else:
            parts[kind] = content
    if not path.startswith("/"):
        return None
    sizes = {file.name: file.size for file in files}
    return FolderFound(
        path=path,
        inner=inner,
        files=files,
        trajectory=parts.get("trajectory"),
        result=parts.get("result"),
        error=parts.get("error"),
        texts=texts,
        heads=heads,
        is_cut=is_cut or not has_end or sizes.get("traj.jsonl", 0) > MAX_TRAJECTORY_BYTES or len(files) == MAX_FILES,
    )


def _sections(output: bytes, nonce: str) -> Iterator[tuple[str, str, bytes]]:
    for section in output.split(f"\n@{nonce} ".encode())[1:]:
        line, _, content = section.partition(b"\n")
        kind, _, name = line.decode("utf-8", "replace").partition(" ")
        yield kind, name, content


def _files(content: bytes) -> Iterator[FileFound]:
    for line in content.split(b"\n")[:MAX_FILES]:
        match = _FILE_LINE.fullmatch(line)
        if match is not None and is_file_name(name := match[3].decode("utf-8", "replace")):
            yield FileFound(name=name, size=int(match[1]), modified_at=float(match[2]))
