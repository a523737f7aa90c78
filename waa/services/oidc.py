"""Logins at an OpenID provider: begun, checked, let in or not, and written down."""

import hmac
import re
import secrets

from waa.core.access import Outcome
from waa.core.error import Forbidden, SignInNeeded, Unavailable
from waa.core.oidc import Admission, Answer, Attempt
from waa.core.port import OpenIdProvider
from waa.services.access import Access, Client

START_AGAIN = "This login took too long, or was begun in another window: start again"
_CODE_OF_ERROR = re.compile(r"[a-z_]{1,60}")


class OpenIdLogins:
    """Turns a provider's word into a session."""

    def __init__(self, *, provider: OpenIdProvider, admission: Admission, access: Access) -> None:
        self.provider = provider
        self._admission = admission
        self._access = access

    async def begin(self, *, redirect_uri: str, next_path: str) -> tuple[Attempt, str]:
        """A login under way, and where the browser has to go for it. Raises Unavailable: the provider does not answer."""
        attempt = Attempt(
            state=secrets.token_urlsafe(24),
            nonce=secrets.token_urlsafe(24),
            verifier=secrets.token_urlsafe(48),
            redirect_uri=redirect_uri,
            next=next_path,
        )
        return attempt, await self.provider.login_url(attempt)

    async def finish(self, attempt: Attempt | None, answer: Answer, client: Client, *, former: str = "") -> str:
        """The token of a new session, see ``Access.log_in``. ``attempt``: what the browser kept, None: nothing that counts. Raises
        SignInNeeded, Forbidden, Unavailable; all of them are written down."""
        try:
            code, begun = self._code(attempt, answer)
            identity = self._admission.identify(await self.provider.claims(begun, code))
        except (SignInNeeded, Forbidden, Unavailable) as error:
            outcome = Outcome.FAILED if isinstance(error, Unavailable) else Outcome.REFUSED
            self._access.note_action(None, client, "login", subject="oidc", outcome=outcome, detail=str(error))
            raise
        return await self._access.open_session(identity, client, via="oidc", former=former)

    def _code(self, attempt: Attempt | None, answer: Answer) -> tuple[str, Attempt]:
        """What can be exchanged. Nothing of an answer counts, its error included, before it is known to belong to this browser."""
        if attempt is None or not hmac.compare_digest(attempt.state.encode(), answer.state.encode()):
            raise SignInNeeded(START_AGAIN)
        if answer.issuer not in ("", self.provider.issuer):
            raise SignInNeeded(f"The answer is not from {self.provider.host}")
        if answer.error == "access_denied":
            raise SignInNeeded(f"The login was refused at {self.provider.host}")
        if answer.error or not answer.code:
            told = answer.error if _CODE_OF_ERROR.fullmatch(answer.error) else "no code"
            raise SignInNeeded(f"{self.provider.host} ended the login with an error: {told}")
        return answer.code, attempt
