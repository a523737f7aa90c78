"""Updates leave alone what the reader is doing."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.desk import VM, Desk
from tests.browser.visit import Visit

BOX = "document.querySelector('.log-scroll')"
GLIDED = f"""() => new Promise((done) => {{
  let last = -1;
  const look = () => {{ if ({BOX}.scrollTop === last) return done(true); last = {BOX}.scrollTop; setTimeout(look, 60); }};
  look();
}})"""
"""The wheel may glide on for some frames."""

COUNT_CHANGES = """() => {
  window.changes = 0;
  const count = ({detail}) => { if (!detail.message.event) window.changes += 1; };
  document.getElementById("live").addEventListener("htmx:sse:after:message", count);
}"""
"""Messages that change a panel."""


@pytest.fixture(scope="module", autouse=True)
def _run(desk: Desk) -> None:
    desk.start_run([("clock", f"f-{number}") for number in range(1, 30)])
    for number in range(1, 21):
        desk.step(f"computer.mouse.move({number}, {number})")
        desk.finish(1.0 if number % 3 else 0.0)


def _finish_one(desk: Desk, page: Page) -> None:
    """One more task ends, and the page shows it."""
    before = page.locator(".progress-text").first.text_content() or ""
    desk.finish(1.0)
    expect(page.locator(".progress-text").first).not_to_have_text(before)


def test_the_focus_stays_on_a_link_in_a_panel(desk: Desk, visit: Visit) -> None:
    page = visit.open_live(desk.url)
    link = page.locator(f"#vm-card-{VM} h3 a")
    link.focus()
    _finish_one(desk, page)
    expect(link).to_be_focused()


def test_unfolded_details_stay_unfolded(desk: Desk, visit: Visit) -> None:
    page = visit.open_live(f"{desk.url}/runs/{desk.current()['run_id']}")
    numbers = page.locator("#run-chart-table")
    numbers.locator("summary").click()
    expect(numbers).to_have_attribute("open", "")
    rows = numbers.locator("tbody tr").count()
    desk.finish(1.0)
    expect(numbers.locator("tbody tr")).to_have_count(rows + 1)
    expect(numbers).to_have_attribute("open", "")
    expect(numbers.locator("table")).to_be_visible()


def test_an_open_dialog_stays_open(desk: Desk, visit: Visit) -> None:
    desk.server.send("POST", "/api/vms/register", {"name": "gone", "ssh_host": "127.0.0.1", "ssh_port": 1})
    try:
        page = visit.open_live(f"{desk.url}/vms/gone")
        page.get_by_role("button", name="Remove…").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        page.evaluate(COUNT_CHANGES)
        desk.server.send("POST", "/vms/gone/retry")
        page.wait_for_function("() => window.changes > 0")
        expect(page.get_by_role("dialog")).to_be_visible()
        assert page.evaluate("document.activeElement.textContent") == "Keep it"
    finally:
        desk.server.send("DELETE", "/api/vms/gone")


def test_the_page_does_not_scroll_by_itself(desk: Desk, visit: Visit) -> None:
    page = visit.open_live(desk.url, viewport={"width": 1280, "height": 500})
    page.evaluate("scrollTo(0, 400)")
    page.wait_for_function("() => scrollY === 400")
    _finish_one(desk, page)
    assert page.evaluate("scrollY") == 400


def _wait_for_end(page: Page) -> None:
    page.wait_for_function(f"() => {BOX}.scrollHeight - {BOX}.scrollTop - {BOX}.clientHeight < 2")


def test_the_log_follows_its_end_unless_it_is_scrolled_up(desk: Desk, visit: Visit) -> None:
    page = visit.open_live(f"{desk.url}/vms/{VM}")
    assert page.evaluate(f"{BOX}.scrollHeight > {BOX}.clientHeight * 2")
    _wait_for_end(page)
    desk.write("followed one\nfollowed two\n")
    expect(page.locator(".log-lines li").last).to_have_text("followed two")
    _wait_for_end(page)

    page.locator(".log-scroll").hover()
    page.mouse.wheel(0, -400)
    page.wait_for_function(f"() => {BOX}.scrollHeight - {BOX}.scrollTop - {BOX}.clientHeight > 300")
    page.wait_for_function(GLIDED)
    # Lines that fall off at the top change scrollTop; what counts is where a line is seen.
    line = page.locator(".log-lines li").nth(-30)
    name, seen_at = line.get_attribute("id"), line.bounding_box()
    assert seen_at is not None
    desk.write("not followed\n")
    expect(page.locator(".log-lines li").last).to_have_text("not followed")
    now_at = page.locator(f"[id='{name}']").bounding_box()
    assert now_at is not None
    assert abs(now_at["y"] - seen_at["y"]) < 1

    page.evaluate(f"{BOX}.scrollTop = {BOX}.scrollHeight")
    _wait_for_end(page)
    desk.write("followed again\n")
    expect(page.locator(".log-lines li").last).to_have_text("followed again")
    _wait_for_end(page)


def test_selected_log_text_stays_selected(desk: Desk, visit: Visit) -> None:
    page = visit.open_live(f"{desk.url}/vms/{VM}")
    desk.write("select these words please\n")
    line = page.locator(".log-lines li").last
    expect(line).to_have_text("select these words please")
    line.dblclick(position={"x": 4, "y": 6})
    assert page.evaluate("String(getSelection())").strip() == "select"
    desk.write("and one more line\n")
    expect(page.locator(".log-lines li").last).to_have_text("and one more line")
    _finish_one(desk, page)
    assert page.evaluate("String(getSelection())").strip() == "select"
