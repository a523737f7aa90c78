"""Pipelines on the wire (D1), over the API, and on their pages."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.core.builders import T0
from tests.web.house import House, Listener, house, until
from tests.web.test_pages import FORM, HTML, opened_form
from waa.core.access import LOCAL
from waa.core.destination import Destinations
from waa.core.error import Failure
from waa.core.pipeline import Answer, Credential, Pace, PipelineRules, PipelineSpec, PipelineStatus
from waa.core.pipeline_answer import failed
from waa.core.pipeline_change import PipelineForgotten, PipelineLooked, PipelineNamed
from waa.core.spec import Origin
from waa.core.status import Reason
from waa.services.access import AccessRules, Client
from waa.services.pipelines import MAX_PER_BACKEND
from waa.store.memory import MemoryStore
from waa.web.deps import WebSettings

STREAM, TWIN = "/ui-api/pipeline/status/stream", "/ui-api/pipeline/status"
JSON = {"Content-Type": "application/json"}
UP, DOWN, DEGRADED = (Answer(status=status) for status in (PipelineStatus.UP, PipelineStatus.DOWN, PipelineStatus.DEGRADED))
REFUSED = Answer(failure=Failure(reason=Reason.REFUSED, message="10.0.0.9 refuses the connection", remedy="Start it."))
QUIET = Pace(has_history=False)


class Backends:
    """Answers what a test says; ``asked`` are ids."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.credentials: dict[str, Credential] = {}

    async def look(self, spec: PipelineSpec, credential: Credential) -> Answer:
        self.asked.append(spec.pipeline_id)
        self.credentials[spec.pipeline_id] = credential
        return self.answers.get(spec.pipeline_id, failed(Reason.REFUSED, "it refuses the connection", "Start it."))

    def forget(self, pipeline_id: str) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """Nothing to give back."""


async def name(built: House, *names: str, title: str = "") -> None:
    """Pipelines that are known, and looked at by the test alone."""
    for each in names:
        spec = PipelineSpec(pipeline_id=each, backend="http://10.0.0.9", title=title, origin=Origin.API)
        await built.record(PipelineNamed(vm="", at=T0, spec=spec))


async def look(built: House, key: str, answer: Answer, *, failures: int = 0) -> None:
    at = built.clock()
    seen = PipelineLooked(
        vm="", at=at, pipeline_id=key, backend="http://10.0.0.9", answer=answer, looked_at=built.pipelines.seen_at(key), failures=failures
    )
    await built.record(seen)


def statuses(updates: Sequence[Any]) -> dict[str, str]:
    return {update["pipelineId"]: update["status"] for update in updates}


async def batch(listener: Listener) -> dict[str, str]:
    message = await listener.until("batch_update")
    return statuses(message.data["updates"])


# --- the stream ---


async def test_d1_the_stream_begins_with_all_and_then_tells_what_changes() -> None:
    async with house(pace=QUIET) as built:
        await name(built, "a", "b", "c")
        await look(built, "a", UP)
        listener = await built.listen(f"{STREAM}?pipelineIds=b,a")
        first = await listener.next()
        assert (first.event, first.data["type"], first.data["timestamp"]) == ("batch_update", "batch_update", built.clock())
        assert first.data["updates"] == [{"pipelineId": "a", "status": "up"}, {"pipelineId": "b", "status": "unknown"}]
        built.clock.now += 2
        await look(built, "a", UP)
        await look(built, "c", UP)
        await look(built, "a", DOWN)
        update = await listener.next()
        assert update.event == "status_update"
        assert update.data == {
            "type": "status_update", "timestamp": built.clock(), "pipelineId": "a", "status": "down", "previousStatus": "up",
        }  # fmt: skip
        assert update.number == built.recorder.hub.last_event_id


async def test_d1_a_heartbeat_every_30_s_without_an_id() -> None:
    async with house(pace=QUIET) as built:
        await name(built, "a")
        listener = await built.listen(STREAM)
        await batch(listener)
        built.stream_clock.now += 31
        beat = await listener.next()
        assert (beat.event, beat.id) == ("heartbeat", None)
        assert beat.data == {"type": "heartbeat", "timestamp": built.clock()}


async def test_d1_headers_of_the_stream() -> None:
    async with house(pace=QUIET) as built:
        listener = await built.listen(STREAM)
        assert listener.headers["Content-Type"] == "text/event-stream"
        assert listener.headers["Cache-Control"] == "no-cache, no-transform"
        assert listener.headers["X-Accel-Buffering"] == "no"
        assert await batch(listener) == {}


@pytest.mark.parametrize("path", [STREAM, TWIN])
async def test_d1_unknown_ids_are_named(path: str) -> None:
    async with house(pace=QUIET) as built:
        await name(built, "a")
        answer = await built.ask(f"{path}?pipelineIds=a,zz,{quote('<b>')}")
        assert answer.code == 404
        assert json.loads(answer.body)["error"]["message"] == "pipelineIds: there is no pipeline '<b>', 'zz'"
        many = await built.ask(f"{path}?pipelineIds={','.join(f'x{number}' for number in range(301))}")
        assert many.code == 422


async def test_without_ids_all_are_told_also_those_that_come_and_go() -> None:
    async with house(pace=QUIET) as built:
        await name(built, "a")
        listener = await built.listen(f"{STREAM}?pipelineIds=")
        assert await batch(listener) == {"a": "unknown"}
        await name(built, "b")
        came = await listener.next()
        assert (came.event, came.data["pipelineId"], came.data["previousStatus"]) == ("status_update", "b", None)
        await built.record(PipelineForgotten(vm="", at=T0, pipeline_id="a"))
        gone = await listener.next()
        assert (gone.event, gone.data["pipelineId"]) == ("error", "a")
        assert gone.data["message"] == "The pipeline a was taken away"


async def test_one_group_per_set_whatever_the_order_of_its_ids() -> None:
    async with house(pace=QUIET) as built:
        await name(built, "a", "b")
        listeners = [await built.listen(f"{STREAM}?pipelineIds={ids}") for ids in ("a,b", "b,a", "%20b%20,a,a")]
        for listener in listeners:
            await batch(listener)
        published = built.streams.counts.published
        await look(built, "a", UP)
        for listener in listeners:
            assert (await listener.next()).data["status"] == "up"
        assert built.streams.counts.published == published + 1


@pytest.mark.parametrize("capacity", [2000, 3])
async def test_a_client_that_comes_back_gets_what_it_missed(capacity: int) -> None:
    async with house(pace=QUIET, capacity=capacity) as built:
        await name(built, "a", "b")
        listener = await built.listen(f"{STREAM}?pipelineIds=a")
        last = (await listener.next()).id
        await listener.close()
        for answer in (UP, DOWN, DEGRADED, UP):
            built.clock.now += 2
            await look(built, "a", answer)
            await look(built, "b", answer)
        again = await built.listen(f"{STREAM}?pipelineIds=a", headers={"Last-Event-ID": str(last)})
        missed = await again.take(5)
        assert [message.event for message in missed] == ["status_update"] * 4 + ["batch_update"]
        told = [(message.data["previousStatus"], message.data["status"]) for message in missed[:4]]
        assert told == [("unknown", "up"), ("up", "down"), ("down", "degraded"), ("degraded", "up")]
        assert [message.number for message in missed] == sorted(message.number for message in missed)


@pytest.mark.parametrize("last", ["0123456789ab-1", "x"])
async def test_an_id_of_another_store_gives_a_gap(last: str) -> None:
    async with house(pace=QUIET) as built:
        await name(built, "a")
        listener = await built.listen(f"{STREAM}?lastEventId={last}")
        assert [message.event for message in await listener.take(2)] == ["gap", "batch_update"]


async def test_what_nobody_looked_at_for_long_is_unknown_not_down() -> None:
    async with house(pace=QUIET) as built:
        await name(built, "a")
        await look(built, "a", DOWN)
        assert statuses((await built.json(TWIN))["updates"]) == {"a": "down"}
        built.clock.now += PipelineRules().gap_s + 1
        assert statuses((await built.json(TWIN))["updates"]) == {"a": "unknown"}
        detail = await built.json("/api/pipelines/a")
        assert (detail["status"], detail["last_status"], detail["is_stale"]) == ("unknown", "down", True)
        assert b"nobody looks at it; it was down" in (await built.ask("/fragments/pipelines")).body


async def test_an_open_stream_has_its_pipelines_looked_at_and_no_others() -> None:
    backends = Backends()
    backends.answers = {"a": UP}
    async with house(probe=backends, pace=Pace(interval_s=0.01, has_history=False)) as built:
        for key in ("a", "b"):
            spec = PipelineSpec(pipeline_id=key, backend="http://10.0.0.9", origin=Origin.API)
            await built.pipelines.add(spec, Credential())
        # Naming one is a glance at it: both were looked at for a moment.
        listener = await built.listen(f"{STREAM}?pipelineIds=a")
        while (await listener.next()).data.get("status") != "up" and statuses(listener.seen[0].data["updates"])["a"] != "up":
            pass
        before = backends.asked.count("a")
        await until(lambda: backends.asked.count("a") > before + 5, "a is looked at again and again")


async def test_streams_end_with_their_key() -> None:
    async with house(pace=QUIET, rules=AccessRules(is_required=True)) as built:
        key, text = await built.access.create_key(LOCAL, Client(), name="k", scopes=["view"])
        assert (await built.ask(STREAM)).code == 401
        listener = await built.listen(STREAM, headers={"X-API-Key": text})
        await batch(listener)
        await built.access.revoke_key(LOCAL, Client(), key.key_id)
        await listener.until("signed_out")


async def test_the_twin_has_an_etag() -> None:
    async with house(pace=QUIET) as built:
        await name(built, "a", "b")
        await look(built, "a", UP)
        answer = await built.ask(f"{TWIN}?pipelineIds=a")
        assert json.loads(answer.body) == {"updates": [{"pipelineId": "a", "status": "up"}]}
        assert "X-Last-Event-Id" in answer.headers
        built.clock.now += 2
        await look(built, "a", UP)
        again = await built.ask(f"{TWIN}?pipelineIds=a", headers={"If-None-Match": answer.headers["ETag"]})
        assert again.code == 304
        await look(built, "a", DOWN)
        assert (await built.ask(f"{TWIN}?pipelineIds=a", headers={"If-None-Match": answer.headers["ETag"]})).code == 200


# --- the API ---


async def test_naming_changing_and_removing_over_the_api() -> None:
    async with house(pace=QUIET) as built:
        body = {"id": "train", "backend": "http://10.0.0.9:8080/", "title": "Training", "token": "s3cr3t-token"}
        made = await built.post_json("/api/pipelines", body)
        assert made.code == 201
        pipeline = json.loads(made.body)["pipeline"]
        assert (pipeline["id"], pipeline["backend"], pipeline["auth"], pipeline["origin"]) == (
            "train", "http://10.0.0.9:8080", "bearer", "api",
        )  # fmt: skip
        assert (await built.post_json("/api/pipelines", {**body, "title": None})).code == 200
        assert (await built.json("/api/pipelines"))["total"] == 1
        for path in ("/api/pipelines", "/api/pipelines/train", "/pipelines", "/pipelines/train", "/fragments/pipelines", TWIN):
            assert b"s3cr3t" not in (await built.ask(path)).body
        assert (await built.ask("/api/pipelines/train", "DELETE")).code == 204
        assert (await built.ask("/api/pipelines/train")).code == 404
        assert (await built.ask("/api/pipelines/train", "DELETE")).code == 404


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": None}, "id"),
        ({"backend": "http://169.254.169.254"}, "backend"),
        ({"backend": "http://metadata.google.internal/x"}, "backend"),
        ({"backend": "http://127.0.0.1"}, "backend"),
        ({"backend": "http://me:pw@10.0.0.9"}, "backend"),
        ({"backend": 7}, "backend"),
        ({"token": "a\nb"}, "token"),
        ({"token": "a", "password": "b"}, "password"),
        ({"token_file": "/etc/passwd"}, "token_file"),
        ({"token_env": "HOME"}, "token_env"),
        ({"nonsense": "x"}, "nonsense"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_is_asked(changes: dict[str, object], field: str) -> None:
    backends = Backends()
    settings = WebSettings(destinations=Destinations(clients_reach_loopback=False))
    async with house(pace=QUIET, probe=backends, settings=settings) as built:
        answer = await built.post_json("/api/pipelines", {"id": "a", "backend": "http://10.0.0.9", **changes})
        assert answer.code == 422
        assert json.loads(answer.body)["error"]["field"] == field
        assert (built.recorder.state.pipelines, backends.asked) == ({}, [])


async def test_what_the_file_names_is_changed_there() -> None:
    async with house(pace=QUIET) as built:
        await built.record(PipelineNamed(vm="", at=T0, spec=PipelineSpec(pipeline_id="a", backend="http://10.0.0.9")))
        assert (await built.post_json("/api/pipelines", {"id": "a", "backend": "http://10.0.0.66"})).code == 409
        assert (await built.ask("/api/pipelines/a", "DELETE")).code == 409
        assert b"remove-dialog" not in (await built.ask("/pipelines/a")).body


async def test_the_audit_log_says_who_named_what_and_no_secret() -> None:
    async with house(pace=QUIET, rules=AccessRules(is_required=True)) as built:
        _, text = await built.access.create_key(LOCAL, Client(), name="k", scopes=["operate", "admin"])
        headers = {**JSON, "X-API-Key": text}
        body = json.dumps({"id": "a", "backend": "http://10.0.0.9", "token": "s3cr3t-token"})
        assert (await built.ask("/api/pipelines", "POST", body=body, headers=headers)).code == 201
        assert (await built.ask("/api/pipelines/a", "DELETE", headers=headers)).code == 204
        entries = json.loads((await built.ask("/audit.json", headers=headers)).body)["entries"]
        told = [(entry["action"], entry["subject"], entry["detail"]) for entry in entries]
        assert ("pipeline.add", "a", "added") in told
        assert ("pipeline.remove", "a", "") in told
        assert "s3cr3t" not in json.dumps(entries)


async def test_the_list_is_filtered_sorted_and_windowed() -> None:
    async with house(pace=QUIET) as built:
        await name(built, *(f"p-{number:03d}" for number in range(60)))
        await look(built, "p-007", DOWN)
        await look(built, "p-008", UP)
        await look(built, "p-009", REFUSED, failures=1)
        assert [row["id"] for row in (await built.json("/api/pipelines"))["pipelines"]][:2] == ["p-007", "p-000"]
        assert [row["id"] for row in (await built.json("/api/pipelines?status=up,down"))["pipelines"]] == ["p-007", "p-008"]
        assert [row["id"] for row in (await built.json("/api/pipelines?q=refuses"))["pipelines"]] == ["p-009"]
        second = await built.json("/api/pipelines?sort=-name&page=2")
        assert (second["pipelines"][0]["id"], len(second["pipelines"]), second["total"]) == ("p-009", 10, 60)
        assert (await built.ask("/api/pipelines?sort=x")).code == 422


# --- pages and panels ---


async def test_the_empty_list_says_how_to_name_one() -> None:
    async with house(pace=QUIET) as built:
        page = (await built.ask("/pipelines", headers=HTML)).body.decode()
        assert "No pipeline is watched yet." in page
        assert "[[pipeline]]" in page
        assert "No pipeline matches." not in page
        await name(built, "a")
        assert "No pipeline matches." in (await built.ask("/pipelines?q=zzz", headers=HTML)).body.decode()


async def test_the_page_is_told_when_a_status_changes_and_of_nothing_else() -> None:
    async with house(pace=QUIET) as built:
        await name(built, "a", "b")
        await look(built, "a", UP)
        listener = await built.listen("/stream?panels=pipeline&pipeline=a")
        hello, beat, first = await listener.take(3)
        assert hello.event == "hello"
        assert beat.data["seen"] == {"pipeline:a": built.clock()}
        assert "Up" in first.data
        await look(built, "a", UP)
        await look(built, "b", UP)
        await look(built, "a", REFUSED, failures=3)
        changed = await listener.next()
        assert "refuses the connection" in changed.data
        assert "Start it." in changed.data


async def test_a_panel_is_the_same_on_its_page_alone_and_in_a_frame() -> None:
    async with house(pace=QUIET) as built:
        await name(built, "a", title="The <first>")
        await look(built, "a", Answer(status=PipelineStatus.UNKNOWN, said="<b>odd</b>"))
        for panel in ("pipelines", "pipeline?pipeline=a"):
            fragment = (await built.ask(f"/fragments/{panel}")).body.decode()
            assert fragment.strip() in (await built.ask(f"/embed/{panel}", headers=HTML)).body.decode()
            assert "&lt;b&gt;odd&lt;/b&gt;" in fragment
            assert "<b>odd" not in fragment
        assert "The &lt;first&gt;" in (await built.ask("/pipelines/a", headers=HTML)).body.decode()
        assert (await built.ask("/fragments/pipeline")).code == 422
        assert (await built.ask("/fragments/pipeline?pipeline=zz")).code == 404
        assert (await built.ask("/pipelines/zz", headers=HTML)).code == 404


async def test_times_that_were_not_observed_are_told_apart() -> None:
    async with house(pace=QUIET) as built:
        await name(built, "a")
        for answer, after_s in ((UP, 0), (DOWN, 60), (UP, 30), (UP, 3000)):
            built.clock.now += after_s
            await look(built, "a", answer)
        page = (await built.ask("/fragments/pipeline?pipeline=a")).body.decode()
        assert page.count("Not observed") == 1
        assert "down 1 time, known for" in page
        assert "66.66 %" in page
        uptime = (await built.json("/api/pipelines/a"))["uptime"]["1h"]
        assert uptime["rate"] == pytest.approx(2 / 3)
        assert uptime["coverage"] == pytest.approx(90 / 3600)


async def test_what_is_down_needs_somebody() -> None:
    async with house(pace=QUIET) as built:
        await name(built, "a", "b")
        await look(built, "a", UP)
        quiet = (await built.ask("/fragments/attention")).body.decode()
        assert "Nothing needs you." in quiet
        assert "2 pipelines watched." in quiet
        listener = await built.listen("/stream?panels=attention")
        await listener.until("message")
        await look(built, "a", REFUSED, failures=3)
        told = (await listener.next()).data
        assert "The pipeline is down" in told
        assert "10.0.0.9 refuses the connection" in told
        assert 'href="/pipelines/a"' in told


async def test_polling_pages_have_their_pipelines_looked_at() -> None:
    backends = Backends()
    async with house(probe=backends, pace=Pace(interval_s=0.01, has_history=False)) as built:
        await built.pipelines.add(PipelineSpec(pipeline_id="a", backend="http://10.0.0.9", origin=Origin.API), Credential())
        before = len(backends.asked)
        await built.ask("/fragments/pipelines")
        await until(lambda: len(backends.asked) > before + MAX_PER_BACKEND, "it is looked at")


async def test_the_form_names_one_and_never_shows_a_secret_again() -> None:
    backends = Backends()
    async with house(pace=QUIET, probe=backends) as built:
        token, cookies = await opened_form(built)
        headers = {**FORM, "Cookie": cookies}

        async def send(**fields: str) -> Any:
            return await built.ask("/pipelines", "POST", body=urlencode({"_xsrf": token, **fields}), headers=headers)

        wrong = await send(id="a b", backend="http://10.0.0.9", auth="bearer", secret="s3cr3t")
        assert wrong.code == 422
        assert b"s3cr3t" not in wrong.body
        assert b"is not 1 to 63 letters" in wrong.body
        assert b'value="a b"' in wrong.body
        assert b"is needed" in (await send(id="a", backend="http://10.0.0.9", auth="bearer")).body
        assert b"choose what the backend is asked with" in (await send(id="a", backend="http://10.0.0.9", auth="none", secret="x")).body
        assert (await send(id="a", backend="http://10.0.0.9", auth="magic", secret="x")).code == 422
        assert (await send(id="new", backend="http://10.0.0.9", auth="none")).code == 422
        made = await send(id="a", backend="http://10.0.0.9", auth="basic", secret="s3cr3t", username="me", title="", api_key_header="")
        assert (made.code, made.headers["Location"]) == (303, "/pipelines/a")
        await until(lambda: "a" in backends.credentials, "it is looked at")
        assert (backends.credentials["a"].username, backends.credentials["a"].secret) == ("me", "s3cr3t")
        assert (await send(id="a", backend="http://10.0.0.9", auth="none")).code == 409
        removed = await built.ask("/pipelines/a/remove", "POST", body=urlencode({"_xsrf": token}), headers=headers)
        assert (removed.code, removed.headers["Location"]) == (303, "/pipelines")
        assert built.recorder.state.pipelines == {}


async def test_a_restart_shows_the_last_status_for_a_while() -> None:
    store = MemoryStore()
    async with house(pace=QUIET, store=store) as built:
        await name(built, "a")
        await look(built, "a", UP)
    async with house(pace=QUIET, store=store) as built:
        assert statuses((await built.json(TWIN))["updates"]) == {"a": "up"}
        assert (await built.json("/api/pipelines/a"))["observed_at"] == built.clock()
