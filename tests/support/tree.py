"""Result trees as WAA writes them, of any size."""

import json
import struct
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

DOMAINS = ("chrome", "clock", "file_explorer", "libreoffice_calc", "msedge", "notepad", "settings", "vlc", "vs_code")
BEGAN = 1_770_207_151


def png(width: int, height: int, shade: int = 0) -> bytes:
    """A grey picture."""
    rows = (b"\0" + bytes([shade % 256]) * width) * height

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def waa_tree(root: Path, *, tasks: int, steps: int, picture: bytes = b"", began: int = BEGAN, scores: Sequence[float] = (1.0, 0.0)) -> Path:
    """``tasks`` tasks of ``steps`` steps each, ten seconds a step, scored in turn; gives the run's folder. ``picture``: of each step."""
    run = root / "pyautogui" / "a11y_tree" / "gpt-4o" / "0"
    at = began
    for number in range(tasks):
        folder = run / DOMAINS[number % len(DOMAINS)] / f"{number:08d}-WOS"
        folder.mkdir(parents=True)
        lines = [{"step_num": 0, "action": None, "action_timestamp": stamp(at), "screenshot": f"screenshot-step_reset_{stamp(at)}.png"}]
        for step in range(1, steps + 1):
            at += 10
            shot = f"screenshot-step_{step - 1}_{stamp(at)}.png"
            if picture:
                (folder / shot).write_bytes(picture)
            lines.append(
                {
                    "step_num": step,
                    "action_timestamp": stamp(at),
                    "action": f"import pyautogui\npyautogui.click(x={100 + step}, y={200 + number % 300})",
                    "instruction": f"Do the {number}th thing.",
                    "reward": 0,
                    "done": step == steps,
                    "screenshot": shot,
                    "plan_result": f"I see the window of step {step}. " * 20,
                }
            )
        (folder / "traj.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        (folder / "result.txt").write_text(f"{scores[number % len(scores)]}\n")
        at += 60
    return run


def stamp(at: float) -> str:
    """As trajectories date their steps."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y%m%d@%H%M%S")
