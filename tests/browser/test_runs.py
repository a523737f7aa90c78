"""The list of runs and the page of a run: filters while typing, sorting, pages, live rows, the threshold, a phone."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.axe import serious
from tests.browser.desk import VM, Desk
from tests.browser.visit import Traffic, Visit, expect_state, texts
from tests.support.wait import wait_for

TASKS = [("libreoffice_writer" if number % 2 else "clock", f"row-{number:03d}") for number in range(1, 131)]
COUNT_TOUCHES = """() => {
  window.touched = 0;
  const isAge = (node) => node.closest("time, .duration");
  new MutationObserver((records) => { window.touched += records.filter(({target}) => !isAge(target)).length; })
    .observe(document.querySelector(".task-table tbody"), {subtree: true, childList: true});
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A server of our own, with an earlier run of two tasks."""
    desk = Desk(tmp_path_factory.mktemp("runs"))
    try:
        desk.open()
        desk.start_run([("clock", "old-1"), ("clock", "old-2")])
        desk.finish(1.0)
        desk.finish(0.5)
        yield desk
    finally:
        desk.close()


@pytest.fixture(scope="module")
def run(lab: Desk) -> str:
    """The address of its newest run, that goes on."""
    run_id = lab.start_run(TASKS)
    lab.finish(1.0)
    return f"{lab.url}/runs/{run_id}"


def ids(page: Page) -> list[str]:
    return list(texts(page, ".task-table tbody .c-task a"))


# --- the list of runs ---


def test_the_list_filters_while_typing_and_keeps_the_focus_and_its_address(lab: Desk, run: str, visit: Visit) -> None:
    page = visit.context().new_page()
    traffic = Traffic(page)
    page.goto(f"{lab.url}/runs")
    expect_state(page, "connected")
    expect(page.locator(".run-list tbody tr")).to_have_count(2)
    search = page.get_by_label("Search")
    search.press_sequentially(run.rpartition("/")[2])
    expect(page.locator(".run-list tbody tr")).to_have_count(1)
    expect(search).to_be_focused()
    expect(page).to_have_url(re.compile(r"/runs\?q=[\w-]+$"))
    search.press_sequentially(" nobody")
    expect(page.locator(".runs .empty")).to_contain_text("No run matches")
    expect(search).to_be_focused()
    expect_state(page, "connected")
    traffic.wait_for_streams(2)
    assert "nobody" in traffic.streams[-1]
    page.reload()
    expect(search).to_have_value(re.compile("nobody"))
    search.fill("")
    expect(page.locator(".run-list tbody tr")).to_have_count(2)
    expect(page).to_have_url(f"{lab.url}/runs")
    page.locator("#runs-status").select_option("running")
    expect(page.locator(".run-list tbody tr")).to_have_count(1)
    expect(page).to_have_url(f"{lab.url}/runs?status=running")
    assert traffic.polls == []


def test_the_list_sorts_by_its_heads_and_by_keys(lab: Desk, run: str, visit: Visit) -> None:
    page = visit.open_live(f"{lab.url}/runs")
    newest = run.rpartition("/")[2]
    expect(page.locator(".run-list tbody th").first).to_have_text(newest)
    head = page.locator("th", has=page.get_by_role("link", name="Started"))
    expect(head).to_have_attribute("aria-sort", "descending")
    page.get_by_role("link", name="Started").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    expect(page).to_have_url(f"{lab.url}/runs?sort=started")
    expect(page.locator(".run-list tbody th").last).to_have_text(newest)
    page.get_by_role("link", name="Mean score").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{lab.url}/runs?sort=-score")
    expect(page.get_by_role("link", name="Mean score")).to_be_focused()
    page.get_by_label("Search").press_sequentially("zz")
    expect(page).to_have_url(f"{lab.url}/runs?q=zz&sort=-score")


def test_the_list_stays_live_after_it_was_filtered_and_ticks_stay(lab: Desk, visit: Visit) -> None:
    page = visit.open_live(f"{lab.url}/runs")
    page.locator("#runs-vm").select_option(VM)
    expect(page).to_have_url(f"{lab.url}/runs?vm={VM}")
    rows = page.locator(".run-list tbody tr")
    before = rows.count()
    page.locator(".tick input").last.check()
    run_id = lab.start_run([("clock", "new-1"), ("clock", "new-2")])
    row = page.locator(f"[id='run-row-{run_id}']")
    expect(row).to_be_visible()
    expect(rows).to_have_count(before + 1)
    lab.finish(1.0)
    expect(row).to_contain_text("1/2")
    expect(page.locator(".tick input").last).to_be_checked()
    row.locator(".tick input").check()
    page.get_by_role("button", name="Compare").click()
    expect(page).to_have_url(re.compile(r"/compare\?runs=[^&,]+(,|%2C|&runs=)[^&,]+$"))


def test_the_list_filters_without_a_script(lab: Desk, run: str, visit: Visit) -> None:
    page = visit.open(f"{lab.url}/runs", java_script_enabled=False)
    page.get_by_label("Search").fill(run.rpartition("/")[2])
    page.get_by_role("button", name="Filter").click()
    expect(page.locator(".run-list tbody tr")).to_have_count(1)
    page.get_by_role("link", name="Run", exact=True).click()
    expect(page.locator(".run-list tbody tr")).to_have_count(1)
    assert "sort=name" in page.url


# --- the page of a run ---


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A server with one run of 130 tasks that goes on; three of them ended: passed, failed at 0.5, crashed."""
    desk = Desk(tmp_path_factory.mktemp("run"))
    try:
        desk.open()
        desk.start_run(TASKS)
        desk.finish(1.0)
        desk.finish(0.5)
        desk.crash("Error code: 429 - rate limit")
        wait_for(lambda: desk.current()["tasks_completed"] == 3, what="three results")
        yield desk
    finally:
        desk.close()


@pytest.fixture(scope="module")
def table(hall: Desk) -> str:
    """The address of that run."""
    return f"{hall.url}/runs/{hall.current()['run_id']}"


def test_the_table_filters_while_typing_and_by_ticks(table: str, visit: Visit) -> None:
    page = visit.open_live(table)
    assert len(ids(page)) == 100
    search = page.get_by_label("Search")
    search.press_sequentially("row-00")
    expect(page.locator(".task-table tbody tr")).to_have_count(9)
    expect(search).to_be_focused()
    expect(page).to_have_url(f"{table}?q=row-00")
    page.get_by_label("Error", exact=True).check()
    expect(page.locator(".task-table tbody tr")).to_have_count(1)
    expect(page.locator(".row-error")).to_have_text("Error code: 429 - rate limit")
    expect(page).to_have_url(f"{table}?status=error&q=row-00")
    page.get_by_label("Failed", exact=True).check()
    expect(page.locator(".task-table tbody tr")).to_have_count(2)
    expect(page).to_have_url(f"{table}?status=failed,error&q=row-00")
    page.get_by_role("link", name="Score", exact=True).click()
    expect(page).to_have_url(f"{table}?status=failed,error&q=row-00&sort=-score")
    assert ids(page) == ["row-002", "row-003"]
    page.reload()
    assert ids(page) == ["row-002", "row-003"]
    expect(page.get_by_label("Failed", exact=True)).to_be_checked()


def test_pages_lead_through_the_table_where_the_reader_is(table: str, visit: Visit) -> None:
    page = visit.open_live(table)
    last = page.locator(".pages").last
    last.scroll_into_view_if_needed()
    last.get_by_role("link", name="Next").click()
    expect(page.locator(".task-table tbody tr")).to_have_count(30)
    expect(page).to_have_url(f"{table}?page=2")
    expect(page.locator("#run-tasks-panel")).to_be_in_viewport()
    assert ids(page)[-1] == "row-130"
    page.locator(".pages").first.get_by_role("link", name="1", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".task-table tbody tr")).to_have_count(100)


def test_a_domain_leads_to_its_tasks(table: str, visit: Visit) -> None:
    page = visit.open_live(table)
    page.locator(".domains").get_by_role("link", name="clock").click()
    expect(page.locator(".run-tasks .total")).to_have_text("65 of 130")
    expect(page.locator("#tasks-domain")).to_have_value("clock")
    expect(page.locator("#run-tasks-panel")).to_be_in_viewport()
    page.locator(".domains").get_by_role("link", name="Rate").click()
    expect(page.locator(".domains th[aria-sort='descending']")).to_have_text("Rate")
    expect(page).to_have_url(re.compile(r"\?domain=clock&by=rate"))
    expect_state(page, "connected")


@pytest.mark.parametrize("query", ["", "?sort=-ended"])
def test_a_result_arrives_without_moving_what_the_reader_looks_at(query: str, table: str, hall: Desk, visit: Visit) -> None:
    page = visit.open_live(table + query)
    watched = page.locator(".task-table tbody tr", has_text="row-040")
    watched.scroll_into_view_if_needed()
    page.evaluate("scrollBy(0, 200)")
    place = watched.bounding_box()
    task = page.locator(".task-table tbody tr.running .c-task a").text_content() or ""
    hall.step()
    hall.finish(1.0)
    row = page.locator(".task-table tbody tr", has_text=task)
    expect(row.locator(".result-icon")).to_have_text("OK")
    expect(page.locator(".task-table tbody tr.running")).to_have_count(1)
    after = watched.bounding_box()
    assert place is not None
    assert after is not None
    assert abs(after["y"] - place["y"]) < 2


def test_steps_are_told_at_the_head_and_leave_the_table_alone(table: str, hall: Desk, visit: Visit) -> None:
    page = visit.open_live(table)
    page.evaluate(COUNT_TOUCHES)
    for number in range(1, 4):
        hall.step(f"computer.keyboard.write('{number}')")
        expect(page.locator(".run-head .step-number")).to_have_text(f"Step {number}")
    assert page.evaluate("window.touched") == 0


def test_the_threshold_is_changed_and_taken_back(lab: Desk, visit: Visit) -> None:
    lab.start_run([("clock", "th-1"), ("clock", "th-2"), ("clock", "th-3")])
    lab.finish(1.0)
    lab.finish(0.5)
    run_id = lab.current()["run_id"]
    page = visit.open_live(f"{lab.url}/runs/{run_id}")
    other = visit.open_live(f"{lab.url}/runs/{run_id}?status=passed")
    expect(page.locator("#task-metrics .metric.passed")).to_have_text("1 passed")
    box = page.get_by_label("A task passes from score")
    box.fill("0.5")
    page.get_by_role("button", name="Judge anew").click()
    expect(page.locator(".notice.gentle")).to_contain_text("1 that failed passes now")
    expect(page.locator("#task-metrics .metric.passed")).to_have_text("2 passed")
    expect(page.locator(".threshold-now")).to_have_text("0.5")
    expect(other.locator(".task-table tbody tr")).to_have_count(2)
    expect(other.locator(".threshold-now")).to_have_text("0.5")
    page.get_by_role("button", name="Back to 1").click()
    expect(page.locator("#task-metrics .metric.passed")).to_have_text("1 passed")
    expect(page.get_by_role("button", name="Back to")).to_have_count(0)
    box.fill("2")
    page.get_by_role("button", name="Judge anew").click()
    assert box.evaluate("element => !element.validity.valid")


def test_a_phone_shows_how_the_run_stands_on_one_screen(table: str, visit: Visit) -> None:
    page = visit.open_live(table, viewport={"width": 390, "height": 844})
    for selector in (
        ".run-status",
        ".progress-text",
        "#task-metrics .rate",
        ".eta",
        ".current-task .step-number",
        ".current-task .task-id",
    ):
        box = page.locator(f".run-head {selector}").first.bounding_box()
        assert box is not None, selector
        assert box["y"] + box["height"] <= 844, selector
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.goto(f"{table.rpartition('/')[0]}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_table_works_without_a_script(table: str, visit: Visit) -> None:
    page = visit.open(table, java_script_enabled=False)
    page.get_by_label("Failed", exact=True).check()
    page.get_by_role("button", name="Filter").click()
    assert ids(page) == ["row-002"]
    page.get_by_role("link", name="Score", exact=True).click()
    assert "status=failed" in page.url
    assert page.url.endswith("#run-tasks-panel")


@pytest.mark.parametrize("query", ["", "?sort=-score&q=row"])
def test_axe_finds_nothing_serious(query: str, table: str, visit: Visit) -> None:
    for address in (table + query, table.rpartition("/")[0] + query.replace("row", "")):
        assert serious(visit.open_live(address)) == []
