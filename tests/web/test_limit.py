"""Token buckets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waa.web.limit import RateLimiter, address_key


def test_a_burst_then_the_rate() -> None:
    limiter = RateLimiter(rate=0.5, burst=3)
    assert [limiter.take("a", 100.0) for _ in range(4)] == [0, 0, 0, 2.0]
    assert limiter.take("a", 101.0) == 1.0
    assert limiter.wait_s("a", 102.0) == 0
    assert limiter.take("a", 102.0) == 0
    assert limiter.take("a", 102.0) == 2.0
    assert [limiter.take("a", 1000.0) for _ in range(4)] == [0, 0, 0, 2.0]


def test_names_do_not_share() -> None:
    limiter = RateLimiter(rate=1, burst=1)
    assert (limiter.take("a", 0), limiter.take("b", 0), limiter.take("a", 0)) == (0, 0, 1.0)


def test_refused_attempts_cost_nothing() -> None:
    limiter = RateLimiter(rate=1, burst=1)
    limiter.take("a", 0)
    for _ in range(100):
        limiter.take("a", 0.5)
    assert limiter.take("a", 1.0) == 0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    limiter = RateLimiter(rate=1, burst=1)
    limiter.take("a", 100)
    assert limiter.take("a", 0) == 1.0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 5)), max_size=60))
def test_nobody_gets_more_than_the_burst_and_the_rate(asked: list[tuple[str, float]]) -> None:
    limiter, now, got = RateLimiter(rate=1, burst=2), 0.0, {"a": 0, "b": 0, "c": 0}
    for name, wait_s in asked:
        now += wait_s
        got[name] += limiter.take(name, now) == 0
    assert all(count <= 2 + now + 1e-6 for count in got.values())


def test_memory_is_bounded_and_the_latest_stay() -> None:
    limiter = RateLimiter(rate=0.001, burst=1, max_keys=10)
    for number in range(1000):
        limiter.take(f"address {number}", 0)
    assert len(limiter) == 10
    assert limiter.take("address 999", 0) > 0


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_addresses_of_one_customer_count_as_one(address: str, key: str) -> None:
    assert address_key(address) == key
