"""Which tests are left out of the inner loop (``make check``): they start processes, or take seconds each. And which run side by side:
two workers at most drive a browser, one has the laboratory of the end-to-end tests, and the others take the rest file by file."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent
SLOW = ("demo/", "test_leak.py", "services/test_killed.py", "probes/test_host_script.py", "probes/test_host_follow.py")
FIRST = ("browser", "e2e")
"""Folders whose tests take longest, so that nobody waits for them in the end."""
BROWSERS = 2
"""More at once take turns on the machine's two cores, and what they wait for comes late."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark and order them; the rest of the markers stands in the files."""
    items.sort(key=lambda item: _rank(_place(item)))  # stable
    browser_files = list(dict.fromkeys(_place(item) for item in items if _place(item).startswith("browser/")))
    for item in items:
        place = _place(item)
        if place.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
        group = f"browser-{browser_files.index(place) % BROWSERS}" if place in browser_files else place
        item.add_marker(pytest.mark.xdist_group("e2e" if place.startswith("e2e/") else group))


def _place(item: pytest.Item) -> str:
    return str(item.path.relative_to(ROOT))


def _rank(place: str) -> int:
    folder = place.partition("/")[0]
    return FIRST.index(folder) if folder in FIRST else len(FIRST)
