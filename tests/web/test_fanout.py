"""The same messages for everybody: order, completeness, slow and vanished readers."""

import asyncio
import gc
import os
import socket

import pytest

from tests.support.wait import until
from tests.web.stream_house import Client, get, house, numbers
from waa.web import fanout as fanout_module
from waa.web import sse
from waa.web.fanout import Cause, Fanout, Subscriber
from waa.web.stream_service import StreamLimits

SMALL = StreamLimits(max_buffer_bytes=200_000)


def message(number: int, size: int = 0) -> bytes:
    return sse.encode(f"{number} {'x' * size}")


async def publish_all(fanout: Fanout, count: int, size: int = 0) -> None:
    """Publish 1 to count, giving the loop a turn after each."""
    for number in range(1, count + 1):
        fanout.publish(message(number, size))
        await asyncio.sleep(0)


async def test_every_subscriber_gets_every_message_in_order() -> None:
    async with house() as built:
        clients = [await built.client() for _ in range(5)]
        await publish_all(built.fanout, 200)
        for client in clients:
            assert numbers(await client.messages(201)) == list(range(1, 201))
            client.close()


async def test_messages_of_one_turn_are_joined_into_one_frame() -> None:
    async with house() as built:
        client = await built.client()
        for number in range(10):
            built.fanout.publish(message(number))
        assert numbers(await client.messages(11)) == list(range(10))
        assert (built.service.counts.published, built.service.counts.frames) == (10, 1)


async def test_a_burst_far_beyond_the_socket_buffer_arrives_whole() -> None:
    async with house(limits=StreamLimits(max_buffer_bytes=8_000_000)) as built:
        client = await built.client()
        for number in range(8000):
            built.fanout.publish(message(number, 400))
        assert numbers(await client.messages(8001)) == list(range(8000))


async def test_a_subscriber_that_comes_during_a_send_misses_nothing_and_gets_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout_module, "SENDS_PER_TURN", 1)  # most newcomers meet a send that is under way
    state = 0

    async with house(first=lambda: message(state)) as built:

        async def publisher() -> None:
            nonlocal state
            for state in range(1, 601):
                built.fanout.publish(message(state))
                if state % 3 == 0:
                    await asyncio.sleep(0)

        async def subscriber() -> list[int]:
            client = await built.client()
            seen = [0]
            while seen[-1] < 600:
                seen += numbers([await client.message()])
            client.close()
            return seen[1:]

        keeper = asyncio.create_task(subscriber())
        await until(lambda: len(built.fanout) == 1)
        publishing = asyncio.create_task(publisher())
        others = [asyncio.create_task(subscriber()) for _ in range(20)]
        for seen in await asyncio.gather(keeper, *others):
            assert seen == list(range(seen[0], 601))
        await publishing


async def test_a_subscriber_that_comes_between_publish_and_send_does_not_get_it_twice() -> None:
    async with house(first=lambda: message(1)) as built:
        await built.client()
        asking = asyncio.create_task(built.client())
        while len(built.fanout) < 2:
            built.fanout.publish(message(1))  # something is on its way whenever the second one comes
            await asyncio.sleep(0)
        built.fanout.publish(message(2))
        late = await asking
        assert numbers(await late.messages(2)) == [1, 2]


async def test_a_large_message_reaches_a_slow_reader_whole_and_it_returns_to_the_fast_path() -> None:
    async with house(limits=SMALL) as built:
        client = await built.client(receive_buffer_bytes=4096)
        assert built.only.is_direct
        built.fanout.publish(message(1, 1_000_000))
        await until(lambda: built.service.counts.lagged == 1)
        assert not built.only.is_direct
        built.fanout.publish(message(2))
        assert numbers(await client.messages(3)) == [1, 2]
        await until(lambda: built.only.is_direct)
        built.fanout.publish(message(3))
        assert numbers([await client.message()]) == [3]
        assert built.service.counts.lagged == 1


async def test_a_stuck_reader_of_a_log_is_reset_and_the_others_get_everything() -> None:
    async with house(limits=SMALL) as built:
        stuck = await built.connect(receive_buffer_bytes=4096)
        await until(lambda: len(built.fanout) == 1)
        client = await built.client()
        reading = asyncio.create_task(client.messages(401))
        await publish_all(built.fanout, 400, 2000)
        assert numbers(await reading) == list(range(1, 401))
        assert built.closed == [Cause.OVERFLOW]
        assert built.service.counts.overflowed == 1
        assert len(built.fanout) == 1
        with pytest.raises(ConnectionResetError):
            while await asyncio.get_running_loop().sock_recv(stuck, 65536):
                pass


async def test_a_stuck_reader_of_a_view_skips_to_the_latest_and_the_others_get_everything() -> None:
    state = 0

    def snapshot(_subscriber: Subscriber) -> bytes:
        return message(state, 2000)

    async with house(limits=SMALL, catch_up=snapshot) as built:
        stuck = await built.client(receive_buffer_bytes=4096)
        client = await built.client()
        reading = asyncio.create_task(client.messages(401))
        for state in range(1, 401):
            built.fanout.publish(message(state, 2000))
            await asyncio.sleep(0)
        assert numbers(await reading) == list(range(1, 401))

        seen = [0]
        while seen[-1] < 400:
            seen += numbers([await stuck.message()])
        assert seen == sorted(set(seen))
        assert len(seen) < 300
        assert built.service.counts.caught_up == 1
        assert len(built.fanout) == 2
        await until(lambda: all(subscriber.is_direct for subscriber in built.fanout))
        state = 401
        built.fanout.publish(message(state))
        assert numbers([await stuck.message()]) == [401]


async def test_a_snapshot_is_not_followed_by_what_it_shows_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout_module, "SENDS_PER_TURN", 1)
    state = 0

    async with house(catch_up=lambda _subscriber: message(state)) as built:
        slow = await built.client(receive_buffer_bytes=4096)
        for _ in range(5):
            await built.client()
        state = 1
        built.fanout.publish(message(state, 1_000_000))
        await until(lambda: built.service.counts.lagged)
        reading = asyncio.create_task(slow.messages(4))
        while not reading.done():  # something is on its way whenever the snapshot is taken
            state += 1
            built.fanout.publish(message(state))
            await asyncio.sleep(0)
        seen = numbers(await reading)
        assert built.service.counts.caught_up
        assert seen == sorted(set(seen))
        assert seen[2] == seen[1] + 1


async def test_a_snapshot_that_fails_resets_only_its_subscriber() -> None:
    def broken(_subscriber: Subscriber) -> bytes:
        raise LookupError("no state")

    raised: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: raised.append(context.get("exception")))
    async with house(catch_up=broken) as built:
        slow = await built.client(receive_buffer_bytes=4096)
        client = await built.client()
        built.fanout.publish(message(1, 1_000_000))
        await client.messages(2)
        built.fanout.publish(message(2))
        with pytest.raises((ConnectionResetError, AssertionError)):
            await slow.messages(4)
        assert numbers([await client.message()]) == [2]
        assert [type(error) for error in raised] == [LookupError]
        assert built.closed == [Cause.FAILED]


async def test_frames_published_while_the_first_bytes_drain_come_after_them() -> None:
    async with house(first=lambda: message(0, 3_000_000)) as built:
        sock = await built.connect(receive_buffer_bytes=4096)
        await until(lambda: len(built.fanout) == 1)
        assert not built.only.is_direct
        await publish_all(built.fanout, 20)
        client = Client(sock)
        await client.read_head()
        assert numbers(await client.messages(21)) == list(range(21))


async def test_a_client_that_goes_is_noticed_and_nothing_of_it_stays() -> None:
    async with house() as built:
        await built.client()
        descriptors = len(os.listdir("/proc/self/fd"))
        clients = [await built.client() for _ in range(20)]
        for client in clients:
            client.close()
        await until(lambda: len(built.fanout) == 1)
        await until(lambda: len(os.listdir("/proc/self/fd")) == descriptors)
        assert built.closed == [Cause.CLIENT] * 20
        gc.collect()
        assert [reference() is None for reference in built.subscribers] == [False] + [True] * 20


async def test_no_handler_stays_behind() -> None:
    async with house() as built:
        client = await built.client()
        await client.message()
        gc.collect()
        assert [reference() for reference in built.handlers] == [None]


async def test_a_client_that_goes_during_a_publish_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout_module, "SENDS_PER_TURN", 2)
    async with house() as built:
        gone, keeper, _reset = [await built.client() for _ in range(3)]
        gone.close()  # the server has not looked yet
        built.fanout.publish(message(1))
        reset_subscriber = list(built.fanout)[2]
        reset_subscriber.reset(Cause.CLIENT)
        await publish_all(built.fanout, 3)
        assert numbers(await keeper.messages(5)) == [1, 1, 2, 3]
        await until(lambda: len(built.fanout) == 1)


async def test_a_close_callback_may_publish() -> None:
    async with house() as built:
        gone, keeper = [await built.client() for _ in range(2)]
        built.on_close = lambda _subscriber: built.fanout.publish(message(2))
        gone.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, fanout_module.RESET_ON_CLOSE)
        gone.close()  # the send meets a connection that was reset
        built.fanout.publish(message(1))
        assert numbers(await keeper.messages(3)) == [1, 2]
        built.fanout.publish(message(3))
        assert numbers([await keeper.message()]) == [3]


async def test_publishing_to_nobody_does_nothing() -> None:
    async with house() as built:
        built.fanout.publish(message(1))
        assert not built.fanout.is_busy
        assert built.service.counts.published == 0


async def test_a_publisher_that_is_hopelessly_ahead_loses_its_subscribers_not_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout_module, "MAX_QUEUE_BYTES", 10_000)
    async with house() as built:
        client = await built.client()
        for number in range(30):
            built.fanout.publish(message(number, 1000))
        assert built.closed == [Cause.OVERFLOW]
        assert not built.fanout.is_busy
        client.close()
        other = await built.client()
        built.fanout.publish(message(7))
        assert numbers(await other.messages(2)) == [7]


async def test_a_finished_group_sends_what_was_published_and_ends_cleanly() -> None:
    async with house() as built:
        client = await built.client()
        built.fanout.publish(message(1))
        built.fanout.finish()
        assert await client.rest() == sse.encode("hello") + message(1)
        late = await built.client()
        assert await late.rest() == sse.encode("hello")
        await until(lambda: built.closed == [Cause.FINISHED] * 2)
        with pytest.raises(RuntimeError):
            built.fanout.publish(message(2))


async def test_pipelined_requests_are_ignored_and_the_stream_goes_on() -> None:
    async with house() as built:
        client = await built.client(get() + get() + get())
        await publish_all(built.fanout, 3)
        assert numbers(await client.messages(4)) == [1, 2, 3]
        client.close()
        await until(lambda: built.closed == [Cause.CLIENT])
        assert len(built.subscribers) == 1


async def test_a_client_that_floods_its_stream_is_reset() -> None:
    async with house() as built:
        client = await built.client()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(1000):
                await asyncio.get_running_loop().sock_sendall(client.sock, b"x" * 65536)
        await until(lambda: built.closed == [Cause.INPUT])


async def test_an_http_1_0_client_gets_the_bare_body_and_a_close() -> None:
    async with house() as built:
        client = await built.client(get("Connection: keep-alive", version="HTTP/1.0"))
        assert "Connection: close" in client.head
        assert "Transfer-Encoding" not in client.head
        await publish_all(built.fanout, 3)
        built.fanout.finish()
        while await client.read():
            pass
        assert client.raw.endswith(b"\r\n\r\n" + sse.encode("hello") + message(1) + message(2) + message(3))
