"""What happened in a task: recorded trees against their truth, half-written and hostile ones."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.results.tree import TREES, folders, made_of, on_disk, truth
from waa.core.results.folder import FileFound
from waa.core.results.record import MAX_STEPS, MAX_TEXT, StepRecord, attempt_of, of_attempt, read_record

LONGEST = {tree: max(folders(tree), key=lambda path: (path / "traj.jsonl").stat().st_size) for tree in TREES}


def a_step(number: int, **fields: Any) -> dict[str, Any]:
    return {"step_num": number, "action_timestamp": f"20260204@1200{number:02d}", "action": f"act({number})", "done": False, **fields}


RESET = {"step_num": 0, "action_timestamp": "20260204@120000", "action": None}


@pytest.mark.parametrize("tree", TREES)
def test_every_recorded_folder_reads_to_its_truth(tree: str) -> None:
    told = truth(tree)
    for path in folders(tree):
        record = read_record(on_disk(path))
        task = told.pop((path.parent.name, path.name))
        assert max((step.number for step in record.steps), default=0) == task["steps"]
        assert len(record.steps) == task["actions"]
        assert record.score == task["result"]
        assert (record.error or None) == task["error"]
        assert record.instruction.strip() in (task["instruction"].strip(), "")  # OSWorld does not write it there
        assert (record.attempts, record.unreadable) == (1, 0)
    assert not told


@pytest.mark.parametrize("tree", TREES)
def test_every_step_has_its_thought_and_its_pictures(tree: str) -> None:
    for path in folders(tree):
        steps = read_record(on_disk(path)).steps
        for place, step in enumerate(steps):
            assert step.thought
            assert "results/" not in step.thought
            assert step.at is not None
            assert step.after is not None or "v2" in tree  # the last picture is missing where the agent failed
            assert step.screenshot is not None
            assert (path / step.screenshot).is_file()
            if place:
                assert step.before is not None
                assert step.before == steps[place - 1].after
            elif tree != "osworld_multienv":  # which does not record the screen that it begins with
                assert step.before is not None
            for picture in filter(None, (step.before, step.after)):
                assert picture.size is not None


def test_pictures_are_those_before_and_after_the_action() -> None:
    waa = read_record(on_disk(LONGEST["waa_up_normal"])).steps
    assert waa[0].before is not None
    assert waa[0].before.name.startswith("screenshot-step_reset_")
    assert waa[0].after is not None
    assert waa[0].after.name.startswith("screenshot-step_0_")
    v2 = read_record(on_disk(LONGEST["waa_v2_normal"])).steps
    assert v2[-1].before is not None
    assert v2[-1].before.name == v2[-1].screenshot
    assert v2[-1].after is not None
    assert v2[-1].after.name.startswith(f"screenshot/screenshot-step_{len(v2)}_")


def test_several_actions_of_one_step_are_told_apart() -> None:
    path = next(path for path in folders("osworld_multienv") if path.name.startswith("7b6c7e24"))
    steps = read_record(on_disk(path)).steps
    assert [(step.number, step.part) for step in steps] == [(1, 1), (2, 1), (2, 2), (3, 1), (4, 1)]


@pytest.mark.parametrize("tree", TREES)
@given(data=st.data())
@settings(max_examples=60)
def test_any_truncation_gives_a_prefix_of_the_steps(tree: str, data: st.DataObject) -> None:
    folder = on_disk(LONGEST[tree])
    assert folder.trajectory is not None
    whole = read_record(folder).steps
    cut = data.draw(st.integers(0, len(folder.trajectory)))
    found = read_record(replace(folder, trajectory=folder.trajectory[:cut]))
    assert found.steps == whole[: len(found.steps)]
    assert found.unreadable == 0
    assert len(found.steps) >= folder.trajectory[:cut].count(b"\n") - 2  # less the reset's line, and the error's


def test_a_half_written_line_is_a_step_once_it_is_whole() -> None:
    line = json.dumps(a_step(2))
    half = made_of(RESET, a_step(1))
    assert half.trajectory is not None
    assert len(read_record(replace(half, trajectory=half.trajectory + line[:-1].encode())).steps) == 1
    assert len(read_record(replace(half, trajectory=half.trajectory + line.encode())).steps) == 2


def test_an_appended_attempt_is_another_one() -> None:
    late = [a_step(number, action_timestamp=f"20260204@1300{number:02d}", action="again()") for number in (1, 2, 3)]
    record = read_record(made_of(RESET, a_step(1), {"Error": "Exception in d/t", "Exception": "boom"}, RESET, *late, result=b"1.0\n"))
    assert [(step.attempt, step.number) for step in record.steps] == [(1, 1), (2, 1), (2, 2), (2, 3)]
    first, second = of_attempt(record, 1), of_attempt(record, 2)
    assert (first.error, first.score, second.error, second.score) == ("boom", None, "", 1.0)
    noon, one = 1770206400.0, 1770210000.0
    assert attempt_of(record, began_at=noon, ended_at=noon + 60) == 1
    assert attempt_of(record, began_at=one, ended_at=None) == 2
    assert attempt_of(record, began_at=one + 7200, ended_at=None) is None
    assert attempt_of(record, began_at=noon - 7200, ended_at=noon - 3600) is None


def test_lower_numbers_begin_an_attempt_without_a_reset() -> None:
    record = read_record(made_of(a_step(1), a_step(2), a_step(3, done=True), a_step(1), a_step(2)))
    assert [step.attempt for step in record.steps] == [1, 1, 1, 2, 2]
    assert record.attempts == 2


@pytest.mark.parametrize(
    ("result", "score", "has_result"),
    [
        (b"1\n", 1.0, True),
        (b"False", 0.0, True),
        (b"0.8571428571428571\n", 6 / 7, True),
        (b"", None, False),
        (b"nan", None, True),
        (None, None, False),
    ],
)
def test_results_are_exact(result: bytes | None, score: float | None, has_result: bool) -> None:
    record = read_record(made_of(RESET, result=result))
    assert (record.score, record.has_result) == (score, has_result)


HOSTILE = [
    "[" * 100_000,
    '{"step_num": ' + "9" * 5000 + "}",
    "null",
    "[]",
    '"text"',
    '{"step_num": true, "action": "x"}',
    '{"step_num": -1, "action": "x"}',
    '{"step_num": 1e3, "action": "x"}',
    "\udcff not text".encode("utf-8", "surrogateescape").decode("latin-1"),
]


def test_lines_that_make_no_sense_are_counted_and_left_out() -> None:
    record = read_record(made_of(RESET, *HOSTILE, a_step(1)))
    assert [step.number for step in record.steps] == [1]
    assert record.unreadable == len(HOSTILE)


def test_values_of_other_types_are_no_values() -> None:
    odd = a_step(
        1, action={"action_type": "CLICK", "parameters": {"x": 5, "y": 6}}, reward="1", done="yes", screenshot=["x"], response={"a": 1}
    )
    (step,) = read_record(made_of(odd | {"action_timestamp": 5, "instruction": 7})).steps
    assert step == StepRecord(number=1, action='{"action_type": "CLICK", "parameters": {"x": 5, "y": 6}}')
    (bare,) = read_record(made_of({"step_num": 3})).steps
    assert (bare.action, bare.thought, bare.at) == ("", None, None)
    (infinite,) = read_record(made_of('{"step_num": 1, "action": "x", "reward": 1e999, "action_timestamp": "20269999@999999"}')).steps
    assert (infinite.reward, infinite.at) == (None, None)


def test_texts_are_bounded_clean_and_without_credentials() -> None:
    key = "sk-" + "a1B2c3D4" * 5
    text = f"\ud800\x1b[31mred\x00 {key} " + "x" * 100_000
    (step,) = read_record(made_of(a_step(1, action=text, response=text))).steps
    for said in (step.action, step.thought or ""):
        assert len(said) <= MAX_TEXT
        assert said.encode()
        assert "\x1b" not in said
        assert "\x00" not in said
        assert key not in said


def test_no_file_outside_the_folder_is_a_picture() -> None:
    for name in (
        "../other/screenshot-step_0_x.png",
        "/etc/passwd.png",
        "-rf.png",
        "a/b.png",
        "screenshot/../../x.png",
        "x\ny.png",
        "..png/x.png",
    ):
        (step,) = read_record(made_of(a_step(1, screenshot=name))).steps
        assert step.screenshot is None or "/" not in step.screenshot
    gone = made_of(a_step(1, screenshot="screenshot-step_0_x.png"), files=(FileFound(name="traj.jsonl", size=1, modified_at=0),))
    assert read_record(gone).steps[0].screenshot is None


def test_more_steps_than_are_kept_are_said_to_be_cut() -> None:
    record = read_record(made_of(*(a_step(number) for number in range(1, MAX_STEPS + 3))))
    assert (len(record.steps), record.is_cut) == (MAX_STEPS, True)


@given(st.binary(max_size=400))
def test_any_bytes_read_to_something(data: bytes) -> None:
    read_record(made_of(trajectory=data, result=data, error=data, texts={"plan_result-step_0_x.txt": data}))
