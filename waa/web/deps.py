"""What a handler may use, handed to it by ``initialize``."""

from collections.abc import Callable
from dataclasses import dataclass

from waa.core.logs.files import LiveProgress
from waa.hub.hub import Hub
from waa.services.monitor import Monitor
from waa.services.recorder import Recorder
from waa.web.feed import BenchmarkFeed
from waa.web.panel_stream import PanelStreams
from waa.web.render import Renderer
from waa.web.stream_service import StreamService
from waa.web.view import Look


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """The operator's decisions that concern the web. ``is_local``: it listens on loopback only, so that only local
    names may be called by (others by ``allowed_hosts``)."""

    sse: bool = True
    embed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    is_local: bool = True

    def allows_host(self, name: str) -> bool:
        """Whether a Host header names this server."""
        known = ("localhost", "127.0.0.1", "::1", *self.allowed_hosts)
        return not self.is_local or name in known or name.endswith(".localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """Everything below the handlers."""

    settings: WebSettings
    recorder: Recorder
    hub: Hub
    monitor: Monitor
    streams: StreamService
    panels: PanelStreams
    feed: BenchmarkFeed
    renderer: Renderer
    look: Callable[[], Look]
    clock: Callable[[], float]
    file_progress: Callable[[], LiveProgress | None]
