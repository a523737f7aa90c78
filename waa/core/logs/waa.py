"""The records of the Windows Agent Arena runner: first release, upstream, and WAA-V2.

Each handler gets a record whose message begins with its text and the rest of that line. It returns the passage
that the record opens, or None where the runner cannot have written this here (then it is text of what came before).
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from waa.core.logs.fact import (
    Activity,
    AnyFact,
    Dialect,
    RunConfigured,
    RunFinished,
    RunInterrupted,
    RunPlanned,
    RunResumed,
    RunStarted,
    ServerReady,
    ServerWaiting,
    StepDescribed,
    StepStarted,
    TaskCrashed,
    TaskFinished,
    TaskInstructed,
    TaskStarted,
)
from waa.core.logs.journal import Crew, Episode, Journal, Stage, Start, refs
from waa.core.logs.mask import HIDDEN, is_secret, mask
from waa.core.logs.record import MAX_ERROR, MAX_NAME, MAX_TEXT, Record, shown

MAX_TASKS = 5_000
MAX_ARGUMENTS = 200
MAX_ARGUMENT = 500


@dataclass(frozen=True, slots=True)
class Opening:
    """The passage after a record: whose text it is (``kind``), and whether lines in it are the runner's own."""

    kind: str = ""
    is_trusted: bool = False
    worker: str = ""
    number: int = 0
    text: str = ""


PLAIN = Opening(is_trusted=True)
FOREIGN = Opening()
Handler = Callable[[Journal, Record, str, list[AnyFact]], Opening | None]

_STEP = re.compile(r"(\d{1,5}): ?")
_SCORE = re.compile(r"(-?\d{1,12}(?:\.\d{1,20})?(?:e-?\d{1,3})?|-?nan|-?inf)\s*", re.ASCII)
_WORKER = re.compile(r"(\d{1,5}) is doing tasks: \[(.*)\]\s*", re.ASCII)
_PAIR = re.compile(r"\(['\"]([^'\"]{1,300})['\"], ['\"]([^'\"]{1,300})['\"]\)")
_ARGUMENT = re.compile(r"([A-Za-z_]\w{0,100})=")
_LEFT = re.compile(r"[\w .+-]{1,100}: (\d{1,6})\s*")
_RATE = re.compile(r"(\d{1,3}(?:\.\d{1,20})?) ?%", re.ASCII)
_FORK_SCORE = re.compile(r"\bscore=(\S{1,40})")


def parse_score(text: str) -> float | None:
    """The number of a ``Result`` or ``Average score``; None for nan and infinities. Raises ValueError for other text."""
    if _SCORE.fullmatch(text) is None:
        raise ValueError(f"not a score: {text[:40]!r}")
    score = float(text)
    return score if math.isfinite(score) else None


# The start of a run: Left tasks, Worker, Args. The run begins with the last of them, which tells the dialect.


def _announced(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    journal.start = Start(at=record.at, is_first_release=record.message.startswith("TESTING ON TASK PATH"))
    return _calm(journal, record)


def _calm(journal: Journal, record: Record) -> Opening:
    """The passage of a record that is the runner's own, unless the action of a step may still go on."""
    episode = journal.current(record.process)
    return FOREIGN if episode is not None and episode.stage == Stage.ACTING and journal.needs_done else PLAIN


def left_tasks(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """The numbers follow, one line per domain."""
    if journal.start is None:
        journal.start = Start(at=record.at)
    journal.start.left = 0
    return Opening(kind="left", is_trusted=_calm(journal, record).is_trusted)


def count_left(journal: Journal, line: str) -> bool:
    """Whether the line is one of the numbers after ``Left tasks``; it is added up."""
    match = _LEFT.fullmatch(line)
    if match is None or journal.start is None:
        return False
    journal.start.left += int(match[1])
    return True


def _worker(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    match = _WORKER.fullmatch(rest)
    if match is not None and journal.start is not None:
        journal.start.worker = match[1]
        journal.start.tasks = _PAIR.findall(match[2])[:MAX_TASKS]
    return _calm(journal, record)


def arguments(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """The run begins."""
    given = namespace(rest)
    if given is None:
        return FOREIGN
    episode = journal.current(record.process)
    if journal.start is None and episode is not None and episode.is_telling:
        return None
    start, journal.start = journal.start or Start(at=record.at), None
    workers = int(given["num_workers"]) if given.get("num_workers", "").isdecimal() else 1
    worker = (start.worker or given.get("worker_id", "")) if workers > 1 else ""
    if worker and journal.crew is not None and _joins(journal, worker):
        _join(journal, worker, start, out)
    else:
        _begin(journal, worker, _dialect(journal, record, start, given), start, out)
    if start.tasks or start.left:
        out.append(RunPlanned(at=start.at, worker=worker, total=len(start.tasks) or start.left, tasks=refs(start.tasks)))
    if start.earlier_score is not None:
        out.append(RunResumed(at=start.at, worker=worker, earlier_score=start.earlier_score))
    out.append(RunConfigured(at=record.at, worker=worker, arguments=given))
    return PLAIN


def _begin(journal: Journal, worker: str, dialect: Dialect, start: Start, out: list[AnyFact]) -> None:
    journal.cut_all("the runner was started again", start.at, out)
    journal.dialect = dialect
    journal.prints_done = False
    journal.is_stopping = False
    journal.is_running = True
    journal.crew = Crew(plans={worker: start.tasks}) if worker else None
    out.append(RunStarted(at=start.at, worker=worker, dialect=dialect))


def _joins(journal: Journal, worker: str) -> bool:
    """Whether this is one more worker of the run that goes on, not a new run."""
    crew = journal.crew
    return crew is not None and journal.is_running and (crew.is_merged or worker not in crew.plans)


def _join(journal: Journal, worker: str, start: Start, out: list[AnyFact]) -> None:
    crew = journal.crew
    if crew is None:
        return
    if not crew.is_merged:
        # So far one process wrote here; from now on its task is known by its worker.
        before, journal.episodes = list(journal.episodes.values()), {}
        for episode in before[:1]:
            journal.open(next(iter(crew.plans)), episode)
        journal.domains.clear()
    journal.cut(worker, "its worker was started again", start.at, out)
    crew.plans[worker] = start.tasks


def _dialect(journal: Journal, record: Record, start: Start, given: dict[str, str]) -> Dialect:
    is_osworld = ("provider_name" in given or "path_to_vm" in given) and "emulator_ip" not in given
    if is_osworld or record.module == "run_multienv":
        return Dialect.OSWORLD
    if journal.is_launched or ("agent" in given and "agent_name" not in given):
        return Dialect.WAA_V2
    return Dialect.WAA_V1 if start.is_first_release else Dialect.WAA


def namespace(text: str) -> dict[str, str] | None:
    """The arguments in ``Namespace(a=1, b='x')`` as text without quotes, secrets masked; None for other text."""
    text = text.strip()
    if not (text.startswith("Namespace(") and text.endswith(")")):
        return None
    given: dict[str, str] = {}
    at, end = len("Namespace("), len(text) - 1
    while at < end and len(given) < MAX_ARGUMENTS:
        match = _ARGUMENT.match(text, at, end)
        if match is None:
            break
        stop = _value_end(text, match.end(), end)
        value = text[match.end() : stop].strip()
        if len(value) > 1 and value[0] in "\"'" and value[-1] == value[0]:
            value = value[1:-1]
        hide = is_secret(match[1]) and value not in ("", "None")
        given[match[1]] = HIDDEN if hide else mask(value)[:MAX_ARGUMENT]
        at = stop + 2
    return given


def _value_end(text: str, at: int, end: int) -> int:
    """Where the repr that begins at ``at`` ends: at the next ``, `` outside of quotes and brackets."""
    depth, quote = 0, ""
    while at < end:
        letter = text[at]
        if quote:
            if letter == "\\":
                at += 1
            elif letter == quote:
                quote = ""
        elif letter in "\"'":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif letter == "," and depth <= 0:
            return at
        at += 1
    return end


# The tasks.


def domain(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """A task is announced; the task before it is over when the id follows."""
    episode = journal.current(record.process)
    if episode is not None and episode.stage == Stage.ACTING and not journal.is_merged:
        return None
    name = rest.strip()
    if 0 < len(name) <= MAX_NAME and len(journal.domains) < 256:
        journal.domains[record.process] = name
    return PLAIN


def example(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """A task starts."""
    task_id = rest.strip()
    if journal.crew is not None and journal.crew.is_merged:
        return _merged_example(journal, journal.crew, record, task_id, out)
    name = journal.domains.pop(record.process, None)
    if name is None or not 0 < len(task_id) <= MAX_NAME:
        return None
    journal.cut(record.process, "the runner went on without it", record.at, out)
    episode = Episode(domain=name, task_id=task_id, worker=journal.worker(record.process))
    if journal.open(record.process, episode):
        out.append(TaskStarted(at=record.at, worker=episode.worker, domain=name, task_id=task_id))
    return PLAIN


def _merged_example(journal: Journal, crew: Crew, record: Record, task_id: str, out: list[AnyFact]) -> Opening | None:
    owner = crew.owner(task_id)
    if owner is None:
        return None
    worker, name = owner
    journal.cut(worker, "the runner went on without it", record.at, out)
    if journal.open(worker, Episode(domain=name, task_id=task_id, worker=worker)):
        crew.awaiting = [other for other in crew.awaiting if other != worker] + [worker]
        out.append(TaskStarted(at=record.at, worker=worker, domain=name, task_id=task_id))
    return PLAIN


def instruction(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """What the open task is about; more lines may follow."""
    episode = journal.current(record.process)
    if journal.crew is not None and journal.crew.is_merged:
        # Two tasks that began at once cannot be told apart: neither gets the text.
        episode = journal.episodes.get(journal.crew.awaiting[0]) if len(journal.crew.awaiting) == 1 else None
        journal.crew.awaiting = []
    elif episode is not None and episode.stage != Stage.OPENED:
        return None
    if episode is None:
        return FOREIGN
    out.append(TaskInstructed(at=record.at, worker=episode.worker, instruction=shown_instruction(rest)))
    return Opening(kind="instruction", worker=episode.worker, text=rest)


def shown_instruction(text: str) -> str:
    """An instruction as a fact carries it."""
    return shown(text).strip("\n")[:MAX_TEXT]


def thinking(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """The model is asked."""
    journal.settle(record.process)
    episode = journal.current(record.process)
    if episode is not None and episode.stage == Stage.ACTING and not journal.is_merged:
        return None
    if episode is not None and episode.stage == Stage.READY:
        episode.does(Activity.THINKING, record.at, out)
    return PLAIN


def step(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """A step begins to execute; more lines of its action may follow."""
    match = _STEP.match(rest)
    if match is None:
        return None
    episode = journal.current(record.process)
    if episode is None:
        return FOREIGN
    count = int(match[1])
    if not episode.may_step(count) and not (journal.is_merged and count > 0):
        return None
    episode.step = count
    episode.stage = Stage.ACTING
    action = rest[match.end() :]
    out.append(StepStarted(at=record.at, worker=episode.worker, number=count, action=shown(action)))
    episode.does(Activity.ACTING, record.at, out)
    return Opening(kind="step", worker=episode.worker, number=count, text=action)


def done(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """The step before has been executed."""
    if rest.strip() not in ("True", "False"):
        return None
    episode = journal.current(record.process)
    if episode is not None and episode.stage <= Stage.ACTING:
        episode.stage = Stage.READY
        journal.prints_done = True
    return PLAIN


def _reward(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    return FOREIGN


def episode_done(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """The agent ended the episode."""
    return _advance(journal, record, Stage.READY, Stage.DONE)


def evaluating(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """The evaluation starts."""
    opening = _advance(journal, record, Stage.DONE, Stage.EVALUATING)
    episode = journal.current(record.process)
    if opening is PLAIN and episode is not None:
        episode.does(Activity.EVALUATING, record.at, out)
    return opening


def _advance(journal: Journal, record: Record, latest: Stage, target: Stage) -> Opening | None:
    episode = journal.current(record.process)
    if episode is None:
        return FOREIGN
    is_due = Stage.READY <= episode.stage <= latest and episode.stage != Stage.ACTING
    if not is_due and not journal.is_merged:
        return None
    episode.stage = target
    return PLAIN


def result(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """The score of the open task. OSWorld says nothing after it: there it ends the task."""
    try:
        score = parse_score(rest)
    except ValueError:
        return None
    if journal.crew is not None and journal.crew.is_merged:
        journal.crew.scores = [*journal.crew.scores, score][-64:]
        return PLAIN
    episode = journal.current(record.process)
    if episode is None:
        return FOREIGN
    earliest = Stage.EVALUATING if journal.dialect in (Dialect.WAA, Dialect.WAA_V2) else Stage.READY
    if episode.stage < earliest or episode.stage == Stage.ACTING:
        return None
    journal.score(episode, score, record.at, out)
    if journal.dialect == Dialect.OSWORLD:
        journal.close(episode)
        out.append(TaskFinished(at=record.at, worker=episode.worker, domain=episode.domain, task_id=episode.task_id))
    return PLAIN


def finished(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """The task named is complete, if it is the open one and has been evaluated. Forks add text (``score=X``)."""
    name, _, more = rest.partition(" ")
    episode = _named(journal, record, name.strip())
    if episode is None:
        return None
    if journal.crew is not None and journal.crew.is_merged:
        for score in journal.crew.take_score():
            journal.score(episode, score, record.at, out)
    elif fork := _FORK_SCORE.search(more[:200]):
        if episode.is_telling:
            return None
        if episode.stage != Stage.SCORED and _SCORE.fullmatch(fork[1]):
            journal.score(episode, parse_score(fork[1]), record.at, out)
    elif episode.stage < Stage.EVALUATING:
        return None
    journal.close(episode)
    out.append(TaskFinished(at=record.at, worker=episode.worker, domain=episode.domain, task_id=episode.task_id))
    return PLAIN


def _named(journal: Journal, record: Record, name: str) -> Episode | None:
    """The open task of that name that this process may speak of."""
    if journal.is_merged:
        return next((episode for episode in journal.episodes.values() if episode.name == name), None)
    episode = journal.current(record.process)
    return episode if episode is not None and episode.name == name else None


def crashed(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """The task named ended with an exception; its traceback is the next record."""
    name, _, error = rest.partition(": ")
    episode = _named(journal, record, name.strip().removesuffix(":"))
    if episode is None or record.level != "ERROR":
        return None
    journal.close(episode)
    out.append(
        TaskCrashed(
            at=record.at, worker=episode.worker, domain=episode.domain, task_id=episode.task_id, error=shown(error.strip(), MAX_ERROR)
        )
    )
    return FOREIGN


# The end of a run.


def average(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """The run is finished; of several workers in one file, one of them is."""
    try:
        score = parse_score(rest)
    except ValueError:
        return None
    return finish_run(journal, record, score, out)


def _none_finished(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    return finish_run(journal, record, None, out)


def finish_run(journal: Journal, record: Record, score: float | None, out: list[AnyFact]) -> Opening | None:
    """The run is over, unless a task has just begun a step: then this is text of that step."""
    crew = journal.crew
    if crew is not None and crew.is_merged:
        crew.ended += 1
        if crew.ended < len(crew.plans):
            return PLAIN
        score = None
    elif any(episode.is_telling for episode in journal.episodes.values()) and journal.dialect != Dialect.OSWORLD:
        return None
    journal.cut_all("the run ended", record.at, out)
    out.append(
        RunFinished(at=record.at, worker="" if crew is not None and crew.is_merged else journal.worker("MainProcess"), average_score=score)
    )
    journal.is_running = False
    journal.crew = None
    return PLAIN


def environment(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """A record of desktop_env: set-up, and the end of the run where the runner says no more than that (V2)."""
    message = record.message
    journal.settle(record.process)
    if message == "Resetting environment...":
        episode = journal.current(record.process)
        if episode is not None and episode.step == 0:
            episode.does(Activity.RESETTING, record.at, out)
    if message == "Stopping emulator...":
        journal.is_stopping = True
    elif journal.is_stopping:
        journal.is_stopping = False
        is_end = journal.dialect == Dialect.WAA_V2 and journal.is_running and not journal.episodes
        if is_end and message.startswith("Not implemented! Stopping emulator"):
            return finish_run(journal, record, None, out)
    return FOREIGN if message.startswith(("Step ", "(QEMU)")) else _calm(journal, record)


def agent(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """A record of the agent."""
    if record.message in ("Thinking...", "Processing screenshot...") or record.message.startswith("Generating content with"):
        return thinking(journal, record, rest, out)
    journal.settle(record.process)
    return FOREIGN


# Lines that the runner prints without a header. They count where no foreign text goes on.


def printed(journal: Journal, line: str, at: float | None, out: list[AnyFact]) -> bool:
    """Whether the line is one that the runner prints; its facts."""
    if line == "Waiting for the server to start...":
        out.append(ServerWaiting(at=at, worker=journal.worker("MainProcess")))
    elif line.startswith("Response from server: {"):
        out.append(ServerReady(at=at, worker=journal.worker("MainProcess")))
    elif line.startswith("Interrupted by ") and line.endswith(", shutting down"):
        _interrupt(journal, shown(line, 200), at, out)
    elif line.startswith(("Setup environment finished, but error detected", "Fail to setup environment: ")):
        _give_up(journal, line, at, out)
    elif line.startswith("Current Success Rate: "):
        _resumed(journal, line)
    elif line.startswith("Geting plan from agent."):
        episode = journal.current("MainProcess")
        if episode is not None:
            episode.does(Activity.THINKING, at, out)
    else:
        return line.startswith(PRINTS)
    return True


def _interrupt(journal: Journal, reason: str, at: float | None, out: list[AnyFact]) -> None:
    crew = journal.crew
    if crew is not None and crew.is_merged:
        crew.ended += 1
        if crew.ended < len(crew.plans):
            return
    worker = journal.worker("MainProcess")
    journal.cut_all("the run was interrupted", at, out)
    out.append(RunInterrupted(at=at, worker=worker, reason=reason))
    journal.is_running = False
    journal.crew = None


def _give_up(journal: Journal, line: str, at: float | None, out: list[AnyFact]) -> None:
    """V2's check of the set-up failed: the process ends, and the launcher tries the task again in its next pass."""
    episode = journal.current("MainProcess")
    if episode is not None and episode.step == 0 and journal.dialect in (Dialect.WAA_V2, None):
        journal.cut_all("the set-up check failed", at, out)
        out.append(RunInterrupted(at=at, reason=shown(line, MAX_ERROR)))
        journal.is_running = False


def _resumed(journal: Journal, line: str) -> None:
    match = _RATE.match(line, len("Current Success Rate: "))
    if match is not None and journal.start is not None:
        journal.start.earlier_score = float(match[1]) / 100


PRINTS = (
    "Failed to get hello: ",
    "Retrying...",
    "New experiment, no result yet.",
    "Using model: ",
)
"""Prints of the runner that mean nothing here but are its own."""

CHATTER = frozenset(
    {
        "starting agent reset",
        "reset agent done",
        "starting env reset",
        "reset env done",
        "starting agent predict",
        "agent predict done",
        "starting env controller update computer",
        "env controller update computer done",
        "starting env step",
        "env step done",
        "starting env evaluate",
        "env evaluate done",
        "env controller end recording done",
    }
)
"""What the first release prints between its records, and so right after an instruction or an action."""

AFTER_ACTION = ("Original action: ", "Resized action: ")
"""What V2 prints right after an action."""


def described(opening: Opening, text: str, at: float | None) -> AnyFact:
    """The fact for the whole text of a step or an instruction, now that its record is complete."""
    if opening.kind == "step":
        return StepDescribed(at=at, worker=opening.worker, number=opening.number, action=shown(text))
    return TaskInstructed(at=at, worker=opening.worker, instruction=shown_instruction(text))


RUN: tuple[tuple[str, Handler], ...] = (
    ("[Domain]: ", domain),
    ("[Example ID]: ", example),
    ("[Instruction]: ", instruction),
    ("Finished ", finished),
    ("Exception in ", crashed),
    ("Average score: ", average),
    ("No examples finished.", _none_finished),
    ("Left tasks:", left_tasks),
    ("Worker ", _worker),
    ("Args: ", arguments),
    ("TESTING ON TASK JSON PATH: ", _announced),
    ("TESTING ON TASK PATH: ", _announced),
)
LOOP: tuple[tuple[str, Handler], ...] = (
    ("Step ", step),
    ("Agent: Thinking...", thinking),
    ("Reward: ", _reward),
    ("Done: ", done),
    ("The episode is done.", episode_done),
    ("Running evaluator(s)...", evaluating),
    ("Result: ", result),
)
READERS: dict[str, tuple[tuple[str, Handler], ...]] = {
    "run": RUN,
    "lib_run_single": LOOP,
    "desktop_env": (("", environment),),
    "agent": (("", agent),),
}
"""Handlers by the module of a record, first match first."""
