"""Task folders of the recorded result trees, and made-up ones."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from waa.core.results.folder import FileFound, FolderFound
from waa.core.results.picture import HEAD_BYTES

CORPUS = Path(__file__).parents[2] / "corpus"
TREES = {
    "waa_up_normal": ("waa_up_normal.plain.log",),
    "waa_up_exception": ("waa_up_exception.plain.log",),
    "waa_v1": ("waa_v1_sep2024.plain.log",),
    "waa_v2_normal": ("waa_v2_normal.plain.log",),
    "waa_v2_loop": ("waa_v2_loop_instance1_run1.log", "waa_v2_loop_instance1_run2.log", "waa_v2_loop_instance1_run3.log"),
    "osworld_multienv": ("osworld_multienv3.plain.log",),
}
"""The logs that tell the truth about each tree, the last word counts."""


def folders(tree: str) -> Iterator[Path]:
    """Every task's folder of a tree."""
    yield from sorted({path.parent for path in (CORPUS / "results" / tree).glob("**/traj.jsonl")})


def truth(tree: str) -> dict[tuple[str, str], Mapping[str, Any]]:
    """What is true of each task, by domain and id."""
    told = json.loads((CORPUS / "truth.json").read_text(encoding="utf-8"))
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for log in TREES[tree]:
        for task in told[f"generated/{log}"]["tasks"]:
            if task["status"] in ("done", "error"):
                found[task["domain"], task["id"]] = task
    return found


def on_disk(path: Path) -> FolderFound:
    """The folder as a machine would give it."""
    names = [*path.glob("*"), *path.glob("screenshot/*"), *path.glob("screenshots/*")]
    files = {str(file.relative_to(path)): file for file in sorted(names) if file.is_file()}
    return FolderFound(
        path=str(path),
        files=tuple(FileFound(name=name, size=file.stat().st_size, modified_at=0.0) for name, file in files.items()),
        trajectory=_bytes(files, "traj.jsonl"),
        result=_bytes(files, "result.txt"),
        error=_bytes(files, "error.txt"),
        texts={name: file.read_bytes() for name, file in files.items() if name.startswith("plan_result")},
        heads={name: file.read_bytes()[:HEAD_BYTES] for name, file in files.items() if name.endswith(".png")},
        documents={name: files[name].read_bytes() for name in ("task.json", "execution.json") if name in files},
    )


def made_of(*records: object, **fields: Any) -> FolderFound:
    """A folder with these lines in its trajectory; text stands as it is."""
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    return FolderFound(path="/results/d/t", **({"trajectory": "".join(f"{line}\n" for line in lines).encode()} | fields))


def _bytes(files: Mapping[str, Path], name: str) -> bytes | None:
    return files[name].read_bytes() if name in files else None


LONGEST_WAA = max(folders("waa_up_normal"), key=lambda path: (path / "traj.jsonl").stat().st_size)
V2 = max(folders("waa_v2_normal"), key=lambda path: (path / "traj.jsonl").stat().st_size)
