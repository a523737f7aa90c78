"""What all handlers share: headers, errors as HTTP, JSON answers, the browser's name."""

import math
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from tornado.web import Finish, HTTPError, RequestHandler

from waa.core.access import Identity, IdentityKind, Outcome, Scope, allows, granted
from waa.core.codec import encode
from waa.core.error import Conflict, Forbidden, Invalid, NotFound, SignInNeeded, TooOften, Unavailable, WaaError
from waa.services.access import Client, Presented
from waa.web.decision import METRICS, PUBLIC, Access, Decision, decision_for
from waa.web.deps import Deps
from waa.web.limit import address_key, is_loopback
from waa.web.panels import PANELS, QUERY, trainings_of
from waa.web.view import Look, Viewer

BROWSER_COOKIE = "waa_browser"
SESSION_COOKIE = "waa_session"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
MAX_BODY_BYTES = 256 * 1024
"""Forms and JSON bodies; there are no uploads."""
_STATUS: Mapping[type[WaaError], HTTPStatus] = {
    SignInNeeded: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    TooOften: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


class BaseHandler(RequestHandler):
    """Base of every handler; ``deps`` is all it may use. ``public_to_embedders`` opens it to the allowed origins.

    ``access`` is what the route table decides; ``identity`` is set before any method of a subclass runs, None for somebody unknown
    at what is public. ``audit_subject`` and ``audit_detail`` are for the audit log, beyond what the address says.
    """

    public_to_embedders = False
    max_body_bytes = MAX_BODY_BYTES
    cost = 1.0
    """Of one request, of those that somebody may ask at once (setting rate_limit); 0: they are not counted."""
    identity: Identity | None = None
    audit_subject = ""
    audit_detail = ""
    _decision: Decision | None = None
    _has_token = False

    def initialize(self, deps: Deps, access: Access) -> None:
        self.deps = deps
        self.access = access
        settings, request = deps.settings, self.request
        self.peer = request.remote_ip or ""
        request.remote_ip = settings.proxies.client(self.peer, request.headers.get_list("X-Forwarded-For"))
        if settings.proxies.is_https(self.peer, request.headers.get("X-Forwarded-Proto", "")):
            request.protocol = "https"

    def set_default_headers(self) -> None:
        """A strict policy everywhere: no inline script, no foreign origin, no frame. For every answer, errors too."""
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Content-Security-Policy", content_security_policy())
        self.set_header("Server", "waa-live")
        if self.settings.get("hsts_s") and self.request.protocol == "https":
            self.set_header("Strict-Transport-Security", f"max-age={self.settings['hsts_s']}")

    def prepare(self) -> None:
        """Refuse what comes under a foreign name (DNS rebinding), from a foreign page (cross-site requests), or from somebody who
        may not do it."""
        if self.is_secure or self.deps.settings.is_local:  # browsers heed it nowhere else, and say so aloud
            self.set_header("Cross-Origin-Opener-Policy", "same-origin")
        self._open_to_embedders()
        self._open_to_readers()
        self._need_own_name()
        origin = self.request.headers.get("Origin")
        if self.request.method not in SAFE_METHODS and origin is not None and not self._is_own(origin):
            raise HTTPError(HTTPStatus.FORBIDDEN, "Origin %s may not change anything here", origin)
        self.admit()
        self._need_intent()
        if len(self.request.body) > self.max_body_bytes:
            raise HTTPError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is longer than %d bytes", self.max_body_bytes)

    def on_finish(self) -> None:
        """Write down what was done, or tried by somebody who is known: strangers cannot fill the log."""
        decision = self._decision
        if decision is None or not decision.action or self.identity is None:
            return
        status = self.get_status()
        refused = status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        outcome = Outcome.REFUSED if refused else Outcome.FAILED if status >= HTTPStatus.BAD_REQUEST else Outcome.DONE
        subject = self.audit_subject or "/".join(self.path_args)
        self.deps.access.note_action(
            self.identity, self.client, decision.action, subject=subject, outcome=outcome, detail=self.audit_detail
        )

    async def head(self, *args: str) -> None:
        """The headers of GET."""
        answer = self.get(*args)
        if answer is not None:
            await answer

    def options(self, *_args: str) -> None:
        """The preflight of an embedding page."""
        self.set_status(HTTPStatus.NO_CONTENT)

    def check_xsrf_cookie(self) -> None:
        """Forms carry the token. A JSON body cannot be sent by a foreign form, and foreign scripts fail the Origin check. Who sends a
        key sends it on purpose."""
        self._need_own_name()
        self.admit()
        if not self.is_json and (self.identity is None or self.identity.kind is not IdentityKind.KEY):
            self._need_token()
            self._has_token = True

    @property
    def is_json(self) -> bool:
        """Whether the request's body says that it is JSON."""
        return self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "application/json"

    @property
    def wants_html(self) -> bool:
        """Whether a person asks (an error is then a page)."""
        return "text/html" in self.request.headers.get("Accept", "") and not self.request.path.startswith(("/api/", "/ui-api/"))

    @property
    def client(self) -> Client:
        """Where the request comes from."""
        return Client(address=self.request.remote_ip or "", agent=self.request.headers.get("User-Agent", ""))

    @property
    def session_cookie(self) -> str:
        """The name of the cookie that holds the session; over TLS one that no other host and no plain page can plant."""
        return f"__Host-{SESSION_COOKIE}" if self.is_secure else SESSION_COOKIE

    @property
    def is_secure(self) -> bool:
        """Whether the client speaks TLS, with us or with a trusted proxy."""
        return self.request.protocol == "https"

    def admit(self) -> None:
        """Find out who asks, and whether they may: before anything else is said about a request. May be called twice. Raises
        SignInNeeded, Forbidden; sends people without a session to the login."""
        if self._decision is not None:
            return
        decision = decision_for(self.access, self.request.method or "")
        if decision is None:
            raise HTTPError(HTTPStatus.METHOD_NOT_ALLOWED)
        self._decision = decision
        if decision.scopes is None or (decision is METRICS and self.deps.settings.public_metrics):
            self.identity = self._known_or_none()
            self._pace()
            return
        try:
            self.identity = self.need_identity()
        except SignInNeeded as error:
            self._pace()
            self._note_stranger(str(error))
            if not self._is_navigation:
                raise
            self.redirect(f"/login?next={quote(self.request.uri or '/', safe='')}")
            raise Finish from error
        self._pace()
        if not allows(self.identity, decision.scopes):
            needed = " or ".join(sorted(decision.scopes))
            raise Forbidden(f"This needs the scope {needed}; {self.identity.name} has: {', '.join(sorted(self.identity.scopes)) or 'none'}")

    def need_identity(self) -> Identity:
        """Who asks, looked up anew: what waited may have waited too long. Raises SignInNeeded."""
        identity = self.deps.access.identify(self._presented())
        if identity is None:
            raise SignInNeeded("This needs a login: a key in X-API-Key or as a bearer token, or a session")
        return identity

    def page_look(self) -> Look:
        """What a page may see, with its form token and who looks at it."""
        return replace(self.deps.look(), csrf_token=self.xsrf_token.decode(), viewer=self._viewer())

    def browser_key(self) -> str:
        """A random name of this browser, for the cap on its streams; set with the first page."""
        key = self.get_cookie(BROWSER_COOKIE)
        if key is None or not re.fullmatch(r"[A-Za-z0-9_-]{16,64}", key):
            key = secrets.token_urlsafe(18)
            self.set_cookie(BROWSER_COOKIE, key, httponly=True, samesite="Lax", path="/", secure=self.is_secure)
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

    @property
    def sees_all(self) -> bool:
        """Whether what is not their own is theirs to see too."""
        return allows(self.need_identity(), (Scope.ADMIN,))

    def subjects(self, names: Iterable[str]) -> dict[str, str | None]:
        """What these panels of a request are about. Raises Forbidden, NotFound for a training that is not theirs, Invalid."""
        about = self.arguments(QUERY)
        identity = self.need_identity()
        if not allows(identity, (Scope.VIEW,)) and not all(name in PANELS and PANELS[name].is_of_trainings for name in names):
            raise Forbidden(f"This needs the scope view; {identity.name} has: {', '.join(sorted(identity.scopes)) or 'none'}")
        owner = about["trainings"]
        if owner is not None and owner != identity.subject and not self.sees_all:
            raise NotFound("trainings: these are not yours")
        for job_id in trainings_of(about):
            self.deps.trainings.need(identity, job_id)
        return about

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
        self.audit_detail = message
        self._open_to_embedders()
        self._open_to_readers()
        self.set_status(status)
        if isinstance(error, Unavailable):
            self.set_header("Retry-After", "5")
        if isinstance(error, TooOften):
            self.set_header("Retry-After", str(math.ceil(error.wait_s)))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", ", ".join(_methods(self.access)))
        if status == HTTPStatus.UNAUTHORIZED:
            self.set_header("WWW-Authenticate", 'Bearer realm="WAA Live"')
            self.set_header("Cache-Control", "no-store")
        if self.wants_html:
            self.set_header("Content-Type", "text/html; charset=utf-8")
            look = replace(self.deps.look(), viewer=self._viewer()) if self.identity is None else self.page_look()
            self.finish(self.deps.renderer.page("error.html", status=status, message=message, field=field, look=look))
            return
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(encode({"error": {"status": status, "message": message, "field": field}}))

    def _open_to_embedders(self) -> None:
        """Let pages of the allowed origins read the answer, and put it into a frame."""
        origins = self.deps.settings.embed_origins
        if origins:  # their pages load our script and style
            self.set_header("Cross-Origin-Resource-Policy", "cross-origin")
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

    def _open_to_readers(self) -> None:
        """Let pages of further origins read the JSON API: with a key that they send, never with the cookies of a browser."""
        origins = self.deps.settings.cors_origins
        if not origins or not self.request.path.startswith(("/api/", "/ui-api/")):
            return
        self.set_header("Vary", "Origin")
        origin = self.request.headers.get("Origin")
        if origin not in origins:
            return
        self.set_header("Access-Control-Allow-Origin", origin)
        self.set_header("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
        self.set_header("Access-Control-Allow-Headers", "authorization, if-none-match, last-event-id, x-api-key")
        self.set_header("Access-Control-Expose-Headers", "ETag, Retry-After, X-Last-Event-ID")
        self.set_header("Access-Control-Max-Age", "600")

    def _need_own_name(self) -> None:
        host = _host_name(self.request.host)
        if not self.deps.settings.allows_host(host):
            raise HTTPError(HTTPStatus.MISDIRECTED_REQUEST, "Host %s is not a name of this server (setting allowed_hosts)", host)

    def _known_or_none(self) -> Identity | None:
        try:
            return self.deps.access.identify(self._presented())
        except SignInNeeded:
            return None

    def _need_intent(self) -> None:
        """A browser sends its cookies along whoever asks it to. What changes something by a session (or by the word of a proxy, whose
        session is a cookie too) must therefore prove that a page of ours sent it: by the token, or by what browsers say and pages
        cannot forge. Raises HTTPError."""
        if self.request.method in SAFE_METHODS or self._has_token or self.identity is None:
            return
        if self.identity.kind not in (IdentityKind.SESSION, IdentityKind.PROXY):
            return
        headers = self.request.headers
        if "Origin" in headers or headers.get("Sec-Fetch-Site") == "same-origin":
            return  # a foreign Origin was refused before
        self._need_token()

    def _need_token(self) -> None:
        """Raises Forbidden, in words for somebody whose form was open for too long."""
        try:
            super().check_xsrf_cookie()
        except HTTPError as error:
            raise Forbidden(
                "This form is out of date. Open its page again and send it from there (its token is missing or not yours)"
            ) from error

    def _pace(self) -> None:
        """Count the request by who asks, strangers by their address. A machine's own programs are not counted where there is no login.
        Raises TooOften."""
        rates, identity = self.deps.rates, self.identity
        is_local = identity is not None and identity.kind is IdentityKind.LOCAL
        if rates is None or not self.cost or (is_local and is_loopback(self.client.address)):
            return
        name = identity.handle or identity.subject if identity is not None and not is_local else address_key(self.client.address)
        wait_s = rates.take(name, self.deps.clock(), self.cost)
        if wait_s:
            raise TooOften(f"Too many requests: ask again in {math.ceil(wait_s)} s (setting rate_limit)", wait_s)

    def _presented(self) -> Presented:
        headers, settings = self.request.headers, self.deps.settings
        kind, _, bearer = headers.get("Authorization", "").partition(" ")
        keys = (headers.get("X-API-Key", ""), bearer.strip() if kind.lower() == "bearer" else "")
        user = ""
        if settings.proxy_user_header and settings.proxies.trusts(self.peer):
            user = headers.get(settings.proxy_user_header, "")
        return Presented(keys=tuple(key for key in keys if key), token=self.get_cookie(self.session_cookie, "") or "", proxy_user=user)

    @property
    def _is_navigation(self) -> bool:
        """Whether a person opens a page here (not a script, not a frame, whose login could not be shown)."""
        headers = self.request.headers
        is_page = self.request.method in ("GET", "HEAD") and self.wants_html and not self.public_to_embedders
        return is_page and "HX-Request" not in headers and headers.get("Sec-Fetch-Mode", "navigate") == "navigate"

    def _viewer(self) -> Viewer | None:
        identity = self.identity
        if identity is None:
            return None if self.deps.access.is_required else Viewer()
        is_local = identity.kind is IdentityKind.LOCAL
        return Viewer(
            name="" if is_local else identity.name,
            can_leave=identity.kind is IdentityKind.SESSION,
            scopes=granted(identity.scopes),
        )

    def _note_stranger(self, message: str) -> None:
        """A key that is not taken is written down, but not more often than somebody may try to log in: a secret of 192 bits is not
        guessed, so nobody else of that address is kept waiting for it."""
        address = self.client.address
        if self._presented().keys and not self.deps.logins.take(address_key(address), self.deps.clock()):
            path = self.request.path
            self.deps.access.note_action(None, self.client, "key.refused", subject=path, outcome=Outcome.REFUSED, detail=message)

    def _is_own(self, origin: str) -> bool:
        return origin.partition("://")[2].lower() == self.request.host.lower()


class NotFoundHandler(BaseHandler):
    """Every path that is not in the route table."""

    def initialize(self, deps: Deps) -> None:  # type: ignore[override]
        super().initialize(deps, dict.fromkeys(self.SUPPORTED_METHODS, PUBLIC))

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


def _methods(access: Access) -> list[str]:
    """What a route answers to."""
    return sorted({*access, "OPTIONS", *(("HEAD",) if "GET" in access else ())})


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
