"""What the demo will do, before it does it."""

import re
import struct
import zlib
from random import Random

from waa.demo.book import BOOK
from waa.demo.boot import Beat, first_boot, warm_boot
from waa.demo.plan import FRACTIONS, MAX_STEPS, Plan, PlannedTask, make_plan
from waa.demo.screen import HEIGHT, WIDTH, Scene, draw


def duration_s(plan: Plan) -> float:
    return sum(task.setup_s + task.evaluate_s + sum(move.think_s + move.act_s for move in task.moves) for task in plan.tasks)


def is_loop(planned: PlannedTask) -> bool:
    actions = [move.action for move in planned.moves]
    return len(actions) == MAX_STEPS and len(set(actions[1:])) == 1


def test_the_book_has_sixteen_tasks_in_six_domains_kept_together() -> None:
    domains = [task.domain for task in BOOK]
    assert (len(BOOK), len(set(domains)), len({task.task_id for task in BOOK})) == (16, 6, 16)
    assert domains == sorted(domains, key=list(dict.fromkeys(domains)).index)


def test_the_same_seed_and_cycle_give_the_same_run_and_others_another() -> None:
    assert make_plan(7, 1) == make_plan(7, 1)
    assert make_plan(7, 1) != make_plan(7, 2)
    assert make_plan(7, 1) != make_plan(8, 1)


def test_every_run_has_each_kind_of_outcome_and_takes_a_few_minutes() -> None:
    for seed in range(5):
        for cycle in range(1, 6):
            plan = make_plan(seed, cycle)
            scores = [planned.score for planned in plan.tasks]
            assert {0.0, 1.0, None, *FRACTIONS} == set(scores)
            assert scores.count(None) == 1
            assert [bool(planned.error) for planned in plan.tasks] == [score is None for score in scores]
            assert sum(is_loop(planned) for planned in plan.tasks) == 1
            assert scores[0] == 1.0
            assert all(2 <= len(planned.moves) <= MAX_STEPS for planned in plan.tasks)
            assert 200 < duration_s(plan) < 330


def test_the_average_leaves_errors_out() -> None:
    plan = make_plan(7, 1)
    scores = [planned.score for planned in plan.tasks if planned.score is not None]
    assert len(scores) == 15
    assert plan.average_score == sum(scores) / 15


def lines_of(beats: list[Beat]) -> list[str]:
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for beat in beats for line in beat.lines]


def test_the_first_boot_shows_every_stage_for_some_seconds() -> None:
    beats = list(first_boot(Random(1)))
    lines = lines_of(beats)
    expected = [
        "❯ Starting Windows",
        "❯ Requesting",
        "❯ Downloading",
        "❯ Extracting",
        "❯ Adding",
        "❯ Building",
        "❯ Creating",
        "❯ Booting",
        "❯ Windows started",
    ]
    order = [next(number for number, line in enumerate(lines) if line.startswith(start)) for start in expected]
    assert order == sorted(order)
    assert 38 < sum(beat.delay_s for beat in beats) < 50
    percents = [int(found.group(1)) for line in lines if (found := re.search(r"\.\. +(\d+)% ", line))]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert sum("Waiting for a response" in line for line in lines) > 5
    pages = [beat.page for beat in beats if beat.page is not None]
    assert "Downloading Windows 11 (50.0%)" in pages
    assert pages[-1] == ""


def test_a_warm_boot_is_short_and_downloads_nothing() -> None:
    beats = list(warm_boot(Random(1)))
    assert sum(beat.delay_s for beat in beats) < 15
    assert not any("Downloading" in line for line in lines_of(beats))


def test_pictures_are_small_pngs_that_differ_by_step_and_domain() -> None:
    pictures = {draw(Scene(domain=task.domain, title=task.window, step=step, typed="oat milk")) for task in BOOK for step in range(3)}
    assert len(pictures) == 3 * len({(task.domain, task.window) for task in BOOK})
    for picture in (*pictures, draw(Scene())):
        assert picture.startswith(b"\x89PNG\r\n\x1a\n")
        assert struct.unpack(">II", picture[16:24]) == (WIDTH, HEIGHT)
        body = picture[picture.index(b"IDAT") + 4 : picture.index(b"IEND") - 8]
        assert len(zlib.decompress(body)) == HEIGHT * (WIDTH + 1)
        assert len(picture) < 30_000
    assert draw(Scene(domain="chrome", title="a")) == draw(Scene(domain="chrome", title="a"))
