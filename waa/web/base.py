"""What all handlers share: headers, errors as HTTP, JSON answers, the browser's name."""

import re
import secrets
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from tornado.web import HTTPError, RequestHandler

from waa.core.codec import encode
from waa.core.error import Conflict, Invalid, NotFound, Unavailable, WaaError
from waa.web.deps import Deps

BROWSER_COOKIE = "waa_browser"
MAX_BODY_BYTES = 256 * 1024
"""Forms and JSON bodies; there are no uploads."""
_STATUS: Mapping[type[WaaError], HTTPStatus] = {
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


class BaseHandler(RequestHandler):
    """Base of every handler; ``deps`` is all it may use. ``public_to_embedders`` opens it to the allowed origins."""

    public_to_embedders = False

    def initialize(self, deps: Deps) -> None:
        self.deps = deps

    def set_default_headers(self) -> None:
        """A strict policy everywhere: no inline script, no foreign origin, no frame. For every answer, errors too."""
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Content-Security-Policy", content_security_policy())
        self.set_header("Server", "waa-live")

    def prepare(self) -> None:
        """Refuse what comes under a foreign name (DNS rebinding) or from a foreign page (cross-site requests)."""
        self._open_to_embedders()
        host = _host_name(self.request.host)
        if not self.deps.settings.allows_host(host):
            raise HTTPError(HTTPStatus.MISDIRECTED_REQUEST, "Host %s is not a name of this server (setting allowed_hosts)", host)
        origin = self.request.headers.get("Origin")
        if self.request.method not in ("GET", "HEAD", "OPTIONS") and origin is not None and not self._is_own(origin):
            raise HTTPError(HTTPStatus.FORBIDDEN, "Origin %s may not change anything here", origin)
        if len(self.request.body) > MAX_BODY_BYTES:
            raise HTTPError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is longer than %d bytes", MAX_BODY_BYTES)

    async def head(self, *args: str) -> None:
        """The headers of GET."""
        answer = self.get(*args)
        if answer is not None:
            await answer

    def options(self, *_args: str) -> None:
        """The preflight of an embedding page."""
        self.set_status(HTTPStatus.NO_CONTENT)

    def check_xsrf_cookie(self) -> None:
        """Forms carry the token. A JSON body cannot be sent by a foreign form, and foreign scripts fail the Origin check."""
        if not self.is_json:
            super().check_xsrf_cookie()

    @property
    def is_json(self) -> bool:
        """Whether the request's body says that it is JSON."""
        return self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "application/json"

    @property
    def wants_html(self) -> bool:
        """Whether a person asks (an error is then a page)."""
        return "text/html" in self.request.headers.get("Accept", "") and not self.request.path.startswith("/api/")

    def browser_key(self) -> str:
        """A random name of this browser, for the cap on its streams; set with the first page."""
        key = self.get_cookie(BROWSER_COOKIE)
        if key is None or not re.fullmatch(r"[A-Za-z0-9_-]{16,64}", key):
            key = secrets.token_urlsafe(18)
            self.set_cookie(BROWSER_COOKIE, key, httponly=True, samesite="Lax", path="/")
        return key

    def one_argument(self, name: str) -> str | None:
        """A query value, None where absent. Raises Invalid where it is given twice or is over-long."""
        values = self.get_query_arguments(name)
        if len(values) > 1:
            raise Invalid(name, "is given more than once")
        if values and len(values[0]) > 1024:
            raise Invalid(name, "is longer than 1024 characters")
        return values[0] if values else None

    def arguments(self, names: Iterable[str]) -> dict[str, str | None]:
        """Several query values at once; see ``one_argument``. Raises Invalid."""
        return {name: self.one_argument(name) for name in names}

    def write_json(self, value: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        """A JSON answer with an ETag (304 where it is known already), naming the event that it reflects."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("X-Last-Event-ID", self.deps.hub.wire_id(self.deps.hub.last_event_id))
        self.write(encode(value))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Errors that were meant are answers, not events for the log."""
        if not isinstance(value, WaaError | HTTPError):
            super().log_exception(typ, value, tb)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """The one place where errors become HTTP: JSON for programs, a page for people."""
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        status, message, field = _told(error, status_code)
        self._open_to_embedders()
        self.set_status(status)
        if isinstance(error, Unavailable):
            self.set_header("Retry-After", "5")
        if self.wants_html:
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.finish(self.deps.renderer.page("error.html", status=status, message=message, field=field, look=self.deps.look()))
            return
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(encode({"error": {"status": status, "message": message, "field": field}}))

    def _open_to_embedders(self) -> None:
        """Let pages of the allowed origins read the answer, and put it into a frame."""
        origins = self.deps.settings.embed_origins
        if not self.public_to_embedders or not origins:
            return
        self.set_header("Content-Security-Policy", content_security_policy(origins))
        self.set_header("Vary", "Origin")
        origin = self.request.headers.get("Origin")
        if origin not in origins:
            return
        self.set_header("Access-Control-Allow-Origin", origin)
        self.set_header("Access-Control-Allow-Credentials", "true")
        self.set_header("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
        self.set_header(
            "Access-Control-Allow-Headers",
            "hx-request, hx-source, hx-target, hx-current-url, hx-request-type, last-event-id, if-none-match",
        )
        self.set_header("Access-Control-Expose-Headers", "ETag")
        self.set_header("Access-Control-Max-Age", "600")

    def _is_own(self, origin: str) -> bool:
        return origin.partition("://")[2].lower() == self.request.host.lower()


class NotFoundHandler(BaseHandler):
    """Every path that is not in the route table."""

    def prepare(self) -> None:
        super().prepare()
        raise NotFound(f"There is nothing at {self.request.path}")

    def check_xsrf_cookie(self) -> None:
        """Nothing can be changed here."""


def content_security_policy(embedders: tuple[str, ...] = ()) -> str:
    """The same strict policy for every answer; ``embedders`` may put it into a frame."""
    own = ("script-src", "style-src", "img-src", "connect-src", "form-action")
    frames = " ".join(("'self'", *embedders))
    return "; ".join(("default-src 'none'", *(f"{name} 'self'" for name in own), "base-uri 'none'", f"frame-ancestors {frames}"))


def _told(error: BaseException | None, status_code: int) -> tuple[int, str, str | None]:
    """The status, the sentence and the field of an error."""
    if isinstance(error, WaaError):
        status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)
        return int(status), str(error), getattr(error, "field", None)
    if isinstance(error, HTTPError) and error.log_message:
        return status_code, error.log_message % error.args if error.args else error.log_message, None
    return status_code, HTTPStatus(status_code).phrase, None


def _host_name(host: str) -> str:
    """The name without the port: ``[::1]:8765`` is ``::1``."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
