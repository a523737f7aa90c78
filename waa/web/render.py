"""Panels and pages as HTML. The only place that knows the template engine."""

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup, escape

from waa.core.money import fine, money, sign_of
from waa.web.panels import PANELS, Panel
from waa.web.terminal import LogLine
from waa.web.view import STALE_AFTER_S, Look, View

COMMAND = re.compile(r"`([^`]+)`")
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400


class Renderer:
    """Templates, loaded once. For the loop's thread; keeps nothing of what it is given."""

    def __init__(self, templates: Path, static: Path) -> None:
        """``static`` is the folder that ``/static/`` serves: addresses in pages change with a file's content."""
        self._static = static
        self._environment = Environment(
            loader=FileSystemLoader(templates),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            optimized=False,  # what is kept compiled must not hold the results of filters
            bytecode_cache=_compiled(templates),
        )
        self._environment.globals.update(static_url=cache(self.static_url), stream_url=stream_url, stale_after_s=int(STALE_AFTER_S))
        self._environment.filters.update(
            iso=iso,
            clock=clock,
            commands=commands,
            exact=exact,
            hour=hour,
            duration=duration,
            percent=percent,
            path_quoted=_path_quoted,
            money=money,
            fine=fine,
            sign=sign_of,
        )

    def panel(self, panel: Panel, look: Look, subject: str | None = None) -> bytes:
        """One panel. Raises NotFound for an unknown subject."""
        return self._panel(panel, panel.view(look, subject), look, subject).encode()

    def view(self, panel: Panel, view: View, look: Look, subject: str | None = None) -> bytes:
        """One panel from a view of it that was made before."""
        return self._panel(panel, view, look, subject).encode()

    def page(self, template: str, **context: object) -> bytes:
        """A page. With a Look as ``look`` its template may place panels by ``panel(name, subject)``.

        Raises NotFound for an unknown subject of one of them.
        """
        look = context.get("look")
        placed = self._placer(look) if isinstance(look, Look) else None
        return self._environment.get_template(template).render({"look": None, **context, "panel": placed}).encode()

    def log_line(self, vm: str, line: LogLine) -> bytes:
        """One line of the live log, as the list in the panel holds it."""
        return self._environment.get_template("panels/log_line.html").render(vm=vm, line=line).encode()

    def static_url(self, path: str) -> str:
        """Where a static file is served, with a mark of its content. Raises FileNotFoundError."""
        digest = hashlib.sha256((self._static / path).read_bytes()).hexdigest()[:12]
        return f"/static/{path}?v={digest}"

    def _placer(self, look: Look) -> Callable[..., Markup]:
        def place(name: str, subject: str | None = None) -> Markup:
            return Markup(self._panel(PANELS[name], PANELS[name].view(look, subject), look, subject))  # noqa: S704 - our own template's output, escaped there

        return place

    def _panel(self, panel: Panel, view: View, look: Look, subject: str | None) -> str:
        template = self._environment.get_template(panel.template)
        return template.render(view=view, now=look.now, panel=panel, url=look.base + panel.url(subject), period_s=panel.period_s(look))


class _Compiled(FileSystemBytecodeCache):
    """Compiled templates beside the templates, as Python keeps modules: compiling those of one page takes 0.2 s. Known by their text."""

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Without it where the disk does not take it."""
        with contextlib.suppress(OSError):
            super().dump_bytecode(bucket)


def _compiled(templates: Path) -> _Compiled | None:
    """None where Python writes no compiled files either. The options of the environment, which are compiled in, stand in this file."""
    folder = templates / "__pycache__"
    with contextlib.suppress(OSError):
        folder.mkdir(exist_ok=True)
    if sys.dont_write_bytecode or not os.access(folder, os.W_OK):
        return None
    return _Compiled(str(folder), f"{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]}-%s.jinja")


def stream_url(panels: Sequence[str], about: Mapping[str, str | None]) -> str:
    """Where the one stream of a page is served, which feeds these panels; ``about`` holds their subjects by query parameter."""
    query = {"panels": ",".join(panels), **about}
    return "/stream?" + urlencode({name: value for name, value in query.items() if value is not None}, safe=",")


def commands(text: str) -> Markup:
    """Text in which what stands between backticks is a command to be copied."""
    pieces = COMMAND.split(text)  # text and commands in turn
    return Markup("").join(Markup("<code>{}</code>").format(piece) if number % 2 else escape(piece) for number, piece in enumerate(pieces))


def iso(at: float) -> str:
    """The moment for programs, UTC, in whole seconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def clock(at: float, now: float) -> str:
    """The time of the day, UTC; with its date when that is not today's."""
    moment, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC)
    return f"{moment:%H:%M:%S} UTC" if moment.date() == today.date() else f"{moment.day} {moment:%b %H:%M} UTC"


def hour(at: float, now: float) -> str:
    """The time of the day in minutes, UTC; with its date when that is not today's."""
    moment, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC)
    return f"{moment:%H:%M} UTC" if moment.date() == today.date() else f"{moment.day} {moment:%b %H:%M} UTC"


def exact(at: float) -> str:
    """The whole moment for people, UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def duration(seconds: float) -> str:
    """How long, in its two largest units; the page's script counts on in the same words."""
    whole = max(0, int(seconds))
    if whole < MINUTE_S:
        return f"{whole} s"
    if whole < HOUR_S:
        return f"{whole // MINUTE_S} min {whole % MINUTE_S} s"
    if whole < DAY_S:
        return f"{whole // HOUR_S} h {whole % HOUR_S // MINUTE_S} min"
    return f"{whole // DAY_S} d {whole % DAY_S // HOUR_S} h"


def percent(value: float) -> str:
    """A share of 100, rounded down so that 100 means all."""
    return f"{int(value)} %"


def _path_quoted(text: str) -> str:
    return quote(text, safe="")
