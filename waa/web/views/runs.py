"""The list of runs: searched, filtered, sorted, a page at a time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from waa.core.cost import run_cost
from waa.core.entity import Run, RunId, Task
from waa.core.state import Progress, State
from waa.core.status import RunStatus
from waa.web.view import Look, View
from waa.web.views.cost import CostView, has_prices, shown
from waa.web.views.query import Column, Head, Order, Pager, Query, has_words, heads, pager, printed
from waa.web.views.run import RUN_WORDS, Bar, Rate, bar_of, coverage_of, mean_score_of, rate_of, standing_of

PAGE_SIZE = 50
IMPORTED = "imported"
"""Stands in the filter for the name of a VM: runs that were imported."""
STATUSES = tuple(status.value for status in RunStatus)
SINCE_S = {"24h": 86_400.0, "7d": 7 * 86_400.0, "30d": 30 * 86_400.0}
SINCE_WORDS = {"24h": "in the last 24 hours", "7d": "in the last 7 days", "30d": "in the last 30 days"}
COLUMNS = {
    "name": Column(word="Run"),
    "vm": Column(word="Where"),
    "model": Column(word="Agent, model"),
    "done": Column(word="Progress", descends=True),
    "rate": Column(word="Passed", descends=True),
    "score": Column(word="Mean score", descends=True),
    "took": Column(word="Took", descends=True),
    "cost": Column(word="Cost", descends=True),
    "started": Column(word="Started", descends=True),
}
NEWEST_FIRST = Order(column="started", is_descending=True)
NAMES = ("q", "status", "vm", "since", "sort", "page")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs, in which order. ``vm`` is a VM's name or IMPORTED; ``since`` a key of SINCE_S; "" of each: all."""

    q: str = ""
    statuses: tuple[str, ...] = ()
    vm: str = ""
    since: str = ""
    order: Order = NEWEST_FIRST
    page: int = 1

    @classmethod
    def of(cls, query: Query) -> "RunFilter":
        """Raises Invalid."""
        return cls(
            q=query.one("q"),
            statuses=query.choices("status", STATUSES),
            vm=query.one("vm"),
            since=query.choice("since", SINCE_S),
            order=query.order("sort", COLUMNS, NEWEST_FIRST),
            page=query.page("page"),
        )

    @classmethod
    def parse(cls, text: str) -> "RunFilter":
        """Raises Invalid."""
        return cls.of(Query.parse(text, NAMES))

    @property
    def text(self) -> str:
        """The one way to write it, "" for all runs, newest first."""
        sort = self.order.text if self.order != NEWEST_FIRST else ""
        page = str(self.page) if self.page > 1 else ""
        values = {"q": self.q, "status": ",".join(self.statuses), "vm": self.vm, "since": self.since, "sort": sort, "page": page}
        return printed(values)

    @property
    def url(self) -> str:
        """The page that shows this."""
        return f"/runs?{self.text}" if self.text else "/runs"

    @property
    def is_narrow(self) -> bool:
        """Whether it leaves runs out."""
        return bool(self.q or self.statuses or self.vm or self.since)

    def keeps(self, run: Run, now: float) -> bool:
        """Whether it leaves this run in."""
        return (
            (not self.statuses or run.status in self.statuses)
            and (not self.vm or (run.imported is not None if self.vm == IMPORTED else run.vm == self.vm))
            and (not self.since or run.started_at >= now - SINCE_S[self.since])
            and has_words(_words_of(run), self.q)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run. ``vm`` "": it was imported from ``source``. ``agent`` and ``model`` are "" where its arguments do not name them. ``cost``
    None: not known."""

    run_id: RunId
    name: str
    vm: str
    source: str
    is_demo: bool
    agent: str
    model: str
    word: str
    tone: str
    is_running: bool
    progress: Progress
    bar: Bar
    rate: Rate | None
    mean_score: float | None
    started_at: float
    ended_at: float | None
    cost: CostView | None

    @property
    def source_name(self) -> str:
        """The end of the source, which tells one from the other."""
        return self.source.rstrip("/").rpartition("/")[2] or self.source


@dataclass(frozen=True, slots=True, kw_only=True)
class RunList(View):
    """The runs of one page of the list. ``known`` counts all runs, whatever the filter; ``sort`` is the order as it stands in an
    address, "" for the usual one. ``has_costs``: prices are a subject here."""

    rows: tuple[RunRow, ...]
    heads: Mapping[str, Head]
    pager: Pager
    known: int
    is_narrow: bool
    sort: str
    has_costs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsPage:
    """The page of the list: what its filter form shows. ``subject`` is its panel's."""

    filter: RunFilter
    subject: str | None
    vms: tuple[str, ...]
    has_imported: bool
    statuses: tuple[tuple[str, str], ...]
    sinces: tuple[tuple[str, str], ...]


def run_list(look: Look, subject: str | None) -> RunList:
    """One page of the list. Raises Invalid."""
    chosen = RunFilter.parse(subject or "")
    found = matching_runs(look, chosen)
    part = pager(len(found), chosen.page, PAGE_SIZE, lambda page: replace(chosen, page=page).url)
    return RunList(
        now=look.now,
        rows=tuple(_row(look.state, run) for run in part.part(found)),
        heads=heads(COLUMNS, chosen.order, lambda order: replace(chosen, order=order, page=1).url),
        pager=part,
        known=len(look.state.runs),
        is_narrow=chosen.is_narrow,
        sort=chosen.order.text if chosen.order != NEWEST_FIRST else "",
        has_costs=has_prices(look.state),
    )


def runs_page(look: Look, chosen: RunFilter) -> RunsPage:
    """The page of the list."""
    runs = look.state.runs.values()
    names = {run.vm for run in runs if run.vm} | set(look.state.vms) | ({chosen.vm} - {"", IMPORTED})
    return RunsPage(
        filter=chosen,
        subject=chosen.text or None,
        vms=tuple(sorted(names)),
        has_imported=chosen.vm == IMPORTED or any(run.imported is not None for run in runs),
        statuses=tuple((status.value, word) for status, word in RUN_WORDS.items()),
        sinces=tuple(SINCE_WORDS.items()),
    )


def matching_runs(look: Look, chosen: RunFilter) -> list[Run]:
    """All runs that the filter keeps, in its order; of equal ones the newest first."""
    runs = sorted(look.state.runs.values(), key=lambda run: (run.started_at, run.run_id), reverse=True)
    return chosen.order.sort((run for run in runs if chosen.keeps(run, look.now)), _value_of(chosen.order.column, look))


def agent_of(run: Run) -> str:
    """The agent that its arguments name."""
    return run.arguments.get("agent") or run.arguments.get("agent_name") or ""


def model_of(run: Run) -> str:
    """The model that its arguments name."""
    return run.arguments.get("model") or ""


def _words_of(run: Run) -> tuple[str, ...]:
    source = run.imported.source if run.imported is not None else ""
    return run.run_id, run.label, run.vm, source, *run.arguments.values()


def _value_of(column: str, look: Look) -> Callable[[Run], Any]:
    """What a column sorts by; None: it has none."""
    state = look.state
    values: dict[str, Callable[[Run], Any]] = {
        "name": lambda run: run.name.casefold(),
        "vm": lambda run: run.vm.casefold() or None,
        "model": lambda run: f"{model_of(run)} {agent_of(run)}".strip().casefold() or None,
        "done": lambda run: _progress(state, run).completed,
        "rate": lambda run: coverage_of(run, _progress(state, run)).of_scored.rate,
        "score": lambda run: mean_score_of(_tasks(state, run)),
        "took": lambda run: (run.ended_at if run.ended_at is not None else look.now) - run.started_at,
        "cost": lambda run: cost.spent.at(look.now) if (cost := run_cost(state, run)) is not None else None,
        "started": lambda run: run.started_at,
    }
    return values[column]


def _progress(state: State, run: Run) -> Progress:
    return state.progress.get(run.run_id, Progress())


def _tasks(state: State, run: Run) -> list[Task]:
    return list(state.tasks.get(run.run_id, {}).values())


def _row(state: State, run: Run) -> RunRow:
    progress = _progress(state, run)
    word, tone = standing_of(state, run)
    vm = state.vms.get(run.vm)
    is_running = run.status is RunStatus.RUNNING
    return RunRow(
        run_id=run.run_id,
        name=run.name,
        vm=run.vm,
        source=run.imported.source if run.imported is not None else "",
        is_demo=vm is not None and vm.is_played,
        agent=agent_of(run),
        model=model_of(run),
        word=word,
        tone=tone,
        is_running=is_running,
        progress=progress,
        bar=bar_of(progress, run.total, running=progress.running if is_running else 0),
        rate=rate_of(coverage_of(run, progress).of_scored),
        mean_score=mean_score_of(_tasks(state, run)),
        started_at=run.started_at,
        ended_at=run.ended_at,
        cost=shown(run_cost(state, run)),
    )
