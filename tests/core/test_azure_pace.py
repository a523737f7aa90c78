"""How long Azure is left alone."""

import pytest

from waa.core.azure_pace import CloudError, Fault, Pace, log_interval_s, retry_after_s, stretched_s, wait_s
from waa.core.status import Reason

PACE = Pace()
NOW = 1_770_207_151.0


def wait(fault: Fault, failures: int = 1, *, retry_after: float | None = None, spread: float = 0.0) -> float:
    return wait_s(CloudError(fault, "x", retry_after_s=retry_after), failures, spread=spread, pace=PACE)


def test_retry_after_is_heeded_and_capped() -> None:
    assert [wait(Fault.THROTTLED, retry_after=given) for given in (0.0, 17.0, 86400.0)] == [1.0, 17.0, 900.0]
    assert wait(Fault.SERVER, retry_after=30.0) == 30.0


def test_without_it_waits_double_up_to_five_minutes_less_some_jitter() -> None:
    assert [wait(Fault.SERVER, failures) for failures in (1, 2, 3, 7, 50)] == [5.0, 10.0, 20.0, 300.0, 300.0]
    assert wait(Fault.NETWORK, 2, spread=1.0) == 5.0
    assert wait(Fault.THROTTLED, 1) == 5.0


def test_what_only_a_person_can_mend_is_asked_seldom() -> None:
    assert [wait(fault, 9) for fault in (Fault.LOGIN, Fault.TOKEN)] == [60.0, 60.0]
    assert [wait(fault, 9) for fault in (Fault.DENIED, Fault.MISSING, Fault.FOREIGN)] == [600.0, 600.0, 600.0]
    assert wait(Fault.DENIED, retry_after=1.0) == 600.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("12", 12.0),
        ("-3", 0.0),
        ("Wed, 04 Feb 2026 12:13:31 GMT", 60.0),
        ("Wed, 04 Feb 2026 11:13:31 GMT", 0.0),
        ("soon", None),
        (None, None),
    ],
)
def test_both_forms_of_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, now=NOW) == seconds


def test_few_reads_left_make_it_slow() -> None:
    assert [stretched_s(60.0, remaining) for remaining in (None, 250, 50, 49, 0)] == [60.0, 60.0, 60.0, 240.0, 240.0]


def test_a_silent_log_is_looked_at_less_and_less() -> None:
    waits = [log_interval_s(silent, PACE) for silent in range(9)]
    assert waits[0] == PACE.log_s
    assert waits == sorted(waits)
    assert waits[-1] == PACE.silent_s


def test_an_error_hides_credentials_and_names_a_reason() -> None:
    error = CloudError(Fault.DENIED, "no: https://a.blob.core.windows.net/x?sv=1&sig=aGVsbG8gd29ybGQgdGhpcyBpcw%3D%3D", remedy="Ask.")
    assert "aGVsbG8" not in str(error)
    assert (error.failure.reason, error.failure.remedy) == (Reason.DENIED, "Ask.")
    assert CloudError(Fault.LOGIN, "x").failure.reason is Reason.AUTH
