"""The three panels of Azure in a browser: machines to watch, jobs, and the log of a job as it is written."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.axe import serious
from tests.browser.desk import Desk
from tests.browser.visit import Visit
from tests.support.azure import FakeAzure, FakeJob, Machine
from tests.support.azure_server import LOGGED_OUT, azure_server
from tests.support.server import Server

RUN_LOG = (Path(__file__).parents[1] / "corpus" / "generated" / "waa_up_normal.plain.log").read_bytes()


@dataclass
class Place:
    """The server, and the Azure that it asks."""

    azure: FakeAzure
    server: Server


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with FakeAzure() as azure:
        azure.machines = [
            Machine("waa-eval-1", public_ip="127.0.0.1", priority="Spot"),
            Machine("waa-eval-2", power="stopped", public_ip=""),
            Machine("win-builder", power="deallocated", os="Windows", public_ip="203.0.113.9"),
        ]
        part = FakeJob("evaluate_1", title="Evaluate", logs={"user_logs/std_log.txt": bytearray(b"the part speaks\n")})
        part.end()
        pipe = FakeJob("nightly", type="Pipeline", created="2026-02-03T22:00:00Z", children=[part])
        pipe.end("Failed")
        done = FakeJob("ashy_pot", created="2026-02-04T09:00:00Z", logs={"user_logs/std_log.txt": bytearray(b"\x1b[32mall done\x1b[0m\n")})
        done.end()
        live = FakeJob("quirky_hat", title="WAA navi gpt-4o")
        live.write(RUN_LOG[:9000])
        azure.jobs = [done, live, pipe]
        server = azure_server(tmp_path_factory.mktemp("azure"), azure).start()
        yield Place(azure, server)
        server.stop()


def panel(page: Page, name: str) -> str:
    """Its selector, once it shows more than that it asks."""
    expect(page.locator(f"#{name}-panel")).not_to_contain_text("Asking Azure")
    return f"#{name}-panel"


def test_jobs_are_listed_and_the_one_that_runs_is_a_run(visit: Visit, place: Place) -> None:
    page = visit.open_live(place.server.url)
    rows = page.locator(f"{panel(page, 'azure-jobs')} .azure-job:not(.is-child) .job-name a")
    expect(rows).to_have_text(["WAA navi gpt-4o", "ashy_pot", "nightly"])
    expect(page.locator("#azure-jobs-panel")).to_contain_text("20 min 30 s")
    studio = page.locator("#azure-jobs-panel").get_by_role("link", name="quirky_hat in Azure ML studio, new tab")
    expect(studio).to_have_attribute("href", re.compile("^https://ml.azure.com/runs/quirky_hat"))
    expect(page.locator("#fleet-panel")).to_contain_text("aml-quirky_hat")
    page.locator("#azure-jobs-panel").get_by_role("link", name="Run", exact=True).first.click()
    expect(page).to_have_url(re.compile("/runs/aml-quirky_hat-"))
    expect(page.locator("main")).to_contain_text("notepad")


def test_the_log_of_the_live_job_grows_by_itself(visit: Visit, place: Place) -> None:
    page = visit.open_live(place.server.url)
    lines = page.locator("#azure-job-logs-panel .log-lines li")
    expect(lines.last).to_contain_text("lib_run_single")
    place.azure.job("quirky_hat").write(b"\nsomething that was written just now\n")
    expect(lines.last).to_have_text("something that was written just now")


def test_a_job_is_chosen_from_the_panel_and_a_parent_leads_to_its_parts(visit: Visit, place: Place) -> None:
    page = visit.open_live(place.server.url)
    page.locator("#azure-jobs-panel").get_by_role("link", name="ashy_pot: log").click()
    expect(page).to_have_url(re.compile(r"\?job=.*ashy_pot#azure-job-logs-panel$"))
    expect(page.locator("#azure-job-logs-panel .log-lines")).to_have_text(re.compile("all done"))
    expect(page.locator("#azure-job-logs-panel .t-fg-green")).to_have_text("all done")
    page.locator("#azure-jobs-panel").get_by_role("link", name="nightly: log").click()
    page.locator("#azure-job-logs-panel").get_by_role("link", name="Evaluate").click()
    expect(page.locator("#azure-job-logs-panel .log-lines")).to_have_text(re.compile("the part speaks"))


def test_a_machine_is_watched_with_one_click(visit: Visit, place: Place) -> None:
    page = visit.open_live(place.server.url)
    table = page.locator(f"{panel(page, 'vms')} .azure-list")
    expect(table.locator(".phase")).to_have_text(["Running", "Stopped, still billed", "Deallocated"])
    expect(table).to_contain_text("No public address now: start it first")
    expect(table.get_by_role("button")).to_have_count(2)
    table.get_by_role("button", name="Watch win-builder").click()
    expect(page).to_have_url(f"{place.server.url}/vms/win-builder")
    expect(page.locator("#vm-panel .phase").first).to_have_text("Off")
    expect(page.locator("#vm-panel")).to_contain_text("deallocated in Azure")
    page.goto(place.server.url)
    expect(page.locator(".azure-list").get_by_role("link", name="watched")).to_have_attribute("href", "/vms/win-builder")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_panels_are_accessible_and_fit(visit: Visit, place: Place, width: int) -> None:
    page = visit.open_live(place.server.url, viewport={"width": width, "height": 900})
    panel(page, "azure-jobs")
    panel(page, "vms")
    expect(page.locator("#azure-job-logs-panel .log-lines li").first).to_be_visible()
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_login_that_fails_is_told_with_what_to_do(visit: Visit, tmp_path: Path) -> None:
    with FakeAzure() as azure:
        server = azure_server(tmp_path, azure, script=LOGGED_OUT).start()
        try:
            page = visit.open_live(server.url)
            for name in ("azure-jobs", "vms"):
                expect(page.locator(f"#{name}-panel .azure-problem")).to_contain_text("The Azure CLI is not logged in")
                expect(page.locator(f"#{name}-panel .azure-problem .remedy")).to_contain_text("Run az login")
            expect(page.locator("#azure-job-logs-panel")).to_contain_text("Azure Jobs says why")
            assert azure.asked == []
        finally:
            server.stop()


def test_where_nothing_is_configured_the_panels_say_how(visit: Visit, desk: Desk) -> None:
    page = visit.open_live(desk.url)
    expect(page.locator("#azure-jobs-panel")).to_contain_text("azure_workspaces")
    expect(page.locator("#vms-panel")).to_contain_text("azure_subscriptions")
