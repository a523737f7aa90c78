"""Work that fails is reported and begun again; the rest does not notice."""

import asyncio
import logging

import pytest

from tests.support.wait import until
from waa.services.supervise import Supervisor, attempt, backoff_s


def a_supervisor(**arguments: object) -> Supervisor:
    return Supervisor(min_delay_s=0.001, max_delay_s=3600, spread=lambda: 0.0, **arguments)  # type: ignore[arg-type]


async def forever() -> None:
    await asyncio.Event().wait()


async def test_work_that_fails_is_reported_and_begun_again(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[str] = []
    began = asyncio.Event()

    async def work() -> None:
        if len(failures) < 3:
            raise LookupError(f"no {len(failures)}")
        began.set()
        await forever()

    supervisor = a_supervisor(on_failure=lambda name, error: failures.append(f"{name}: {error}"))
    supervisor.start("prober", work)
    await began.wait()
    assert failures == ["prober: no 0", "prober: no 1", "prober: no 2"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING, logging.WARNING]
    assert [bool(record.exc_info) for record in caplog.records] == [True, False, False]
    assert supervisor.names == ["prober"]
    await supervisor.close()
    assert supervisor.names == []


async def test_work_that_returns_is_over() -> None:
    async def work() -> None:
        await asyncio.sleep(0)

    supervisor = a_supervisor()
    supervisor.start("once", work)
    await until(lambda: not supervisor.names, "its end")
    supervisor.start("once", work)
    await supervisor.close()


async def test_stop_waits_for_the_end_and_frees_the_name() -> None:
    said: list[str] = []

    async def work() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            said.append("cleaned up")

    supervisor = a_supervisor()
    supervisor.start("a", work)
    supervisor.start("b", work)
    await asyncio.sleep(0)
    await supervisor.stop("a")
    assert (said, supervisor.names) == (["cleaned up"], ["b"])
    supervisor.start("a", work)
    await supervisor.stop("nobody")
    await supervisor.close()
    await supervisor.close()


async def test_a_name_that_runs_and_a_closed_supervisor_are_refused() -> None:
    supervisor = a_supervisor()
    supervisor.start("a", forever)
    with pytest.raises(RuntimeError):
        supervisor.start("a", forever)
    await supervisor.close()
    with pytest.raises(RuntimeError):
        supervisor.start("b", forever)


async def test_work_that_waits_to_begin_again_can_be_stopped(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise LookupError

    supervisor = Supervisor(min_delay_s=3600, max_delay_s=3600)
    supervisor.start("a", work)
    await until(lambda: bool(caplog.records), "the failure")
    await supervisor.stop("a")
    assert supervisor.names == []
    await supervisor.close()


async def test_a_cancellation_from_within_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    tries: list[int] = []

    async def work() -> None:
        tries.append(1)
        if len(tries) > 1:
            await forever()
        raise asyncio.CancelledError

    supervisor = a_supervisor()
    supervisor.start("a", work)
    await until(lambda: len(tries) == 2, "the second try")
    await supervisor.close()
    assert "cancelled from within" in caplog.text


async def test_a_report_that_fails_does_not_stop_the_work(caplog: pytest.LogCaptureFixture) -> None:
    tries: list[int] = []

    async def work() -> None:
        tries.append(1)
        raise LookupError

    def report(name: str, error: Exception) -> None:
        raise ZeroDivisionError

    supervisor = a_supervisor(on_failure=report)
    supervisor.start("a", work)
    await until(lambda: len(tries) > 2, "the third try")
    await supervisor.close()
    assert "report of a" in caplog.text


def test_attempt_gives_the_value_or_the_logged_error(caplog: pytest.LogCaptureFixture) -> None:
    assert attempt("fine", lambda: 7) == 7
    assert isinstance(attempt("odd", lambda: int("odd")), ValueError)
    assert [record.message for record in caplog.records] == ["failed name=odd"]


def test_backoff_doubles_to_its_bound_and_spreads_downwards() -> None:
    waits = [backoff_s(failures, min_s=1, max_s=60, spread=0) for failures in (1, 2, 3, 7, 8, 500)]
    assert waits == [1, 2, 4, 60, 60, 60]
    assert backoff_s(3, min_s=1, max_s=60, spread=1) == 2
