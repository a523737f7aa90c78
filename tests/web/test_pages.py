"""Pages as a browser gets them, and the form without a script."""

import re
from urllib.parse import urlencode

import pytest

from tests.core.builders import T0, task_facts
from tests.web.house import House, house
from tests.web.markup import read
from waa.web.base import BROWSER_COOKIE

HTML = {"Accept": "text/html,application/xhtml+xml"}
FORM = {"Content-Type": "application/x-www-form-urlencoded", **HTML}


async def opened_form(built: House) -> tuple[str, str]:
    """The token of the form, and the cookies that came with it."""
    answer = await built.ask("/vms/new", headers=HTML)
    found = re.search(r'name="_xsrf" value="([^"]+)"', answer.body.decode())
    assert found is not None
    cookies = "; ".join(cookie.partition(";")[0] for cookie in answer.headers.get_list("Set-Cookie"))
    return found[1], cookies


async def test_every_page_is_whole_and_names_its_one_stream() -> None:
    async with house() as built:
        await built.name()
        await built.start_run()
        await built.tell(*task_facts("a", at=T0 + 10))
        run_id = next(iter(built.recorder.state.runs))
        for path in ("/", f"/?run={run_id}", "/vms/vm-1", "/runs", f"/runs/{run_id}", "/vms/new", "/embed/fleet", "/embed/vm?vm=vm-1"):
            answer = await built.ask(path, headers=HTML)
            assert (answer.code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
            page = read(answer.body)
            streams = [each.attributes["hx-sse:connect"] for each in page.walk() if "hx-sse:connect" in each.attributes]
            assert len(streams) == (0 if path == "/vms/new" else 1)
            for stream in streams:
                assert (await built.listen(stream)).status == 200


async def test_a15_without_streams_no_page_opens_one() -> None:
    async with house(sse=False) as built:
        assert b"hx-sse:connect" not in (await built.ask("/", headers=HTML)).body


@pytest.mark.parametrize(
    "path", ["/nothing", "/vms/nobody", "/runs/nothing", "/?run=nothing", "/vms/nobody/screenshot", "/static/nothing.css"]
)
async def test_an_error_is_a_page_for_people_and_json_for_programs(path: str) -> None:
    async with house() as built:
        page = await built.ask(path, headers=HTML)
        assert (page.code, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
        assert read(page.body).one(class_="status-code").text == "404"
        for accept in ("application/json", "*/*"):
            answer = await built.ask(path, headers={"Accept": accept})
            assert (answer.code, answer.headers["Content-Type"]) == (404, "application/json; charset=utf-8")
    async with house() as built:
        assert (await built.ask("/api/nothing", headers=HTML)).headers["Content-Type"].startswith("application/json")


async def test_the_form_adds_a_vm_and_goes_to_its_page() -> None:
    async with house() as built:
        token, cookies = await opened_form(built)
        body = urlencode({"_xsrf": token, "name": "waa-1", "ssh_host": "10.0.0.4", "container": "", "ssh_port": "2222"})
        answer = await built.ask("/vms", "POST", body=body, headers=FORM | {"Cookie": cookies})
        assert (answer.code, answer.headers["Location"]) == (303, "/vms/waa-1")
        spec = built.recorder.state.vms["waa-1"].spec
        assert (spec.ssh_port, spec.container, spec.ssh_user, spec.trust_first) == (2222, "", None, False)
        again = await built.ask("/vms", "POST", body=body, headers=FORM | {"Cookie": cookies})
        assert again.code == 409
        retry = await built.ask("/vms/waa-1/retry", "POST", body=urlencode({"_xsrf": token}), headers=FORM | {"Cookie": cookies})
        assert (retry.code, retry.headers["Location"]) == (303, "/vms/waa-1")
        removed = await built.ask("/vms/waa-1/remove", "POST", body=urlencode({"_xsrf": token}), headers=FORM | {"Cookie": cookies})
        assert (removed.code, removed.headers["Location"]) == (303, "/")
        assert not built.recorder.state.vms


@pytest.mark.parametrize(
    ("field", "value"),
    [("ssh_host", ""), ("ssh_host", "a b"), ("ssh_port", "22x"), ("waa_port", "0"), ("log_path", "x"), ("name", "new"), ("vnc_url", "x")],
)
async def test_a_form_with_a_mistake_comes_back_with_what_was_typed(field: str, value: str) -> None:
    async with house() as built:
        token, cookies = await opened_form(built)
        typed = {"name": "waa-1", "ssh_host": "10.0.0.4", "ssh_user": '"><script>', "log_path": "/tmp/a.log"} | {field: value}
        typed |= {"ssh_user": "tester"} if field != "ssh_user" else {}
        answer = await built.ask("/vms", "POST", body=urlencode(typed | {"_xsrf": token}), headers=FORM | {"Cookie": cookies})
        assert answer.code == 422
        page = read(answer.body)
        inputs = {each.attributes.get("name"): each for each in page.all(tag="input")}
        for name, text in typed.items():
            assert inputs[name].attributes.get("value", "") == text
        assert inputs[field].attributes["aria-invalid"] == "true"
        assert not built.recorder.state.vms


async def test_hostile_text_in_a_form_stays_text() -> None:
    async with house() as built:
        token, cookies = await opened_form(built)
        body = urlencode({"_xsrf": token, "name": '"><script>alert(1)</script>', "ssh_host": "\0\u202e"})
        answer = await built.ask("/vms", "POST", body=body, headers=FORM | {"Cookie": cookies})
        assert answer.code == 422
        assert b"<script>alert" not in answer.body


async def test_a_form_that_is_no_text_is_refused() -> None:
    async with house() as built:
        token, cookies = await opened_form(built)
        answer = await built.ask("/vms", "POST", body=f"_xsrf={token}&name=%ff%fe".encode(), headers=FORM | {"Cookie": cookies})
        assert answer.code == 400


async def test_the_list_of_vms_has_no_page_of_its_own() -> None:
    async with house() as built:
        answer = await built.ask("/vms", headers=HTML)
        assert (answer.code, answer.headers["Location"]) == (302, "/#vms-panel")


async def test_a_page_names_its_browser_once() -> None:
    async with house() as built:
        answer = await built.ask("/", headers=HTML)
        cookies = {cookie.partition("=")[0]: cookie for cookie in answer.headers.get_list("Set-Cookie")}
        assert set(cookies) == {BROWSER_COOKIE, "_xsrf"}
        for cookie in cookies.values():
            assert "httponly" in cookie.lower()
            assert "samesite=lax" in cookie.lower()
        kept = "; ".join(cookie.partition(";")[0] for cookie in cookies.values())
        assert not (await built.ask("/", headers=HTML | {"Cookie": kept})).headers.get_list("Set-Cookie")
        forged = await built.ask("/", headers=HTML | {"Cookie": f"{BROWSER_COOKIE}=short"})
        assert any(cookie.startswith(BROWSER_COOKIE) for cookie in forged.headers.get_list("Set-Cookie"))


async def test_a_card_gets_a_picture_also_where_no_screenshot_was_taken() -> None:
    async with house() as built:
        await built.name()
        assert (await built.ask("/vms/vm-1/screenshot")).code == 404
        card = await built.ask("/vms/vm-1/screenshot?of=step-1")
        assert card.code == 302
        assert (await built.ask(card.headers["Location"])).headers["Content-Type"] == "image/svg+xml"
