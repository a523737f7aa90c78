"""The records of OSWorld's parallel runner (``run_multienv``): the process name attributes each record.

The loop of one task (``lib_run_single``) is the one of WAA; so are the records of OSWorld's ``run.py``.
"""

import re

from waa.core.logs import waa
from waa.core.logs.fact import AnyFact, Dialect, RunPlanned
from waa.core.logs.journal import Journal
from waa.core.logs.record import Record
from waa.core.logs.waa import FOREIGN, PLAIN, Handler, Opening

_TAG = re.compile(r"\[[\w.:-]{1,80}\](?=\[(?:Domain|Example ID|Instruction)\]: )")
_DEAD = re.compile(r"([\w.:-]{1,80}) died")
_PROCESS = re.compile(r"[\w.:-]{1,80} ")


def read(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """One record of ``run_multienv``; see waa.py for what the answer means."""
    tag = _TAG.match(record.message)
    message = record.message[tag.end() :] if tag is not None else record.message
    if journal.dialect is None:
        journal.dialect = Dialect.OSWORLD
    for prefix, handler in _RUNNER if record.process == "MainProcess" else _ENVIRONMENT:
        if message.startswith(prefix):
            return handler(journal, record, message[len(prefix) :], out)
    return FOREIGN if record.level == "ERROR" else PLAIN


def _total(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    if rest.strip().isdecimal() and len(rest) < 10 and journal.is_running:
        out.append(RunPlanned(at=record.at, total=int(rest)))
    return PLAIN


def _begins(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """The arguments begin the run; how much it is follows in a record of its own."""
    if journal.start is not None:
        journal.start.left = 0
    return waa.arguments(journal, record, rest, out)


def _crashed(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """``Exception in EnvProcess-3 domain/id: text``; the single runner leaves the process out."""
    name = _PROCESS.match(rest)
    own = name is not None and name[0].strip() == record.process
    return waa.crashed(journal, record, rest[name.end() :] if name is not None and own else rest, out)


def _process(journal: Journal, record: Record, rest: str, out: list[AnyFact]) -> Opening | None:
    """A process that died loses its task: nobody else reports it."""
    dead = _DEAD.match(rest)
    if dead is not None and record.level == "WARNING":
        journal.cut(dead[1], "its worker died", record.at, out)
    return PLAIN


_ENVIRONMENT: tuple[tuple[str, Handler], ...] = (
    ("[Domain]: ", waa.domain),
    ("[Example ID]: ", waa.example),
    ("[Instruction]: ", waa.instruction),
    ("Exception in ", _crashed),
)
_RUNNER: tuple[tuple[str, Handler], ...] = (
    *_ENVIRONMENT,
    ("Process ", _process),
    ("Total tasks: ", _total),
    ("Left tasks:", waa.left_tasks),
    ("Args: ", _begins),
    ("Average score: ", waa.average),
)
READERS: dict[str, tuple[tuple[str, Handler], ...]] = {"run_multienv": (("", read),)}
