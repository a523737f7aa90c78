"""What a handler may use, handed to it by ``initialize``."""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from waa.core.destination import Destinations
from waa.core.logs.files import LiveProgress
from waa.core.proxy import TrustedProxies
from waa.hub.hub import Hub
from waa.services.access import Access
from waa.services.azure import AzureAccess, NoAzure
from waa.services.jobs import Jobs
from waa.services.monitor import Monitor
from waa.services.oidc import OpenIdLogins
from waa.services.picture import Pictures
from waa.services.pipelines import Pipelines
from waa.services.recorder import Recorder
from waa.services.task_record import TaskRecords
from waa.services.task_text import TaskTexts
from waa.services.training import Trainings
from waa.web.feed import BenchmarkFeed
from waa.web.job_feed import JobFeed
from waa.web.limit import RateLimiter
from waa.web.panel_stream import PanelStreams
from waa.web.pipeline_feed import PipelineFeed
from waa.web.render import Renderer
from waa.web.replays import Replays
from waa.web.stream_service import StreamService
from waa.web.training_feed import TrainingFeed
from waa.web.view import Look

LOCAL_NAME = "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """The operator's decisions that concern the web. ``is_local``: it listens on loopback only. Uploaded archives of up
    to ``upload_limit_bytes`` wait in ``upload_folder``; folders below ``import_roots`` may be imported.
    ``threshold``: from this score on a task passes, unless its run has one of its own. ``proxies`` may say for whom they ask, and
    whom they know in ``proxy_user_header`` ("": none). ``public_metrics``: figures and readiness are for everybody.
    ``cors_origins``: whose pages may read the JSON API.
    ``public_url``: scheme and host by which browsers know this server, "": as they say themselves.
    ``destinations``: where VMs may be. ``hsts_s``: how long browsers are told to use HTTPS only, 0: not told."""

    embed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    is_local: bool = True
    import_roots: tuple[str, ...] = ()
    upload_folder: str = ""
    upload_limit_bytes: int = 0
    threshold: float = 1.0
    proxies: TrustedProxies = TrustedProxies()
    proxy_user_header: str = ""
    public_metrics: bool = False
    destinations: Destinations = Destinations()
    hsts_s: int = 0
    cors_origins: tuple[str, ...] = ()
    public_url: str = ""

    def allows_host(self, name: str) -> bool:
        """Whether a Host header (lower case, no port) names this server: an address, which no foreign page can make point
        here, a local name, or one of ``allowed_hosts``. Any, where it serves others and the operator names none."""
        if not self.is_local and not self.allowed_hosts:
            return True
        known = (LOCAL_NAME, *(host.lower() for host in self.allowed_hosts))
        return name in known or name.endswith(f".{LOCAL_NAME}") or _is_address(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """Everything below the handlers. ``logins``: how often somebody may try to log in, by address; ``rates``: how often somebody may ask
    for anything, by identity or address, None: as often as they like. ``oidc``: logins at an OpenID provider, None: there are none."""

    settings: WebSettings
    access: Access
    logins: RateLimiter
    recorder: Recorder
    hub: Hub
    monitor: Monitor
    streams: StreamService
    panels: PanelStreams
    replays: Replays
    records: TaskRecords
    pictures: Pictures
    texts: TaskTexts
    feed: BenchmarkFeed
    jobs: Jobs
    job_feed: JobFeed
    trainings: Trainings
    training_feed: TrainingFeed
    pipelines: Pipelines
    pipeline_feed: PipelineFeed
    renderer: Renderer
    look: Callable[[], Look]
    clock: Callable[[], float]
    file_progress: Callable[[], LiveProgress | None]
    rates: RateLimiter | None = None
    oidc: OpenIdLogins | None = None
    azure: AzureAccess = NoAzure()


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
