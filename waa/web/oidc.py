"""Logging in at an OpenID provider: there and back."""

import json
import secrets
from http import HTTPStatus

from tornado.web import create_signed_value, decode_signed_value

from waa.core.error import Forbidden, Invalid, NotFound, SignInNeeded, Unavailable, WaaError
from waa.core.oidc import Answer, Attempt
from waa.services.oidc import OpenIdLogins
from waa.web.login import SessionHandler, own_path

COOKIE = "waa_oidc"
CALLBACK = "/login/oidc/callback"
ATTEMPT_S = 600
"""How long somebody may take at the provider."""
DAY_S = 86_400
_SECRET = secrets.token_bytes(32)
"""Signs attempts. A restart ends those that are under way."""
_STATUS = {SignInNeeded: HTTPStatus.UNAUTHORIZED, Forbidden: HTTPStatus.FORBIDDEN, Unavailable: HTTPStatus.SERVICE_UNAVAILABLE}


class OidcHandler(SessionHandler):
    """Keeps the attempt in a cookie that no script can read and nobody else can write."""

    @property
    def logins(self) -> OpenIdLogins:
        """Raises NotFound where none are configured."""
        if self.deps.oidc is None:
            raise NotFound("Nobody signs in here with OpenID Connect (setting oidc_issuer)")
        return self.deps.oidc

    @property
    def attempt_cookie(self) -> str:
        """Over TLS one that no other host and no plain page can plant."""
        return f"__Host-{COOKIE}" if self.is_secure else COOKIE

    def write_failure(self, error: WaaError, next_path: str) -> None:
        """The login page, with what went wrong; a key can still be used."""
        status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
        if status == HTTPStatus.UNAUTHORIZED:
            self.set_header("WWW-Authenticate", 'Bearer realm="WAA Live"')
        self.write_form(status, refused=str(error), next_path=next_path)


class OidcLoginHandler(OidcHandler):
    """``GET /login/oidc[?next=]`` sends the browser to the provider."""

    async def get(self) -> None:
        next_path = own_path(self.one_argument("next"))
        logins = self.logins
        if self.request.method == "HEAD":
            return
        origin = self.deps.settings.public_url or f"{self.request.protocol}://{self.request.host}"
        try:
            attempt, url = await logins.begin(redirect_uri=origin + CALLBACK, next_path=next_path)
        except Unavailable as error:
            self.write_failure(error, next_path)
            return
        kept = json.dumps([attempt.state, attempt.nonce, attempt.verifier, attempt.redirect_uri, attempt.next])
        value = create_signed_value(_SECRET, COOKIE, kept, clock=self.deps.clock)
        self.set_cookie(self.attempt_cookie, value, httponly=True, samesite="Lax", secure=self.is_secure, path="/", max_age=ATTEMPT_S)
        self.set_header("Cache-Control", "no-store")
        self.redirect(url)


class OidcCallbackHandler(OidcHandler):
    """``GET /login/oidc/callback`` is where the provider sends the browser back to. An attempt counts once."""

    async def get(self) -> None:
        logins = self.logins
        if self.request.method == "HEAD" or self.is_too_often():
            return
        attempt = self._attempt()
        next_path = attempt.next if attempt is not None else "/"
        self.clear_cookie(self.attempt_cookie, path="/", httponly=True, samesite="Lax", secure=self.is_secure)
        try:
            former = self.get_cookie(self.session_cookie, "") or ""
            self.open(await logins.finish(attempt, self._answer(), self.client, former=former))
        except (SignInNeeded, Forbidden, Unavailable) as error:
            self.write_failure(error, next_path)
            return
        self.set_header("Cache-Control", "no-store")
        self.redirect(next_path, status=HTTPStatus.SEE_OTHER)

    def _answer(self) -> Answer:
        """Of several values none counts."""
        values = {name: self.get_query_arguments(name, strip=False) for name in ("state", "code", "error", "iss")}
        twice = next((name for name, found in values.items() if len(found) > 1), None)
        if twice is not None:
            raise Invalid(twice, "is given more than once")
        state, code, error, issuer = ("".join(found) for found in values.values())
        return Answer(state=state, code=code, error=error, issuer=issuer)

    def _attempt(self) -> Attempt | None:
        kept = decode_signed_value(
            _SECRET, COOKIE, self.get_cookie(self.attempt_cookie), max_age_days=ATTEMPT_S / DAY_S, clock=self.deps.clock
        )
        if kept is None:
            return None
        state, nonce, verifier, redirect_uri, next_path = json.loads(kept)
        return Attempt(state=state, nonce=nonce, verifier=verifier, redirect_uri=redirect_uri, next=next_path)
