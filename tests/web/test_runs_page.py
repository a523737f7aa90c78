"""The list of runs: searched, filtered, sorted, a page at a time; and the same for programs."""

from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web import fleet_builder as build
from tests.web.fleet_builder import NOW, E, F, P, R
from tests.web.house import T0, House, house
from tests.web.markup import Element, judge, read
from waa.core.entity import Imported, Run
from waa.core.error import Invalid
from waa.core.job import ImportKind
from waa.core.logs import fact as f
from waa.core.outside import RunImported
from waa.core.state import State
from waa.core.status import RunStatus, TaskStatus
from waa.web.panels import PANELS
from waa.web.views.query import Order
from waa.web.views.runs import COLUMNS, PAGE_SIZE, SINCE_S, STATUSES, RunFilter, run_list

RENDERER = build.a_renderer()
HTML = {"Accept": "text/html"}
DAY_S = 86_400.0


def a_run(run_id: str, *, vm: str = "waa-1", hours: float = 2.0, model: str = "gpt-5", **fields: Any) -> Run:
    """A run that began so many hours ago and took one."""
    began = NOW - hours * 3600
    told: dict[str, Any] = {"status": RunStatus.FINISHED, "started_at": began, "ended_at": began + 3600, "total": 4}
    return build.a_run(vm, run_id, **{**told, "arguments": {"model": model, "agent_name": "navi"}, **fields})


def an_import(run_id: str, source: str = "/data/results", **fields: Any) -> Run:
    """A run that was read from a folder."""
    imported = Imported(kind=ImportKind.FOLDER, source=source, at=NOW)
    return a_run(run_id, vm="", imported=imported, **fields)


def a_history() -> State:
    """Runs that differ in all that can be chosen."""
    runs: list[tuple[Run, tuple[TaskStatus, ...]]] = [
        (a_run("alpha", hours=2, model="gpt-5"), (P, P, P, F)),
        (a_run("beta", vm="waa-2", hours=30, model="claude", ended_at=NOW - 30 * 3600 + 60), (F, F, E)),
        (a_run("gamma", hours=1, status=RunStatus.RUNNING, ended_at=None, arguments={}), (R,)),
        (an_import("delta", hours=200, model="o3", label="Old baseline", status=RunStatus.INTERRUPTED), (P, F)),
    ]
    return build.a_state([build.a_vm("waa-1"), build.a_vm("waa-2")], runs)


def shown(state: State, subject: str | None = None) -> Element:
    root = read(RENDERER.panel(PANELS["runs"], build.a_look(state), subject))
    judge(root)
    return root


def ids(state: State, subject: str = "") -> list[str]:
    return [str(row.run_id) for row in run_list(build.a_look(state), subject).rows]


# --- what is chosen ---


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("", ["gamma", "alpha", "beta", "delta"]),
        ("q=alph", ["alpha"]),
        ("q=CLAUDE", ["beta"]),
        ("q=navi+gpt", ["alpha"]),
        ("q=baseline", ["delta"]),
        ("q=data%2Fresults", ["delta"]),
        ("q=waa-2", ["beta"]),
        ("q=nothing", []),
        ("status=running", ["gamma"]),
        ("status=running,interrupted", ["gamma", "delta"]),
        ("vm=waa-2", ["beta"]),
        ("vm=imported", ["delta"]),
        ("vm=gone", []),
        ("since=24h", ["gamma", "alpha"]),
        ("since=7d", ["gamma", "alpha", "beta"]),
        ("since=30d&status=finished", ["alpha", "beta"]),
        ("page=99", ["gamma", "alpha", "beta", "delta"]),
    ],
)
def test_a_filter_keeps_what_it_says(subject: str, expected: list[str]) -> None:
    assert ids(a_history(), subject) == expected


@pytest.mark.parametrize(
    ("column", "upward"),
    [
        ("name", ["alpha", "beta", "gamma", "delta"]),
        ("vm", ["gamma", "alpha", "beta", "delta"]),
        ("model", ["beta", "alpha", "delta", "gamma"]),
        ("done", ["gamma", "delta", "beta", "alpha"]),
        ("rate", ["beta", "delta", "alpha", "gamma"]),
        ("score", ["beta", "delta", "alpha", "gamma"]),
        ("took", ["beta", "gamma", "alpha", "delta"]),
        ("started", ["delta", "beta", "alpha", "gamma"]),
    ],
)
def test_every_column_sorts_both_ways_and_what_has_no_value_is_last(column: str, upward: list[str]) -> None:
    state = a_history()
    assert ids(state, f"sort={column}") == upward
    downward = ids(state, f"sort=-{column}")
    nameless = {"vm": {"delta"}, "model": {"gamma"}, "rate": {"gamma"}, "score": {"gamma"}}.get(column, set())
    assert set(downward[len(downward) - len(nameless) :]) == nameless
    if column not in ("vm", "took"):  # these have equal ones, which keep their order
        assert [name for name in downward if name not in nameless] == [name for name in reversed(upward) if name not in nameless]


@pytest.mark.parametrize(
    ("subject", "field"),
    [
        ("status=dead", "status"),
        ("status=running,dead", "status"),
        ("since=1h", "since"),
        ("sort=colour", "sort"),
        ("sort=--name", "sort"),
        ("page=0", "page"),
        ("page=x", "page"),
        ("page=1e9", "page"),
        ("q=a&q=b", "q"),
        ("q=" + "a" * 400, "q"),
        ("q=" + quote("ä" * 60), "q"),
        ("colour=red", "colour"),
        ("&".join("q=a" for _ in range(50)), "query"),
    ],
)
def test_a_wrong_choice_is_named(subject: str, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        RunFilter.parse(subject)
    assert caught.value.field == field


@given(
    st.builds(
        RunFilter,
        q=st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), max_size=20),
        statuses=st.sets(st.sampled_from(STATUSES)).map(lambda given: tuple(value for value in STATUSES if value in given)),
        vm=st.sampled_from(["", "imported", "waa-1"]),
        since=st.sampled_from(["", *SINCE_S]),
        order=st.builds(Order, column=st.sampled_from(list(COLUMNS)), is_descending=st.booleans()),
        page=st.integers(1, 500),
    )
)
def test_a_choice_is_read_back_from_its_text(chosen: RunFilter) -> None:
    assert RunFilter.parse(chosen.text) == chosen
    assert RunFilter.parse(chosen.text).text == chosen.text


def test_the_usual_choice_has_no_text() -> None:
    assert RunFilter().text == ""
    assert RunFilter.parse("sort=-started&page=1&q=&status=").text == ""
    assert RunFilter().url == "/runs"


# --- the panel ---


def test_a_row_tells_where_who_how_far_and_how_well() -> None:
    row = shown(a_history()).one(id_="run-row-alpha")
    assert row.one(tag="th").text == "alpha"
    cells = {cell.attributes["data-label"]: cell.text for cell in row.all(tag="td") if "data-label" in cell.attributes}
    assert cells == {
        "Where": "waa-1",
        "Agent, model": "navi, gpt-5",
        "State": "Finished",
        "Progress": "4/4",
        "Passed": "75 % 30–95 %",
        "Mean score": "0.75",
        "Took": "1 h 0 min",
        "Started": "10:31:31 UTC",
    }


def test_an_imported_run_tells_its_source_and_has_no_page_of_a_vm() -> None:
    row = shown(a_history()).one(id_="run-row-delta")
    assert row.one(tag="th").text == "Old baseline"
    assert "imported from results" in row.text
    assert [each.attributes["title"] for each in row.all(tag="span") if "title" in each.attributes][:1] == ["/data/results"]
    assert [link.attributes["href"] for link in row.all(tag="a")] == ["/runs/delta"]


def test_heads_say_which_way_and_lead_the_other() -> None:
    heads = {head.text: head for head in shown(a_history(), "q=a&sort=name&page=1").all(tag="th") if "aria-sort" in head.attributes}
    assert {name: head.attributes["aria-sort"] for name, head in heads.items() if head.attributes["aria-sort"] != "none"} == {
        "Run": "ascending"
    }
    assert heads["Run"].one(tag="a").attributes["href"] == "/runs?q=a&sort=-name"
    assert heads["Where"].one(tag="a").attributes["href"] == "/runs?q=a&sort=vm"
    assert heads["Started"].one(tag="a").attributes["href"] == "/runs?q=a", "the newest first is the usual order"
    assert set(heads) == {column.word for column in COLUMNS.values()} - {"Cost"}, "nothing has a price here"


def test_fifty_are_on_a_page_and_links_lead_on() -> None:
    state = build.a_state([build.a_vm("waa-1")], [(a_run(f"r-{number:03d}", hours=number + 1), ()) for number in range(120)])
    first, last = shown(state), shown(state, "page=3")
    assert len(first.all(tag="tr")) == PAGE_SIZE + 1
    assert first.one(class_="pages-range").text == "1–50 of 120"
    assert last.one(class_="pages-range").text == "101–120 of 120"
    links = last.one(class_="pages").all(tag="a")
    assert [(link.text, link.attributes["href"], "aria-current" in link.attributes) for link in links] == [
        ("Previous", "/runs?page=2", False),
        ("1", "/runs", False),
        ("2", "/runs?page=2", False),
        ("3", "/runs?page=3", True),
    ]
    assert last.has_id("run-row-r-119")
    assert not first.has_id("run-row-r-119")


def test_nothing_at_all_and_nothing_that_matches_are_told_apart() -> None:
    assert "No run has been seen yet" in shown(State()).text
    nothing = shown(a_history(), "q=nothing")
    assert "No run matches. 4 runs are known." in nothing.text
    assert nothing.one(class_="empty").one(tag="a").attributes["href"] == "/runs"


def test_ticked_runs_go_to_the_comparison() -> None:
    root = shown(a_history())
    form = root.one(id_="runs-compare")
    boxes = [each for each in root.all(tag="input") if each.attributes.get("name") == "runs"]
    assert form.attributes["action"] == "/compare"
    assert {box.attributes["form"] for box in boxes} == {"runs-compare"}
    assert {box.attributes["value"] for box in boxes} == {"alpha", "beta", "gamma", "delta"}
    assert all(box.attributes["aria-label"].startswith("Compare ") for box in boxes)


# --- over HTTP ---


async def two_runs(built: House) -> tuple[str, str]:
    """One run on each of two VMs, the second with a model; gives their ids."""
    for place, name in enumerate(("vm-1", "vm-2")):
        await built.name(name)
        await built.start_run(vm=name, at=T0 + 10 * place)
    await built.tell(f.RunConfigured(at=T0 + 11, worker="", arguments={"model": "gpt-5"}), vm="vm-2")
    first, second = built.recorder.state.runs
    return str(first), str(second)


async def test_the_page_keeps_its_choice_in_its_address_and_its_stream() -> None:
    async with house() as built:
        _, second = await two_runs(built)
        answer = await built.ask("/runs?q=gpt-5&status=&vm=&since=24h&sort=&page=", headers=HTML)
        assert answer.code == 200
        page = read(answer.body)
        assert [row.attributes["id"] for row in page.one(tag="tbody").all(tag="tr")] == [f"run-row-{second}"]
        address = page.one(id_="address").attributes
        assert address["data-place"] == "/runs?q=gpt-5&since=24h"
        assert address["data-stream"] == page.one(id_="live").attributes["hx-sse:connect"]
        form = page.one(id_="runs-filter")
        assert (form.attributes["method"], form.attributes["action"]) == ("get", "/runs")
        assert page.one(id_="runs-q").attributes["value"] == "gpt-5"
        chosen = [option.attributes["value"] for option in form.all(tag="option") if "selected" in option.attributes]
        assert chosen == ["24h"]
        listener = await built.listen(address["data-stream"])
        assert f"run-row-{second}" in (await listener.until("message")).data


async def test_the_list_follows_what_happens_but_not_each_step() -> None:
    async with house() as built:
        await two_runs(built)
        listener = await built.listen("/stream?panels=runs&runlist=" + quote("q=gpt-5"))
        await listener.until("message")
        await built.tell(f.TaskStarted(at=T0 + 20, worker="", domain="notepad", task_id="a"), vm="vm-2")
        await built.tell(f.StepStarted(at=T0 + 30, worker="", number=1, action="click(1)"), vm="vm-2")
        await built.tell(f.TaskScored(at=T0 + 40, worker="", score=1.0), vm="vm-2")
        await built.tell(f.TaskFinished(at=T0 + 41, worker="", domain="notepad", task_id="a"), vm="vm-2")
        html = ""
        while "1/30" not in html:
            html = (await listener.until("message")).data
        assert "100 %" in html


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/runs?status=dead", "status"),
        ("/api/runs?since=never", "since"),
        ("/api/runs?sort=colour", "sort"),
        ("/fragments/runs?runlist=page%3D0", "page"),
        ("/stream?panels=runs&runlist=colour%3Dred", "colour"),
    ],
)
async def test_a_wrong_choice_is_422_and_names_its_field(path: str, field: str) -> None:
    async with house() as built:
        answer = await built.ask(path)
        assert answer.code == 422
        assert f'"field":"{field}"' in answer.body.decode()


async def test_programs_have_the_same_filters() -> None:
    async with house() as built:
        first, second = await two_runs(built)
        await built.record(RunImported(vm="", at=T0 + 50, run=an_import("old"), tasks=()))

        async def listed(query: str) -> list[str]:
            return [run["run_id"] for run in (await built.json(f"/api/runs{query}"))["runs"]]

        assert await listed("?vm=vm-1") == [first]
        assert await listed("?q=gpt-5&vm=vm-2") == [second]
        assert await listed("?vm=imported") == ["old"]
        assert await listed("?sort=vm&vm=vm-1&page=1") == [first]
        assert (await built.json("/api/runs?page=1"))["total"] == 3
        (run,) = (await built.json("/api/runs?vm=imported"))["runs"]
        assert run["imported"] == {"kind": "folder", "source": "/data/results", "at": NOW}
        assert (await built.ask("/api/runs?vm=nobody")).code == 404


def test_a_page_of_a_long_history_names_each_run_once() -> None:
    state = build.a_state([], [(an_import(f"i-{number}", label="same"), ()) for number in range(60)])
    both = [row.run_id for page in (1, 2) for row in run_list(build.a_look(state), f"sort=name&page={page}").rows]
    assert sorted(both) == sorted(state.runs)


def test_the_end_of_a_day_moves_a_run_out_of_the_last_24_hours() -> None:
    state = a_history()
    later = replace(build.a_look(state), now=NOW + DAY_S)
    assert [row.run_id for row in run_list(later, "since=24h").rows] == []
