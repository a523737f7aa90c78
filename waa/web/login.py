"""Logging in by a key or a link, and out."""

import re
from http import HTTPStatus

from waa.core.error import SignInNeeded
from waa.web.limit import address_key
from waa.web.pages import PageHandler
from waa.web.views.access import LoginPage

_OWN = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,1500}")
_NOT_BACK_TO = ("/login", "/logout")


def own_path(text: str | None) -> str:
    """Where to go after a login: a page of this server, else the overview."""
    path = text or "/"
    return path if _OWN.fullmatch(path) and not path.startswith(_NOT_BACK_TO) else "/"


class SessionHandler(PageHandler):
    """Gives and takes the cookie."""

    def open(self, token: str) -> None:
        """The browser keeps the token; no script and no foreign site gets it."""
        life_s = int(self.deps.access.rules.life_s)
        self.set_cookie(self.session_cookie, token, httponly=True, samesite="Lax", secure=self.is_secure, path="/", max_age=life_s)

    def forget(self) -> None:
        """The browser drops the token."""
        self.clear_cookie(self.session_cookie, path="/", httponly=True, samesite="Lax", secure=self.is_secure)

    def is_too_often(self, next_path: str = "/") -> bool:
        """Whether this address tries too often; the answer says so, and when to come back."""
        wait_s = self.deps.logins.take(address_key(self.client.address), self.deps.clock())
        if not wait_s:
            return False
        self.set_header("Retry-After", str(int(wait_s) + 1))
        told = f"Too many logins were tried from your address. Wait {int(wait_s) + 1} s."
        self.write_form(HTTPStatus.TOO_MANY_REQUESTS, error=told, next_path=next_path)
        return True

    def write_form(
        self, status: HTTPStatus = HTTPStatus.OK, *, error: str = "", told: str = "", next_path: str = "/", refused: str = ""
    ) -> None:
        """The form for a key, and the way to the OpenID provider; ``refused``: why that failed."""
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        provider = self.deps.oidc.provider if self.deps.oidc is not None else None
        page = LoginPage(
            next=next_path,
            error=error,
            told=told,
            is_over_tls=self.is_secure or self.deps.settings.is_local,
            provider=provider.host if provider is not None else "",
            refused=refused,
            leave_url=provider.logout_url if provider is not None and told else "",
        )
        self.write_page("pages/login.html", page=page)


class LoginHandler(SessionHandler):
    """``GET /login[?next=]`` asks for a key, ``POST`` takes it."""

    def get(self) -> None:
        next_path = own_path(self.one_argument("next"))
        if self.identity is not None:
            self.redirect(next_path)
            return
        told = "You are signed out." if self.one_argument("out") else ""
        self.write_form(told=told, next_path=next_path)

    async def post(self) -> None:
        next_path = own_path(self.get_body_argument("next", "/"))
        if self.is_too_often(next_path):
            return
        try:
            former = self.get_cookie(self.session_cookie, "") or ""
            self.open(await self.deps.access.log_in(self.get_body_argument("key", "").strip(), self.client, former=former))
        except SignInNeeded as error:
            self.set_header("WWW-Authenticate", 'Bearer realm="WAA Live"')
            self.write_form(HTTPStatus.UNAUTHORIZED, error=str(error), next_path=next_path)
            return
        self.redirect(next_path, status=HTTPStatus.SEE_OTHER)


class LoginLinkHandler(SessionHandler):
    """``GET /login/<token>`` asks for a click, ``POST`` uses the link up: programs that look at links must not."""

    def get(self, _token: str) -> None:
        self.set_header("Cache-Control", "no-store")
        self.write_page("pages/login_link.html", path=self.request.path)

    async def post(self, token: str) -> None:
        if self.is_too_often():
            return
        try:
            former = self.get_cookie(self.session_cookie, "") or ""
            self.open(await self.deps.access.log_in_by_link(token, self.client, former=former))
        except SignInNeeded as error:
            self.write_form(HTTPStatus.UNAUTHORIZED, error=str(error))
            return
        self.redirect("/access", status=HTTPStatus.SEE_OTHER)


class LogoutHandler(SessionHandler):
    """``POST /logout``."""

    async def post(self) -> None:
        if self.identity is not None:
            await self.deps.access.log_out(self.identity, self.client)
        self.forget()
        self.redirect("/login?out=1" if self.deps.access.is_required else "/", status=HTTPStatus.SEE_OTHER)
