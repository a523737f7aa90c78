"""Pushing predictions: once each, in order, whatever fails between (requirements E1, E3)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from tests.core.builders import T0
from tests.core.test_training import a_prediction
from tests.services.stores import WatchedStore
from tests.web.house import until
from waa.core.access import LOCAL, Identity, IdentityKind, Scope, key_subject
from waa.core.error import Conflict, Forbidden, NotFound, SignInNeeded, Unavailable
from waa.core.training import MAX_EPOCHS, Prediction, Training, TrainingStatus
from waa.core.transition import Rules
from waa.services.access import Access, AccessRules, Client, Presented
from waa.services.recorder import Recorder
from waa.services.supervise import Supervisor
from waa.services.training import MAX_WAITING, Trainings
from waa.store.memory import MemoryPredictions, MemoryStore
from waa.store.memory_access import MemoryAccessStore


@dataclass
class Place:
    """Trainings at work."""

    trainings: Trainings
    recorder: Recorder
    access: Access
    store: WatchedStore
    reader: MemoryPredictions

    async def create(self, job_id: str = "digits", identity: Identity = LOCAL) -> Training:
        return (await self.trainings.create(identity, Client(), job_id=job_id, title=None))[0]

    async def push(self, *predictions: Prediction) -> list[tuple[int, bool]]:
        training = self.recorder.state.trainings[predictions[0].job_id]
        return [(item.seq, item.is_new) for item in await self.trainings.push(training, predictions)]

    def stored(self) -> list[tuple[int, str]]:
        return [(item.seq, item.client_id) for item in self.reader.page("digits", limit=10_000)]

    async def key(self, *scopes: Scope, maker: Identity = LOCAL) -> Identity:
        _, text = await self.access.create_key(maker, Client(), name="k", scopes=[scope.value for scope in scopes])
        found = self.access.identify(Presented(keys=(text,)))
        assert found is not None
        return found


@asynccontextmanager
async def place(*, is_working: bool = True) -> AsyncIterator[Place]:
    memory = MemoryStore()
    store = WatchedStore(memory)
    async with AsyncExitStack() as stack:
        recorder = Recorder(store=store, rules=Rules(), clock=lambda: T0, min_retry_s=0.01, max_retry_s=0.01)
        stack.push_async_callback(recorder.close)
        await recorder.open()
        access = Access(store=MemoryAccessStore(), rules=AccessRules(is_required=True), clock=lambda: T0)
        stack.push_async_callback(access.close)
        await access.open()
        reader = MemoryPredictions(memory)
        trainings = Trainings(recorder=recorder, reader=reader, access=access, clock=lambda: T0)
        stack.push_async_callback(trainings.close)
        supervisor = Supervisor()
        stack.push_async_callback(supervisor.close)
        if is_working:
            supervisor.start("trainings", trainings.run)
        yield Place(trainings, recorder, access, store, reader)


async def test_e1_each_id_is_taken_once_however_often_it_comes() -> None:
    async with place() as at:
        await at.create()
        assert await at.push(a_prediction(1), a_prediction(2), a_prediction(1)) == [(1, True), (2, True), (1, False)]
        assert await at.push(a_prediction(2), a_prediction(3)) == [(2, False), (3, True)]
        assert at.stored() == [(1, "0-1"), (2, "0-2"), (3, "0-3")]
        assert at.recorder.state.trainings["digits"].total == 3
        assert at.trainings.counts == {"created": 3, "duplicate": 2}


async def test_e1_pushes_at_once_are_taken_in_the_order_of_coming_and_stored_together() -> None:
    async with place() as at:
        await at.create()
        await at.create("other")
        before = len(at.store.appends)
        pushes = [at.push(a_prediction(number), a_prediction(number + 1)) for number in range(0, 100, 2)]
        other = at.push(a_prediction(1, job_id="other"))
        assert [seq for found in await asyncio.gather(*pushes, other) for seq, _ in found] == [*range(1, 101), 1]
        assert [client_id for _, client_id in at.stored()] == [f"0-{number}" for number in range(100)]
        assert len(at.store.appends) - before < 10


async def test_e1_the_same_push_twice_at_once_is_taken_once() -> None:
    async with place() as at:
        await at.create()
        twice = await asyncio.gather(*(at.push(a_prediction(1), a_prediction(2)) for _ in range(5)))
        assert twice[0] == [(1, True), (2, True)]
        assert all(found == [(1, False), (2, False)] for found in twice[1:])
        assert len(at.stored()) == 2


async def test_e1_a_store_that_fails_refuses_a_push_and_takes_it_once(caplog: pytest.LogCaptureFixture) -> None:
    async with place() as at:
        await at.create()
        at.store.fail = 1
        with pytest.raises(Unavailable):
            await at.push(a_prediction(1))
        assert await at.push(a_prediction(1), a_prediction(2)) == [(1, False), (2, True)]
        assert at.stored() == [(1, "0-1"), (2, "0-2")]
    assert any("the store refuses records" in record.message for record in caplog.records)


async def test_pushes_are_refused_where_too_many_wait() -> None:
    async with place(is_working=False) as at:
        training = await at.create()
        many = [a_prediction(number) for number in range(MAX_WAITING)]
        waiting = asyncio.create_task(at.trainings.push(training, many))
        await until(lambda: at.trainings.waiting, "the push")
        with pytest.raises(Unavailable, match="send these again later"):
            await at.trainings.push(training, [a_prediction(1)])
        await at.trainings.close()
        with pytest.raises(Unavailable, match="closing"):
            await waiting


async def test_a_training_has_so_many_epochs_and_no_more() -> None:
    async with place() as at:
        training = await at.create()
        with pytest.raises(Conflict, match="epoch"):
            await at.trainings.push(training, [a_prediction(1, epoch) for epoch in range(MAX_EPOCHS + 1)])


async def test_a_push_to_a_training_that_goes_meanwhile_is_not_found() -> None:
    async with place() as at:
        training = await at.create()
        push = asyncio.create_task(at.push(a_prediction(1)))
        await at.trainings.remove(LOCAL, Client(), "digits")
        with contextlib.suppress(NotFound):  # it may have come first
            await push
        with pytest.raises(NotFound):
            await at.trainings.push(training, [a_prediction(2)])
        assert at.stored() == []


async def test_after_a_restart_ids_are_still_known() -> None:
    memory = MemoryStore()
    seen: list[Sequence[tuple[int, bool]]] = []
    for _ in range(2):
        async with AsyncExitStack() as stack:
            recorder = Recorder(store=memory, rules=Rules(), clock=lambda: T0)
            stack.push_async_callback(recorder.close)
            await recorder.open()
            access = Access(store=MemoryAccessStore(), rules=AccessRules(), clock=lambda: T0)
            stack.push_async_callback(access.close)
            await access.open()
            trainings = Trainings(recorder=recorder, reader=MemoryPredictions(memory), access=access, clock=lambda: T0)
            stack.push_async_callback(trainings.close)
            supervisor = Supervisor()
            stack.push_async_callback(supervisor.close)
            supervisor.start("trainings", trainings.run)
            training, _ = await trainings.create(LOCAL, Client(), job_id="digits", title=None)
            seen.append([(item.seq, item.is_new) for item in await trainings.push(training, [a_prediction(1)])])
            assert recorder.state.epochs["digits"][0].count == 1
    assert seen == [[(1, True)], [(1, False)]]


# --- whose they are ---


async def test_e3_what_is_somebody_elses_is_not_found() -> None:
    async with place() as at:
        alice, bob = await at.key(Scope.TRAINING, Scope.VIEW), await at.key(Scope.TRAINING, Scope.VIEW)
        await at.create("digits", alice)
        assert [training.job_id for training in at.trainings.of(alice)] == ["digits"]
        assert at.trainings.of(bob) == []
        for call in (
            lambda: at.trainings.make_token(bob, Client(), "digits"),
            lambda: at.trainings.finish(bob, "digits", TrainingStatus.FAILED, ""),
            lambda: at.trainings.complete_epoch(bob, "digits", 0),
            lambda: at.trainings.remove(bob, Client(), "digits"),
        ):
            with pytest.raises(NotFound):
                await call()
        with pytest.raises(Conflict):
            await at.create("digits", bob)
        assert [training.job_id for training in at.trainings.of(LOCAL)] == ["digits"]


async def test_e3_who_made_a_key_sees_what_it_made() -> None:
    async with place() as at:
        person = Identity(kind=IdentityKind.SESSION, subject="user:x", name="x", scopes=frozenset({Scope.VIEW, Scope.TRAINING}))
        key = await at.key(Scope.TRAINING, maker=person)
        await at.create("digits", key)
        assert at.trainings.need(person, "digits").owner == key.subject
        assert [training.job_id for training in at.trainings.of_subject("user:x")] == ["digits"]
        assert at.trainings.of_subject("user:y") == []
        assert len(at.trainings.of_subject(None)) == 1


async def test_e3_a_token_is_good_for_its_training_and_nothing_else() -> None:
    async with place() as at:
        owner = await at.key(Scope.TRAINING, Scope.VIEW)
        _, text = await at.trainings.create(owner, Client(), job_id="digits", title=None)
        await at.create("other", owner)
        assert text is not None
        token = at.access.identify(Presented(keys=(text,)))
        assert token is not None
        assert token.job_id == "digits"
        assert at.trainings.need(token, "digits").job_id == "digits"
        assert [training.job_id for training in at.trainings.of(token)] == ["digits"]
        for job_id in ("other", "nobody"):
            with pytest.raises(NotFound):
                at.trainings.need(token, job_id)
        with pytest.raises(NotFound):
            await at.create("new", token)
        with pytest.raises(Forbidden):
            await at.access.create_key(token, Client(), name="k", scopes=["training"])
        with pytest.raises(SignInNeeded, match="token of a training"):
            await at.access.log_in(text, Client())


async def test_e3_tokens_end_with_their_training() -> None:
    async with place() as at:
        owner = await at.key(Scope.TRAINING)
        _, first = await at.trainings.create(owner, Client(), job_id="digits", title=None)
        second = await at.trainings.make_token(owner, Client(), "digits")
        ended: list[str] = []
        at.access.listen(ended.extend)
        await at.trainings.remove(owner, Client(), "digits")
        for text in (first, second):
            with pytest.raises(SignInNeeded, match="revoked"):
                at.access.identify(Presented(keys=(text or "",)))
        assert len(ended) == 2
        assert all(handle.startswith(key_subject("")) for handle in ended)
