"""The demo's guest over HTTP."""

import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.wait import PATIENCE_S
from waa.demo.guest import Guest
from waa.demo.process import SHIMS


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    """A guest that is down."""
    opened = Guest(tmp_path / "screen.png")
    yield opened
    opened.close()


def get(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def curl(*arguments: str) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, str(SHIMS / "curl.py"), *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    return ended.returncode, ended.stdout


def test_a_guest_that_is_down_refuses_and_keeps_its_port(guest: Guest) -> None:
    for _ in range(2):
        with pytest.raises(urllib.error.URLError, match="refused"):
            get(guest.server.port, "/probe")
        guest.server.up()
        assert get(guest.server.port, "/probe") == (200, b'{"message":"Service is operational","status":"Probe successful"}\n')
        guest.server.down()


def test_the_status_page_is_there_while_windows_is_prepared(guest: Guest) -> None:
    guest.display.up()
    guest.show_setup("Downloading Windows 11 (12.3%)")
    assert get(guest.display.port, "/msg.html") == (200, b'<p class="loading">Downloading Windows 11 (12.3%)</p>')
    assert b"Downloading" in get(guest.display.port, "/")[1]
    guest.show_setup("")
    assert get(guest.display.port, "/msg.html")[0] == 404


def test_the_desktop_is_shown_by_guest_and_display(guest: Guest, tmp_path: Path) -> None:
    guest.display.up()
    guest.server.up()
    assert get(guest.display.port, "/screen.png")[0] == 404
    (tmp_path / "screen.png").write_bytes(b"picture")
    assert get(guest.display.port, "/screen.png?x=1") == (200, b"picture")
    assert get(guest.server.port, "/screenshot") == (200, b"picture")
    assert b"screen.png" in get(guest.display.port, "/")[1]
    assert get(guest.server.port, "/other")[0] == 404


def test_a_client_that_says_nothing_holds_nobody_up(guest: Guest) -> None:
    guest.server.up()
    with socket.create_connection(("127.0.0.1", guest.server.port)) as silent:
        assert get(guest.server.port, "/probe")[0] == 200
        guest.close()
        assert silent.recv(1) == b""


def test_the_stand_in_for_curl_answers_like_curl(guest: Guest, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{guest.server.port}"
    assert curl("-s", "-m", "3", "-w", "|%{http_code}", f"{address}/probe") == (7, "|000")
    guest.server.up()
    code, out = curl("-s", "--max-time", "3", "-w", "|%{http_code}", f"{address}/probe")
    assert (code, out.endswith("\n|200"), "Probe successful" in out) == (0, True, True)
    assert curl("-sf", f"{address}/other") == (22, "")
    assert curl("-s", "-o", str(tmp_path / "body"), f"{address}/probe") == (0, "")
    assert b"operational" in (tmp_path / "body").read_bytes()
