"""Imports: started by programs, watched by their stream, done once (C1, C2)."""

import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.core.builders import T0
from tests.web.house import House, house, until
from waa.core.job import ImportKind, ImportRequest, Job, JobStatus
from waa.core.outside import JobSeen
from waa.web.deps import WebSettings

TREES = Path(__file__).parents[1] / "corpus" / "results"
WAA = TREES / "waa_up_normal"


async def started(app: House, body: object) -> str:
    answer = await app.post_json("/api/traces/import", body)
    assert answer.code == 202, answer.body
    return str(json.loads(answer.body)["job_id"])


async def ended(app: House, job_id: str) -> dict[str, Any]:
    await until(lambda: app.recorder.state.jobs[job_id].is_over, "the end of the job")
    return dict(await app.json(f"/api/jobs/{job_id}"))


async def imported(app: House, body: object) -> dict[str, Any]:
    return await ended(app, await started(app, body))


def names(folder: Path) -> list[str]:
    """What lies in it."""
    return sorted(path.name for path in folder.iterdir())


def tarball(folder: Path) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        archive.add(folder, arcname=folder.name)
    return data.getvalue()


async def test_c1_a_folder_becomes_a_run_with_exact_scores() -> None:
    async with house() as app:
        job = await imported(app, {"path": str(WAA)})
        assert (job["status"], job["progress"], job["error"]) == ("completed", 100, None)
        assert (job["result"]["tasks"], job["result"]["steps"], job["result"]["new"]) == (5, 26, 5)
        (run_id,) = [run["run_id"] for run in job["result"]["runs"]]
        run = (await app.json(f"/api/current-run?run_id={run_id}"))["run"]
        assert (run["status"], run["total_tasks"], run["passed"], run["failed"]) == ("finished", 5, 1, 4)
        scores = {task["task_id"]: task["score"] for task in run["tasks"]}
        assert scores["02F10F89-7171-4D37-8550-A00BA8930CDF-2-WOS"] == 0.8571428571428571
        assert run["arguments"]["model"] == "gpt-4o"


async def test_c1_the_same_run_again_changes_nothing_wherever_it_comes_from() -> None:
    async with house() as app:
        first = await imported(app, {"path": str(WAA)})
        last_id = app.recorder.state.last_event_id
        again = await imported(app, {"path": str(WAA)})
        assert (again["result"]["new"], again["result"]["changed"]) == (0, 0)
        told = await app.recorder.events_since(last_id)
        assert {event.type.partition(".")[0] for event in told} == {"job"}
        packed = await app.ask(
            "/api/traces/import?name=r.tgz", "POST", body=tarball(WAA / "pyautogui"), headers={"Content-Type": "application/gzip"}
        )
        unpacked = await ended(app, json.loads(packed.body)["job_id"])
        assert (unpacked["result"]["new"], unpacked["result"]["changed"]) == (0, 0), unpacked
        assert unpacked["result"]["runs"] == first["result"]["runs"]
        assert len(app.recorder.state.runs) == 1


async def test_the_steps_of_an_imported_run_are_shown_with_their_pictures() -> None:
    async with house() as app:
        (run,) = (await imported(app, {"path": str(WAA)}))["result"]["runs"]
        url = f"{run['url']}/tasks/notepad/366de66e-cbae-4d72-b042-26390db2b145-WOS"
        steps = (await app.json(f"/api{url}"))["steps"]
        assert [step["step"] for step in steps] == [1, 2, 3, 4]
        picture = await app.ask(steps[0]["after"]["url"])
        assert (picture.code, picture.headers["Content-Type"]) == (200, "image/png")
        page = (await app.ask(url, headers={"Accept": "text/html"})).body.decode()
        assert "imported" in page


async def test_an_archive_is_kept_for_its_run_and_the_upload_is_not(tmp_path: Path) -> None:
    settings = WebSettings(upload_folder=str(tmp_path), upload_limit_bytes=10_000_000)
    async with house(settings=settings) as app:
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            for path in sorted(WAA.rglob("*")):
                archive.write(path, path.relative_to(WAA))
        answer = await app.ask(
            "/api/traces/import?name=run.zip&label=Monday", "POST", body=data.getvalue(), headers={"Content-Type": "application/zip"}
        )
        job = await ended(app, json.loads(answer.body)["job_id"])
        assert job["result"]["runs"][0]["name"] == "Monday"
        run = next(iter(app.recorder.state.runs.values()))
        assert names(Path(run.files))
        assert names(tmp_path) == []


async def test_c2_the_stream_tells_the_state_at_once_and_ends_with_the_job() -> None:
    async with house() as app:
        job_id = await started(app, {"path": str(WAA)})
        stream = await app.listen(f"/api/jobs/{job_id}/stream")
        assert stream.headers["Content-Type"] == "text/event-stream"
        message = await stream.next()
        while message.event != "completed":
            assert message.event == "progress"
            assert 0 <= message.data["progress"] <= 100
            message = await stream.next()
        assert message.data["result"]["tasks"] == 5
        with pytest.raises(AssertionError, match="the stream ended"):
            await stream.next()
        late = await app.listen(f"/api/jobs/{job_id}/stream")
        assert (await late.next()).event == "completed"


async def test_what_holds_no_results_fails_with_a_sentence(tmp_path: Path) -> None:
    async with house() as app:
        (tmp_path / "notes.txt").write_text("x")
        job = await imported(app, {"path": str(tmp_path)})
        assert job["status"] == "failed"
        assert "holds no results" in job["error"]
        stream = await app.listen(f"/api/jobs/{job['job_id']}/stream")
        assert (await stream.next()).event == "failed"
        gone = await imported(app, {"path": str(tmp_path / "gone")})
        assert gone["status"] == "failed"
        assert "path" in gone["error"]


async def test_a_damaged_archive_fails_and_leaves_nothing(tmp_path: Path) -> None:
    settings = WebSettings(upload_folder=str(tmp_path), upload_limit_bytes=10_000_000)
    async with house(settings=settings) as app:
        answer = await app.ask("/api/traces/import", "POST", body=b"PK\x03\x04 no more", headers={"Content-Type": "application/zip"})
        job = await ended(app, json.loads(answer.body)["job_id"])
        assert job["status"] == "failed"
        assert "archive" in job["error"]
        assert names(tmp_path) == []
        assert app.recorder.state.runs == {}


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({}, "path", 422),
        ({"path": "results"}, "path", 422),
        ({"path": 7}, "path", 422),
        ({"path": "/r\x00s"}, "path", 422),
        ({"path": "/results", "inner": True}, "inner", 422),
        ({"path": "/results", "vm": "vm-1", "inner": "yes"}, "inner", 422),
        ({"path": "/results", "label": "x" * 2000}, "label", 422),
        ({"path": "/results", "force": True}, "force", 422),
        ({"path": "/results", "vm": "elsewhere"}, "vm", 404),
        (b"[1]", "body", 422),
        (b"{", "body", 422),
    ],
)
async def test_c1_wrong_requests_are_told_their_field(body: object, field: str, code: int) -> None:
    async with house() as app:
        answer = await app.post_json("/api/traces/import", body)
        assert answer.code == code, answer.body
        assert field in json.loads(answer.body)["error"]["message"]


async def test_c1_a_form_of_another_site_cannot_start_an_import() -> None:
    async with house() as app:
        for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"):
            answer = await app.ask("/api/traces/import", "POST", body="path=/", headers={"Content-Type": kind})
            assert answer.code == 422, answer.body
        foreign = {"Content-Type": "application/json", "Origin": "https://evil.example"}
        assert (await app.ask("/api/traces/import", "POST", body='{"path": "/tmp"}', headers=foreign)).code == 403


async def test_c1_folders_are_read_only_for_clients_here_or_inside_the_roots(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    shutil.copytree(WAA, inside / "run")
    (tmp_path / "inside" / "way-out").symlink_to(WAA)
    async with house(settings=WebSettings(import_roots=(str(inside),))) as app:
        assert (await imported(app, {"path": str(inside / "run")}))["status"] == "completed"
        for path in (tmp_path, inside / "..", inside / "way-out", Path("/etc")):
            assert (await app.post_json("/api/traces/import", {"path": str(path)})).code == 403
    async with house() as app:
        answer = await app.ask(
            "/api/traces/import",
            "POST",
            body='{"path": "/tmp"}',
            headers={"Content-Type": "application/json", "X-Forwarded-For": "9.9.9.9"},
        )
        assert answer.code == 403
        assert b"import_roots" in answer.body


async def test_an_archive_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async with house(settings=WebSettings(upload_folder=str(tmp_path), upload_limit_bytes=1000)) as app:
        answer = await app.ask("/api/traces/import", "POST", body=b"x" * 2000, headers={"Content-Type": "application/zip"})
        assert answer.code == 413
        assert (await app.ask("/api/traces/import", "POST", body=b"", headers={"Content-Type": "application/zip"})).code == 422
        await until(lambda: not names(tmp_path), "the removal of the uploads")


async def test_c1_jobs_are_listed_and_unknown_ones_are_404() -> None:
    async with house() as app:
        job_id = await started(app, {"path": str(WAA)})
        await ended(app, job_id)
        assert [job["job_id"] for job in (await app.json("/api/jobs"))["jobs"]] == [job_id]
        for path in (f"/api/jobs/{'0' * 16}", f"/api/jobs/{'0' * 16}/stream", "/api/jobs/x"):
            assert (await app.ask(path)).code == 404
        assert (await app.ask(f"/api/jobs/{job_id}", "DELETE")).code == 409


async def test_a10_an_import_is_a_background_task() -> None:
    async with house() as app:
        job_id = await started(app, {"path": str(WAA)})
        await ended(app, job_id)
        (row,) = [row for row in await app.json("/api/tasks") if row["task_type"] == "job"]
        assert (row["task_id"], row["status"], row["progress_percent"]) == (f"job-{job_id}", "completed", 100)


async def test_an_unfinished_job_of_an_earlier_server_is_done() -> None:
    async with house() as app:
        request = ImportRequest(kind=ImportKind.FOLDER, path=str(WAA))
        await app.record(JobSeen(vm="", at=T0, job=Job(job_id="0" * 16, request=request, status=JobStatus.RUNNING, created_at=T0)))
        store = app.recorder._store
        async with house(store=store) as after:
            job = await ended(after, "0" * 16)
            assert (job["status"], job["result"]["tasks"]) == ("completed", 5)
