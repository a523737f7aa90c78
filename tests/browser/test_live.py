"""What happens on a VM appears on the page by itself, over one connection."""

import json
import re

from playwright.sync_api import expect

from tests.browser.desk import VM, Desk
from tests.browser.visit import DEADLINE_MS, Traffic, Visit, expect_state, texts
from tests.support.server import Server
from tests.support.wait import wait_for

LINE = "#log-lines-demo li"
NOTE_CHANGES = """([watched, before]) => {
  Object.assign(window, {watched, changed: new Set()});
  new MutationObserver(() => {
    for (const [name, selector] of Object.entries(watched)) {
      const element = document.querySelector(selector);
      if (element && element.innerHTML !== before[name]) window.changed.add(name);
    }
  }).observe(document.body, {subtree: true, childList: true, characterData: true, attributes: true});
}"""


def test_every_panel_of_the_overview_moves_while_the_demo_plays(show: Server, visit: Visit) -> None:
    page = visit.context().new_page()
    traffic = Traffic(page)
    page.goto(show.url)
    expect_state(page, "connected")
    watched = {
        "progress": ".live-eval .progress-text",
        "metrics": "#task-metrics",
        "results": "#task-results-list",
        "tasks": "#tasks-panel .background-tasks",
        "fleet": "#vm-card-demo",
        "vms": "#vm-row-demo .phase",
    }
    page.wait_for_selector("#task-results-list .task-result")
    before = {name: page.locator(selector).inner_html() for name, selector in watched.items()}
    page.evaluate(NOTE_CHANGES, [watched, before])
    missing = "() => Object.keys(window.watched).filter((name) => !window.changed.has(name))"
    wait_for(lambda: page.evaluate(missing) == [], what="every panel changes", hint=lambda: page.evaluate(missing))
    assert traffic.polls == []
    assert len(traffic.streams) == 1


def test_the_log_of_a_vm_grows_line_by_line_over_one_connection(show: Server, visit: Visit) -> None:
    page = visit.context().new_page()
    traffic = Traffic(page)
    page.goto(f"{show.url}/vms/demo")
    expect_state(page, "connected")
    page.wait_for_selector(LINE, state="attached")  # the first may be an empty one
    last = page.locator(LINE).last.get_attribute("id") or ""
    number = int(last.rpartition("-")[2])
    page.wait_for_function("number => document.getElementById(`log-demo-${number + 40}`)", arg=number, timeout=DEADLINE_MS)
    numbers = [int(name.rpartition("-")[2]) for name in page.eval_on_selector_all(LINE, "rows => rows.map(row => row.id)")]
    assert numbers == sorted(set(numbers))
    assert len(numbers) <= 400
    assert traffic.polls == []
    assert len(traffic.streams) == 1


def test_results_metrics_and_progress_say_what_the_contract_says(desk: Desk, visit: Visit) -> None:
    desk.start_run([("notepad", f"t-{number}") for number in range(1, 6)])
    page = visit.open_live(desk.url)
    expect(page.locator(".live-eval .progress-text")).to_have_text("0/5 tasks completed")
    expect(page.locator("#task-metrics .rate")).to_have_text("–% success rate")
    desk.step("DONE")
    desk.finish(1.0)
    desk.step("DONE")
    desk.finish(0.0)
    desk.step()
    desk.crash("Error code: 429 - rate limit")
    desk.step("DONE")
    desk.finish(0.857142857142857)
    desk.step()
    rows = page.locator("#task-results-list > .task-result")
    expect(rows).to_have_count(4)
    assert texts(page, "#task-results-list .result-task-id") == ["t-4", "t-3", "t-2", "t-1"]
    assert texts(page, "#task-results-list .result-icon") == ["FAIL", "ERROR", "FAIL", "OK"]
    assert texts(page, "#task-results-list .result-score") == ["0.86", "", "0.00", "1.00"]
    for place, outcome in enumerate(("failure", "error", "failure", "success")):
        expect(rows.nth(place)).to_have_class(f"task-result {outcome}")
    expect(page.locator("#task-results-list")).to_have_class("task-results-list")
    metrics = page.locator("#task-metrics")
    expect(metrics.locator(".metric.passed")).to_have_text("1 passed")
    expect(metrics.locator(".metric.failed")).to_have_text("2 failed")
    expect(metrics.locator(".metric.rate")).to_have_text(re.compile(r"^\d+% success rate$"))
    expect(page.locator(".live-eval .progress-text")).to_have_text("4/5 tasks completed")
    expect(page.locator(".live-eval .task-number")).to_have_text("Task 5/5")
    expect(page.locator(".live-eval .step-number")).to_have_text("Step 1")
    expect(page.locator(".live-eval .task-progress-fill")).to_have_attribute("width", "80.00%")


def test_ages_stay_young_while_the_stream_beats_and_grow_stale_without_it(desk: Desk, visit: Visit) -> None:
    page = visit.open_live(desk.url, clock=True, allows_outage=True)
    clocks = ("live-eval", "tasks", "vm", "fleet", "attention", "azure-jobs", "azure-job-logs")
    for name in clocks:
        expect(page.locator(f"#{name}-refresh-time")).to_have_text(re.compile(r"^(now|\d+ s ago)$"))
        expect(page.locator(f"#{name}-refresh-time")).not_to_have_class(re.compile("stale"))
    page.context.set_offline(True)
    page.clock.fast_forward(24_000)
    for name in clocks:
        expect(page.locator(f"#{name}-refresh-time")).to_have_class(re.compile("stale"))
    expect(page.locator(f"#vm-row-{VM} .age")).to_have_class(re.compile("stale"))


def test_live_is_said_only_after_a_message(desk: Desk, visit: Visit) -> None:
    page = visit.context().new_page()
    page.route("**/stream?*", lambda route: None)  # asked for, never answered
    page.goto(desk.url)
    indicator = page.locator("#sse-connection-indicator")
    expect(indicator).to_have_attribute("title", "SSE: connecting")
    expect(indicator).to_have_text("Connecting...")
    expect(indicator).to_have_class("connection-indicator disconnected")


def test_an_error_shows_first_in_the_body_and_goes_after_ten_seconds(desk: Desk, visit: Visit) -> None:
    page = visit.context().new_page()
    page.clock.install()
    said = json.dumps({"message": "the <b>disk</b> is full", "vm": "waa-1"})
    answer = f"event: hello\ndata: {{}}\n\nevent: error\ndata: {said}\n\n"
    page.route("**/stream?*", lambda route: route.fulfill(content_type="text/event-stream", body=answer), times=1)
    page.goto(desk.url)
    banner = page.locator("body > :first-child")
    expect(banner).to_have_id("sse-error-banner")
    expect(banner).to_have_text("waa-1: the <b>disk</b> is full")
    expect(banner).to_be_visible()
    page.clock.fast_forward(9_000)
    expect(banner).to_be_visible()
    page.clock.fast_forward(1_500)
    expect(banner).to_be_hidden()
