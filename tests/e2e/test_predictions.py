"""Many predictions to many streams: each arrives at each stream once and in order, as the benchmark checks it for a minute."""

import json
import subprocess
import sys

import pytest

from tests.support.server import ROOT


@pytest.mark.parametrize("kind", ["ours", "gzip"])
def test_e1_a_thousand_a_second_arrive_completely_in_order_and_once(kind: str) -> None:
    command = [sys.executable, "bench/predictions.py", "--seconds", "3", "--streams", "60", "--only", kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.partition(" ")[2])
    assert (found["is_whole"], found["streams"], found["predictions"]) == (True, 60, 3000)
