"""Which tests are left out of the inner loop (``make check``): they start processes, or their files take seconds. And which run side
by side: two workers at most drive a browser, one has the laboratory of the end-to-end tests, the others take the rest file by file."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Tests never assert on time, and neither does Hypothesis: the machine may stand still for seconds. Examples share fixtures knowingly.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
settings.register_profile("quick", settings.get_profile("suite"), max_examples=20)  # of the inner loop
settings.load_profile("suite")

ROOT = Path(__file__).parent
SLOW = (
    "browser/",
    "client/",
    "core/logs/test_mask_policy.py",
    "demo/",
    "e2e/",
    "probes/",
    "services/test_azure.py",
    "services/test_killed.py",
    "services/test_monitor.py",
    "store/test_postgres.py",
    "test_leak.py",
    "test_tls.py",
    "web/test_access_matrix.py",
    "web/test_bad_input.py",
    "web/test_benchmark_sse.py",
    "web/test_edge.py",
    "web/test_oidc.py",
    "web/test_openapi.py",
    "web/test_training.py",
)
FIRST = ("browser", "e2e")
"""Folders whose tests take longest, so that nobody waits for them in the end."""
BROWSERS = 2
"""More at once take turns on the machine's two cores, and what they wait for comes late."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What the inner loop leaves out is not even read."""
    leaves_out = "not slow" in config.option.markexpr and collection_path.suffix == ".py"
    return True if leaves_out and str(collection_path.relative_to(ROOT)).startswith(SLOW) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them (the rest of the markers stands in the files); what takes longest begins first."""
    for item in items:
        if _place(item).startswith(SLOW):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: _rank(_place(item)))  # stable


class Groups(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Gives a worker all of a group at once."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid.partition("::")[0].removeprefix("tests/"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    """For ``pytest -n``."""
    return Groups(config, log)


def _group(place: str) -> str:
    """What one worker does in one go."""
    if place.startswith("browser/"):
        return f"browser-{sum(place.encode()) % BROWSERS}"
    return "e2e" if place.startswith("e2e/") else place


def _place(item: pytest.Item) -> str:
    return str(item.path.relative_to(ROOT))


def _rank(place: str) -> int:
    folder = place.partition("/")[0]
    return FIRST.index(folder) if folder in FIRST else len(FIRST)
