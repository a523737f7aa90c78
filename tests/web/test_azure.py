"""Azure on pages, as JSON and on the streams: off, failing, stale, in use; and the button that watches a VM."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.core.test_azure import a_job
from tests.core.test_azure import a_vm as a_cloud_vm
from tests.services.test_azure import QUICK, RUN_LOG, SCOPE, Tokens, Wall
from tests.support.azure import FakeAzure, FakeJob, Machine
from tests.web import fleet_builder as build
from tests.web.house import House, house, until
from tests.web.markup import Element, judge, read
from waa.core.cloud import CloudJob, JobStatus, PowerState
from waa.core.error import Failure, NotFound
from waa.core.observation import LogKind, LogSource
from waa.core.spec import Origin
from waa.core.state import State
from waa.core.status import Reason
from waa.probes.azure import AzureRest
from waa.services.azure import Azure, AzureSeen, NoAzure
from waa.services.azure_log import JobLogSeen
from waa.services.azure_part import PartSeen
from waa.web.panels import PANELS
from waa.web.terminal import LogTail
from waa.web.views.azure import log_key

RENDERER = build.a_renderer()
NOW = build.NOW
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
LOGIN = Failure(reason=Reason.AUTH, message="The Azure CLI is not logged in", remedy="Run az login as the user that this server runs as.")
HOSTILE = "</p><script>alert(1)</script>\u202e"


class Played(NoAzure):
    """Azure as a test says."""

    def __init__(self, seen: AzureSeen, log: JobLogSeen | None = None, state: State | None = None) -> None:
        super().__init__()
        self._seen, self._log, self._state = seen, log or JobLogSeen(), state or State()

    def look_at_vms(self) -> AzureSeen:
        return self._seen

    def look_at_jobs(self) -> AzureSeen:
        return self._seen

    def look_at_log(self, job: CloudJob) -> JobLogSeen:
        return self._log

    def find_job(self, name: str) -> CloudJob:
        job = self._state.cloud_jobs.get(name)
        if job is None:
            raise NotFound(f"job_id: there is no job {name!r}")
        return job


def fine(*names: str) -> AzureSeen:
    return AzureSeen(is_on=True, parts=tuple(PartSeen(name=name, refreshed_at=NOW - 7) for name in names or ("Jobs",)))


def failing(*names: str) -> AzureSeen:
    parts = (PartSeen(name=name, refreshed_at=NOW - 400, failure=LOGIN, failed_at=NOW - 300, retry_at=NOW + 40) for name in names)
    return AzureSeen(is_on=True, parts=tuple(parts))


def shown(name: str, azure: NoAzure, state: State | None = None, subject: str | None = None, **look: Any) -> Element:
    panel = PANELS[name]
    root = read(RENDERER.panel(panel, build.a_look(state or State(), azure=azure, **look), subject))
    judge(root)
    return root.children[0]


def jobs_of(*jobs: CloudJob) -> State:
    state = State()
    for job in jobs:
        state.put(job)
    return state


def lines_of(text: bytes) -> Any:
    tail = LogTail()
    tail.feed(text)
    return lambda source, key: tail.lines if key == log_key("user_logs/std_log.txt") else ()


# --- panels: off, failing, empty ---


@pytest.mark.parametrize(("name", "setting"), [("azure-jobs", "azure_workspaces"), ("vms", "azure_subscriptions")])
def test_a_panel_says_how_to_switch_azure_on(name: str, setting: str) -> None:
    assert setting in shown(name, NoAzure()).text


@pytest.mark.parametrize("name", ["azure-jobs", "vms"])
def test_a_panel_says_what_to_install(name: str) -> None:
    message = "It needs azure-identity, which is not installed (azure): pip install 'azure-identity>=1.25,<2'"
    assert message in shown(name, NoAzure(message)).text


def test_the_log_panel_leaves_that_to_the_panel_of_jobs() -> None:
    assert "Azure Jobs says how to switch it on" in shown("azure-job-logs", NoAzure()).text


@pytest.mark.parametrize("name", ["azure-jobs", "azure-job-logs", "vms"])
def test_before_the_first_answer(name: str) -> None:
    assert "Asking Azure" in shown(name, Played(AzureSeen(is_on=True, parts=(PartSeen(name="x"),)))).text


@pytest.mark.parametrize(
    ("name", "words"),
    [("azure-jobs", "There is no job in the configured workspaces"), ("vms", "There is no VM in the configured subscriptions")],
)
def test_an_empty_answer_is_not_an_unknown_one(name: str, words: str) -> None:
    section = shown(name, Played(fine()))
    assert words in section.text
    assert "Azure answered" in section.text


def test_one_cause_is_told_once_with_its_remedy() -> None:
    section = shown("vms", Played(failing("VMs", "Power states")))
    (problem,) = section.all(class_="azure-problem")
    assert "The Azure CLI is not logged in" in problem.text
    assert "Run az login" in problem.text
    assert "VMs, Power states: not read since" in problem.text


def test_what_is_old_says_so() -> None:
    state = jobs_of(a_job(status=JobStatus.RUNNING))
    section = shown("azure-jobs", Played(failing("Jobs")), state)
    assert "stale since" in section.one(class_="azure-problem").text
    clock = section.one(class_="azure-clock").one(tag="time")
    assert clock.attributes["data-stale-after"] == "240"
    assert section.all(class_="azure-job")


# --- panels: in use ---


def test_jobs_are_listed_newest_first_each_parent_with_its_parts() -> None:
    state = jobs_of(
        a_job("old", status=JobStatus.COMPLETED, created_at=1.0, duration_s=1230.5, portal_url="https://ml.azure.com/runs/old"),
        a_job("new", status=JobStatus.RUNNING, created_at=3.0, started_at=NOW - 90, title="WAA", compute="gpu", vm_size="Standard_NC6"),
        a_job("pipe", status=JobStatus.FAILED, created_at=2.0, type="Pipeline", error="A part failed"),
        a_job("part", status=JobStatus.FAILED, created_at=2.5, parent="pipe"),
    )
    section = shown("azure-jobs", Played(fine()), state)
    rows = section.all(class_="azure-job")
    assert [row.one(class_="job-name").one(tag="a").text for row in rows] == ["WAA", "pipe", "part", "old"]
    assert ["is-child" in row.classes for row in rows] == [False, False, True, False]
    assert "1 part" in rows[1].text
    assert "A part failed" in rows[1].text
    assert rows[0].one(class_="job-time").one(class_="duration").text == "1 min 30 s"
    assert "NC6" in rows[0].text
    assert rows[3].one(class_="job-time").one(class_="duration").text == "20 min 30 s"
    assert "https://ml.azure.com/runs/old" in [link.attributes["href"] for link in rows[3].all(tag="a")]
    assert section.one(tag="h2").text.split() == ["Azure", "Jobs", "1", "live"]


def test_a_job_leads_to_its_log_and_to_the_run_that_it_is() -> None:
    job = a_job(status=JobStatus.RUNNING, created_at=1.0)
    vm, run, _ = build.running()
    told = replace(run, log=LogSource(kind=LogKind.JOB, path="user_logs/std_log.txt", identity=job.key))
    state = build.a_state([vm], [(told, ())])
    state.put(job)
    links = {link.text: link.attributes["href"] for link in shown("azure-jobs", Played(fine()), state).all(tag="a")}
    assert links["job-1"] == f"/?job={job.key.replace('/', '%2F')}#azure-job-logs-panel"
    assert links["Run"] == f"/runs/{run.run_id}"


def test_older_jobs_are_counted() -> None:
    state = jobs_of(*(a_job(f"job-{number}", status=JobStatus.COMPLETED, created_at=float(number)) for number in range(25)))
    section = shown("azure-jobs", Played(replace(fine(), is_whole=False)), state)
    assert len(section.all(class_="azure-job")) == 20
    assert "5 older ones, and more" in section.text


def test_the_log_of_the_newest_job_that_writes_is_shown() -> None:
    state = jobs_of(
        a_job("queued", status=JobStatus.QUEUED, created_at=3.0),
        a_job("live", status=JobStatus.RUNNING, created_at=2.0),
        a_job("done", status=JobStatus.COMPLETED, created_at=1.0),
    )
    seen = JobLogSeen(source="aml-live", logs=("user_logs/std_log.txt",))
    lines = lines_of(b"\x1b[32mpassed\x1b[0m 10%\r20%\r30%\n<b>bold</b>\nunfinished")
    section = shown("azure-job-logs", Played(fine(), seen), state, lines_of=lines)
    assert "live" in section.one(class_="job-line").text
    assert [line.text for line in section.one(class_="log-lines").all(tag="li")] == ["30%", "<b>bold</b>", "unfinished"]


def test_another_job_and_another_of_its_logs_can_be_chosen() -> None:
    job = a_job("done", status=JobStatus.COMPLETED)
    names = ("user_logs/std_log_process_0.txt", "user_logs/std_log_process_1.txt")
    state = jobs_of(job)
    azure = Played(fine(), JobLogSeen(source="x", logs=names, is_whole=True), state)
    section = shown("azure-job-logs", azure, state, f"{job.key}?{names[1]}", lines_of=lines_of(b"x"))
    assert section.one(class_="job-logs").one(tag="strong").text == names[1]
    assert section.one(class_="job-logs").one(tag="a").attributes["href"].endswith("process_0.txt#azure-job-logs-panel")
    with pytest.raises(NotFound):
        shown("azure-job-logs", azure, state, "nobody")


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (JobLogSeen(is_reading=True), "Reading the log"),
        (JobLogSeen(), "There is no log yet"),
        (JobLogSeen(is_whole=True), "This job left no log"),
        (JobLogSeen(logs=("a.txt",)), "The log is empty so far"),
        (JobLogSeen(failure=LOGIN, failed_at=NOW - 9), "Not read since"),
        (JobLogSeen(logs=("a.txt",), is_whole=True, is_cut=True), "only its end is read"),
    ],
)
def test_a_log_that_is_not_there_says_why(seen: JobLogSeen, words: str) -> None:
    assert words in shown("azure-job-logs", Played(fine(), seen), jobs_of(a_job(status=JobStatus.RUNNING))).text


def test_a_parent_names_its_parts_where_its_log_would_be() -> None:
    pipe, part = a_job("pipe", type="Pipeline", status=JobStatus.COMPLETED), a_job("part", parent="pipe", status=JobStatus.COMPLETED)
    state = jobs_of(pipe, part)
    azure = Played(fine(), JobLogSeen(is_whole=True), state)
    section = shown("azure-job-logs", azure, state, pipe.key)
    assert "The parts of this job write the logs" in section.text
    assert "part of another job" in shown("azure-job-logs", azure, state, part.key).text


def test_machines_are_listed_with_what_they_cost_and_how_to_watch_them() -> None:
    state = State()
    for vm in (
        a_cloud_vm("a", power=PowerState.RUNNING, public_ip="203.0.113.7", private_ip="10.0.0.4", size="Standard_D8", region="eastus2"),
        a_cloud_vm("b", power=PowerState.STOPPED, private_ip="10.0.0.5", os="windows"),
        a_cloud_vm("c", power=PowerState.DEALLOCATED, public_ip="203.0.113.8", is_spot=True),
    ):
        state.put(vm)
    known = replace(build.a_vm("mine"), spec=replace(build.a_vm("mine").spec, azure_id=a_cloud_vm("c").resource_id.upper()))
    state.put(known)
    section = shown("vms", Played(fine("VMs")), state)
    rows = section.one(class_="azure-list").all(tag="tr")[1:]
    assert [row.one(class_="phase").text for row in rows] == ["Running", "Stopped, still billed", "Deallocated"]
    button = rows[0].one(tag="button")
    assert (button.attributes["form"], button.attributes["value"]) == ("azure-watch", a_cloud_vm("a").key)
    assert "No public address now: start it first" in rows[1].text
    assert "only private 10.0.0.5" in rows[1].text
    assert "spot" in rows[2].text
    assert rows[2].one(class_="azure-watch").one(tag="a").attributes["href"] == "/vms/mine"


def test_hostile_words_of_azure_are_text() -> None:
    job = a_job("j", title=HOSTILE, compute=HOSTILE, error=HOSTILE, experiment=HOSTILE, status=JobStatus.FAILED, vm_size=HOSTILE)
    state = jobs_of(job)
    state.put(a_cloud_vm("v", size=HOSTILE, region=HOSTILE, public_ip=HOSTILE, resource_group=HOSTILE))
    failure = Failure(reason=Reason.PROTOCOL, message=HOSTILE, remedy=HOSTILE)
    seen = AzureSeen(is_on=True, parts=(PartSeen(name=HOSTILE, failure=failure, failed_at=NOW),))
    azure = Played(seen, JobLogSeen(logs=(HOSTILE, "x"), failure=failure, failed_at=NOW), state)
    for name in ("azure-jobs", "azure-job-logs", "vms"):
        html = RENDERER.panel(PANELS[name], build.a_look(state, azure=azure))
        assert b"<script" not in html
        judge(read(html))


# --- the whole application ---


@asynccontextmanager
async def with_azure(cloud: FakeAzure, **options: Any) -> AsyncIterator[House]:
    async with house(azure=lambda built: azure_of(cloud, built), **options) as built:
        yield built


def azure_of(cloud: FakeAzure, built: House) -> Azure:
    clock = Wall()
    return Azure(
        scope=SCOPE,
        cloud=AzureRest(base=cloud.url, tokens=Tokens(), clock=clock),
        recorder=built.recorder,
        watcher=built.monitor,
        check=lambda spec: None,
        supervisor=built.supervisor,
        on_log=built.tails.take,
        seen_at=built.monitor.seen_at,
        power_at={},
        clock=clock,
        pace=replace(QUICK, linger_s=1e9),
        spread=lambda: 0.0,
    )


async def asked_until(built: House, path: str, condition: Any, what: str) -> Any:
    """What is there as soon as it is so."""
    found: list[Any] = []

    async def look() -> bool:
        found[:] = [await built.json(path)]
        return bool(condition(found[0]))

    await until(look, what)
    return found[0]


async def test_programs_get_jobs_their_logs_and_machines() -> None:
    with FakeAzure() as cloud:
        job = FakeJob("quirky_hat", title="WAA", portal="http://ml.azure.com/plain")
        job.write(b"\x1b[31mone\x1b[0m\ntwo")
        cloud.jobs, cloud.machines = [job], [Machine("a", priority="Spot", tags={"purpose": "bench"})]
        async with with_azure(cloud) as built:
            found = await asked_until(built, "/api/azure-jobs", lambda it: it["jobs"] and it["jobs"][0]["vm_size"], "the details")
            assert (found["enabled"], found["is_whole"], found["problems"]) == (True, True, [])
            row = found["jobs"][0]
            assert (row["job_id"], row["status"], row["is_live"], row["display_name"]) == ("quirky_hat", "Running", True, "WAA")
            assert (row["portal_url"], row["compute"], row["low_priority"], row["duration_s"]) == (None, "gpu-cluster", True, None)
            logs = await asked_until(built, "/api/azure-job-logs?job_id=quirky_hat", lambda it: it["lines"], "the log")
            assert [line["text"] for line in logs["lines"]] == ["one", "two"]
            assert (logs["log"], logs["complete"], logs["error"]) == ("user_logs/std_log.txt", False, None)
            vms = await asked_until(built, "/api/azure-vms", lambda it: it["vms"] and it["vms"][0]["public_ip"], "the machine")
            vm = vms["vms"][0]
            assert (vm["name"], vm["power"], vm["spot"], vm["region"], vm["size"]) == ("a", "running", True, "eastus2", "Standard_D8ds_v5")
            assert (vm["os"], vm["tags"], vm["vm"]) == ("linux", {"purpose": "bench"}, None)
            assert (await built.ask("/api/azure-job-logs?job_id=nobody")).code == 404
            assert (await built.ask("/api/azure-job-logs?job_id=quirky_hat&log=other")).code == 404
            assert (await built.ask("/api/azure-job-logs")).code == 422
            assert (await built.ask("/?job=nobody", headers={"Accept": "text/html"})).code == 404


async def test_the_button_watches_a_machine_which_keeps_its_identity() -> None:
    with FakeAzure() as cloud:
        cloud.machines = [Machine("waa-1")]
        async with with_azure(cloud) as built:
            await asked_until(built, "/api/azure-vms", lambda it: it["vms"] and it["vms"][0]["public_ip"], "the machine")
            page = await built.ask("/", headers={"Accept": "text/html"})
            token = re.search(rb'id="azure-watch"[^>]*><input type="hidden" name="_xsrf" value="([^"]+)"', page.body)
            assert token is not None
            cookie = "; ".join(header.partition(";")[0] for header in page.headers.get_list("Set-Cookie"))
            key = cloud.machines[0].resource_id.lower()
            body = f"_xsrf={token[1].decode()}&id={key}"
            without = await built.ask("/azure/vms/watch", "POST", body=f"id={key}", headers={**FORM, "Cookie": cookie})
            assert without.code == 403
            answer = await built.ask("/azure/vms/watch", "POST", body=body, headers={**FORM, "Cookie": cookie})
            assert (answer.code, answer.headers["Location"]) == (303, "/vms/waa-1")
            spec = built.recorder.state.vms["waa-1"].spec
            assert (spec.ssh_host, spec.azure_id, spec.origin) == ("203.0.113.7", cloud.machines[0].resource_id, Origin.API)
            assert (await built.json("/api/azure-vms"))["vms"][0]["vm"] == "waa-1"
            for wrong, status in ((key, 409), ("", 422), (key[:-1] + "9", 404), ("x" * 1001, 422)):
                form = f"_xsrf={token[1].decode()}&id={wrong}"
                assert (await built.ask("/azure/vms/watch", "POST", body=form, headers={**FORM, "Cookie": cookie})).code == status


async def test_where_azure_is_off_nothing_can_be_watched() -> None:
    async with house() as built:
        page = await built.ask("/", headers={"Accept": "text/html"})
        token = re.search(rb'name="_xsrf" value="([^"]+)"', page.body)
        assert token is not None
        cookie = "; ".join(header.partition(";")[0] for header in page.headers.get_list("Set-Cookie"))
        body = f"_xsrf={token[1].decode()}&id=/subscriptions/x"
        assert (await built.ask("/azure/vms/watch", "POST", body=body, headers={**FORM, "Cookie": cookie})).code == 409
        assert (await built.json("/api/azure-vms"))["enabled"] is False


async def test_a7_jobs_are_told_whole_at_first_then_as_they_change() -> None:
    with FakeAzure() as cloud:
        cloud.jobs = [FakeJob("a", status="Queued", started=None), FakeJob("b", status="Queued", started=None)]
        async with with_azure(cloud) as built:
            await asked_until(built, "/api/azure-jobs", lambda it: len(it["jobs"]) == 2, "both jobs")
            listener = await built.listen("/api/benchmark-sse?interval=1")
            whole = await listener.until("jobs")
            assert whole.data["is_whole"] is True
            assert {job["job_id"]: job["status"] for job in whole.data["jobs"]} == {"a": "Queued", "b": "Queued"}
            assert whole.id is not None
            cloud.jobs[0].status = "Running"
            del cloud.jobs[1]
            seen: dict[str, Any] = {}
            gone: list[str] = []
            while "a" not in seen or not gone:
                message = await listener.until("jobs")
                assert message.data["is_whole"] is False
                seen |= {job["job_id"]: job["status"] for job in message.data["jobs"]}
                gone += message.data["gone"]
            assert seen == {"a": "Running"}
            assert [key.rpartition("/")[2] for key in gone] == ["b"]
            again = await built.listen("/api/benchmark-sse", headers={"Last-Event-ID": whole.id or ""})
            assert [job["job_id"] for job in (await again.until("jobs")).data["jobs"]] == ["a"]


async def test_a7_the_log_of_a_job_is_told_line_by_line() -> None:
    with FakeAzure() as cloud:
        job = FakeJob("train")
        job.write(b"one\ntwo\n")
        cloud.jobs = [job]
        async with with_azure(cloud) as built:
            await asked_until(built, "/api/azure-jobs", lambda it: it["jobs"], "the job")
            assert (await built.ask("/api/benchmark-sse?job_id=nobody")).code == 404
            listener = await built.listen("/api/benchmark-sse?job_id=train")
            lines: dict[int, str] = {}
            while len(lines) < 2:
                message = await listener.until("job_log")
                if message.data["anew"]:
                    lines.clear()
                lines |= {line["number"]: line["text"] for line in message.data["lines"]}
            assert (message.data["job_id"], message.data["log"], message.id is not None) == ("train", "user_logs/std_log.txt", True)
            job.write(b"three\nfo")
            while len(lines) < 4:
                lines |= {line["number"]: line["text"] for line in (await listener.until("job_log")).data["lines"]}
            job.write(b"ur\n")
            while list(lines.values())[-1] != "four":
                lines |= {line["number"]: line["text"] for line in (await listener.until("job_log")).data["lines"]}
            assert list(lines.values()) == ["one", "two", "three", "four"]


async def test_a_page_sees_new_lines_of_a_job_and_its_run() -> None:
    with FakeAzure() as cloud:
        job = FakeJob("quirky_hat")
        job.write(RUN_LOG[:9000])
        cloud.jobs = [job]
        async with with_azure(cloud) as built:
            await asked_until(built, "/api/azure-jobs", lambda it: it["jobs"] and it["jobs"][0]["run_id"], "the run")
            listener = await built.listen("/stream?panels=azure-jobs,azure-job-logs,fleet")
            html = ""
            while "lib_run_single" not in html:
                html = str((await listener.next()).data)
            assert "aml-quirky_hat" in html
            job.write(b"a line that nobody has seen\n")
            while "a line that nobody has seen" not in html:
                html = str((await listener.next()).data)


async def test_no_answer_of_ours_holds_a_signature_or_token() -> None:
    with FakeAzure() as cloud:
        job = FakeJob("quirky_hat")
        job.write(RUN_LOG[:9000])
        cloud.jobs, cloud.machines = [job], [Machine("a")]
        async with with_azure(cloud) as built:
            await asked_until(built, "/api/azure-jobs", lambda it: it["jobs"] and it["jobs"][0]["run_id"], "the run")
            run_id = next(iter(built.recorder.state.runs))
            paths = [
                "/",
                f"/runs/{run_id}",
                "/vms/aml-quirky_hat",
                "/api/azure-jobs",
                "/api/azure-job-logs?job_id=quirky_hat",
                "/api/azure-vms",
            ]
            paths += ["/api/vms", f"/api/runs/{run_id}", "/metrics", "/fragments/azure-jobs", "/fragments/azure-job-logs", "/fragments/vms"]
            assert b"Last screenshot" not in (await built.ask("/vms/aml-quirky_hat", headers={"Accept": "text/html"})).body
            for path in paths:
                answer = await built.ask(path, headers={"Accept": "text/html"})
                assert answer.code == 200, path
                for secret in (b"sig=", b"sig-1", b"token-1", b"/blobs/"):
                    assert secret not in answer.body, (path, json.dumps(str(secret)))
