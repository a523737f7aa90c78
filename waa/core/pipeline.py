"""Pipelines: services elsewhere that say themselves how they are, and what was seen of them."""

import math
import re
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from waa.core.error import Failure, Invalid
from waa.core.logs.mask import mask
from waa.core.spec import MAX_TEXT, NAME, Origin

MAX_PIPELINES = 1000
MAX_SPELLS = 200
"""Of one pipeline; the oldest go, and what they told counts as not observed."""
MAX_SAID = 60
"""Characters of a backend's own word."""
MAX_SECRET = 4096
API_KEY_HEADER = "X-API-Key"
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,80}")
_OURS = ("host", "connection", "content-length", "transfer-encoding", "user-agent", "accept", "accept-encoding", "te", "upgrade", "expect")


class PipelineStatus(StrEnum):
    """UNKNOWN: it was not asked, did not answer just now, or said a word that means nothing here. Never the same as DOWN."""

    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"
    UNKNOWN = "unknown"


class AuthKind(StrEnum):
    """How this server proves to a backend who it is."""

    NONE = "none"
    BEARER = "bearer"
    API_KEY = "api_key"
    BASIC = "basic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What is sent to one backend and told to nobody else: it is part of no entity, so of no event, page, log or error.

    ``header`` is that of an API key, ``username`` that of basic authentication. Raises Invalid that names the field, never the value.
    """

    kind: AuthKind = AuthKind.NONE
    secret: str = field(default="", repr=False)
    username: str = field(default="", repr=False)
    header: str = API_KEY_HEADER

    def __post_init__(self) -> None:
        """Check what the type cannot say: all of it becomes a header of a request."""
        name = {AuthKind.BEARER: "token", AuthKind.API_KEY: "api_key", AuthKind.BASIC: "password"}.get(self.kind)
        if name is not None and not re.fullmatch(rf"[\x21-\x7e][\x20-\x7e]{{0,{MAX_SECRET - 1}}}", self.secret):
            raise Invalid(name, f"is not 1 to {MAX_SECRET} printable ASCII characters")
        if self.kind is AuthKind.BASIC and not re.fullmatch(r"[\x20-\x39\x3b-\x7e]{1,200}", self.username):
            raise Invalid("username", "is not 1 to 200 printable ASCII characters without a colon")
        if self.kind is AuthKind.API_KEY and (not _HEADER.fullmatch(self.header) or self.header.lower() in _OURS):
            raise Invalid("api_key_header", "is not the name of a header that may be set")


NO_CREDENTIAL = Credential()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A credential and the one backend that it is for: whatever else is asked in that pipeline's name does not get it."""

    backend: str
    credential: Credential


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSpec:
    """One pipeline as named. It is asked at ``<backend>/pipeline/<pipeline_id>/health``. Raises Invalid naming the field."""

    pipeline_id: str
    backend: str
    title: str = ""
    auth: AuthKind = AuthKind.NONE
    origin: Origin = Origin.CONFIG

    def __post_init__(self) -> None:
        """Check what the type cannot say."""
        if not NAME.fullmatch(self.pipeline_id):
            raise Invalid(
                "id", f"{self.pipeline_id[:80]!r} is not 1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit"
            )
        if len(self.title) > 120 or not self.title.isprintable():
            raise Invalid("title", "is not up to 120 printable characters")
        place_of(self.backend)

    @property
    def name(self) -> str:
        """What people call it."""
        return self.title or self.pipeline_id

    @property
    def place(self) -> "Place":
        """Where it is asked."""
        return place_of(self.backend)

    @property
    def path(self) -> str:
        """The path of the request."""
        return f"{self.place.path}/pipeline/{self.pipeline_id}/health"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a backend is. ``path`` has no slash at its end."""

    is_secure: bool
    host: str
    port: int
    path: str

    @property
    def netloc(self) -> str:
        """As it stands in a Host header."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.is_secure else 80) else f"{name}:{self.port}"


def place_of(backend: str) -> Place:
    """Where a base address leads. Raises Invalid (``backend``)."""
    if len(backend) > MAX_TEXT or not re.fullmatch(r"https?://[\x21-\x7e]+", backend):
        raise Invalid("backend", f"is not an http or https address of up to {MAX_TEXT} ASCII characters")
    try:
        parts = urlsplit(backend)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise Invalid("backend", f"is not an address: {error}") from error
    if parts.username is not None or parts.password is not None or mask(backend) != backend:
        raise Invalid("backend", "must not hold a user name, password or token: everybody who sees the page would see it")
    if parts.query or parts.fragment or backend.endswith(("?", "#")):
        raise Invalid("backend", "must end before ? and #: /pipeline/<id>/health is appended")
    if not re.fullmatch(r"[a-z0-9_][a-z0-9._-]{0,252}|[0-9a-f:.]{2,45}", host) or port == 0:
        raise Invalid("backend", "has no host name or address, or no port from 1 to 65535")
    is_secure = parts.scheme == "https"
    return Place(is_secure=is_secure, host=host, port=port or (443 if is_secure else 80), path=parts.path.rstrip("/"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one look gave. With a ``failure`` nothing is known of its state; ``said`` is its own word, "": none."""

    status: PipelineStatus = PipelineStatus.UNKNOWN
    said: str = ""
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spell:
    """A time in which a pipeline was looked at again and again, and had one status. ``until_at`` of the last one is as far as
    events know; between them the poller knows a younger moment."""

    status: PipelineStatus
    from_at: float
    until_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A pipeline: what the operator said, and what was seen, with its age.

    ``spells`` are its history, oldest first; what lies between two that do not touch was not observed. ``failing_since_at``: since when
    looks fail, None: the last one did not. ``told_at`` is when an event last told of it.
    """

    pipeline_id: str
    spec: PipelineSpec
    status: PipelineStatus = PipelineStatus.UNKNOWN
    said: str = ""
    failure: Failure | None = None
    failing_since_at: float | None = None
    spells: tuple[Spell, ...] = ()
    told_at: float

    @property
    def vm(self) -> str:
        """It is on no VM."""
        return ""

    @property
    def status_at(self) -> float | None:
        """Since when it is seen so, None: it never was looked at."""
        return self.spells[-1].from_at if self.spells else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineCheck:
    """When pipelines were looked at last, by id: written now and then for all at once, so that a server that dies leaves a short gap."""

    at: float
    seen: dict[str, float] = field(default_factory=dict)

    @property
    def vm(self) -> str:
        """It is about no VM."""
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRules:
    """``down_after`` failed looks in a row mean that it is down. Two looks that lie more than ``gap_s`` apart observe nothing between
    them."""

    down_after: int = 3
    gap_s: float = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often one pipeline is asked, seconds: ``interval_s`` where somebody watches, slower up to ``stable_s`` after
    ``stable_after_s`` without a change, ``background_s`` where nobody does and ``has_history``."""

    interval_s: float = 2.0
    stable_s: float = 10.0
    stable_after_s: float = 60.0
    background_s: float = 30.0
    has_history: bool = True

    def every_s(self, *, is_watched: bool, is_in_doubt: bool, calm_s: float) -> float | None:
        """The time from one look to the next, None: it is not looked at. ``is_in_doubt``: looks fail, and it is not known yet whether
        it is down. ``calm_s``: for how long nothing changed and no look failed."""
        if not is_watched and not self.has_history:
            return None
        if is_in_doubt:
            return self.interval_s
        if not is_watched:
            return max(self.background_s, self.interval_s)
        if calm_s < self.stable_after_s:
            return self.interval_s
        return max(self.interval_s, min(self.stable_s, self.interval_s * math.ldexp(1, int(min(calm_s // self.stable_after_s, 30)))))
