"""Runs the demo's benchmark: prints the log and writes the result tree that Windows Agent Arena's client would.

It is a process of its own. Its standard input is a pipe from the server and says nothing; when it ends, the server
is gone and the benchmark ends too. Times in the log are UTC, as in the real container.
"""

import argparse
import os
import re
import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from waa.demo.plan import MAX_STEPS, Move, Plan, PlannedTask, make_plan
from waa.demo.result import TaskFolder, write_specification
from waa.demo.screen import Scene, draw

_BAR_WIDTH = 10
_TASKS_FOLDER = "evaluation_examples_windows"
_EIGHTHS = " ▏▎▍▌▋▊▉"
_ARGUMENTS = (
    "headless=False, action_space='pyautogui', observation_type='a11y_tree', screen_width=1920, screen_height=1200, "
    "sleep_after_execution=3, max_steps={max_steps}, a11y_backend='uia', agent_name='navi', som_origin='oss', "
    "max_trajectory_length=3, test_config_base_dir='evaluation_examples_windows', model='{model}', temperature=1.0, top_p=0.9, "
    "max_tokens=1500, stop_token=None, domain='all', emulator_ip='{ip}', test_all_meta_path='demo.json', result_dir='{results}', "
    "trial_id='{trial}', worker_id=0, num_workers=1, diff_lvl='normal'"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the whole benchmark; leaves by SystemExit when stopped."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--agent_name", choices=("navi",), default="navi")
    parser.add_argument("--model", default="gpt-4o")
    parser.add_argument("--trial_id", default="0")
    parser.add_argument("--emulator_ip", default="127.0.0.1")
    parser.add_argument("--emulator_port", type=int, default=5000)
    parser.add_argument("--diff_lvl", choices=("normal",), default="normal")
    parser.add_argument("--result_dir", type=Path, required=True)
    parser.add_argument("--screen", type=Path, required=True, help="PNG file that always shows the desktop as it is now")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--cycle", type=int, default=1)
    parser.add_argument("--speed", type=float, default=1.0)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupted)
    _Benchmark(options, make_plan(options.seed, options.cycle)).run()


def _interrupted(number: int, _frame: FrameType | None) -> NoReturn:
    _print(f"Interrupted by {number}, shutting down\n")
    sys.exit(0)  # the real client says 0 too


class _Benchmark:
    def __init__(self, options: argparse.Namespace, plan: Plan) -> None:
        self._options = options
        self._plan = plan
        self._tree = options.result_dir / "pyautogui" / "a11y_tree" / options.model / options.trial_id
        self._scores: list[float] = []

    def run(self) -> None:
        domains = list(dict.fromkeys(planned.task.domain for planned in self._plan.tasks))
        self._introduce(domains)
        began = time.monotonic()
        _print(f"\r{_bar('Domain', 0, len(domains), 0.0)}\n")
        for number, domain in enumerate(domains, 1):
            self._run_domain([planned for planned in self._plan.tasks if planned.task.domain == domain])
            bar = _bar("Domain", number, len(domains), time.monotonic() - began)
            _print(f"\n\r{' ' * 55}\x1b[A\r{bar}\n")
        _log("desktop_env/410", "Stopping emulator...")
        _log("desktop_env/413", "Not implemented! Stopping emulator is not supported for remote VMs!", level="ERROR")
        _log("run/292", f"Average score: {sum(self._scores) / len(self._scores)}")

    def _introduce(self, domains: list[str]) -> None:
        for planned in self._plan.tasks:
            write_specification(self._options.result_dir.parent / _TASKS_FOLDER, planned.task)
        tasks = [(planned.task.domain, planned.task.task_id) for planned in self._plan.tasks]
        counts = "".join(f"{domain}: {sum(name == domain for name, _ in tasks)}\n" for domain in domains)
        _print("Waiting for the server to start...\n")
        self._pause(0.4)
        _print("Response from server: {'message': 'Service is operational', 'status': 'Probe successful'}\n")
        _log("run/394", "\nTESTING ON TASK JSON PATH: demo.json")
        _log("run/416", f"Left tasks:\n{counts}")
        _log("run/436", f"Worker 0 is doing tasks: {tasks}")
        _print("New experiment, no result yet.\n")
        shown = _ARGUMENTS.format(
            max_steps=MAX_STEPS,
            model=self._options.model,
            ip=self._options.emulator_ip,
            results=self._options.result_dir,
            trial=self._options.trial_id,
        )
        _log("run/139", f"Args: Namespace({shown})")
        _log("desktop_env/81", "Initializing...")
        _log("desktop_env/88", "Using external emulator...")
        self._pause(0.8)
        _log("desktop_env/96", '(QEMU) get_status: {\n  "status": "running",\n  "singlestep": false,\n  "running": true\n}')

    def _run_domain(self, tasks: list[PlannedTask]) -> None:
        began = time.monotonic()
        _print(f"\r{_bar('Example', 0, len(tasks), 0.0)}\x1b[A")
        for number, planned in enumerate(tasks, 1):
            self._run_task(planned)
            _print(f"\n\r{_bar('Example', number, len(tasks), time.monotonic() - began)}\x1b[A")

    def _run_task(self, planned: PlannedTask) -> None:
        task = planned.task
        _log("run/208", "Windows Agent Arena: Starting on NORMAL difficulty")
        path = f"evaluation_examples_windows/examples/{task.domain}/{task.task_id}.json"
        _log("run/210", f"\nTESTING ON TASK CONFIG PATH: {path}")
        _log("run/224", f"[Domain]: {task.domain}")
        _log("run/225", f"[Example ID]: {task.task_id}")
        _log("run/229", f"[Instruction]: {task.instruction}")
        folder = TaskFolder(self._tree, task)
        self._show(Scene())
        self._prepare(planned)
        folder.reset(self._show(Scene(domain=task.domain, title=task.window, clock=_clock())))
        typed, pointer = "", None
        for number, move in enumerate(planned.moves, 1):
            typed = _entered(move.action) or typed
            self._think(move.think_s)
            self._act(number, move)
            pointer = _pointed(move.action) or pointer
            scene = Scene(domain=task.domain, title=task.window, step=number, typed=typed, clock=_clock(), pointer=pointer)
            picture = self._show(scene)
            folder.step(number, move, picture)
        if planned.score is None:
            self._think(1.5)
            text = _traceback(planned.error)
            _log("run/259", f"Exception in {task.domain}/{task.task_id}: {planned.error}", level="ERROR")
            _log("run/261", text, level="ERROR")
            folder.crash(planned.error, text)
            return
        if planned.moves[-1].action in {"DONE", "FAIL"}:
            _log("lib_run_single/77", "The episode is done.")
        _log("lib_run_single/82", "Running evaluator(s)...")
        self._pause(planned.evaluate_s)
        folder.finish(planned.score)
        self._scores.append(planned.score)
        _log("lib_run_single/84", f"Result: {planned.score:.2f}")
        _log("run/280", f"Finished {task.domain}/{task.task_id}")

    def _prepare(self, planned: PlannedTask) -> None:
        _log("desktop_env/245", "Resetting environment...")
        _log("desktop_env/247", "Switching task...")
        _log("desktop_env/249", "Setting counters...")
        _log("desktop_env/254", "Reverting to snapshot to init_state...")
        closing = "Reverting to snapshot is not supported for remote VMs! Closing all applications instead"
        _log("desktop_env/260", f"Not implemented! {closing}", level="ERROR")
        self._pause(planned.setup_s / 2)
        _log("setup/365", "Command executed successfully: All windows closed successfully.")
        _log("desktop_env/265", "Starting emulator...")
        _log("desktop_env/127", "VM is up and ready.")
        _log("desktop_env/270", "Emulator started.")
        _log("desktop_env/273", "Cleaning up existing task files...")
        _log("desktop_env/276", "Setting task info...")
        _log("desktop_env/285", "Setting up environment...")
        self._pause(planned.setup_s / 2)
        _log("desktop_env/288", "Environment setup complete.")

    def _think(self, seconds: float) -> None:
        _log("lib_run_single/41", "Agent: Thinking...")
        _log("agent/180", "Processing screenshot...")
        self._pause(seconds * 0.15)
        _log("agent/401", "Thinking...")
        self._pause(seconds * 0.85)

    def _act(self, number: int, move: Move) -> None:
        is_last = move.action in {"DONE", "FAIL"}
        _log("python/62", "Updated computer successfully")
        _log("lib_run_single/56", f"Step {number}: {move.action}")
        self._pause(move.act_s * 0.4)
        if not is_last and move.action != "WAIT":
            _log("python/180", 'Command executed successfully: {"status":"success"}\n')
        self._pause(move.act_s * 0.6)
        _log("lib_run_single/60", "Reward: 0.00")
        _log("lib_run_single/61", f"Done: {is_last}")

    def _show(self, scene: Scene) -> bytes:
        picture = draw(scene)
        written = self._options.screen.with_suffix(".new")
        written.write_bytes(picture)
        written.replace(self._options.screen)
        return picture

    def _pause(self, seconds: float) -> None:
        """Wait, and leave at once when the server is gone."""
        readable, _, _ = select.select([sys.stdin.fileno()], [], [], seconds / self._options.speed)
        if readable and not os.read(sys.stdin.fileno(), 1):
            sys.exit(1)


def _log(place: str, message: str, *, level: str = "INFO") -> None:
    now = time.time()
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now)) + f",{int(now % 1 * 1000):03d}"
    _print(f"\x1b[1;33m[{moment} \x1b[31m{level} \x1b[32m{place}-MainProcess\x1b[1;33m] \x1b[0m{message}\n")


def _print(text: str) -> None:
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


def _bar(name: str, done: int, total: int, elapsed_s: float) -> str:
    """A progress bar as tqdm draws it into a file."""
    eighths = _BAR_WIDTH * 8 * done // total
    blocks = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths < _BAR_WIDTH * 8 else "")
    pace = "00:00<?, ?it/s"
    if done:
        pace = f"{_minutes(elapsed_s)}<{_minutes(elapsed_s / done * (total - done))}, {elapsed_s / done:.2f}s/it"
    return f"{name}: {100 * done // total:3d}%|{blocks.ljust(_BAR_WIDTH)}| {done}/{total} [{pace}]"


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def _clock() -> str:
    now = time.localtime()
    return f"{now.tm_hour}:{now.tm_min:02d}"


def _entered(action: str) -> str:
    texts = re.findall(r'keyboard\.write\("([^"]*)"\)', action)
    return texts[-1] if texts else ""


def _pointed(action: str) -> tuple[float, float] | None:
    places = re.findall(r"computer\.mouse\.(?:move_abs|drag)\(x=([01]?\.\d+), y=([01]?\.\d+)\)", action)
    return (float(places[-1][0]), float(places[-1][1])) if places else None


def _traceback(error: str) -> str:
    kind = "openai.RateLimitError" if error.startswith("Error code") else "requests.exceptions.ReadTimeout"
    return (
        "Traceback (most recent call last):\n"
        '  File "/client/run.py", line 256, in test\n'
        "    lib_run_single.run_single_example(agent, env, example, max_steps, instruction, args, example_result_dir,\n"
        '  File "/client/lib_run_single.py", line 42, in run_single_example\n'
        "    response, actions, logs, computer_update_args = agent.predict(\n"
        '  File "/client/mm_agents/navi/agent.py", line 402, in predict\n'
        "    plan_result = self.gpt4v_planner.plan(images, prompt)\n"
        f"{kind}: {error}\n"
    )
