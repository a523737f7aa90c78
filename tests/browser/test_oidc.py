"""Signing in at an OpenID provider in a real browser, through the provider's own page (X1)."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.visit import Visit, expect_state
from tests.support.provider import ALICE, CLIENT_ID, Provider, running_provider
from tests.support.server import Server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:authlib")  # of the provider, not of ours


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with running_provider(users={"alice": ALICE, "bob": {**ALICE, "email": "bob@example.org"}}) as running:
        yield running


@pytest.fixture(scope="module")
def locked(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose people sign in there; that it wants a login at all follows from it."""
    folder = tmp_path_factory.mktemp("oidc")
    config = f'demo = "off"\noidc_issuer = "{provider.url}"\noidc_client_id = "{CLIENT_ID}"\noidc_allow = ["alice@example.org"]\n'
    secret = folder / "secret"
    secret.write_text("s3cret\n", encoding="utf-8")
    server = Server(folder, config=config, environment={"WAA_OIDC_CLIENT_SECRET_FILE": str(secret)}).start()
    yield server
    server.stop()


def test_a_person_signs_in_at_the_provider_reads_on_where_they_were_and_signs_out(locked: Server, provider: Provider, visit: Visit) -> None:
    page = visit.context(allows_outage=True).new_page()
    page.goto(f"{locked.url}/runs?q=demo")
    page.get_by_role("link", name="Sign in with 127.0.0.1").click()
    expect(page).to_have_url(re.compile(re.escape(provider.url)))
    page.get_by_role("button", name="alice").click()
    expect(page).to_have_url(f"{locked.url}/runs?q=demo")
    expect_state(page, "connected")
    expect(page.locator(".viewer")).to_contain_text("alice@example.org")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign out of 127.0.0.1")).to_be_visible()
    page.goto(f"{locked.url}/runs")
    expect(page).to_have_url(re.compile("/login"))
    assert "s3cret" not in locked.text()


def test_who_is_not_allowed_reads_so_beside_the_form_for_a_key(locked: Server, visit: Visit) -> None:
    page = visit.open(f"{locked.url}/login", allows_outage=True)
    page.get_by_role("link", name="Sign in with 127.0.0.1").click()
    page.get_by_role("button", name="bob").click()
    expect(page.get_by_role("alert")).to_have_text("bob@example.org may not sign in here")
    expect(page.get_by_label("Key")).to_be_visible()
