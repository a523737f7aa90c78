"""PostgreSQL for the tests of stores, where it is installed."""

from collections.abc import Iterator

import pytest

from tests.support.postgres import Postgres, is_installed


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A cluster of this process's tests, once."""
    if not is_installed():
        pytest.skip("needs postgresql")
    cluster = Postgres()
    try:
        yield cluster.start()
    finally:
        cluster.close()
