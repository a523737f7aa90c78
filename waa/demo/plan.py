"""What one run of the demo's benchmark will do: fixed by the seed and the number of the cycle."""

from dataclasses import dataclass
from random import Random

from waa.demo.book import BOOK, BookTask

MAX_STEPS = 8
FRACTIONS = (0.8571428571428571, 0.5)
_PASS_RATE = 0.62
_ERROR_TEXTS = (
    "Error code: 429 - {'error': {'message': 'Rate limit reached for gpt-4o. Please try again in 6s.', 'type': 'tokens'}}",
    "HTTPConnectionPool(host='127.0.0.1', port=5000): Read timed out. (read timeout=120)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One step: the agent thinks ``think_s``, then acts, which takes ``act_s``."""

    action: str
    thought: str
    think_s: float
    act_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTask:
    """One task with its outcome: a ``score``, or an ``error`` that ends it while it thinks after its last move."""

    task: BookTask
    moves: tuple[Move, ...]
    setup_s: float
    evaluate_s: float
    score: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole run, its tasks in order."""

    tasks: tuple[PlannedTask, ...]

    @property
    def average_score(self) -> float:
        """Mean over the tasks that get a score, as the benchmark prints it: errors are left out."""
        scores = [planned.score for planned in self.tasks if planned.score is not None]
        return sum(scores) / len(scores)


def make_plan(seed: int, cycle: int) -> Plan:
    """The run of the ``cycle``-th start (1-based): each holds passes, failures, two fractions, one error and one loop."""
    rng = Random(f"{seed}/{cycle}")  # noqa: S311 - a play, not a secret
    others = list(range(1, len(BOOK)))  # the first task passes, so that a viewer first sees what success looks like
    rng.shuffle(others)
    crashed, looping, failed, *rest = others
    scores: dict[int, float] = {0: 1.0, looping: 0.0, failed: 0.0}
    fractional = [index for index in rest if BOOK[index].is_feasible][: len(FRACTIONS)]
    scores.update(zip(fractional, FRACTIONS, strict=True))
    for index in rest:
        scores.setdefault(index, 1.0 if rng.random() < _PASS_RATE else 0.0)
    tasks = []
    for index, task in enumerate(BOOK):
        if index == crashed:
            tasks.append(_planned(rng, task, _moves_until_crash(rng, task), error=rng.choice(_ERROR_TEXTS)))
        elif index == looping:
            tasks.append(_planned(rng, task, _moves_in_a_loop(rng, task), score=scores[index]))
        else:
            tasks.append(_planned(rng, task, _moves_to_the_end(rng, task, scores[index]), score=scores[index]))
    return Plan(tasks=tuple(tasks))


def _planned(rng: Random, task: BookTask, moves: tuple[Move, ...], *, score: float | None = None, error: str = "") -> PlannedTask:
    return PlannedTask(task=task, moves=moves, setup_s=rng.uniform(1.2, 2.2), evaluate_s=rng.uniform(0.6, 1.2), score=score, error=error)


def _moves_to_the_end(rng: Random, task: BookTask, score: float) -> tuple[Move, ...]:
    actions = list(task.actions)
    if score < 1.0 and len(actions) > 2 and rng.random() < 0.5:
        actions.pop(rng.randrange(1, len(actions)))  # what went wrong: it left something out
    if score == 1.0 and len(actions) < MAX_STEPS - 2 and rng.random() < 0.4:
        actions.insert(rng.randrange(1, len(actions)), "WAIT")
    gives_up = not task.is_feasible and score == 1.0
    return tuple(_move(rng, action) for action in (*actions, "FAIL" if gives_up else "DONE"))


def _moves_until_crash(rng: Random, task: BookTask) -> tuple[Move, ...]:
    return tuple(_move(rng, action) for action in task.actions[:2])


def _moves_in_a_loop(rng: Random, task: BookTask) -> tuple[Move, ...]:
    stuck = f"computer.mouse.move_id(id={rng.randint(10, 60)})\ncomputer.mouse.single_click()\n"
    return tuple(_move(rng, action) for action in (task.actions[0], *[stuck] * (MAX_STEPS - 1)))


def _move(rng: Random, action: str) -> Move:
    if action in {"DONE", "FAIL", "WAIT"}:
        thought = {"DONE": "Everything that was asked for is done.", "FAIL": "This cannot be done on this machine."}.get(
            action, "The window still loads."
        )
    else:
        thought = rng.choice(
            (
                "The element I need is visible, I use it now.",
                "The next thing to do follows from what the window shows.\n\nThe last action worked: its effect is on the screen. "
                "What remains is this one, and after it I check again before I go on.",
                "This brings me closer to the goal.",
            )
        )
    return Move(action=action, thought=thought, think_s=rng.uniform(1.0, 2.2), act_s=rng.uniform(0.5, 1.4))
