"""Panels of Azure ML jobs, which this release does not read yet."""

from waa.web.view import Look, View


def azure_jobs(look: Look, _subject: str | None) -> View:
    """The panel says how jobs will be switched on."""
    return View(now=look.now)


def azure_job_logs(look: Look, _subject: str | None) -> View:
    """The panel says how job logs will be switched on."""
    return View(now=look.now)
