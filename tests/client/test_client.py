"""Asking at once: jobs, single predictions, errors; addresses, keys, proxies, certificates; and what importing costs."""

import ssl
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from tests.client.board import Board, Served
from tests.client.conftest import JOB
from tests.support.authority import Authority
from tests.support.server import ROOT
from waa.client import Client, ClientError, Invalid, Refused, Unavailable

ONE: dict[str, Any] = {"job_id": JOB, "epoch": 0, "step": 1, "prompt": "7 1", "prediction": "seven", "target": "seven one"}

ALONE = """
import sys

class OnlyStandard:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top != "waa":
            raise ImportError(f"{name} is not of the standard library")

sys.meta_path.insert(0, OnlyStandard())
sys.path.insert(0, sys.argv[1])
import waa.client
print(sorted(name for name in sys.modules if name.startswith("waa")))
"""


def test_importing_needs_the_standard_library_only() -> None:
    found = subprocess.run([sys.executable, "-I", "-S", "-c", ALONE, str(ROOT)], capture_output=True, text=True, check=True)
    assert "waa.sdk.batch" in found.stdout
    assert "waa.core" not in found.stdout


def test_one_prediction_is_sent_at_once(client: Client, board: Board) -> None:
    receipt = client.training_predictions.create(**ONE, scores={"loss": 0.5})
    assert (receipt.seq, receipt.status) == (1, "created")
    given = board.predictions(JOB)[0]
    assert given["id"] == receipt.id
    assert given["scores"] == {"loss": 0.5}
    again = client.training_predictions.create(**ONE, id=receipt.id)
    assert (again.seq, again.status) == (1, "duplicate")


def test_a_job_is_created_and_has_a_token(client: Client, served: Served, board: Board) -> None:
    job = client.training_jobs.create("other", title="Another")
    assert job.job_id == "other"
    assert job.token == "waa_token_of_other"
    assert job.url == f"{served.url}/training/monitor?jobId=other"
    assert "waa_token" not in repr(job)
    assert client.training_jobs.create("other").token is None
    assert board.bodies == [{"job_id": "other", "title": "Another"}, {"job_id": "other"}]
    assert client.training_jobs.token("other") == "waa_another_of_other"
    client.with_key("waa_token_of_other").training_predictions.create(**{**ONE, "job_id": "other"})
    assert board.requests[-1] == ("/api/training/predictions", "waa_token_of_other")


def test_a_job_without_a_name_gets_one(client: Client) -> None:
    assert client.training_jobs.create().job_id == "job-1"


def test_epochs_and_jobs_are_ended_at_once(client: Client, board: Board) -> None:
    client.training_predictions.create(**ONE)
    assert client.training_jobs.complete_epoch(JOB, 0)["is_complete"] is True
    assert client.training_jobs.finish(JOB, "failed", "no memory")["status"] == "failed"
    assert board.bodies[-2:] == [{}, {"status": "failed", "error": "no memory"}]


def test_a_refusal_names_status_and_field(client: Client, board: Board) -> None:
    with pytest.raises(Refused, match="422 is not taken here") as caught:
        client.training_predictions.create(**{**ONE, "prompt": "refuse me"})
    assert (caught.value.status, caught.value.field) == (422, "prompt")
    with pytest.raises(Refused, match="404"):
        client.training_predictions.create(**{**ONE, "job_id": "nobody"})
    board.keys = {"waa_other"}
    with pytest.raises(Refused, match="401"):
        client.training_jobs.finish(JOB)


def test_a_server_that_is_away_or_busy_is_unavailable(client: Client, board: Board, tmp_path: Path) -> None:
    board.planned.append((429, {"Retry-After": "7"}, {"error": {"message": "too\nmany"}}))
    with pytest.raises(Unavailable, match="429 too many") as caught:
        client.training_predictions.create(**ONE)
    assert caught.value.retry_after_s == 7
    with Served(Board()) as gone:
        pass
    with pytest.raises(Unavailable, match="refused"):
        Client(gone.url, spool=tmp_path).training_jobs.create()


def test_bad_arguments_raise_before_anything_is_sent(client: Client, board: Board) -> None:
    with pytest.raises(Invalid, match="epoch"):
        client.training_predictions.create(**{**ONE, "epoch": -1})
    with pytest.raises(Invalid, match="job_id"):
        client.training_predictions.create(**{**ONE, "job_id": "../x"})
    with pytest.raises(Invalid, match="job_id"):
        client.training_predictions.batch("a/b")
    with pytest.raises(Invalid, match="job_id"):
        client.training_jobs.finish("")
    assert not board.requests


def test_address_and_key_come_from_the_environment(served: Served, board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAA_URL", served.url + "/")
    monkeypatch.setenv("WAA_KEY", "waa_of_variable")
    Client(spool=tmp_path).training_predictions.create(**ONE)
    monkeypatch.delenv("WAA_KEY")
    (tmp_path / "key").write_text("waa_of_file\n")
    monkeypatch.setenv("WAA_KEY_FILE", str(tmp_path / "key"))
    Client(spool=tmp_path).training_predictions.create(**ONE)
    Client(key="waa_given", spool=tmp_path).training_predictions.create(**ONE)
    assert [key for _, key in board.requests] == ["waa_of_variable", "waa_of_file", "waa_given"]


@pytest.mark.parametrize(
    ("url", "key", "field"),
    [
        ("waa.example.org", "", "url"),
        ("ftp://waa.example.org", "", "url"),
        ("https://me:waa_secret@waa.example.org", "", "url"),
        ("https://waa.example.org/?key=waa_secret", "", "url"),
        ("https://waa.example.org", "waa_secret\r\nX: y", "key"),
        ("https://waa.example.org", "waa_secrét", "key"),
    ],
)
def test_a_bad_address_or_key_raises_without_telling_it(url: str, key: str, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        Client(url, key)
    assert caught.value.field == field
    assert "secr" not in str(caught.value)


def test_a_path_of_the_address_comes_first(served: Served, board: Board, tmp_path: Path) -> None:
    board.planned.append((201, {}, {"id": "x", "seq": 1, "status": "created"}))
    Client(served.url + "/behind/", spool=tmp_path).training_predictions.create(**ONE)
    assert board.requests[0][0] == "/behind/api/training/predictions"


def test_proxies_of_the_environment_count_but_for_this_machine(
    served: Served, board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Served(Board()) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        Client(served.url, "waa_k", spool=tmp_path).training_predictions.create(**ONE)
        assert not proxy.board.requests
        far = Client("http://waa.example.org:81", "waa_k", spool=tmp_path)
        assert far.training_jobs.create("x").job_id == "x"
        assert proxy.board.requests == [("/api/training/jobs", "waa_k")]
        monkeypatch.setenv("no_proxy", "waa.example.org")
    assert len(board.requests) == 1


@pytest.fixture
def authority(tmp_path: Path, served: Served) -> Authority:
    """The board speaks TLS with its certificate."""
    authority = Authority(tmp_path)
    authority.issue(tmp_path / "cert.pem", tmp_path / "key.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    served.server.socket = context.wrap_socket(served.server.socket, server_side=True)
    return authority


def test_certificates_are_verified(served: Served, board: Board, tmp_path: Path, authority: Authority) -> None:
    url = served.url.replace("http:", "https:")
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        Client(url, "waa_k", spool=tmp_path).training_predictions.create(**ONE)
    assert not board.requests
    client = Client(url, "waa_k", ca_file=str(authority.file), spool=tmp_path)
    assert client.training_predictions.create(**ONE).seq == 1
    with client.training_predictions.batch(JOB) as predictions:
        predictions.create(epoch=0, step=2, prompt="", prediction="")
    assert len(board.predictions(JOB)) == 2


def test_no_error_tells_the_key(client: Client, board: Board, tmp_path: Path) -> None:
    board.planned += [(401, {}, None), (503, {}, None), (200, {}, []), (200, {}, {})]
    told = []
    for _ in range(4):
        with pytest.raises(ClientError) as caught:
            client.training_predictions.create(**ONE)
        told += traceback.format_exception(caught.value)
    assert "secret" not in "".join(told) + repr(client) + repr(vars(client))
