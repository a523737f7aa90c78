"""The recorded logs and what is true about them."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "corpus"
TRUTH: dict[str, dict[str, Any]] = json.loads((FOLDER / "truth.json").read_text())


def names(*kinds: str) -> list[str]:
    """The files of these kinds."""
    return [name for name, truth in TRUTH.items() if truth.get("kind") in kinds]


def data(name: str) -> bytes:
    """The bytes of a recorded file."""
    return (FOLDER / name).read_bytes()
