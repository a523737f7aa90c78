"""One OpenID provider, spoken to with Authlib over Tornado's HTTP client. Needs Authlib, which only this module imports."""

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, NoReturn, TypeVar
from urllib.parse import urlencode, urlsplit

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet, import_key
from tornado.httpclient import HTTPClientError, HTTPResponse
from tornado.httputil import HTTPInputError
from tornado.netutil import Resolver
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from waa.core.destination import Destinations
from waa.core.error import SignInNeeded, Unavailable
from waa.core.oidc import Attempt, Claims, is_loopback_url, is_safe
from waa.core.spec import Origin

log = logging.getLogger(__name__)
Value = TypeVar("Value")

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
"""Signatures by a private key only: with ``none`` or a shared secret, others than the provider can sign."""
LEEWAY_S = 60
"""How far the clocks may differ."""
KEEP_S = 3600.0
"""How long what the provider publishes is kept: a key that it withdraws counts for so long at most."""
KEYS_AGAIN_S = 30.0
"""Keys are asked for no sooner again, whatever tokens name."""
TRY_AGAIN_S = 5.0
"""A provider that did not answer is asked no sooner again what it publishes."""
CONNECT_S, REQUEST_S = 5.0, 10.0
MAX_BYTES = 512 * 1024
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcClient:
    """As which client this server is registered; ``secret`` "": a public client."""

    issuer: str
    client_id: str
    secret: str
    scopes: str


class Provider:
    """See ``port.OpenIdProvider``. For the loop's thread only; ``clock`` is the wall's, which tokens are judged by."""

    def __init__(self, client: OidcClient, *, destinations: Destinations, clock: Callable[[], float]) -> None:
        self.issuer = client.issuer
        self.host = urlsplit(client.issuer).netloc
        self._client = client
        self._clock = clock
        resolver = _Resolver(destinations, own_host=urlsplit(client.issuer).hostname or "", may_loop=is_loopback_url(client.issuer))
        self._http = SimpleAsyncHTTPClient(force_instance=True, max_clients=8, resolver=resolver, max_body_size=MAX_BYTES)
        self._metadata = _Kept(self._load_metadata, clock=clock)
        self._keys = _Kept(self._load_keys, clock=clock)

    @property
    def logout_url(self) -> str:
        """Where one signs out there, "" where that is not known (yet)."""
        url = self._metadata.value.get("end_session_endpoint") if self._metadata.value else None
        return f"{url}?{urlencode({'client_id': self._client.client_id})}" if isinstance(url, str) and self._is_safe(url) else ""

    async def login_url(self, attempt: Attempt) -> str:
        """Where the browser has to go. Raises Unavailable."""
        metadata = await self._metadata.get()
        url = prepare_grant_uri(
            metadata["authorization_endpoint"],
            client_id=self._client.client_id,
            response_type="code",
            redirect_uri=attempt.redirect_uri,
            scope=self._client.scopes,
            state=attempt.state,
            nonce=attempt.nonce,
            code_challenge=create_s256_code_challenge(attempt.verifier),
            code_challenge_method="S256",
        )
        return str(url)

    async def claims(self, attempt: Attempt, code: str) -> Claims:
        """What the provider says of who logged in. Raises SignInNeeded (the code or the token does not count), Unavailable."""
        metadata = await self._metadata.get()
        token = await self._exchange(metadata, attempt, code)
        access_token = token.get("access_token")
        claims = await self._verified(token.get("id_token"), attempt, access_token)
        endpoint = metadata.get("userinfo_endpoint")
        if not isinstance(access_token, str) or not self._is_safe(endpoint):
            return claims
        # Providers may leave addresses and groups out of the token, and say them here.
        more = _object(await self._ask(str(endpoint), headers={"Authorization": f"Bearer {access_token}"}), self._mute)
        if more.get("sub") != claims["sub"]:
            raise SignInNeeded(f"{self.host} says two different things of who you are")
        return {**more, **claims}

    async def close(self) -> None:
        """Give the connections back. May be called twice."""
        self._http.close()

    async def _exchange(self, metadata: Mapping[str, Any], attempt: Attempt, code: str) -> Mapping[str, Any]:
        body = prepare_token_request("authorization_code", code=code, redirect_uri=attempt.redirect_uri, code_verifier=attempt.verifier)
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        auth = ClientAuth(self._client.client_id, self._client.secret, self._auth_method(metadata))
        url, headers, body = auth.prepare("POST", metadata["token_endpoint"], headers, body)
        answer = await self._ask(url, method="POST", headers=headers, body=body, may_refuse=True)
        token = _object(answer, self._mute)
        if answer.code != 200 or "error" in token:
            log.warning("oidc code refused host=%s status=%s error=%.60r", self.host, answer.code, token.get("error"))
            if token.get("error") == "invalid_grant":
                raise SignInNeeded(f"{self.host} does not take this login any more: start again")
            raise SignInNeeded(f"{self.host} does not accept this server as its client: see the server's log")
        return token

    def _auth_method(self, metadata: Mapping[str, Any]) -> str:
        if not self._client.secret:
            return "none"
        offered = metadata.get("token_endpoint_auth_methods_supported")
        is_posted = isinstance(offered, list) and "client_secret_basic" not in offered and "client_secret_post" in offered
        return "client_secret_post" if is_posted else "client_secret_basic"

    async def _verified(self, token: object, attempt: Attempt, access_token: object) -> dict[str, object]:
        """The claims of an ID token that this provider signed, for this client and this login, and that has not expired."""
        if not isinstance(token, str):
            raise SignInNeeded(f"{self.host} does not say who you are: is openid among oidc_scopes?")
        try:
            found = self._decoded(token, await self._keys.get())
        except (BadSignatureError, InvalidKeyIdError):
            keys = await self._keys.get(no_older_than_s=KEYS_AGAIN_S)  # it may sign with new ones
            try:
                found = self._decoded(token, keys)
            except JoseError as error:
                self._refuse(error)
        except (JoseError, ValueError, TypeError) as error:
            self._refuse(error)
        claims = CodeIDToken(
            found.claims,
            found.header,
            options={"iss": {"essential": True, "value": self.issuer}, "aud": {"essential": True, "value": self._client.client_id}},
            params={"nonce": attempt.nonce, "client_id": self._client.client_id, "access_token": access_token},
        )
        try:
            claims.validate(now=int(self._clock()), leeway=LEEWAY_S)
        except (JoseError, ValueError, TypeError) as error:
            self._refuse(error)
        return dict(claims)

    def _decoded(self, token: str, keys: KeySet) -> jwt.Token:
        return jwt.decode(token, keys, algorithms=ALGORITHMS)

    def _refuse(self, error: Exception) -> NoReturn:
        log.warning("oidc token refused host=%s error=%s", self.host, type(error).__name__)
        raise SignInNeeded(f"What {self.host} says of you cannot be trusted ({_why(error)})") from error

    async def _load_metadata(self) -> Mapping[str, Any]:
        found = _object(await self._ask(get_well_known_url(self.issuer, external=True)), self._mute)
        if found.get("issuer") != self.issuer:
            raise Unavailable(f"{self.host} calls itself {str(found.get('issuer'))[:100]!r}, which is not oidc_issuer")
        unsafe = next((name for name in _ENDPOINTS if not self._is_safe(found.get(name))), None)
        if unsafe is not None:
            raise Unavailable(f"{self.host} names no {unsafe} that can be asked safely")
        return found

    async def _load_keys(self) -> KeySet:
        metadata = await self._metadata.get()
        listed = _object(await self._ask(metadata["jwks_uri"]), self._mute).get("keys")
        keys = []
        for each in listed if isinstance(listed, list) else []:
            if not isinstance(each, dict) or each.get("kty") == "oct":
                continue
            try:
                keys.append(import_key(each))
            except (JoseError, ValueError, TypeError, KeyError) as error:
                log.debug("oidc key passed over host=%s error=%s", self.host, error)  # of a kind that we do not know
        return KeySet(keys)

    async def _ask(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
        may_refuse: bool = False,
    ) -> HTTPResponse:
        """One request, not redirected: a code and a secret go to the endpoint itself. ``may_refuse``: 4xx is an answer too."""
        try:
            answer = await self._http.fetch(
                url,
                method=method,
                headers=dict(headers or {"Accept": "application/json"}),
                body=body,
                connect_timeout=CONNECT_S,
                request_timeout=REQUEST_S,
                follow_redirects=False,
                raise_error=False,
            )
        except (OSError, HTTPClientError, HTTPInputError, ValueError) as error:
            log.warning("oidc provider fails host=%s error=%s", self.host, error)
            raise Unavailable(f"{self.host} does not answer: try again later, or sign in with a key") from error
        if answer.code != 200 and not (may_refuse and 400 <= answer.code < 500):
            log.warning("oidc provider fails host=%s status=%s path=%s", self.host, answer.code, urlsplit(url).path)
            self._mute()
        return answer

    def _mute(self) -> NoReturn:
        raise Unavailable(f"{self.host} does not answer as an OpenID provider does: try again later, or sign in with a key")

    def _is_safe(self, url: object) -> bool:
        return is_safe(url, from_loopback=is_loopback_url(self.issuer))


class _Kept(Generic[Value]):
    """Something that is loaded when it is first needed and again when it is old; by one at a time, the others wait for it."""

    def __init__(self, load: Callable[[], Awaitable[Value]], *, clock: Callable[[], float]) -> None:
        self.value: Value | None = None
        self._load = load
        self._clock = clock
        self._lock = asyncio.Lock()
        self._loaded_at = 0.0
        self._failed_at = 0.0
        self._failure = ""

    async def get(self, *, no_older_than_s: float = KEEP_S) -> Value:
        """Raises Unavailable."""
        async with self._lock:
            now = self._clock()
            if self.value is not None and 0 <= now - self._loaded_at < no_older_than_s:
                return self.value
            if self._failure and 0 <= now - self._failed_at < TRY_AGAIN_S:
                raise Unavailable(self._failure)
            try:
                self.value = await self._load()
            except Unavailable as error:
                self._failure, self._failed_at = str(error), self._clock()
                raise
            self._loaded_at, self._failure = self._clock(), ""
            return self.value


class _Resolver(Resolver):
    """Gives only addresses that may be connected to. The operator names the issuer's host, so it may be this machine; the hosts of
    other endpoints are the provider's word, and may not. ``allow_hosts`` is about VMs: what it leaves out is not denied here."""

    def initialize(self, destinations: Destinations, own_host: str, may_loop: bool) -> None:
        self._rules = replace(destinations, allow=(), clients_reach_loopback=may_loop)
        self._own_host = own_host

    async def resolve(self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[tuple[int, Any]]:
        origin = Origin.CONFIG if host == self._own_host else Origin.API
        refusal = self._rules.refusal(host, origin=origin)
        if refusal is not None:
            raise OSError(refusal)
        found = await asyncio.get_running_loop().getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        places = [(kind, address) for kind, _, _, _, address in found]
        verdicts, refusal = self._rules.permitted([str(address[0]) for _, address in places], host=host, origin=origin)
        if refusal is not None:
            raise OSError(refusal)
        return [place for place, is_permitted in zip(places, verdicts, strict=True) if is_permitted]


def _object(answer: HTTPResponse, otherwise: Callable[[], NoReturn]) -> dict[str, Any]:
    """The JSON object of an answer."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        otherwise()
    return found if isinstance(found, dict) else otherwise()


def _why(error: Exception) -> str:
    """A few words, nothing of the token itself."""
    claim = getattr(error, "claim", None)
    return f"{type(error).__name__}: {claim}" if isinstance(claim, str) else type(error).__name__
