"""The folder that the benchmark leaves for one task: trajectory, screenshots, score."""

import json
import time
from pathlib import Path

from waa.demo.book import BookTask
from waa.demo.plan import Move


class TaskFolder:
    """``<tree>/<domain>/<task id>``; every write raises OSError where the disk refuses."""

    def __init__(self, tree: Path, task: BookTask) -> None:
        self._task = task
        self._folder = tree / task.domain / task.task_id
        self._folder.mkdir(parents=True, exist_ok=True)

    def reset(self, picture: bytes) -> None:
        """The task is set up; this is how it looks."""
        stamp = _stamp()
        self._append({"step_num": 0, "action_timestamp": stamp, "action": None, **self._seen("reset", stamp, picture)})

    def step(self, number: int, move: Move, picture: bytes) -> None:
        """Step ``number`` (1-based) was done; ``picture`` is what it led to."""
        stamp = _stamp()
        plan = f"plan_result-step_{number - 1}_{stamp}.txt"
        (self._folder / plan).write_text(f"{move.thought}\n```python\n{move.action.rstrip()}\n```\n")
        is_last = move.action in {"DONE", "FAIL"}
        self._append(
            {
                "step_num": number,
                "action_timestamp": stamp,
                "action": move.action,
                "reward": 0,
                "done": is_last,
                "info": {move.action.lower(): True} if is_last else {},
                **self._seen(str(number - 1), stamp, picture),
                "plan_result": plan,
            }
        )

    def finish(self, score: float) -> None:
        """The evaluator's exact score."""
        (self._folder / "result.txt").write_text(f"{score}\n")

    def crash(self, error: str, traceback: str) -> None:
        """The task ended with an exception, without a score."""
        where = f"Exception in {self._task.domain}/{self._task.task_id}"
        self._append({"Error": where, "Exception": error, "Traceback": traceback})

    def _seen(self, label: str, stamp: str, picture: bytes) -> dict[str, object]:
        name = f"screenshot-step_{label}_{stamp}.png"
        (self._folder / name).write_bytes(picture)
        return {
            "screenshot": name,
            "terminal": "key: terminal: <class 'NoneType'> not saved",
            "instruction": self._task.instruction,
            "window_title": self._task.window,
            "window_rect": [260, 100, 1660, 1020],
            "window_names_str": f"{self._task.window}\nProgram Manager",
        }

    def _append(self, record: dict[str, object]) -> None:
        with (self._folder / "traj.jsonl").open("a") as trajectory:
            trajectory.write(json.dumps(record) + "\n")


def write_specification(base: Path, task: BookTask) -> None:
    """The task's own file, where the benchmark keeps its tasks: ``<base>/examples/<domain>/<task id>.json``."""
    program = task.window.rpartition(" - ")[2] or task.domain
    told = {
        "id": task.task_id,
        "snapshot": task.domain,
        "instruction": task.instruction,
        "source": "The task book of the demo",
        "config": [
            {"type": "close_all"},
            {"type": "launch", "parameters": {"command": [program]}},
            {"type": "sleep", "parameters": {"seconds": 2}},
        ],
        "related_apps": [task.domain],
        "evaluator": {
            "func": "exact_match" if task.is_feasible else "infeasible",
            **({"expected": {"type": "rule", "rules": {"window": task.window}}} if task.is_feasible else {}),
        },
    }
    folder = base / "examples" / task.domain
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{task.task_id}.json").write_text(json.dumps(told, indent=2) + "\n")


def _stamp() -> str:
    return time.strftime("%Y%m%d@%H%M%S", time.gmtime())
