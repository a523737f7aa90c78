"""A VM that leads to where the operator does not want it to is refused at the door, by API and form."""

import json
from urllib.parse import urlencode

import pytest

from tests.web.house import house
from tests.web.test_pages import FORM, opened_form
from waa.core.destination import Destinations, rule
from waa.web.deps import WebSettings

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"ssh_host": "169.254.169.254"}, "ssh_host"),
        ({"ssh_host": "0xa9fea9fe"}, "ssh_host"),
        ({"ssh_host": "127.0.0.1"}, "ssh_host"),
        ({"ssh_host": "10.0.0.4", "proxy_jump": "me@metadata.google.internal"}, "proxy_jump"),
        ({"ssh_host": "10.0.0.4", "vnc_url": "http://[fe80::1]/"}, "vnc_url"),
        ({"ssh_host": "10.0.0.4", "internal_ip": "169.254.169.254"}, "guest_ip"),
        ({"ssh_host": "10.0.0.4", "transport": "local"}, "transport"),
        ({"ssh_host": "10.9.0.4"}, "ssh_host"),
    ],
)
async def test_a_registration_is_refused_by_its_field(fields: dict[str, str], field: str) -> None:
    destinations = Destinations(deny=(rule("10.9.0.0/16"),), clients_reach_loopback=False)
    async with house(settings=WebSettings(destinations=destinations)) as built:
        answer = await built.ask("/api/vms/register", "POST", body=json.dumps({"name": "vm-1", **fields}).encode(), headers=JSON)
        assert answer.code == 422
        error = json.loads(answer.body)["error"]
        assert error["field"] == field
        assert built.recorder.state.vms == {}


async def test_the_form_says_it_beside_the_field() -> None:
    async with house() as built:
        token, cookie = await opened_form(built)
        entered = {"_xsrf": token, "name": "vm-1", "ssh_host": "169.254.169.254"}
        answer = await built.ask("/vms", "POST", body=urlencode(entered).encode(), headers={**FORM, "Cookie": cookie})
        assert answer.code == 422
        assert "where clouds keep the credentials of their machines" in answer.body.decode()
        assert built.recorder.state.vms == {}
