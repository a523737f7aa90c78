"""The stand-in runner: writes the log and the result tree of a real run, one command at a time.

Its output is what the upstream client prints (records with colours, prints without, progress bars), to standard output and to
the log file, which is opened anew for each piece, so that it may be renamed or emptied in between.
"""

import argparse
import json
import os
import signal
import sys
import time
from datetime import UTC, datetime
from typing import Any, TextIO

RESULTS = "results/pyautogui/a11y_tree/gpt-4o/0"


class Run:
    """One run over a list of (domain, task id)."""

    def __init__(self, tasks: list[tuple[str, str]], log: str, arguments: argparse.Namespace) -> None:
        self._tasks = tasks
        self._log = log
        self._arguments = arguments
        self._place = -1
        self._step = 0
        self._scores: list[float] = []

    def put(self, text: str) -> None:
        """Text as it is."""
        sys.stdout.write(text)
        sys.stdout.flush()
        os.makedirs(os.path.dirname(self._log), exist_ok=True)
        with open(self._log, "a") as file:
            file.write(text)

    def record(self, where: str, message: str, level: str = "INFO") -> None:
        """One record as the run's formatter writes it."""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S,%f")[:-3]
        self.put(f"\x1b[1;33m[{now} \x1b[31m{level} \x1b[32m{where}-MainProcess\x1b[1;33m] \x1b[0m{message}\n")

    def begin(self) -> None:
        """The head of the log, and the first task."""
        self.put("Waiting for the server to start...\n")
        self.put("Response from server: {'message': 'Service is operational', 'status': 'Probe successful'}\n")
        self.record("run/394", "\nTESTING ON TASK JSON PATH: meta.json")
        domains = list(dict.fromkeys(domain for domain, _ in self._tasks))
        left = "".join(f"{domain}: {sum(domain == other for other, _ in self._tasks)}\n" for domain in domains)
        self.record("run/416", f"Left tasks:\n{left}")
        self.record("run/436", f"Worker 0 is doing tasks: {self._tasks!r}")
        self.put("New experiment, no result yet.\n")
        named = ", ".join(f"{name}={value!r}" for name, value in vars(self._arguments).items())
        self.record("run/139", f"Args: Namespace({named})")
        self.record("desktop_env/81", "Initializing...")
        self.record("desktop_env/88", "Using external emulator...")
        self.record("desktop_env/96", '(QEMU) get_status: {\n  "status": "running",\n  "singlestep": false,\n  "running": true\n}')
        self.put(f"\rDomain:   0%|          | 0/{len(domains)} [00:00<?, ?it/s]\n\rExample:   0%|          | 0/1 [00:00<?, ?it/s]\x1b[A")
        self._open_next()

    def step(self, action: str) -> dict[str, Any]:
        """One step of the open task."""
        self._step += 1
        self.record("lib_run_single/41", "Agent: Thinking...")
        self.record("agent/180", "Processing screenshot...")
        self.record("agent/401", "Thinking...")
        self.record("python/62", "Updated computer successfully")
        self.record("lib_run_single/56", f"Step {self._step}: {action}")
        done = action in ("DONE", "FAIL")
        if not done:
            self.record("python/180", 'Command executed successfully: {"status":"success"}')
        self.record("lib_run_single/60", "Reward: 0.00")
        self.record("lib_run_single/61", f"Done: {done}")
        self._trace({"step_num": self._step, "action": action, "reward": 0, "done": done})
        if done:
            self.record("lib_run_single/77", "The episode is done.")
        return {}

    def finish(self, score: float) -> dict[str, Any]:
        """The open task gets its score, and the next one opens."""
        domain, task_id = self._tasks[self._place]
        self.record("lib_run_single/82", "Running evaluator(s)...")
        self.record("lib_run_single/84", f"Result: {score:.2f}")
        with open(f"{self._folder()}/result.txt", "w") as file:
            file.write(f"{score}\n")
        self._scores.append(score)
        self.record("run/280", f"Finished {domain}/{task_id}")
        return self._open_next()

    def crash(self, error: str) -> dict[str, Any]:
        """The open task ends with an exception, and the next one opens."""
        domain, task_id = self._tasks[self._place]
        self.record("run/259", f"Exception in {domain}/{task_id}: {error}", "ERROR")
        trace = (
            f'Traceback (most recent call last):\n  File "/client/run.py", line 256, in test\n    lib_run_single()\nRuntimeError: {error}\n'
        )
        self.record("run/261", trace, "ERROR")
        self._trace({"Error": f"Exception in {domain}/{task_id}", "Exception": error, "Traceback": trace})
        return self._open_next()

    def _open_next(self) -> dict[str, Any]:
        self._place += 1
        self._step = 0
        if self._place >= len(self._tasks):
            return self._end()
        domain, task_id = self._tasks[self._place]
        self.record("run/208", "Windows Agent Arena: Starting on NORMAL difficulty")
        self.record("run/210", f"\nTESTING ON TASK CONFIG PATH: evaluation_examples_windows/examples/{domain}/{task_id}.json")
        self.record("run/224", f"[Domain]: {domain}")
        self.record("run/225", f"[Example ID]: {task_id}")
        self.record("run/229", f"[Instruction]: Do what task {task_id} asks for; an error is no result.")
        self.record("desktop_env/245", "Resetting environment...")
        text = "Not implemented! Reverting to snapshot is not supported for remote VMs! Closing all applications instead"
        self.record("desktop_env/260", text, "ERROR")
        self.record("desktop_env/288", "Environment setup complete.")
        os.makedirs(self._folder(), exist_ok=True)
        self._trace({"step_num": 0, "action": None})
        return {"task": [domain, task_id]}

    def _end(self) -> dict[str, Any]:
        self.record("desktop_env/410", "Stopping emulator...")
        self.record("desktop_env/413", "Not implemented! Stopping emulator is not supported for remote VMs!", "ERROR")
        if self._scores:
            self.record("run/292", f"Average score: {sum(self._scores) / len(self._scores)}")
        else:
            self.record("run/292", "No examples finished.")
        return {"over": True}

    def _folder(self) -> str:
        domain, task_id = self._tasks[self._place]
        return f"{RESULTS}/{domain}/{task_id}"

    def _trace(self, entry: dict[str, Any]) -> None:
        with open(f"{self._folder()}/traj.jsonl", "a") as file:
            file.write(json.dumps({**entry, "action_timestamp": time.strftime("%Y%m%d@%H%M%S", time.gmtime())}) + "\n")


def answer(stream: TextIO, message: dict[str, Any]) -> None:
    """Tell the test that a command is done."""
    stream.write(json.dumps(message) + "\n")
    stream.flush()


def main() -> None:
    """Begin, then obey line by line; the end of the input ends the run without a word, as a kill would."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--agent_name", default="navi")
    parser.add_argument("--model", default="gpt-4o")
    parser.add_argument("--max_steps", type=int, default=15)
    parser.add_argument("--result_dir", default="./results")
    parser.add_argument("--worker_id", type=int, default=0)
    parser.add_argument("--num_workers", type=int, default=1)
    own, rest = argparse.ArgumentParser(), None
    own.add_argument("--log", required=True)
    own.add_argument("--answers", type=int, required=True)
    own.add_argument("--tasks", type=json.loads, required=True)
    options, rest = own.parse_known_args()
    run = Run([(domain, task_id) for domain, task_id in options.tasks], options.log, parser.parse_args(rest))

    def interrupted(number: int, _frame: object) -> None:
        run.put(f"Interrupted by {number}, shutting down\n")
        os._exit(0)

    signal.signal(signal.SIGTERM, interrupted)
    with os.fdopen(options.answers, "w") as stream:
        run.begin()
        answer(stream, {})
        for line in sys.stdin:
            command = json.loads(line)
            result = getattr(run, command.pop("do"))(**command) or {}
            answer(stream, result)
            if result.get("over"):
                return


if __name__ == "__main__":
    main()
