"""Runs side by side: the page, the panel, its JSON, and one task of two runs step by step."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.services.reader import PlayedFolders
from tests.web import fleet_builder as build
from tests.web.house import T0, House, Message, house
from tests.web.markup import Element, judge, read
from waa.core.entity import Run
from waa.core.error import Invalid, NotFound
from waa.core.logs import fact as f
from waa.core.logs.fact import TaskRef
from waa.core.state import State
from waa.core.status import RunStatus, TaskStatus
from waa.web.panels import PANELS
from waa.web.views.compare import MAX_FLIPS, MAX_UNCOMPARED, CompareView, compare_detail

P, F, E, U, R = build.P, build.F, build.E, build.U, build.R
RENDERER = build.a_renderer()
HTML = {"Accept": "text/html"}


def a_state(*outcomes: str, **fields: Any) -> State:
    """Runs r0, r1 ... whose tasks ended as the letters say (p, f, e, u, r)."""
    statuses = {"p": P, "f": F, "e": E, "u": U, "r": R}
    runs: list[tuple[Run, tuple[TaskStatus, ...]]] = []
    for number, letters in enumerate(outcomes):
        told: dict[str, Any] = {"status": RunStatus.FINISHED, "ended_at": build.NOW, "arguments": {}, "total": len(letters), **fields}
        run = build.a_run("waa-1", f"r{number}", **told)
        runs.append((run, tuple(statuses[letter] for letter in letters)))
    return build.a_state([build.a_vm("waa-1")], runs)


def view(*outcomes: str, **fields: Any) -> CompareView:
    return compare_detail(build.a_look(a_state(*outcomes, **fields)), names(len(outcomes)))


def names(count: int) -> str:
    return ",".join(f"r{number}" for number in range(count))


def panel(state: State, runs: str) -> Element:
    root = read(RENDERER.panel(PANELS["compare"], build.a_look(state), runs))
    judge(root)
    return root


# --- what is said ---


@pytest.mark.parametrize(
    ("base", "other", "sentence"),
    [
        (
            "f" * 12 + "p" * 8,
            "p" * 12 + "f" * 8,
            "B passed 4 more than A of the 20 tasks that both scored: 60 % against 40 %, p = 0.5. This difference can be chance.",
        ),
        (
            "f" * 20,
            "p" * 20,
            "B passed 20 more than A of the 20 tasks that both scored: 100 % against 0 %, p < 0.001. "
            "Chance alone seldom makes such a difference.",
        ),
        (
            "p" * 8,
            "f" * 8,
            "A passed 8 more than B of the 8 tasks that both scored: 100 % against 0 %, p = 0.0078. "
            "Chance alone seldom makes such a difference.",
        ),
        (
            "f" * 5,
            "p" * 5,
            "B passed 5 more than A of the 5 tasks that both scored: 100 % against 0 %, p = 0.062. "
            "Only 5 verdicts differ, which is too few to tell the runs apart.",
        ),
        (
            "f",
            "p",
            "B passed 1 more than A of the one task that both scored: 100 % against 0 %, p = 1. "
            "Only 1 verdict differs, which is too few to tell the runs apart.",
        ),
        ("pfpf", "pffp", "A and B passed equally many of the 4 tasks that both scored; 2 tasks flipped, half of them each way."),
        ("pfp", "pfp", "A and B agree on every one of the 3 tasks that both scored."),
        ("p", "p", "A and B agree on the one task that both scored."),
    ],
)
def test_the_result_is_one_sentence_that_claims_no_more_than_the_numbers(base: str, other: str, sentence: str) -> None:
    assert view(base, other).headline == sentence


def test_shares_that_look_equal_are_told_with_more_digits() -> None:
    assert "50.1 % against 49.9 %" in view("p" * 200 + "f" * 201, "p" * 201 + "f" * 200).headline


def test_while_a_run_goes_on_the_result_is_so_far() -> None:
    found = view("fp", "pf", status=RunStatus.RUNNING, ended_at=None)
    assert found.headline.startswith("So far, ")
    assert any("A run goes on" in note for note in found.notes)
    assert not any("goes on" in note for note in view("fp", "pf").notes)


def test_more_runs_need_more_evidence() -> None:
    found = view("f" * 7, "p" * 7, "p" * 7, "p" * 7)  # p = 0.016 each: enough for one comparison, and for three just not
    assert found.headline == ""
    assert [pair.sentence.split(". ")[-1] for pair in found.pairs] == ["Chance alone seldom makes such a difference."] * 3
    found = view("f" * 7, "p" * 7, "p" * 7, "p" * 7, "p" * 7)
    assert all("too few to tell" in pair.sentence for pair in found.pairs)
    assert any("With 4 comparisons" in note and "0.013" in note for note in found.notes)


def test_what_was_left_out_is_said() -> None:
    found = view("ppeu", "pfpp")
    assert any(note.startswith("2 tasks of 4 can be compared.") for note in found.notes)
    assert found.uncompared_count == 2
    assert found.reasons == (("A", (("error", 1), ("unknown", 1))), ("B", ()))


def test_mixed_thresholds_are_said() -> None:
    state = a_state("pf", "pf")
    strict = build.a_run("waa-1", "r1", status=RunStatus.FINISHED, threshold=0.5)
    state.put(strict)
    found = compare_detail(build.a_look(state), "r0,r1")
    assert any("A from 1, B from 0.5" in note for note in found.notes)


@pytest.mark.parametrize(
    ("outcomes", "fields", "told"),
    [
        (("", ""), {}, "None of these runs has begun a task yet."),
        (("r", "p"), {"status": RunStatus.RUNNING}, "No task has been scored by both runs yet."),
        (("e", "p"), {}, "Choose runs over the same tasks."),
        (("e", "p", "p"), {}, "No task was scored by all 3 runs"),
    ],
)
def test_nothing_in_common_says_what_to_do(outcomes: tuple[str, ...], fields: Mapping[str, Any], told: str) -> None:
    found = view(*outcomes, **fields)
    assert told in found.headline
    section = panel(a_state(*outcomes, **fields), names(len(outcomes)))
    assert told in section.text
    assert not section.all(class_="compare-domains")


# --- the panel ---


def test_the_tables_hold_what_was_counted() -> None:
    section = panel(a_state("ppffe", "pfpfp", total=6), "r0,r1")
    row = section.one(id_="compare-run-A").text
    assert "A r0 Finished base 4 of 6 1 error, 1 to go 50 % 15–85 % 33 % 50 % (2) 15–85 % 0.500 all 0.500" in row
    assert [link.attributes["href"] for link in section.one(id_="compare-run-B").all(tag="a")] == ["/runs/r1", "/compare?runs=r1,r0"]
    gained, lost = section.all(class_="flips")
    assert gained.one(tag="h4").text == "A failed → B passed 1"
    assert lost.one(tag="h4").text == "B failed → A passed 1"
    assert lost.one(class_="flip-scores").text == "0.00 → 1.00"
    (link,) = gained.all(tag="a")
    assert link.attributes["href"].startswith("/compare/task?runs=r0,r1&domain=")
    assert "Both passed 1, only B 1, only A 1, neither 1." in section.text
    domains = section.one(class_="compare-domains")
    assert [bar.attributes["width"] for bar in domains.all(tag="rect")] == ["0", "0", "0", "100", "100", "100", "100", "0"]
    assert section.one(id_="compare-missing").one(tag="summary").text == "What could not be compared 1"


def test_pass_at_k_is_folded_until_there_are_three_runs() -> None:
    two = panel(a_state("pf", "fp"), "r0,r1").one(id_="compare-trials")
    assert "open" not in two.attributes
    three = panel(a_state("ppff", "pfff", "pfff"), "r0,r1,r2").one(id_="compare-trials")
    assert "open" in three.attributes
    assert [value.text for value in three.all(tag="dd")] == ["33.3 %", "41.7 %", "50.0 %"]


def test_arguments_that_differ_make_pass_at_k_doubtful() -> None:
    state = a_state("pf", "fp")
    state.put(build.a_run("waa-1", "r1", status=RunStatus.FINISHED, arguments={"model": "other"}))
    section = panel(state, "r0,r1")
    assert section.one(id_="compare-arguments").one(tag="code").text == "other"
    assert "differ in model" in section.one(id_="compare-trials").text


def test_long_lists_are_cut_and_say_so() -> None:
    flips = MAX_FLIPS + 5
    section = panel(a_state("f" * flips, "p" * flips), "r0,r1")
    assert len(section.one(class_="flip-list").all(tag="li")) == MAX_FLIPS
    assert "5 more" in section.all(class_="flips")[0].text
    missing = MAX_UNCOMPARED + 3
    section = panel(a_state("e" * missing + "p", "p" * (missing + 1)), "r0,r1")
    assert len(section.one(class_="missing-list").all(tag="li")) == MAX_UNCOMPARED
    assert "3 more" in section.one(id_="compare-missing").text


def test_six_runs_stand_side_by_side() -> None:
    section = panel(a_state(*["pfpf"] * 6), names(6))
    assert [
        row.text[0] for row in section.one(class_="compare-runs").all(tag="th", class_=None) if row.attributes["scope"] == "row"
    ] == list("ABCDEF")
    assert [link.text for link in section.one(id_="compare-run-F").all(tag="a")] == ["r5", "make base: F", "leave out: F"]


@pytest.mark.parametrize("runs", [None, "", "r0", "r0,", "r0,r0", "r0,r1,,", "a,b,c,d,e,f,g"])
def test_runs_that_cannot_be_compared_are_refused(runs: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        compare_detail(build.a_look(a_state("p", "p")), runs)
    assert caught.value.field == "runs"


def test_an_unknown_run_is_not_found() -> None:
    with pytest.raises(NotFound, match="nothing"):
        compare_detail(build.a_look(a_state("p", "p")), "r0,nothing")


# --- the page, its stream and its twin ---

A, B = "vm-1-20260204T121231", "vm-2-20260204T131231"


async def two_runs(built: House, *, other: int = 1) -> None:
    """A run on each of two VMs: A passed t-1 and failed t-2; B failed t-1 and passed as many of them as ``other``, from the second."""
    for vm, at, scores in (("vm-1", T0, (1.0, 0.0)), ("vm-2", T0 + 3600, (0.0, 1.0)[: other + 1])):
        await built.name(vm)
        await built.start_run(vm=vm, at=at, total=2)
        for number, score in enumerate(scores, start=1):
            await score_task(built, vm, at + 100 * number, f"t-{number}", score)


async def score_task(built: House, vm: str, at: float, task_id: str, score: float) -> None:
    await built.tell(f.TaskStarted(at=at, domain="clock", task_id=task_id), f.StepStarted(at=at + 5, number=1, action="act(1)"), vm=vm)
    await built.tell(f.TaskScored(at=at + 50, score=score), f.TaskFinished(at=at + 51, domain="clock", task_id=task_id), vm=vm)


async def page(built: House, path: str) -> Element:
    answer = await built.ask(path, headers=HTML)
    assert answer.code == 200, answer.body
    root = read(answer.body)
    judge(root)
    return root


async def test_the_page_holds_the_panel_and_its_stream() -> None:
    async with house() as built:
        await two_runs(built)
        root = await page(built, f"/compare?runs={A},{B}")
        assert root.one(tag="h1").text == "Compare 2 runs"
        assert root.one(id_="live").attributes["hx-sse:connect"] == f"/stream?panels=compare&runs={A},{B}"
        section = root.one(id_="compare-panel")
        assert "A and B passed equally many of the 2 tasks that both scored" in section.text
        alone = await built.ask(section.attributes["hx-get"])
        assert read(alone.body).one(id_="compare-panel").text == section.text


async def test_it_follows_the_runs_while_they_run() -> None:
    async with house() as built:
        await two_runs(built, other=0)
        listener = await built.listen(f"/stream?panels=compare&runs={A},{B}")

        async def until_told(text: str) -> Message:
            while text not in (message := await listener.until("message")).data:
                pass
            return message

        await until_told("So far, A passed 1 more than B of the one task that both scored")
        await score_task(built, "vm-2", T0 + 3800, "t-2", 1.0)
        await until_told("So far, A and B passed equally many of the 2 tasks that both scored")


async def test_a_step_changes_nothing_in_it() -> None:
    async with house() as built:
        await two_runs(built)
        path = f"/fragments/compare?runs={A},{B}"
        before = await built.ask(path)
        await built.tell(f.TaskStarted(at=T0 + 3900, domain="clock", task_id="t-3"), vm="vm-2")
        started = await built.ask(path)
        assert started.body != before.body
        built.clock.now += 60
        await built.tell(f.StepStarted(at=T0 + 3950, number=1, action="act(1)"), vm="vm-2")
        again = await built.ask(path)
        assert read(again.body).one(class_="compare-runs").text == read(started.body).one(class_="compare-runs").text


async def test_programs_get_the_same_numbers() -> None:
    async with house() as built:
        await two_runs(built)
        found = await built.json(f"/api/compare?runs={A},{B}")
        assert (found["common"], found["tasks"], found["is_final"]) == (2, 2, False)
        assert [run["run_id"] for run in found["runs"]] == [A, B]
        assert found["runs"][0]["coverage"]["of_scored"] == {**found["runs"][0]["common"], "passed": 1, "n": 2, "rate": 0.5}
        (pair,) = found["pairs"]
        assert pair["gained"] == [{"domain": "clock", "task_id": "t-2", "base_score": 0.0, "other_score": 1.0}]
        assert (pair["p"], pair["rate_difference"]) == (1.0, 0.0)
        assert found["pass_at"] == [{"k": 1, "value": 0.5}, {"k": 2, "value": 1.0}]


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("/api/compare", 422, "runs"),
        (f"/api/compare?runs={A}", 422, "runs"),
        (f"/api/compare?runs={A},{A}", 422, "runs"),
        (f"/api/compare?runs={A},nothing", 404, None),
        (f"/compare?runs={A},{A}", 422, "runs"),
        ("/compare?runs=a,b,c,d,e,f,g", 422, "runs"),
        ("/compare?runs=nothing", 404, None),
        (f"/compare?runs={A}&runs=nothing", 404, None),
        (f"/fragments/compare?runs={A}", 422, "runs"),
        ("/fragments/compare", 422, "runs"),
        (f"/stream?panels=compare&runs={A},nothing", 404, None),
        (f"/embed/compare?runs={A},,{B}", 422, "runs"),
        (f"/compare/task?runs={A},{B}&task=t-1", 422, "domain"),
        (f"/compare/task?runs={A},{B}&domain=clock", 422, "task"),
        (f"/compare/task?runs={A}&domain=clock&task=t-1", 422, "runs"),
        ("/compare/task?runs=a,b,c,d&domain=clock&task=t-1", 422, "runs"),
        (f"/compare/task?runs={A},{B}&domain=clock&task=t-1&step=x", 422, "step"),
        (f"/compare/task?runs={A},{B}&domain=clock&task=t-1&step=1&step=2", 422, "step"),
        (f"/compare/task?runs={A},{B}&domain=clock&task=nothing", 404, None),
        (f"/compare/task?runs={A},nothing&domain=clock&task=t-1", 404, None),
    ],
)
async def test_what_cannot_be_compared_is_named(path: str, status: int, field: str | None) -> None:
    async with house() as built:
        await two_runs(built)
        answer = await built.ask(path)
        assert answer.code == status, answer.body
        assert json.loads(answer.body)["error"]["field"] == field


# --- what can be chosen ---


async def test_without_runs_there_is_a_list_to_choose_from() -> None:
    async with house() as built:
        await two_runs(built)
        root = await page(built, "/compare")
        assert "Choose 2 to 6 runs" in root.text
        boxes = [box for box in root.all(tag="input") if box.attributes["type"] == "checkbox"]
        assert [(box.attributes["name"], box.attributes["value"]) for box in boxes] == [("runs", B), ("runs", A)], "newest first"
        root = await page(built, f"/compare?runs={B}")
        assert "Choose at least one more run" in root.text
        assert [box.attributes["value"] for box in root.all(tag="input") if "checked" in box.attributes] == [B]


async def test_what_the_form_chose_is_sent_on_with_the_first_run_as_base() -> None:
    async with house() as built:
        await two_runs(built)
        answer = await built.ask(f"/compare?runs={B}&runs={A}", headers=HTML)
        assert (answer.code, answer.headers["Location"]) == (302, f"/compare?runs={A},{B}")


async def test_few_runs_say_what_to_do() -> None:
    async with house() as built:
        assert "No run has been seen yet." in (await page(built, "/compare")).text
        await built.name()
        await built.start_run()
        assert "There is one run so far" in (await page(built, "/compare")).text


# --- one task side by side ---


def a_line(number: int, **fields: Any) -> str:
    told = {"step_num": number, "action": f"act({number})", "screenshot": f"screenshot-step_{number - 1}_x.png", **fields}
    return json.dumps(told)


TASK = f"/compare/task?runs={A},{B}&domain=clock&task=t-1"


class TwoTrees(PlayedFolders):
    """The trees of two VMs: A's as it is put, B's by ``other``."""

    def __init__(self) -> None:
        super().__init__()
        self.other = PlayedFolders()

    async def task_record(self, run_id: Any, *names: Any, **options: Any) -> Any:
        own = super().task_record if run_id == A else self.other.task_record
        return await own(run_id, *names, **options)


async def test_steps_stand_side_by_side_by_their_number() -> None:
    trees = TwoTrees()
    click = "computer.mouse.move_abs(x=0.25, y=0.5)\ncomputer.mouse.single_click()\n"
    trees.put("clock", "t-1", *(a_line(number) for number in (1, 2, 3)))
    trees.other.put("clock", "t-1", a_line(1), a_line(2, action=click, response="The button."), a_line(2, action="more()"))
    async with house(reader=trees) as built:
        await two_runs(built)
        root = await page(built, f"{TASK}&step=2")
        assert root.one(tag="h2").text == "Step 2 of 3"
        first, second = root.all(class_="compare-column")
        assert first.one(class_="code").text == "act(2)"
        assert [code.text for code in second.all(class_="code")] == [click.replace("\n", " ").strip(), "more()"]
        assert second.one(class_="thought").text == "The button."
        assert second.one(class_="shot-marks").all(class_="dot")
        assert "OK" in first.one(class_="result-icon").text
        assert "FAIL" in second.one(class_="result-icon").text
        links = {link.attributes.get("rel"): link.attributes["href"] for link in root.one(class_="step-nav").all(tag="a")}
        assert (links["prev"], links["next"]) == (f"{TASK}&step=1", f"{TASK}&step=3")
        assert [column.all(tag="a")[0].attributes["href"] for column in (first, second)] == [
            f"/runs/{A}/tasks/clock/t-1?step=2",
            f"/runs/{B}/tasks/clock/t-1?step=2.1",
        ]


async def test_a_shorter_run_says_where_it_ended() -> None:
    trees = TwoTrees()
    trees.put("clock", "t-1", *(a_line(number) for number in (1, 2, 3, 5)))
    trees.other.put("clock", "t-1", a_line(1))
    async with house(reader=trees) as built:
        await two_runs(built)
        root = await page(built, f"{TASK}&step=3")
        assert root.one(class_="compare-ended").text == "This run ended after step 1."
        root = await page(built, f"{TASK}&step=99")
        assert "No run has a step 99." in root.text
        assert root.one(tag="h2").text == "Step 5 of 5"
        assert (await page(built, TASK)).one(tag="h2").text == "Step 1 of 5"


async def test_a_run_without_the_task_or_without_files_says_so() -> None:
    trees = TwoTrees()
    trees.put("clock", "t-2", a_line(1))
    async with house(reader=trees) as built:
        await two_runs(built, other=0)
        told = [column.one(class_="compare-ended").text for column in (await page(built, TASK)).all(class_="compare-column")]
        assert told == ["There are no files of it: nothing there"] * 2
        columns = (await page(built, TASK.replace("t-1", "t-2"))).all(class_="compare-column")
        assert columns[0].one(class_="code").text == "act(1)"
        assert columns[1].one(class_="compare-ended").text == "This run has no such task."


async def test_a_task_that_was_planned_and_not_begun_is_told() -> None:
    trees = TwoTrees()
    async with house(reader=trees) as built:
        await two_runs(built)
        await built.name("vm-3")
        planned = f.RunPlanned(at=T0 + 7000, total=1, tasks=(TaskRef(domain="clock", task_id="t-1"),))
        await built.tell(f.RunStarted(at=T0 + 7000, dialect=f.Dialect.WAA), planned, vm="vm-3")
        third = next(run_id for run_id in built.recorder.state.runs if run_id.startswith("vm-3"))
        root = await page(built, f"/compare/task?runs={A},{third}&domain=clock&task=t-1")
        assert root.all(class_="compare-ended")[1].text == "This run has not begun the task."


async def test_hostile_names_stay_text() -> None:
    name = '<script>alert(1)</script>"&runs=x'
    async with house(reader=TwoTrees()) as built:
        for vm, at, score in (("vm-1", T0, 1.0), ("vm-2", T0 + 3600, 0.0)):
            await built.name(vm)
            await built.start_run(vm=vm, at=at, total=1)
            await score_task(built, vm, at + 100, name, score)
        root = await page(built, f"/compare?runs={A},{B}")
        (link,) = [link for link in root.all(tag="a") if link.attributes["href"].startswith("/compare/task")]
        assert name in link.text
        again = await page(built, link.attributes["href"])
        assert name in again.one(tag="h1").text
