"""The databases that every suite of a store runs over."""

from pathlib import Path

import pytest

from tests.support.postgres import Postgres

KINDS = ("memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.postgres))


def database(request: pytest.FixtureRequest, folder: Path) -> str:
    """The URL of an empty database of the fixture's kind; "" where there is none."""
    if request.param == "memory":
        return ""
    if request.param == "sqlite":
        return f"sqlite:///{folder}/data/waa.db"
    cluster: Postgres = request.getfixturevalue("postgres")
    cluster.wipe()
    return cluster.url
