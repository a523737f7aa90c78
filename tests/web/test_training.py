"""Trainings over HTTP: pushing, reading, streaming, and who may (requirements E1 to E5)."""

import json
import re
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from tornado.httpclient import HTTPResponse

from tests.web.house import House, Listener, house, until
from tests.web.markup import read
from tests.web.test_pages import FORM, opened_form
from tests.web.trainings import create, item, push, send
from waa.core.access import LOCAL
from waa.core.training import TrainingStatus
from waa.services.access import AccessRules, Client
from waa.web.deps import WebSettings
from waa.web.stream_service import StreamLimits
from waa.web.training_feed import MAX_RECENT, MAX_REPLAY

PUSH = "/api/training/predictions"


def seqs(taken: dict[str, Any]) -> list[int | None]:
    return [row["seq"] for row in taken["results"]]


async def told(listener: Listener, count: int) -> list[int]:
    """The ``seq`` of the next predictions of a stream."""
    return [(await listener.until("prediction")).data["prediction"]["seq"] for _ in range(count)]


async def ends(listener: Listener) -> None:
    """Read a stream to its end."""
    with pytest.raises(AssertionError, match="the stream ended"):
        while True:
            await listener.next()


def shown(page: bytes) -> list[int]:
    """The ``seq`` of the predictions in the table, from its top."""
    rows = read(page).one(id_="predictions-panel").all(tag="tr")
    return [int(row.attributes["id"].rpartition("-")[2]) for row in rows if "id" in row.attributes]


# --- pushing ---


async def test_e1_a_prediction_is_taken_once() -> None:
    async with house() as built:
        await create(built, "digits")
        assert await send(built, PUSH, {"job_id": "digits", **item(1)}) == (201, {"id": "0-1", "seq": 1, "status": "created"})
        assert await send(built, PUSH, {"job_id": "digits", **item(1)}) == (200, {"id": "0-1", "seq": 1, "status": "duplicate"})
        status, made = await send(built, PUSH, {"job_id": "digits", "epoch": 0, "step": 1, "prompt": "a", "prediction": "b"})
        assert (status, made["seq"], len(made["id"])) == (201, 2, 32)


async def test_e1_a_batch_is_taken_but_for_what_is_wrong_in_it() -> None:
    async with house() as built:
        taken = await push(built, "digits", item(1), {"epoch": "x"}, item(2, step=-1), item(3, colour="red"), item(1), item(4))
        assert seqs(taken) == [1, None, None, None, 1, 2]
        assert [row["status"] for row in taken["results"]] == ["created", "invalid", "invalid", "invalid", "duplicate", "created"]
        assert (taken["created"], taken["duplicates"], taken["invalid"], taken["total_count"]) == (2, 1, 3, 2)
        errors = [row["error"] for row in taken["results"] if row["error"]]
        assert [error["field"] for error in errors][1:] == ["step", "colour"]
        assert "allowed: " in errors[2]["message"]
        assert [row["index"] for row in taken["results"]] == list(range(6))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "body"),
        ({}, "job_id"),
        ({"job_id": 7}, "job_id"),
        ({"job_id": "digits"}, "epoch"),
        ({"job_id": "digits", **item(1, prompt=7)}, "prompt"),
        ({"job_id": "digits", **item(1, scores={"loss": "low"})}, "scores"),
        ({"job_id": "digits", "predictions": []}, "predictions"),
        ({"job_id": "digits", "predictions": [item(1)] * 501}, "predictions"),
        ({"job_id": "digits", "predictions": {}}, "predictions"),
        ({"job_id": "digits", "predictions": [item(1)], "epoch": 1}, "epoch"),
    ],
)
async def test_e1_what_cannot_be_taken_at_all_names_its_field(body: object, field: str) -> None:
    async with house() as built:
        await create(built, "digits")
        status, answer = await send(built, PUSH, body)
        assert (status, answer["error"]["field"].partition("[")[0]) == (422, field)
        assert built.recorder.state.trainings["digits"].total == 0


async def test_e1_larger_bodies_than_elsewhere_are_taken() -> None:
    async with house() as built:
        taken = await push(built, "digits", *(item(number, prediction="x" * 30_000) for number in range(100)))
        assert taken["created"] == 100
        assert (await send(built, "/api/training/jobs", {"job_id": "a", "title": "x" * 300_000}))[0] == 413


async def test_e1_a_training_that_is_not_there_is_not_found() -> None:
    async with house() as built:
        for path, body in (
            (PUSH, {"job_id": "nobody", **item(1)}),
            ("/api/training/jobs/nobody/finish", {"status": "failed"}),
            ("/api/training/jobs/nobody/token", {}),
            ("/api/training/jobs/nobody/epochs/1/complete", {}),
        ):
            assert (await send(built, path, body))[0] == 404
        for path in ("/api/training/jobs/nobody", "/api/training/predictions/nobody", "/api/training/predictions/nobody/stream"):
            assert (await built.ask(path)).code == 404


async def test_a_training_is_made_once_named_anew_finished_and_removed() -> None:
    async with house() as built:
        status, made = await send(built, "/api/training/jobs", {"job_id": "digits", "title": "First"})
        assert (status, made["job"]["status"], made["url"]) == (201, "running", "/training/monitor?jobId=digits")
        status, again = await send(built, "/api/training/jobs", {"job_id": "digits", "title": "Second"})
        assert (status, again["token"], again["job"]["title"]) == (200, None, "Second")
        status, other = await send(built, "/api/training/jobs", {})
        assert (status, other["job"]["job_id"][:9]) == (201, "training-")
        for body, field in (({"status": "running"}, "status"), ({}, "status"), ({"status": "failed", "error": "x" * 2001}, "error")):
            status, answer = await send(built, "/api/training/jobs/digits/finish", body)
            assert (status, answer["error"]["field"]) == (422, field)
        status, ended = await send(built, "/api/training/jobs/digits/finish", {"status": "failed", "error": "out of memory"})
        assert (status, ended["status"], ended["error"], ended["ended_at"]) == (200, "failed", "out of memory", built.clock())
        assert [job["job_id"] for job in (await built.json("/api/training/jobs"))["jobs"]][-1] != ""
        assert (await send(built, "/api/training/jobs/digits", None, method="DELETE"))[0] == 204
        assert (await built.ask("/api/training/jobs/digits")).code == 404


async def test_e2_an_epoch_is_completed_by_its_training() -> None:
    async with house() as built:
        await push(built, "digits", item(1), item(2, matches=False))
        status, epoch = await send(built, "/api/training/jobs/digits/epochs/0/complete", {})
        assert (status, epoch["is_complete"], epoch["exact_match"], epoch["prediction_count"]) == (200, True, 0.5, 2)
        assert (await send(built, "/api/training/jobs/digits/epochs/9/complete", {}))[0] == 404


# --- reading ---


async def test_e4_predictions_are_read_page_by_page() -> None:
    async with house() as built:
        await push(built, "digits", *(item(number, number % 2, matches=number % 3 > 0) for number in range(1, 13)))
        newest = await built.json("/api/training/predictions/digits?limit=3")
        assert [row["seq"] for row in newest["predictions"]] == [12, 11, 10]
        assert (newest["total_count"], newest["last_event_id"].partition("-")[2]) == (12, "p12")
        older = await built.json("/api/training/predictions/digits?limit=3&before=10&epoch=1")
        assert [row["seq"] for row in older["predictions"]] == [9, 7, 5]
        wrong = await built.json("/api/training/predictions/digits?match=no&after=3")
        assert [row["seq"] for row in wrong["predictions"]] == [12, 9, 6]
        for query in ("limit=0", "limit=501", "epoch=x", "match=maybe", "before=-1"):
            answer = await built.ask(f"/api/training/predictions/digits?{query}")
            assert (answer.code, json.loads(answer.body)["error"]["field"]) == (422, query.partition("=")[0])


# --- streaming ---


async def test_e2_a_stream_tells_each_prediction_once_in_order() -> None:
    async with house() as built:
        await push(built, "digits", item(0))
        listener = await built.listen("/api/training/predictions/digits/stream")
        assert listener.headers["Content-Type"] == "text/event-stream"
        assert (await listener.until("connected")).data == {"jobId": "digits"}
        trends = (await listener.until("trends_update")).data
        assert trends["epochs"][0]["prediction_count"] == 1
        await push(built, "digits", item(1), item(2))
        await push(built, "digits", item(2), item(3))
        assert await told(listener, 3) == [2, 3, 4]
        await push(built, "digits", item(1, epoch=1))
        message = await listener.until("prediction")
        assert (message.data["type"], message.data["total_count"], message.data["prediction"]["target"]) == ("prediction", 5, "2")
        complete = await listener.until("epoch_complete")
        assert complete.data == {"epoch": 0, "prediction_count": 4, "latest_step": 3}


async def test_e2_a_stream_of_an_epoch_tells_that_epoch_only() -> None:
    async with house() as built:
        await push(built, "digits", item(0))
        listener = await built.listen("/api/training/predictions/digits/stream?epoch=1")
        await listener.until("trends_update")
        await push(built, "digits", item(1), item(0, epoch=1), item(2), item(0, epoch=2), item(1, epoch=1))
        assert await told(listener, 2) == [3, 6]
        assert (await listener.until("epoch_complete")).data["epoch"] == 1
        answer = await built.ask("/api/training/predictions/digits/stream?epoch=one")
        assert (answer.code, json.loads(answer.body)["error"]["field"]) == (422, "epoch")


@pytest.mark.parametrize("by_header", [True, False])
async def test_a9_a_client_that_comes_back_is_told_what_it_missed(by_header: bool) -> None:
    async with house() as built:
        await push(built, "digits", *(item(number) for number in range(3)))
        last_id = (await built.json("/api/training/predictions/digits"))["last_event_id"]
        await push(built, "digits", *(item(number, number % 2) for number in range(3, 9)))
        path = "/api/training/predictions/digits/stream?epoch=1"
        listener = await (
            built.listen(path, headers={"Last-Event-ID": last_id}) if by_header else built.listen(f"{path}&lastEventId={last_id}")
        )
        assert await told(listener, 3) == [4, 6, 8]
        await push(built, "digits", item(9, 1))
        assert await told(listener, 1) == [10]


async def test_a9_what_memory_has_forgotten_is_read_from_the_store() -> None:
    async with house() as built:
        for start in range(0, MAX_RECENT + 500, 500):
            await push(built, "digits", *(item(number) for number in range(start, start + 500)))
        first = f"{built.recorder.hub.store_id}-p1"
        listener = await built.listen("/api/training/predictions/digits/stream", headers={"Last-Event-ID": first})
        assert await told(listener, MAX_RECENT + 499) == list(range(2, MAX_RECENT + 501))


async def test_a9_an_id_that_is_not_ours_or_too_old_gives_a_gap() -> None:
    async with house() as built:
        for start in range(0, MAX_REPLAY + 500, 500):
            await push(built, "digits", *(item(number) for number in range(start, start + 500)))
        store = built.recorder.hub.store_id
        for last_id in ("nonsense", f"other-p{3}", f"{store}-p99999", f"{store}-7", f"{store}-p1"):
            listener = await built.listen("/api/training/predictions/digits/stream", headers={"Last-Event-ID": last_id})
            assert (await listener.until("gap")).data["message"]
            assert (await listener.until("trends_update")).data["epochs"][0]["prediction_count"] == MAX_REPLAY + 500


async def test_e5_who_accepts_gzip_gets_each_message_compressed_as_it_comes() -> None:
    async with house() as built:
        await push(built, "digits", item(0))
        path = "/api/training/predictions/digits/stream"
        plain = await built.listen(path, headers={"Accept-Encoding": "gzip;q=0, identity"})
        packed = await built.listen(path, headers={"Accept-Encoding": "br, gzip"})
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert "Accept-Encoding" in packed.headers["Vary"]
        inflate, text = zlib.decompressobj(zlib.MAX_WBITS | 16), ""
        for number in range(1, 4):
            await push(built, "digits", item(number))
            while f'"seq":{number + 1},' not in text:
                size = int(await packed.reader.readline(), 16)
                text += inflate.decompress((await packed.reader.readexactly(size + 2))[:-2]).decode()
        assert await told(plain, 3) == [2, 3, 4]
        assert [int(seq) for seq in re.findall(r'"seq":(\d+)', text)] == [2, 3, 4]
        assert text.startswith('event: connected\ndata: {"jobId":"digits"}\n\n')
        await send(built, "/api/training/jobs/digits", None, method="DELETE")
        await ends(plain)
        while size := int(await packed.reader.readline(), 16):
            inflate.decompress(await packed.reader.readexactly(size))
            await packed.reader.readexactly(2)


async def test_e2_a_heartbeat_tells_the_time_every_15_s() -> None:
    async with house() as built:
        await push(built, "digits", item(0))
        listener = await built.listen("/api/training/predictions/digits/stream")
        await listener.until("trends_update")
        built.stream_clock.now += 15
        assert (await listener.until("heartbeat")).data == {"timestamp": "2026-02-04T14:12:31.000+00:00"}


async def test_e5_a_silent_stream_ends_after_five_minutes() -> None:
    async with house() as built:
        await push(built, "digits", item(0))
        listener = await built.listen("/api/training/predictions/digits/stream")
        await listener.until("trends_update")
        built.stream_clock.now += 301
        await ends(listener)


async def test_a_stream_tells_how_its_training_ends_and_ends_with_its_removal() -> None:
    async with house() as built:
        await push(built, "digits", item(0))
        listener = await built.listen("/api/training/predictions/digits/stream")
        await listener.until("trends_update")
        await send(built, "/api/training/jobs/digits/finish", {"status": "completed"})
        assert (await listener.until("training")).data["status"] == "completed"
        await send(built, "/api/training/jobs/digits", None, method="DELETE")
        await ends(listener)


async def test_x3_nothing_is_encoded_where_nobody_listens() -> None:
    async with house() as built:
        before = built.streams.counts.published
        await push(built, "digits", item(0), item(1))
        assert built.streams.counts.published == before


# --- who may ---


@asynccontextmanager
async def two_people() -> AsyncIterator[tuple[House, str, str]]:
    """A house with a login, and the keys of two people who train."""
    async with house(rules=AccessRules(is_required=True)) as built:
        alice, bob = [(await built.access.create_key(LOCAL, Client(), name=name, scopes=["training", "view"]))[1] for name in ("a", "b")]
        yield built, alice, bob


async def test_e3_without_a_key_nothing_is_told() -> None:
    async with two_people() as (built, alice, _bob):
        await push(built, "digits", item(0), key=alice)
        assert (await send(built, PUSH, {"job_id": "digits", **item(1)}))[0] == 401
        assert (await built.ask("/api/training/predictions/digits/stream")).code == 401
        view = (await built.access.create_key(LOCAL, Client(), name="v", scopes=["view"]))[1]
        assert (await send(built, PUSH, {"job_id": "digits", **item(1)}, key=view))[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "/api/training/jobs/digits",
        "/api/training/predictions/digits",
        "/api/training/predictions/digits/stream",
        "/training/monitor?jobId=digits",
        "/training/digits/predictions/1",
        "/training/compare?a=digits&ae=0&b=mine",
        "/fragments/training?training=digits",
        "/fragments/training-trends?training=digits",
        "/fragments/predictions?predictions=digits",
        f"/fragments/comparison?comparison={quote('a=mine&b=digits', safe='')}",
        "/stream?panels=training,predictions&training=digits&predictions=digits",
        "/stream?panels=training,predictions&training=mine&predictions=digits",
        "/embed/predictions?predictions=digits",
    ],
)
async def test_e3_two_people_do_not_see_each_others_trainings(path: str) -> None:
    async with two_people() as (built, alice, bob):
        await push(built, "digits", item(0), key=alice)
        await push(built, "mine", item(0), key=bob)
        answer = await built.ask(path, headers={"X-API-Key": bob})
        assert answer.code == 404, answer.body
        assert b"0 + 0" not in answer.body
        if "stream" not in path and "mine" not in path:
            assert (await built.ask(path, headers={"X-API-Key": alice})).code == 200


async def test_e3_the_list_holds_ones_own_only() -> None:
    async with two_people() as (built, alice, bob):
        await push(built, "digits", item(0), key=alice)
        admin = (await built.access.create_key(LOCAL, Client(), name="a", scopes=["admin"]))[1]
        owner = built.recorder.state.trainings["digits"].owner
        for key, expected in ((alice, ["digits"]), (bob, []), (admin, ["digits"])):
            found = json.loads((await built.ask("/api/training/jobs", headers={"X-API-Key": key})).body)["jobs"]
            assert [job["job_id"] for job in found] == expected
            page = (await built.ask("/training", headers={"X-API-Key": key})).body.decode()
            assert ("training-row-digits" in page) == bool(expected)
        assert (await built.ask("/fragments/trainings", headers={"X-API-Key": bob})).code == 422
        assert (await built.ask(f"/fragments/trainings?trainings={owner}", headers={"X-API-Key": bob})).code == 404
        assert (await built.ask(f"/fragments/trainings?trainings={owner}", headers={"X-API-Key": alice})).code == 200
        assert (await built.ask("/fragments/trainings", headers={"X-API-Key": admin})).code == 200


async def test_e3_a_key_for_trainings_sees_their_panels_and_no_others() -> None:
    async with house(rules=AccessRules(is_required=True)) as built:
        key = (await built.access.create_key(LOCAL, Client(), name="a", scopes=["training"]))[1]
        await push(built, "digits", item(0), key=key)
        headers = {"X-API-Key": key}
        about = "training=digits&predictions=digits"
        assert (await built.ask(f"/fragments/predictions?{about}", headers=headers)).code == 200
        assert (await built.ask("/training/monitor?jobId=digits", headers=headers)).code == 200
        assert (await built.listen(f"/stream?panels=training,predictions&{about}", headers=headers)).status == 200
        for path in ("/fragments/fleet", "/embed/vms", f"/stream?panels=training,fleet&{about}", "/stream?panels=", "/"):
            assert (await built.ask(path, headers=headers)).code == 403, path


async def test_e3_a_token_pushes_to_its_training_alone() -> None:
    async with two_people() as (built, alice, _bob):
        token = await create(built, "digits", key=alice)
        await create(built, "other", key=alice)
        assert (await send(built, PUSH, {"job_id": "digits", **item(1)}, key=token))[0] == 201
        assert (await send(built, PUSH, {"job_id": "other", **item(1)}, key=token))[0] == 404
        assert (await built.ask("/api/training/predictions/digits", headers={"Authorization": f"Bearer {token}"})).code == 200
        assert (await built.ask("/api/vms", headers={"X-API-Key": token})).code == 403
        listener = await built.listen("/api/training/predictions/digits/stream", headers={"X-API-Key": token})
        await listener.until("trends_update")
        key_id = token.split("_")[1]
        await built.access.revoke_key(LOCAL, Client(), key_id)
        await listener.until("signed_out")


async def test_e5_a_key_has_so_many_streams_and_no_more() -> None:
    async with house(rules=AccessRules(is_required=True), limits=StreamLimits(max_per_owner=2)) as built:
        keys = [(await built.access.create_key(LOCAL, Client(), name=name, scopes=["training"]))[1] for name in ("a", "b")]
        path = "/api/training/predictions/digits/stream"
        await push(built, "digits", item(0), key=keys[0])
        await push(built, "mine", item(0), key=keys[1])
        first, *_ = [await built.listen(path, headers={"X-API-Key": keys[0]}) for _ in range(2)]
        refused = await built.ask(path, headers={"X-API-Key": keys[0]})
        assert (refused.code, refused.headers["Retry-After"]) == (429, "30")
        assert (await built.listen("/api/training/predictions/mine/stream", headers={"X-API-Key": keys[1]})).status == 200
        await first.close()
        await until(lambda: built.streams.active == 2, "its end")
        assert (await built.listen(path, headers={"X-API-Key": keys[0]})).status == 200


async def test_e5_figures_tell_of_predictions() -> None:
    async with house() as built:
        await push(built, "digits", item(0), item(0), {"epoch": 1})
        figures = (await built.ask("/metrics")).body.decode()
        for outcome in ("created", "duplicate", "invalid"):
            assert f'waa_predictions_total{{outcome="{outcome}"}} 1.0' in figures
        assert "waa_predictions_waiting 0.0" in figures


# --- pages ---


async def test_e4_the_page_shows_trends_and_the_newest_on_top() -> None:
    async with house() as built:
        for epoch in range(3):
            await push(built, "digits", *(item(number, epoch, matches=number <= epoch) for number in range(4)))
        page = read((await built.ask("/training/monitor?jobId=digits")).body)
        rows = [row.attributes["id"] for row in page.one(id_="predictions-panel").all(tag="tr") if "id" in row.attributes]
        assert rows == [f"prediction-row-{seq}" for seq in range(12, 0, -1)]
        assert page.one(id_="training-total").text == "12"
        epochs = page.one(id_="training-trends-panel").one(tag="tbody").all(tag="tr")
        assert [row.one(tag="th").text for row in epochs] == ["2", "1", "0"]
        assert "75 %" in epochs[0].text


async def test_e4_the_filter_and_the_pages_keep_to_their_place() -> None:
    async with house() as built:
        await push(built, "digits", *(item(number, number % 2, matches=number % 4 < 2) for number in range(240)))
        choice = "epoch=1&match=no"
        page = f"/training/monitor?jobId=digits&{choice}"
        newest = (await built.ask(page)).body
        first = shown(newest)
        assert first == list(range(240, 40, -4))
        older = [link.attributes["href"] for link in read(newest).all(tag="a") if link.text == "Older"]
        assert set(older) == {f"{page}&before={first[-1]}#predictions-panel"}
        second = shown((await built.ask(older[0].partition("#")[0])).body)
        assert first + second == list(range(240, 0, -4))
        await push(built, "digits", item(500, 1, matches=False))
        about = quote(f"digits?{choice}&before={first[-1]}", safe="")
        assert shown((await built.ask(f"/fragments/predictions?predictions={about}")).body) == second
        assert shown((await built.ask(f"{page}&after={second[0]}")).body) == first
        assert shown((await built.ask(page)).body) == [241, *first[:-1]]
        assert (await built.ask(f"{page}&after=3&before=9")).code == 422


async def test_e4_two_epochs_are_compared_prompt_by_prompt() -> None:
    async with house() as built:
        await push(built, "digits", *(item(number, 0, matches=number < 2) for number in range(10)))
        await push(built, "digits", *(item(number, 1, matches=number > 0) for number in range(10)), item(77, 1))
        page = read((await built.ask("/training/compare?a=digits&ae=0&b=digits&be=1")).body)
        panel = page.one(id_="comparison-panel")
        assert "B matches on 8 prompts where A does not, A on 1 where B does not" in panel.text
        assert "better beyond chance" in panel.text
        assert "0 in A only, 1 in B only" in panel.text
        broken = read((await built.ask("/training/compare?a=digits&ae=0&b=digits&be=1&turn=broken")).body).one(id_="comparison-panel")
        assert [row.attributes["id"] for row in broken.all(tag="tr") if "id" in row.attributes] == ["pair-row-1-11"]
        same = await built.ask("/training/compare?a=digits&ae=0&b=digits&be=0")
        assert (same.code, "the two sides are the same" in same.body.decode()) == (422, True)


async def test_e4_a_prediction_has_a_page_of_its_own() -> None:
    async with house() as built:
        long = "word " * 2000
        await push(built, "digits", item(1, prompt=long, prediction="four or so", target="four", metadata={"gpu": 1, "note": "<b>"}))
        page = (await built.ask("/training/digits/predictions/1")).body.decode()
        assert long.strip() in page
        assert "&lt;b&gt;" in page
        assert '<ins class="extra" title="Not in the target"> or so</ins>' in page
        assert (await built.ask("/training/digits/predictions/2")).code == 404


async def test_e4_panels_are_sent_at_most_every_two_seconds() -> None:
    async with house() as built:
        await push(built, "digits", item(0))
        listener = await built.listen("/stream?panels=training&training=digits")
        await listener.until("message")
        await push(built, "digits", item(1))
        assert ">2<" in (await listener.until("message")).data
        before = built.streams.counts.published
        for number in range(2, 12):
            await push(built, "digits", item(number))
        assert built.streams.counts.published == before
        assert ">12<" in (await listener.until("message")).data


async def test_a_training_is_made_by_a_form_and_its_token_is_shown_once() -> None:
    async with house() as built:
        token, cookies = await opened_form(built)
        headers = FORM | {"Cookie": cookies}

        async def submit(path: str, **fields: str) -> HTTPResponse:
            return await built.ask(path, "POST", body=urlencode(fields | {"_xsrf": token}), headers=headers)

        made = await submit("/training", job_id="digits", title="")
        assert (made.code, made.headers["Cache-Control"]) == (201, "no-store")
        key = read(made.body).one(id_="made-token").text
        assert (await send(built, PUSH, {"job_id": "digits", **item(1)}, key=key))[0] == 201
        assert key not in (await built.ask("/training")).body.decode()
        wrong = await submit("/training", job_id="a b", title="Kept")
        assert wrong.code == 422
        assert read(wrong.body).one(id_="training-job_id-error").text.startswith("is 1 to 63 letters")
        assert 'value="Kept"' in wrong.body.decode()
        again = await submit("/training", job_id="digits", title="Named")
        assert (again.code, again.headers["Location"]) == (303, "/training/monitor?jobId=digits")
        assert (await submit("/training/digits/cancel")).code == 303
        assert built.recorder.state.trainings["digits"].status is TrainingStatus.CANCELLED
        assert (await submit("/training/digits/remove")).headers["Location"] == "/training"
        assert built.recorder.state.trainings == {}


async def test_without_a_training_the_page_says_how_to_push() -> None:
    async with house() as built:
        await create(built, "digits")
        page = read((await built.ask("/training/monitor?jobId=digits")).body)
        assert "training_predictions.create" in page.one(id_="training-panel").text
        assert "No prediction yet" in page.one(id_="predictions-panel").text
        assert (await built.ask("/training/monitor")).code == 422


async def test_embedders_see_the_panels_of_trainings_too() -> None:
    wiki = "https://wiki.example.org"
    async with house(settings=WebSettings(embed_origins=(wiki,))) as built:
        await push(built, "digits", item(0))
        answer = await built.ask("/embed/training-trends?training=digits")
        assert answer.code == 200
        assert wiki in answer.headers["Content-Security-Policy"]


async def test_x1_pushes_stay_out_of_the_audit_log_and_the_rest_is_in_it() -> None:
    async with two_people() as (built, alice, _bob):
        await push(built, "digits", item(0), key=alice)
        await send(built, "/api/training/jobs/digits/finish", {"status": "failed"}, key=alice)
        admin = (await built.access.create_key(LOCAL, Client(), name="a", scopes=["admin"]))[1]

        async def actions() -> list[str]:
            answer = await built.ask("/audit.json", headers={"X-API-Key": admin})
            return [entry["action"] for entry in json.loads(answer.body)["entries"]]

        async def is_written() -> bool:
            return "training.finish" in await actions()

        await until(is_written, "the entry")
        assert [action for action in await actions() if action.startswith("training")] == ["training.finish", "training.create"]
