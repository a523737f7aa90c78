"""The import dialog: folder, archive, failure, cancel; its stream lives no longer than it is looked at (C3)."""

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.axe import SCRIPT
from tests.browser.desk import Desk
from tests.browser.visit import Visit
from tests.support.sshd import free_port
from tests.support.tree import png, waa_tree
from tests.support.wait import wait_for


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("import") / "results"
    waa_tree(root, tasks=6, steps=3, picture=png(320, 200))
    return root


def dialog(visit: Visit, desk: Desk, **options: object) -> Page:
    """The open dialog, by its button."""
    page = visit.open_live(f"{desk.url}/runs", **options)
    page.get_by_role("link", name="Import results").click()
    expect(page.get_by_role("dialog", name="Import results")).to_be_visible()
    return page


def streams(desk: Desk) -> int:
    """That are open now, as the server counts them."""
    found = re.search(r"^waa_streams_active (\d+)", desk.server.html("/metrics"), re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_c3_a_folder_is_imported_and_its_run_is_a_click_away(visit: Visit, desk: Desk, tree: Path) -> None:
    page = dialog(visit, desk)
    page.get_by_label("Folder", exact=True).fill(str(tree))
    page.get_by_label("Name (optional)").fill("The blue run")
    page.keyboard.press("Enter")
    expect(page.locator("#import-state")).to_have_text(re.compile("^6 tasks, 18 steps"))
    expect(page.locator("#import-runs a")).to_have_text(["The blue run"])
    expect(page.locator("#runs-panel")).to_contain_text("The blue run")
    page.keyboard.press("Enter")  # the link has the focus
    expect(page).to_have_url(re.compile("/runs/gpt-4o-trial-0-"))
    expect(page.locator("main")).to_contain_text("The blue run")


def test_c3_an_archive_is_sent_and_the_same_run_is_known(visit: Visit, desk: Desk, tree: Path, tmp_path: Path) -> None:
    desk.server.send("POST", "/api/traces/import", {"path": str(tree)})
    packed = shutil.make_archive(str(tmp_path / "run"), "zip", tree)
    page = dialog(visit, desk, viewport={"width": 390, "height": 844})
    page.get_by_label("in an archive").check()
    expect(page.get_by_label("Folder", exact=True)).to_be_hidden()
    page.get_by_label("Archive", exact=True).set_input_files(packed)
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator("#import-state")).to_have_text("6 tasks, 18 steps; all of it was here already")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_c3_what_fails_says_why_and_the_form_comes_back_as_it_was(visit: Visit, desk: Desk, tmp_path: Path) -> None:
    page = dialog(visit, desk)
    page.get_by_label("Folder", exact=True).fill(str(tmp_path))
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="holds no results")).to_be_visible()
    page.get_by_role("button", name="Import more").click()
    expect(page.get_by_label("Folder", exact=True)).to_have_value(str(tmp_path))
    page.evaluate(SCRIPT)
    found = page.evaluate("axe.run('#import-dialog', {runOnly: ['wcag2a', 'wcag2aa']})")
    assert [violation["id"] for violation in found["violations"]] == []


def test_c3_closing_the_dialog_ends_its_stream_and_the_job_can_be_cancelled_later(visit: Visit, desk: Desk) -> None:
    port = free_port()
    status, answer = desk.server.send("POST", "/api/vms/register", {"name": "away", "ssh_host": "127.0.0.1", "ssh_port": port})
    assert status == 201, answer
    page = dialog(visit, desk)
    wait_for(lambda: streams(desk) == 1, what="only the page's own stream")
    page.get_by_label("on a VM").check()
    page.get_by_label("VM", exact=True).select_option("away")
    page.get_by_label("Folder", exact=True).fill("/client/results")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator("#import-state")).to_contain_text("Waiting")
    wait_for(lambda: streams(desk) == 2, what="the dialog's stream")
    page.get_by_role("button", name="Close", exact=True).click()
    wait_for(lambda: streams(desk) == 1, what="the end of the dialog's stream")
    page.get_by_role("link", name="Import results").click()
    expect(page.locator("#import-state")).to_contain_text("Waiting")
    page.get_by_role("button", name="Cancel the import").click()
    expect(page.locator("#import-error")).to_have_text("It was cancelled.")
    wait_for(lambda: streams(desk) == 1, what="the end of the job's stream")
    desk.server.send("DELETE", "/api/vms/away")


def test_c3_without_scripts_the_form_starts_it_too(visit: Visit, desk: Desk, tree: Path) -> None:
    page = visit.open(f"{desk.url}/runs?import", java_script_enabled=False)
    form = page.locator("#import-form")
    expect(form).to_have_attribute("action", "/imports")
    token = form.locator('[name="_xsrf"]').get_attribute("value")
    answer = page.request.post(f"{desk.url}/imports", form={"_xsrf": token or "", "source": "folder", "path": str(tree), "label": ""})
    assert answer.ok
    assert "Import from" in answer.text()
    assert page.request.post(f"{desk.url}/imports", form={"source": "folder", "path": str(tree), "label": ""}).status == 403
