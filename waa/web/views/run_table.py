"""All tasks of a run in one table, those to come too: filtered, sorted, a page at a time."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any
from urllib.parse import quote

from waa.core.entity import Run, Task
from waa.core.error import Invalid
from waa.core.logs.fact import TaskRef
from waa.core.state import State
from waa.core.status import TaskStatus
from waa.web.view import Look, View
from waa.web.views.query import Column, Head, Order, Pager, Query, has_words, heads, pager, printed
from waa.web.views.run import BADGES, need_run, task_url
from waa.web.views.task import number_text

PAGE_SIZE = 100
MAX_WORDS = 140
"""Characters of an instruction in a row."""
PENDING = "pending"
STATUS_WORDS = {
    TaskStatus.PASSED.value: "Passed",
    TaskStatus.FAILED.value: "Failed",
    TaskStatus.ERROR.value: "Error",
    TaskStatus.UNKNOWN.value: "Unknown",
    TaskStatus.RUNNING.value: "Running",
    PENDING: "To come",
}
STATUSES = tuple(STATUS_WORDS)
ONLY = {"again": "tried again", "changed": "verdict changed between attempts"}
COLUMNS = {
    "index": Column(word="#"),
    "domain": Column(word="Domain"),
    "task": Column(word="Task"),
    "status": Column(word="Result"),
    "score": Column(word="Score", descends=True),
    "steps": Column(word="Steps", descends=True),
    "took": Column(word="Took", descends=True),
    "started": Column(word="Began", descends=True),
    "ended": Column(word="Ended", descends=True),
}
IN_ORDER = Order(column="index")
BY = ("rate",)
"""Orders of the domains, but for the usual one by name."""
NAMES = ("status", "domain", "q", "only", "sort", "page", "by")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks of a run, in which order. ``only`` is a key of ONLY; "" and () of each: all. ``by`` orders the domains."""

    statuses: tuple[str, ...] = ()
    domain: str = ""
    q: str = ""
    only: str = ""
    order: Order = IN_ORDER
    page: int = 1
    by: str = ""

    @classmethod
    def of(cls, query: Query) -> "TaskFilter":
        """Raises Invalid."""
        return cls(
            statuses=query.choices("status", STATUSES),
            domain=query.one("domain"),
            q=query.one("q"),
            only=query.choice("only", ONLY),
            order=query.order("sort", COLUMNS, IN_ORDER),
            page=query.page("page"),
            by=query.choice("by", BY),
        )

    @property
    def text(self) -> str:
        """The one way to write it, "" for all tasks in order."""
        sort = self.order.text if self.order != IN_ORDER else ""
        page = str(self.page) if self.page > 1 else ""
        values = {"status": ",".join(self.statuses), "domain": self.domain, "q": self.q, "only": self.only}
        return printed({**values, "sort": sort, "page": page, "by": self.by})

    @property
    def is_narrow(self) -> bool:
        """Whether it leaves tasks out."""
        return bool(self.statuses or self.domain or self.q or self.only)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSubject:
    """Which run, and which of its tasks."""

    run_id: str
    filter: TaskFilter = TaskFilter()

    @classmethod
    def parse(cls, text: str | None) -> "TableSubject":
        """Of what ``text`` prints. Raises Invalid."""
        run_id, _, query = (text or "").partition("?")
        if not run_id:
            raise Invalid("results", "is the id of a run, and after a question mark which of its tasks")
        return cls(run_id=run_id, filter=TaskFilter.of(Query.parse(query, NAMES)))

    @property
    def text(self) -> str:
        """As a panel's subject: ``<run>?<filter>``."""
        return f"{self.run_id}?{self.filter.text}" if self.filter.text else self.run_id

    @property
    def url(self) -> str:
        """The page of the run that shows this."""
        path = f"/runs/{quote(self.run_id, safe='')}"
        return f"{path}?{self.filter.text}" if self.filter.text else path

    def with_filter(self, **changes: Any) -> "TableSubject":
        """The same with another choice, from its first page on where that is not named."""
        return replace(self, filter=replace(self.filter, **{"page": 1, **changes}))


@dataclass(frozen=True, slots=True)
class Entry:
    """A task in the table. ``task`` None: it has not begun; ``number`` is then the one that it will probably have."""

    ref: TaskRef
    number: int
    task: Task | None = None
    attempts: tuple[Task, ...] = field(default=())

    @property
    def status(self) -> str:
        """One of STATUSES."""
        return self.task.status.value if self.task is not None else PENDING

    @property
    def is_replaced(self) -> bool:
        """Whether a later attempt counts."""
        return self.task is not None and self.task is not self.attempts[-1]

    @property
    def has_changed(self) -> bool:
        """Whether its attempts ended differently."""
        return len({task.status for task in self.attempts if task.is_over}) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """One attempt, or a task to come (``started_at`` None). ``score_text`` has all digits, "" where there is no score. ``steps`` None:
    it runs, or has not begun; where a running task stands is told at the head of the page, so that a step changes no table."""

    row_id: str
    number: int
    domain: str
    task_id: str
    attempt: int
    is_replaced: bool
    tone: str
    badge: str
    words: str
    score_text: str
    is_provisional: bool
    steps: int | None
    started_at: float | None
    ended_at: float | None
    error: str
    url: str

    @property
    def took_s(self) -> float | None:
        """Seconds from its start to its end."""
        return self.ended_at - self.started_at if self.ended_at is not None and self.started_at is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTable(View):
    """The tasks of one page of the table. ``known`` counts all, whatever the filter; ``sort`` is the order as it stands in an
    address, "" for the usual one. ``all_url`` leads to the table without a filter."""

    rows: tuple[TaskRow, ...]
    heads: Mapping[str, Head]
    pager: Pager
    known: int
    is_narrow: bool
    sort: str
    by: str
    all_url: str


def task_table(look: Look, subject: str | None) -> TaskTable:
    """One page of the table. Raises NotFound, Invalid."""
    about = TableSubject.parse(subject)
    run = need_run(look.state, about.run_id)
    known = entries_of(look.state, run)
    found = matching(known, about.filter)
    part = pager(len(found), about.filter.page, PAGE_SIZE, lambda page: about.with_filter(page=page).url)
    order = about.filter.order
    return TaskTable(
        now=look.now,
        rows=tuple(_row(run, entry) for entry in part.part(found)),
        heads=heads(COLUMNS, order, lambda wanted: about.with_filter(order=wanted).url),
        pager=part,
        known=len(known),
        is_narrow=about.filter.is_narrow,
        sort=order.text if order != IN_ORDER else "",
        by=about.filter.by,
        all_url=TableSubject(run_id=about.run_id, filter=TaskFilter(order=order, by=about.filter.by)).url,
    )


def entries_of(state: State, run: Run) -> list[Entry]:
    """All attempts in the order of their start, then what the plan names and has not begun."""
    attempts: dict[tuple[str, str], list[Task]] = defaultdict(list)
    tasks = list(state.tasks.get(run.run_id, {}).values())
    for task in tasks:
        attempts[task.domain, task.task_id].append(task)
    tried = {name: tuple(sorted(own, key=lambda task: task.attempt)) for name, own in attempts.items()}
    begun = [Entry(TaskRef(domain=task.domain, task_id=task.task_id), task.index, task, tried[task.domain, task.task_id]) for task in tasks]
    begun.sort(key=lambda entry: entry.number)
    waiting = [ref for ref in run.plan if (ref.domain, ref.task_id) not in tried]
    last = begun[-1].number if begun else 0
    return begun + [Entry(ref, number) for number, ref in enumerate(waiting, start=last + 1)]


def matching(entries: list[Entry], chosen: TaskFilter) -> list[Entry]:
    """Those that the filter keeps, in its order; of equal ones the first that began first."""
    return chosen.order.sort((entry for entry in entries if _keeps(chosen, entry)), _VALUES[chosen.order.column])


def domains_of(entries: list[Entry]) -> tuple[str, ...]:
    """The domains that occur, sorted."""
    return tuple(sorted({entry.ref.domain for entry in entries}))


def _keeps(chosen: TaskFilter, entry: Entry) -> bool:
    if chosen.statuses and entry.status not in chosen.statuses:
        return False
    if chosen.domain and entry.ref.domain != chosen.domain:
        return False
    if chosen.only and not (len(entry.attempts) > 1 if chosen.only == "again" else entry.has_changed):
        return False
    task = entry.task
    return has_words((entry.ref.task_id, entry.ref.domain, *((task.instruction, task.error) if task is not None else ())), chosen.q)


def _took_s(entry: Entry) -> float | None:
    task = entry.task
    return task.ended_at - task.started_at if task is not None and task.ended_at is not None else None


_VALUES: Mapping[str, Callable[[Entry], Any]] = {
    "index": lambda entry: entry.number,
    "domain": lambda entry: entry.ref.domain.casefold(),
    "task": lambda entry: entry.ref.task_id.casefold(),
    "status": lambda entry: STATUSES.index(entry.status),
    "score": lambda entry: entry.task.score if entry.task is not None and entry.task.is_over else None,
    "steps": lambda entry: entry.task.step if entry.task is not None and entry.task.is_over else None,
    "took": _took_s,
    "started": lambda entry: entry.task.started_at if entry.task is not None else None,
    "ended": lambda entry: entry.task.ended_at if entry.task is not None else None,
}


def _row(run: Run, entry: Entry) -> TaskRow:
    task, ref = entry.task, entry.ref
    tone, badge = BADGES[task.status] if task is not None else (PENDING, "TO DO")
    score = task.score if task is not None and task.is_over else None
    attempt = task.attempt if task is not None else 1
    return TaskRow(
        row_id=_row_id(ref, attempt),
        number=entry.number,
        domain=ref.domain,
        task_id=ref.task_id,
        attempt=attempt,
        is_replaced=entry.is_replaced,
        tone=tone,
        badge=badge,
        words=first_words(task.instruction) if task is not None else "",
        score_text=number_text(score),
        is_provisional=score is not None and task is not None and task.provisional,
        steps=task.step if task is not None and task.is_over else None,
        started_at=task.started_at if task is not None else None,
        ended_at=task.ended_at if task is not None else None,
        error=task.error if task is not None else "",
        url=task_url(run.run_id, ref.domain, ref.task_id, attempt if entry.is_replaced else None),
    )


def _row_id(ref: TaskRef, attempt: int) -> str:
    """The same before a task begins and after, whatever its name."""
    digest = blake2b(f"{ref.domain}/{ref.task_id}#{attempt}".encode("utf-8", "surrogatepass"), digest_size=6)
    return f"task-{digest.hexdigest()}"


def first_words(instruction: str) -> str:
    """An instruction in a row, at most MAX_WORDS characters and an ellipsis."""
    words = " ".join(instruction[: 2 * MAX_WORDS].split())
    return words if len(words) <= MAX_WORDS else words[:MAX_WORDS].rpartition(" ")[0] + " …"
