"""What went wrong, as a reader sees it: an agent that goes in circles, failures of one reason, a list to run again."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.axe import SCRIPT
from tests.browser.desk import Desk
from tests.browser.test_task import Folder
from tests.browser.visit import Visit
from tests.support.wait import wait_for

TASKS = [("clock", f"wrong-{number}") for number in range(1, 6)]
CLICK = "computer.mouse.single_click()"
SAME, OTHER = 60, 90


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk at which three repeats are a loop."""
    desk = Desk(tmp_path_factory.mktemp("wrong"), settings="loop_repeats = 3")
    try:
        yield desk.open()
    finally:
        desk.close()


@pytest.fixture(scope="module")
def run_id(wrong: Desk) -> str:
    """A run with a pass, two failures of one reason, and a task that runs."""
    run = wrong.start_run(TASKS)
    wrong.step()
    wrong.finish()
    for number in (1, 2):
        wrong.crash(f"HTTPConnectionPool(host='20.20.20.21', port=5000): Max retries exceeded at 0x7f{number}a")
    wait_for(lambda: wrong.current()["error"] == 2, what="both failures")
    return run


def test_a_loop_opens_as_an_incident_and_is_over_when_the_agent_moves_on(wrong: Desk, run_id: str, visit: Visit) -> None:
    page = visit.open_live(f"{wrong.url}/runs/{run_id}")
    panel = page.locator("#run-incidents-panel")
    expect(panel.locator(".incident")).to_have_count(0)
    folder = Folder(wrong, *TASKS[3])
    for number in range(1, 5):
        folder.show(str(number), SAME)
        wrong.step(CLICK)
    incident = panel.locator(".incident.critical")
    expect(incident).to_contain_text("The agent goes in circles")
    expect(incident).to_contain_text("the same action 4 times in a row, and the screen stays the same")
    expect(incident.locator(".incident-task")).to_have_text("clock/wrong-4")
    told = wrong.server.get(f"/api/incidents?run_id={run_id}&open=1")["incidents"]
    assert [(each["concern"], each["severity"], each["tasks"]) for each in told] == [("looping", "critical", ["clock/wrong-4#1"])]
    wrong.step("computer.mouse.scroll(3)")
    expect(panel.locator(".incident.is-over")).to_contain_text("The agent goes in circles")
    expect(panel.locator(".incident:not(.is-over)")).to_have_count(0)


def test_an_agent_that_sees_other_pictures_is_in_no_loop(wrong: Desk, run_id: str, visit: Visit) -> None:
    wrong.finish()
    folder = Folder(wrong, *TASKS[4])
    for number in range(1, 5):
        folder.show(str(number), OTHER + 10 * number)
        wrong.step("computer.mouse.scroll(5)")
    wait_for(lambda: wrong.current()["tasks"][-1]["step"] == 4, what="its steps")
    page = visit.open_live(f"{wrong.url}/runs/{run_id}")
    expect(page.locator("#run-incidents-panel .incident-task", has_text="wrong-5")).to_have_count(0)


def test_failures_of_one_reason_are_one_line_and_can_be_run_again(wrong: Desk, run_id: str, visit: Visit) -> None:
    page = visit.open(f"{wrong.url}/runs/{run_id}", java_script_enabled=False)
    line = page.locator(".failure-group")
    expect(line).to_have_count(1)
    expect(line).to_contain_text("2 ×")
    expect(line).to_contain_text("the guest's server could not be asked")
    with page.expect_download() as download:
        page.get_by_role("link", name="2 tasks without a verdict").click()
    assert download.value.suggested_filename == f"rerun-{run_id}-2-tasks.json"
    assert json.loads(download.value.path().read_bytes()) == {"clock": ["wrong-2", "wrong-3"]}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(scheme: str, wrong: Desk, run_id: str, visit: Visit) -> None:
    page = visit.open(f"{wrong.url}/runs/{run_id}", color_scheme=scheme, bypass_csp=True)
    page.evaluate(SCRIPT)
    found = page.evaluate("axe.run('#run-incidents-panel')")
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]] == []


@pytest.mark.parametrize("path", ["run", "vm"])
def test_a_phone_needs_no_sideways_scrolling(path: str, wrong: Desk, run_id: str, visit: Visit) -> None:
    address = {"run": f"/runs/{run_id}", "vm": "/vms/desk"}[path]
    page = visit.open(f"{wrong.url}{address}", viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.locator(f"#{path}-incidents-panel")).to_be_visible()
