"""The server as a process, logged in by the real azure-identity: nothing secret leaves it, and it starts without Azure too."""

from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.azure import TENANT, FakeAzure, FakeJob, Fault, Machine
from tests.support.azure_server import LOGGED_OUT, azure_server
from tests.support.wait import wait_for

RUN_LOG = (Path(__file__).parents[1] / "corpus" / "generated" / "waa_up_normal.plain.log").read_bytes()


def test_a_service_principal_reads_everything_and_nothing_secret_is_written(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    job = FakeJob("quirky_hat")
    job.write(RUN_LOG[:9000])
    with FakeAzure() as azure, FakeAzure(tls=authority.server_context(tmp_path)) as entra:
        azure.tokens = entra.tokens  # what one gives, the other takes
        azure.machines, azure.jobs = [Machine("waa-1")], [job]
        settings = {
            "WAA_AZURE_AUTH": "env",
            "WAA_AZURE_AUTHORITY": entra.url,
            "REQUESTS_CA_BUNDLE": str(authority.file),
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": "11111111-2222-4333-8444-555555555555",
            "AZURE_CLIENT_SECRET": entra.secret,
            "WAA_LOG_LEVEL": "debug",
            "WAA_AZURE_HISTORY": "true",
        }
        server = azure_server(tmp_path, azure, settings=settings).start()
        try:
            wait_for(lambda: bool(server.get("/api/azure-vms")["vms"]), what="the machine")
            wait_for(lambda: any(job["run_id"] for job in server.get("/api/azure-jobs")["jobs"]), what="the run")
            azure.expire_signatures()
            job.write(RUN_LOG[9000:])
            wait_for(lambda: server.get("/api/runs")["runs"][0]["status"] == "finished", what="the end of the run")
            said = [
                str(server.get(path)) for path in ("/api/azure-jobs", "/api/azure-job-logs?job_id=quirky_hat", "/api/azure-vms", "/api/vms")
            ]
            assert entra.count("/oauth2/v2.0/token") == 1
        finally:
            assert server.stop() == 0
        kept = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
        for secret in (entra.secret, "issued-", "sig-", "sig="):
            assert secret not in server.text(), secret
            assert secret.encode() not in kept, secret
            assert secret not in "".join(said), secret


def test_a_login_that_fails_is_one_line_for_all_that_is_asked(tmp_path: Path) -> None:
    with FakeAzure() as azure:
        azure.machines = [Machine("waa-1")]
        server = azure_server(tmp_path, azure, script=LOGGED_OUT).start()
        try:
            told = wait_for(lambda: server.get("/api/azure-vms")["problems"] or None, what="the failure")
            assert {problem["message"] for problem in told} == {"The Azure CLI is not logged in"}
            wait_for(lambda: "not logged in" in server.text(), what="its line in the log")
            assert server.text().count("not logged in") == 1
            assert "AzureCliCredential" not in server.text()
            assert azure.asked == []
        finally:
            server.stop()


def test_without_the_extra_the_panels_say_what_to_install(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "azure"
    missing.mkdir(parents=True)
    (missing / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'azure'\", name='azure')\n", encoding="utf-8")
    with FakeAzure() as azure:
        server = azure_server(tmp_path, azure, settings={"PYTHONPATH": str(missing.parent)}).start()
        try:
            found = server.get("/api/azure-jobs")
            assert (found["enabled"], found["jobs"]) == (False, [])
            assert "pip install 'azure-identity" in found["message"]
            assert "pip install" in server.html("/fragments/azure-jobs")
            assert azure.asked == []
        finally:
            server.stop()


@pytest.mark.parametrize("status", [403, 500])
def test_a_refusal_of_azure_keeps_the_rest_of_the_server_well(status: int, tmp_path: Path) -> None:
    with FakeAzure() as azure:
        azure.faults = [Fault(".", status, {}, "<html>")]
        server = azure_server(tmp_path, azure).start()
        try:
            wait_for(lambda: bool(server.get("/api/azure-jobs")["problems"]), what="the refusal")
            assert server.get("/ready")
            assert server.get("/api/vms") == {"vms": []}
        finally:
            assert server.stop() == 0
