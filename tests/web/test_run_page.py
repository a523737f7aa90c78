"""The page of a run: its head, its chart, its domains, the table of its tasks, and the score from which on they pass."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.builders import T0, task_facts
from tests.web import fleet_builder as build
from tests.web.fleet_builder import NOW, E, F, P, R, U
from tests.web.house import House, house
from tests.web.markup import Element, judge, read
from waa.core.entity import Run, Task
from waa.core.error import Invalid, NotFound
from waa.core.event import Event, EventType
from waa.core.logs import fact as f
from waa.core.logs.fact import TaskRef
from waa.core.pace import MAX_PAUSE_S
from waa.core.state import State
from waa.core.status import TaskStatus
from waa.web.panels import PANELS
from waa.web.views.query import Order
from waa.web.views.run_chart import MAX_BUCKETS, MAX_LISTED, MAX_POINTS, Point, run_chart, thinned
from waa.web.views.run_head import Rejudged, rejudged, run_head
from waa.web.views.run_table import COLUMNS, ONLY, PAGE_SIZE, STATUSES, TableSubject, TaskFilter, TaskRow, task_table

RENDERER = build.a_renderer()
HTML = {"Accept": "text/html"}
FORM = {"Content-Type": "application/x-www-form-urlencoded", **HTML}
RUN = build.a_run("waa-1", "r", plan=())


def a_state(*outcomes: TaskStatus, run: Run = RUN) -> State:
    """A VM with one run."""
    return build.a_state([build.a_vm("waa-1")], [(run, outcomes)])


def tasks_of(state: State) -> list[Task]:
    return list(state.tasks[RUN.run_id].values())


def rows(state: State, query: str = "") -> list[TaskRow]:
    return list(task_table(build.a_look(state), f"r?{query}" if query else "r").rows)


def numbers(state: State, query: str = "") -> list[int]:
    return [row.number for row in rows(state, query)]


def shown(name: str, state: State, subject: str = "r") -> Element:
    root = read(RENDERER.panel(PANELS[name], build.a_look(state), subject))
    judge(root)
    return root


# --- the head ---


def test_the_head_names_both_denominators_and_what_has_no_verdict() -> None:
    section = shown("run-head", a_state(*(P,) * 6, *(F,) * 2, E, E, U, R))
    numbers = {each.one(tag="dt").text: each.one(tag="dd").text for each in section.one(class_="run-numbers").all(tag="div")}
    assert numbers == {
        "Of the scored": "75 % 41–93 %",
        "Of all planned": "20 % 6 of 30",
        "Scored": "8 of 30 planned",
        "Not scored": "2 infrastructure errors, 1 unknown",
        "Mean score": "0.750",
        "Passes from": "1",
    }
    assert section.one(class_="progress-text").text == "11/30 tasks completed"
    assert "Task 12/30" in section.text
    assert "navi" not in section.one(class_="run-line").text
    assert "gpt-5" in section.one(class_="run-line").text


def test_an_unknown_plan_promises_no_rate_of_it() -> None:
    section = shown("run-head", a_state(P, F, run=replace(RUN, total=None)))
    assert "not known" in section.one(class_="run-numbers").text
    assert "2 of 2 ended" in section.one(class_="run-numbers").text


def test_more_tasks_than_announced_are_no_contradiction() -> None:
    assert "100 % 3 of 3" in shown("run-head", a_state(P, P, P, run=replace(RUN, total=2))).text


def test_what_ended_last_is_listed_newest_first() -> None:
    head = run_head(build.a_look(a_state(*(P,) * 8)), "r")
    assert [result.number for result in head.latest] == [8, 7, 6, 5, 4]
    assert shown("run-head", a_state(*(P,) * 8)).one(id_="task-results-list").all(class_="task-result")[0].attributes["id"] == "result-8"


def test_an_early_end_gives_its_reason() -> None:
    assert "the runner was killed" in shown("run-head", a_state(P, run=replace(RUN, end_reason="the runner was killed"))).text


def test_what_another_threshold_changed_is_counted_from_the_verdicts() -> None:
    state = a_state(F, P, F, E)
    first = tasks_of(state)[0]
    state.put(replace(first, score=0.5))
    state.put(replace(RUN, threshold=0.5))
    state.put(replace(tasks_of(state)[0], status=P))
    assert rejudged(build.a_look(state), "r", 1.0) == Rejudged(was=1.0, passed=1, failed=0)
    assert rejudged(build.a_look(state), "r", 0.4) == Rejudged(was=0.4, passed=0, failed=0)


# --- the table ---


def mixed() -> State:
    """Six begun, two to come; the fifth was tried again and passed."""
    plan = tuple(TaskRef(domain="zip", task_id=f"later-{number}") for number in (1, 2))
    state = a_state(P, F, E, U, E, R, run=replace(RUN, plan=plan))
    fifth = tasks_of(state)[4]
    state.put(replace(fifth, attempt=2, index=7, status=P, score=1.0, error="", started_at=NOW - 100, ended_at=NOW - 50, step=3))
    return state


def test_the_table_has_all_attempts_and_what_is_to_come() -> None:
    assert [(row.number, row.badge, row.attempt, row.is_replaced) for row in rows(mixed())] == [
        (1, "OK", 1, False),
        (2, "FAIL", 1, False),
        (3, "ERROR", 1, False),
        (4, "?", 1, False),
        (5, "ERROR", 1, True),
        (6, "RUN", 1, False),
        (7, "OK", 2, False),
        (8, "TO DO", 1, False),
        (9, "TO DO", 1, False),
    ]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=failed,error", [2, 3, 5]),
        ("status=running", [6]),
        ("status=pending", [8, 9]),
        ("domain=zip", [8, 9]),
        ("domain=nothing", []),
        ("q=later-2", [9]),
        ("q=TIMED+out", [3, 5]),
        ("q=vlc+playback", [2, 6]),
        ("only=again", [5, 7]),
        ("only=changed", [5, 7]),
        ("only=again&status=passed", [7]),
        ("sort=-index", [9, 8, 7, 6, 5, 4, 3, 2, 1]),
        ("page=7", [1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ],
)
def test_a_filter_keeps_what_it_says(query: str, expected: list[int]) -> None:
    assert numbers(mixed(), query) == expected


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_sorts_both_ways_with_nothing_last(column: str) -> None:
    state = mixed()
    values: dict[str, Callable[[TaskRow], Any]] = {
        "index": lambda row: row.number,
        "domain": lambda row: row.domain,
        "task": lambda row: row.task_id,
        "status": lambda row: ["OK", "FAIL", "ERROR", "?", "RUN", "TO DO"].index(row.badge),
        "score": lambda row: float(row.score_text) if row.score_text else None,
        "steps": lambda row: row.steps,
        "took": lambda row: row.took_s,
        "started": lambda row: row.started_at,
        "ended": lambda row: row.ended_at,
    }
    value = values[column]
    for sign in ("", "-"):
        told = [value(row) for row in rows(state, f"sort={sign}{column}")]
        known = [each for each in told if each is not None]
        assert known == sorted(known, reverse=bool(sign))
        assert told[len(known) :] == [None] * (len(told) - len(known))
        assert len(told) == 9


def test_a_row_has_the_exact_score_beside_the_verdict() -> None:
    state = a_state(F, P)
    first, second = tasks_of(state)
    state.put(replace(first, score=6 / 7, provisional=False))
    state.put(replace(second, score=1.0, provisional=True))
    section = shown("run-tasks", state)
    scores = section.all(class_="result-score")
    assert [(score.text, "provisional" in score.classes) for score in scores] == [("0.8571428571428571", False), ("1 ?", True)]


def test_a_step_changes_no_row() -> None:
    state = a_state(P, R)
    before = task_table(build.a_look(state), "r")
    state.put(replace(tasks_of(state)[1], step=99, action="click(9)", changed_at=NOW))
    assert task_table(build.a_look(state), "r") == before


def test_a_row_keeps_its_name_when_its_task_begins_and_ends() -> None:
    task = build.a_task(RUN, 1, R)
    plan = (TaskRef(domain=task.domain, task_id=task.task_id),)
    names = [rows(a_state(*outcome, run=replace(RUN, plan=plan)))[0].row_id for outcome in ((), (R,), (P,))]
    assert len(set(names)) == 1


def test_a_hundred_rows_are_on_a_page() -> None:
    state = a_state(*(P,) * 361)
    assert [len(rows(state, f"page={page}")) for page in (1, 4, 9)] == [PAGE_SIZE, 61, 61]
    section = shown("run-tasks", state, "r?sort=-score&page=2")
    links = section.all(class_="pages")[0].all(tag="a")
    assert links[0].attributes["href"] == "/runs/r?sort=-score#run-tasks-panel"
    assert links[0].attributes["hx-get"] == "/runs/r?sort=-score"


def test_no_match_leads_back_to_all() -> None:
    section = shown("run-tasks", a_state(P), "r?q=nothing&sort=-ended")
    assert section.one(class_="empty").one(tag="a").attributes["href"] == "/runs/r?sort=-ended#run-tasks-panel"
    assert "No task has begun" in shown("run-tasks", a_state()).text


@pytest.mark.parametrize(
    ("query", "field"),
    [("status=dead", "status"), ("only=odd", "only"), ("sort=colour", "sort"), ("page=-1", "page"), ("by=name", "by"), ("run=r", "run")],
)
def test_a_wrong_choice_is_named(query: str, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        TableSubject.parse(f"r?{query}")
    assert caught.value.field == field


def test_a_table_of_no_run_is_refused() -> None:
    with pytest.raises(Invalid):
        TableSubject.parse("?status=failed")
    with pytest.raises(NotFound):
        task_table(build.a_look(State()), "r")


@given(
    st.builds(
        TaskFilter,
        statuses=st.sets(st.sampled_from(STATUSES)).map(lambda given: tuple(value for value in STATUSES if value in given)),
        domain=st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), max_size=20),
        q=st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), max_size=20),
        only=st.sampled_from(["", *ONLY]),
        order=st.builds(Order, column=st.sampled_from(list(COLUMNS)), is_descending=st.booleans()),
        page=st.integers(1, 500),
        by=st.sampled_from(["", "rate"]),
    )
)
def test_a_choice_is_read_back_from_its_text(chosen: TaskFilter) -> None:
    about = TableSubject(run_id="r", filter=chosen)
    assert TableSubject.parse(about.text) == about
    assert len(about.text) < 1024


# --- the domains ---


def test_each_domain_has_its_counts_its_rate_and_its_medians() -> None:
    plan = (TaskRef(domain="chrome", task_id="x"), TaskRef(domain="zip", task_id="y"))
    state = a_state(P, F, P, P, P, F, run=replace(RUN, plan=plan))  # writer vlc explorer chrome writer vlc
    section = shown("run-domains", state)
    told = [[cell.text for cell in row.children] for row in section.one(tag="tbody").all(tag="tr")]
    assert [row[:6] for row in told] == [
        ["chrome", "1/2", "1", "0", "0", "100 % 21–100 %"],
        ["file_explorer", "1/1", "1", "0", "0", "100 % 21–100 %"],
        ["libreoffice_writer", "2/2", "2", "0", "0", "100 % 34–100 %"],
        ["vlc", "2/2", "0", "2", "0", "0 % 0–66 %"],
        ["zip", "0/1", "0", "0", "0", "not scored"],
    ]
    assert told[2][6:] == ["7", "2 min 33 s"]
    assert section.one(id_="domain-4").one(tag="a").attributes["href"] == "/runs/r?domain=vlc#run-tasks-panel"


def test_domains_sort_by_rate_and_keep_the_choice_of_the_table() -> None:
    section = shown("run-domains", a_state(P, F, P, E), "r?status=failed&by=rate&page=2")
    assert [row.one(tag="th").text for row in section.one(tag="tbody").all(tag="tr")][-2:] == ["vlc", "chrome"]
    (by_name,) = [link for link in section.one(tag="thead").all(tag="a") if link.text == "Domain"]
    assert by_name.attributes["hx-get"] == "/runs/r?status=failed&page=2"


# --- the chart ---


def test_the_rate_is_that_of_the_scored_tasks_so_far() -> None:
    chart = run_chart(build.a_look(a_state(P, F, E, P, U, R)), "r")
    assert [(point.scored, point.passed) for point in chart.listed] == [(1, 1), (2, 1), (3, 2)]
    assert chart.last is not None
    assert round(chart.last.percent) == 67
    assert chart.until_at == max(task.ended_at or 0 for task in tasks_of(a_state(P, F, E, P, U, R)))


def test_a_task_that_was_tried_again_counts_once() -> None:
    state = a_state(F, P)
    first = tasks_of(state)[0]
    state.put(replace(first, attempt=2, status=P, score=1.0, started_at=NOW - 100, ended_at=NOW - 50))
    assert [(point.scored, point.passed) for point in run_chart(build.a_look(state), "r").listed] == [(1, 0), (2, 1), (2, 2)]


def test_a_pause_breaks_the_line() -> None:
    state = a_state(P, F, P, P)
    for task in tasks_of(state)[2:]:
        later = MAX_PAUSE_S + 600
        state.put(replace(task, started_at=task.started_at + later, ended_at=(task.ended_at or 0) + later))
    chart = run_chart(build.a_look(state), "r")
    assert len(chart.pauses) == 1
    assert len(chart.stretches) == 2
    assert chart.pauses[0].x + chart.pauses[0].width <= 1000
    section = shown("run-chart", state)
    assert len(section.all(class_="chart-pause")) == 1
    assert "nothing ran" in section.one(class_="chart").text


def test_a_long_run_is_drawn_with_few_points_and_ends_with_its_last() -> None:
    state = a_state(*(P, F, P) * 400, run=replace(RUN, total=1200))
    chart = run_chart(build.a_look(state), "r")
    assert sum(stretch.line.count(" L") + 1 for stretch in chart.stretches) <= MAX_POINTS
    assert len(chart.listed) <= MAX_LISTED
    assert len(chart.buckets) <= MAX_BUCKETS + 1
    assert chart.last == chart.listed[-1]
    assert sum(bucket.ended for bucket in chart.buckets) == 1200


@given(st.integers(0, 3000), st.integers(40, 200), st.lists(st.floats(0, 3000), max_size=60))
def test_thinning_keeps_the_bound_the_order_and_the_end(count: int, most: int, cuts: list[float]) -> None:
    points = [Point(at=float(number), passed=0, scored=1, percent=0, low=0, high=0) for number in range(count)]
    kept = thinned(points, most, sorted(cuts))
    assert len(kept) <= most
    assert kept == sorted(kept, key=lambda point: point.at)
    assert kept[-1:] == points[-1:]


def test_scores_lie_in_their_bins() -> None:
    state = a_state(*(F,) * 6, P)
    for task, score in zip(tasks_of(state), (0.0, 0.1, 0.25, 0.5, 0.75, 0.99, 1.0), strict=True):
        state.put(replace(task, score=score))
    assert [each.count for each in run_chart(build.a_look(state), "r").bins] == [1, 2, 1, 1, 1, 1]


def test_a_run_without_a_score_says_so() -> None:
    assert "No task was scored yet" in shown("run-chart", a_state(E, R)).text
    assert run_chart(build.a_look(a_state()), "r").last is None


# --- settings ---


def test_workers_arguments_and_the_log_are_told() -> None:
    state = a_state(P, R)
    for task, worker in zip(tasks_of(state), ("w-1", "w-2"), strict=True):
        state.put(replace(task, worker=worker))
    section = shown("run-facts", state)
    assert [each.text for each in section.one(class_="workers").all(tag="li")] == ["w-1 1 ended", "w-2 0 ended, 1 running"]
    assert "/tmp/waa_benchmark.log" in section.text
    assert "max_steps" in section.text


# --- over HTTP ---


async def a_house_run(built: House) -> str:
    """A run of four: scores 1, 0.5 and 0, and one that runs. Gives its id."""
    await built.name()
    await built.start_run(total=4)
    for place, score in enumerate((1.0, 0.5, 0.0)):
        await built.tell(*task_facts(f"t-{place}", at=T0 + 10 + 100 * place, score=score))
    await built.tell(f.TaskStarted(at=T0 + 400, worker="", domain="notepad", task_id="t-3"))
    return str(next(iter(built.recorder.state.runs)))


async def test_the_page_keeps_its_choice_in_its_address_and_its_stream() -> None:
    async with house() as built:
        run_id = await a_house_run(built)
        answer = await built.ask(f"/runs/{run_id}?status=failed&status=error&domain=&q=t-1&sort=-ended&page=1", headers=HTML)
        page = read(answer.body)
        assert len(page.one(id_="run-tasks-panel").one(tag="tbody").all(tag="tr")) == 1
        address = page.one(id_="address").attributes
        assert address["data-place"] == f"/runs/{run_id}?status=failed,error&q=t-1&sort=-ended"
        form = page.one(id_="tasks-filter")
        ticked = [each.attributes["value"] for each in form.all(tag="input") if "checked" in each.attributes]
        assert ticked == ["failed", "error"]
        assert [each.attributes["value"] for each in page.all(tag="input") if each.attributes.get("form") == "tasks-filter"] == [
            "-ended",
            "",
        ]
        assert (await built.listen(address["data-stream"])).status == 200


async def test_a_step_is_sent_without_the_table_and_a_result_with_it() -> None:
    async with house() as built:
        run_id = await a_house_run(built)
        panels = "run-head,run-chart,run-domains,run-tasks,run-facts"
        listener = await built.listen(f"/stream?panels={panels}&run={run_id}&results={quote(run_id)}")

        async def told() -> set[str]:
            return set(re.findall(r'<hx-partial hx-target="#([a-z-]+)"', (await listener.until("message")).data))

        assert len(await told()) == 5
        await built.tell(f.StepStarted(at=T0 + 410, worker="", number=1, action="click(1)"))
        assert await told() == {"run-head-panel"}
        await built.tell(f.TaskScored(at=T0 + 430, worker="", score=1.0))
        await built.tell(f.TaskFinished(at=T0 + 431, worker="", domain="notepad", task_id="t-3"))
        after = await told()
        while "run-tasks-panel" not in after:
            after |= await told()
        assert {"run-head-panel", "run-chart-panel", "run-domains-panel"} <= after


@pytest.mark.parametrize("name", ["run-head", "run-chart", "run-domains", "run-tasks", "run-facts"])
def test_the_events_of_another_run_touch_nothing(name: str) -> None:
    subject = "r?q=a,r2" if PANELS[name].subject == "results" else "r"
    for run_id, is_touched in (("r", True), ("r2", False)):
        task = build.a_task(build.a_run("waa-1", run_id), 1, P)
        assert PANELS[name].is_touched(Event(id=1, type=EventType.TASK_COMPLETED, at=NOW, entity=task), subject) is is_touched


async def test_programs_get_the_run_with_coverage_domains_and_the_same_filters() -> None:
    async with house() as built:
        run_id = await a_house_run(built)
        answer = await built.json(f"/api/runs/{run_id}")
        run = answer["run"]
        assert answer["total"] == 4
        assert run["coverage"] == {
            "planned": 4,
            "ended": 3,
            "errors": 0,
            "unknown": 0,
            "of_scored": run["coverage"]["of_scored"],
            "of_planned": 0.25,
        }
        assert run["coverage"]["of_scored"]["n"] == 3
        assert [(domain["domain"], domain["completed"], domain["passed"]) for domain in run["domains"]] == [("notepad", 3, 1)]
        some = await built.json(f"/api/runs/{run_id}?status=failed&sort=-score")
        assert [(task["task_id"], task["score"]) for task in some["run"]["tasks"]] == [("t-1", 0.5), ("t-2", 0.0)]
        assert (await built.ask(f"/api/runs/{run_id}?status=dead")).code == 422
        assert (await built.ask("/api/runs/nothing")).code == 404


# --- the threshold ---


async def opened(built: House, run_id: str) -> tuple[str, str]:
    """The token of the page's form, and its cookies."""
    answer = await built.ask(f"/runs/{run_id}", headers=HTML)
    found = re.search(r'name="_xsrf" value="([^"]+)"', answer.body.decode())
    assert found is not None
    return found[1], "; ".join(cookie.partition(";")[0] for cookie in answer.headers.get_list("Set-Cookie"))


async def sent(built: House, run_id: str, **values: str) -> Any:
    """What the form answers."""
    token, cookies = await opened(built, run_id)
    body = urlencode({"_xsrf": token, **values})
    return await built.ask(f"/runs/{run_id}/threshold", "POST", body=body, headers=FORM | {"Cookie": cookies})


async def test_another_threshold_judges_anew_says_what_changed_and_leads_back() -> None:
    async with house() as built:
        run_id = await a_house_run(built)
        answer = await sent(built, run_id, threshold="0.5", query="status=failed&sort=-score")
        assert answer.code == 303
        assert answer.headers["Location"] == f"/runs/{run_id}?status=failed&sort=-score&was=1.0"
        page = read((await built.ask(answer.headers["Location"], headers=HTML)).body)
        assert page.one(class_="gentle").text == (
            "Tasks pass from a score of 0.5 on, 1 before. 1 that failed passes now, 0 that passed fail now."
        )
        assert page.one(class_="threshold-now").text == "0.5"
        assert "2 passed" in page.one(id_="task-metrics").text
        assert any(button.text == "Back to 1" for button in page.all(tag="button"))
        back = await sent(built, run_id, reset="1", threshold="nonsense")
        assert back.headers["Location"] == f"/runs/{run_id}?was=0.5"
        run = built.recorder.state.runs[next(iter(built.recorder.state.runs))]
        assert run.threshold == 1.0


@pytest.mark.parametrize("typed", ["", "0", "-1", "1.01", "nan", "inf", "a half", "1e-400"])
async def test_a_threshold_that_is_no_fraction_comes_back_with_what_was_typed(typed: str) -> None:
    async with house() as built:
        run_id = await a_house_run(built)
        answer = await sent(built, run_id, threshold=typed)
        assert answer.code == 422
        page = read(answer.body)
        assert "above 0 and at most 1" in page.one(id_="threshold-error").text
        assert page.one(id_="threshold").attributes["aria-invalid"] == "true"
        assert next(iter(built.recorder.state.runs.values())).threshold == 1.0


async def test_a_form_without_its_token_changes_nothing() -> None:
    async with house() as built:
        run_id = await a_house_run(built)
        answer = await built.ask(f"/runs/{run_id}/threshold", "POST", body="threshold=0.5", headers=FORM)
        assert answer.code == 403
        assert next(iter(built.recorder.state.runs.values())).threshold == 1.0


async def test_programs_set_the_threshold_and_null_is_the_configured_one() -> None:
    async with house(threshold=0.9) as built:
        run_id = await a_house_run(built)
        path = f"/api/runs/{run_id}/threshold"
        answer = await built.post_json(path, {"threshold": 0.5})
        told = json.loads(answer.body)
        assert answer.code == 200
        assert (told["was"], told["now_passed"], told["now_failed"]) == (0.9, 1, 0)
        assert (told["run"]["threshold"], told["run"]["passed"]) == (0.5, 2)
        back = json.loads((await built.post_json(path, {"threshold": None})).body)
        assert (back["run"]["threshold"], back["now_failed"]) == (0.9, 1)


@pytest.mark.parametrize(
    "body", [{}, {"threshold": 0}, {"threshold": 1.5}, {"threshold": "0.5"}, {"threshold": True}, {"threshold": [1]}, []]
)
async def test_a_wrong_threshold_is_422_and_names_its_field(body: object) -> None:
    async with house() as built:
        run_id = await a_house_run(built)
        answer = await built.post_json(f"/api/runs/{run_id}/threshold", body)
        assert answer.code == 422
        assert '"field":"threshold"' in answer.body.decode() or body == []
    async with house() as built:
        assert (await built.post_json("/api/runs/nothing/threshold", {"threshold": 0.5})).code == 404


async def test_a_threshold_that_was_is_checked_too() -> None:
    async with house() as built:
        run_id = await a_house_run(built)
        answer = await built.ask(f"/runs/{run_id}?was=2")
        assert answer.code == 422
        assert '"field":"was"' in answer.body.decode()
