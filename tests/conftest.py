"""Which tests are left out of the inner loop (``make check``): they start processes, or take seconds each."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent
SLOW = ("demo/", "test_leak.py", "services/test_killed.py", "probes/test_host_script.py", "probes/test_host_follow.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them; the rest of the markers stands in the files."""
    for item in items:
        if str(item.path.relative_to(ROOT)).startswith(SLOW):
            item.add_marker(pytest.mark.slow)
