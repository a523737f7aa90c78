"""Writes records as the runners do."""

from datetime import UTC, datetime

NOON = 1_770_206_400.0


def record(
    message: str, module: str = "run", *, at: float = 0.0, level: str = "INFO", process: str = "MainProcess", colour: bool = True
) -> str:
    """One record, ``at`` seconds after noon."""
    moment = datetime.fromtimestamp(NOON + at, UTC)
    stamp = f"{moment:%Y-%m-%d %H:%M:%S},{moment.microsecond // 1000:03d}"
    if colour:
        return f"\x1b[1;33m[{stamp} \x1b[31m{level} \x1b[32m{module}/280-{process}\x1b[1;33m] \x1b[0m{message}\n"
    return f"[{stamp} {level} {module}/280-{process}] {message}\n"


def loop(message: str, *, at: float = 0.0, process: str = "MainProcess", colour: bool = True) -> str:
    """A record of the loop of one task."""
    return record(message, "lib_run_single", at=at, process=process, colour=colour)


UP = "Namespace(agent_name='navi', emulator_ip='20.20.20.21', max_steps=15, worker_id=0, num_workers=1)"
V2 = "Namespace(agent='pcagent', emulator_ip='20.20.20.21', max_steps=30, worker_id=0, num_workers=1)"
OSWORLD = "Namespace(provider_name='docker', path_to_vm=None, max_steps=15)"
TASKS = "[('clock', 'a-WOS'), ('vlc', 'b-WOS')]"


def start(
    arguments: str = UP, *, at: float = 0.0, tasks: str = TASKS, worker: int = 0, colour: bool = True, path: str = "JSON PATH"
) -> str:
    """What a runner writes before its first task."""
    return (
        record(f"\nTESTING ON TASK {path}: meta.json", at=at, colour=colour)
        + record("Left tasks:\nclock: 1\nvlc: 1\n", at=at, colour=colour)
        + record(f"Worker {worker} is doing tasks: {tasks}", at=at, colour=colour)
        + "New experiment, no result yet.\n"
        + record(f"Args: {arguments}", at=at, colour=colour)
    )


def opening(
    domain: str = "clock",
    task_id: str = "a-WOS",
    *,
    at: float = 1.0,
    text: str = "Do it.",
    process: str = "MainProcess",
    colour: bool = True,
) -> str:
    """What begins a task, up to the first thought."""
    return (
        record(f"[Domain]: {domain}", at=at, process=process, colour=colour)
        + record(f"[Example ID]: {task_id}", at=at, process=process, colour=colour)
        + record(f"[Instruction]: {text}", at=at, process=process, colour=colour)
        + record("Resetting environment...", "desktop_env", at=at, process=process, colour=colour)
        + loop("Agent: Thinking...", at=at, process=process, colour=colour)
    )


def step(number: int, action: str, *, at: float, process: str = "MainProcess", colour: bool = True) -> str:
    """One step with what follows it."""
    return (
        loop(f"Step {number}: {action}", at=at, process=process, colour=colour)
        + loop("Reward: 0.00", at=at + 0.1, process=process, colour=colour)
        + loop("Done: False", at=at + 0.1, process=process, colour=colour)
    )


def ending(domain: str = "clock", task_id: str = "a-WOS", *, at: float, score: str = "1.00", colour: bool = True) -> str:
    """What ends a task."""
    return (
        loop("Running evaluator(s)...", at=at, colour=colour)
        + loop(f"Result: {score}", at=at, colour=colour)
        + record(f"Finished {domain}/{task_id}", at=at, colour=colour)
    )
