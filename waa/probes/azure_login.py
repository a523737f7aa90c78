"""Tokens for Azure by azure-identity, which only this module imports. Its credentials block, so they work in a thread of their own."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from azure.core.credentials import AccessToken, TokenCredential
from azure.core.exceptions import AzureError
from azure.identity import AzureCliCredential, DefaultAzureCredential, EnvironmentCredential, ManagedIdentityCredential

from waa.core.azure import Auth
from waa.core.azure_login import told
from waa.core.azure_pace import CloudError, Fault
from waa.core.error import Failure
from waa.core.status import Reason

log = logging.getLogger(__name__)

EARLY_S = 300.0
"""A token is renewed so long before it ends."""
REMEMBER_S = 60.0
"""A login that failed is not tried again before this: each try starts a process or waits for the network."""
CLI_S = 10
IMDS_S = 3.0
HTTP_S = 10.0


class Login:
    """See ``port.TokenSource``. One token is fetched at a time, and kept until shortly before its end. ``clock`` is the wall's.

    ``authority`` "": as azure-identity has it (AZURE_AUTHORITY_HOST, else the public cloud).
    """

    def __init__(self, *, auth: Auth, scope: str, authority: str, clock: Callable[[], float]) -> None:
        self._auth = auth
        self._scope = scope
        self._authority = authority
        self._clock = clock
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="azure-login")
        self._credential: TokenCredential | None = None
        self._token: AccessToken | None = None
        self._failure: Failure | None = None
        self._failed_at = 0.0
        self._lock = asyncio.Lock()
        self._is_closed = False

    async def token(self, claims: str | None = None) -> str:
        """Raises CloudError (LOGIN)."""
        async with self._lock:
            now = self._clock()
            if claims is None and self._token is not None and now < self._token.expires_on - EARLY_S:
                return self._token.token
            if self._failure is not None and 0 <= now - self._failed_at < REMEMBER_S:
                raise CloudError(Fault.LOGIN, self._failure.message, remedy=self._failure.remedy)
            found = await self._fetch(claims)
            if isinstance(found, AccessToken):
                self._token, self._failure = found, None
                return found.token
            message, remedy = told(found, self._auth)
            if self._failure is None or self._failure.message != message:
                log.warning("azure login failed auth=%s reason=%s", self._auth, message)
            self._token = None
            self._failure, self._failed_at = Failure(reason=Reason.AUTH, message=message, remedy=remedy), self._clock()
            raise CloudError(Fault.LOGIN, message, remedy=remedy)

    def forget(self) -> None:
        """The token given last was refused."""
        self._token = None

    async def close(self) -> None:
        """Give the thread back; what it waits for just now ends by its own time limits. May be called twice."""
        if not self._is_closed:
            self._is_closed = True
            self._executor.submit(self._close)
            self._executor.shutdown(wait=False)

    async def _fetch(self, claims: str | None) -> AccessToken | str:
        """The token, or what the login said instead."""
        if self._is_closed:
            raise CloudError(Fault.LOGIN, "The server is stopping")
        return await asyncio.get_running_loop().run_in_executor(self._executor, partial(self._ask, claims))

    # --- in the thread ---

    def _ask(self, claims: str | None) -> AccessToken | str:
        try:
            if self._credential is None:
                self._credential = _made(self._auth, self._authority)
            return self._credential.get_token(self._scope, claims=claims) if claims else self._credential.get_token(self._scope)
        except (AzureError, ValueError, OSError) as error:
            return str(error) or type(error).__name__

    def _close(self) -> None:
        close = getattr(self._credential, "close", None)
        if close is not None:
            close()


def _made(auth: Auth, authority: str) -> TokenCredential:
    """The credential. Raises ValueError where the ``AZURE_*`` variables cannot be used."""
    options: dict[str, Any] = {"connection_timeout": HTTP_S, "read_timeout": HTTP_S, "retry_total": 1}
    if authority:
        options |= {"authority": authority, **_as_told(authority)}
    match auth:
        case Auth.CLI:
            return AzureCliCredential(process_timeout=CLI_S)
        case Auth.ENV:
            return EnvironmentCredential(**options)
        case Auth.MANAGED:
            return ManagedIdentityCredential(connection_timeout=IMDS_S, read_timeout=IMDS_S, retry_total=1)
        case _:
            return DefaultAzureCredential(
                exclude_interactive_browser_credential=True,
                exclude_powershell_credential=True,
                exclude_developer_cli_credential=True,
                exclude_visual_studio_code_credential=True,
                exclude_shared_token_cache_credential=True,
                exclude_broker_credential=True,
                process_timeout=CLI_S,
                **options,
            )


def _as_told(authority: str) -> Mapping[str, Any]:
    """The public cloud is asked whether an authority is one of its own; another one is trusted because the operator names it."""
    host = authority.removeprefix("https://").rstrip("/")
    known = ("login.microsoftonline.com", "login.microsoftonline.us", "login.chinacloudapi.cn", "login.partner.microsoftonline.cn")
    return {} if host in known else {"disable_instance_discovery": True}
