"""The page of a training in a real browser: a prediction shows within a second, and a filter keeps to its place while others come
(requirements E1, E4)."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.axe import serious
from tests.browser.visit import Visit, expect_state, texts
from tests.support.server import Server
from tests.support.wait import wait_for
from waa.client import Client

NAMES = itertools.count(1)
NOTE_FIRST_SIGHT = """() => {
  window.firstSeen = {};
  const look = () => {
    const at = performance.timeOrigin + performance.now();
    for (const row of document.querySelectorAll(".prediction-table tbody tr")) window.firstSeen[row.id] ??= at;
  };
  new MutationObserver(look).observe(document.body, {subtree: true, childList: true});
}"""
COUNT_PAINTS = """() => {
  window.paints = [];
  new MutationObserver(() => window.paints.push(performance.now()))
    .observe(document.getElementById("training-total"), {subtree: true, childList: true, characterData: true});
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without a demo."""
    server = Server(tmp_path_factory.mktemp("training"), environment={"WAA_DEMO": "off"}).start()
    yield server
    server.stop()


class Pusher:
    """A training of its own."""

    def __init__(self, server: Server) -> None:
        self.job_id = f"digits-{next(NAMES)}"
        self.server = server
        self.client = Client(server.url)
        self.client.training_jobs.create(self.job_id)

    def push(self, *numbers: int, epoch: int = 0, matches: bool = True) -> None:
        body: dict[str, Any] = {
            "job_id": self.job_id,
            "predictions": [
                {
                    "id": f"{epoch}-{number}",
                    "epoch": epoch,
                    "step": number,
                    "prompt": f"Say {number}",
                    "prediction": f"it is {number}" if matches else f"it was {number}",
                    "target": f"it is {number}",
                    "scores": {"loss": 1.0 / (1 + epoch)},
                }
                for number in numbers
            ],
        }
        status, _ = self.server.send("POST", "/api/training/predictions", body)
        assert status == 200

    @property
    def url(self) -> str:
        return f"{self.server.url}/training/monitor?jobId={self.job_id}"


@pytest.fixture
def training(server: Server) -> Pusher:
    return Pusher(server)


def rows(page: Page) -> list[int]:
    return [int(text) for text in texts(page, ".prediction-table tbody th")]


def seconds_until_shown(training: Pusher, page: Page) -> float:
    """From the call of ``create`` to its row in the page, of a training that was silent."""
    page.goto(training.url)
    expect_state(page, "connected")
    expect(page.locator("#predictions-panel")).to_contain_text("No prediction yet")
    page.evaluate(NOTE_FIRST_SIGHT)
    at_ms = page.evaluate("performance.timeOrigin + performance.now()")
    training.client.training_predictions.create(
        job_id=training.job_id, epoch=0, step=1, prompt="2 + 2", prediction="five", target="four", scores={"loss": 0.5}
    )
    expect(page.locator("#prediction-row-1")).to_contain_text("Differs")
    return float(page.evaluate("window.firstSeen['prediction-row-1']") - at_ms) / 1000


def test_e1_a_prediction_shows_within_a_second_of_its_creation(server: Server, visit: Visit) -> None:
    page = visit.context().new_page()
    taken_s = [seconds_until_shown(Pusher(server), page) for _ in range(3)]
    assert min(taken_s) < 1  # the requirement itself; on a machine at rest some 0.05 s
    expect(page.locator("#prediction-row-1 ins")).to_have_text("five")
    expect(page.locator("#prediction-row-1 del")).to_have_text("four")
    expect(page.locator("#training-total")).to_have_text("1")


def test_e4_however_fast_they_come_the_page_is_painted_every_two_seconds(training: Pusher, visit: Visit) -> None:
    training.push(0)
    page = visit.context().new_page()
    page.goto(training.url)
    expect_state(page, "connected")
    page.evaluate(COUNT_PAINTS)
    for number in range(1, 41):
        training.push(number)
    expect(page.locator("#training-total")).to_have_text("41")
    expect(page.locator("#prediction-row-41")).to_be_visible()
    paints = page.evaluate("window.paints")
    assert all(later - earlier > 1000 for earlier, later in itertools.pairwise(paints))


def test_e4_filter_paging_and_insertion_together_neither_repeat_nor_lose_a_row(training: Pusher, visit: Visit) -> None:
    for epoch in range(2):
        training.push(*range(60), epoch=epoch)
    page = visit.context().new_page()
    page.goto(training.url)
    expect_state(page, "connected")
    page.locator("#predictions-epoch").select_option("1")
    expect(page.locator("#predictions-panel .total")).to_have_text("60 of 120")
    first = rows(page)
    assert first == list(range(120, 70, -1))
    page.get_by_role("link", name="Older").first.click()
    expect(page.locator(".prediction-table tbody tr")).to_have_count(10)
    second = rows(page)
    training.push(100, 101, epoch=1)
    training.push(100, 101, epoch=0)
    expect(page.locator("#predictions-panel .total")).to_have_text("62 of 124")
    assert rows(page) == second == list(range(70, 60, -1))
    page.get_by_role("link", name="Newer").first.click()
    expect(page.locator("#prediction-row-71")).to_be_visible()
    assert rows(page) == first
    page.get_by_role("link", name="Newest").first.click()
    expect(page.locator("#prediction-row-122")).to_be_visible()
    assert rows(page) == [122, 121, *first[:-2]]
    training.push(102, epoch=1)
    expect(page.locator("#prediction-row-125")).to_be_visible()
    assert rows(page) == [125, 122, 121, *first[:-3]]
    assert "epoch=1" in page.url
    page.locator("#predictions-match").select_option("no")
    expect(page.locator("#predictions-panel .empty")).to_contain_text("No prediction matches")


def test_e4_trends_move_and_two_epochs_are_compared(training: Pusher, visit: Visit) -> None:
    training.push(*range(10), epoch=0, matches=False)
    page = visit.context().new_page()
    page.goto(training.url)
    expect_state(page, "connected")
    expect(page.locator(".trend-last").first).to_have_text("0.0 %")
    training.push(*range(8), epoch=1)
    training.push(8, 9, epoch=1, matches=False)
    expect(page.locator(".trend-last").first).to_have_text("80.0 %")
    expect(page.locator(".trend").first.locator(".trend-dot")).to_have_count(2)
    page.reload()
    page.get_by_role("link", name="Compare epochs").click()
    expect(page.locator("#comparison-panel .headline")).to_contain_text("B matches on 8 prompts where A does not, A on 0")
    page.get_by_role("link", name="2 neither matches").click()
    expect(page.locator(".pair-table tbody tr")).to_have_count(2)
    expect_state(page, "connected")
    training.push(10, epoch=0)
    training.push(10, epoch=1, matches=False)
    expect(page.locator(".turns")).to_contain_text("1 broken")


def test_e4_a_page_that_polls_shows_the_same(training: Pusher, visit: Visit) -> None:
    training.push(*range(3))
    context = visit.context()
    context.add_init_script("delete window.EventSource")
    page = context.new_page()
    page.goto(training.url)
    expect_state(page, "polling")
    training.push(3)
    expect(page.locator("#prediction-row-4")).to_be_visible()
    expect(page.locator("#training-total")).to_have_text("4")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_pages_are_sound(training: Pusher, visit: Visit, width: int) -> None:
    training.push(*range(10), epoch=0, matches=False)
    training.push(*range(10), epoch=1)
    page = visit.context(viewport={"width": width, "height": 800}).new_page()
    job = training.job_id
    for path in (
        "/training",
        f"/training/monitor?jobId={job}",
        f"/training/compare?a={job}&ae=0&b={job}&be=1",
        f"/training/{job}/predictions/1",
    ):
        page.goto(f"{training.server.url}{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert serious(page) == []


def test_a_training_is_made_watched_and_removed_by_hand(server: Server, visit: Visit) -> None:
    page = visit.context().new_page()
    page.goto(f"{server.url}/training")
    page.get_by_label("Id", exact=True).fill("by-hand")
    page.get_by_role("button", name="Create").click()
    token = page.locator("#made-token").inner_text()
    page.get_by_role("link", name="Watch it").click()
    expect_state(page, "connected")
    status, _ = server.send(
        "POST",
        "/api/training/predictions",
        {"job_id": "by-hand", "epoch": 0, "step": 0, "prompt": "a", "prediction": "b"},
        {"X-API-Key": token},
    )
    assert status == 201
    expect(page.locator("#prediction-row-1")).to_be_visible()
    page.locator("summary", has_text="Remove").click()
    page.get_by_role("button", name="Remove for good").click()
    expect(page).to_have_url(f"{server.url}/training")
    wait_for(lambda: server.send("GET", "/api/training/jobs/by-hand")[0] == 404, what="its end")
