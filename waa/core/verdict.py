"""From a score to a verdict."""

from waa.core.status import TaskStatus


def judge(score: float | None, threshold: float) -> TaskStatus:
    """The verdict on a score; no score, no verdict."""
    if score is None:
        return TaskStatus.UNKNOWN
    return TaskStatus.PASSED if score >= threshold else TaskStatus.FAILED
