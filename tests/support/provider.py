"""A real OpenID provider on a free port of this machine, which can be made to lie."""

import base64
import hashlib
import hmac
import json
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import flask
from authlib.deprecate import AuthlibDeprecationWarning
from joserfc import jwt
from joserfc.jwk import RSAKey
from werkzeug.serving import make_server

with warnings.catch_warnings():
    warnings.simplefilter("ignore", AuthlibDeprecationWarning)  # what the provider is built on is about to change
    import oidc_provider_mock

CLIENT_ID = "waa-live"
ALICE: Mapping[str, object] = {
    "email": "Alice@example.org",
    "email_verified": True,
    "name": "Alice Example",
    "groups": ["waa", "lab"],
}
TOKEN, KEYS, AUTHORIZE, DISCOVERY = "/oauth2/token", "/jwks", "/oauth2/authorize", "/.well-known/openid-configuration"


@dataclass(slots=True)
class Provider:
    """``claims`` and ``header`` change what it signs; ``sign`` replaces the signing; ``answers`` replaces what a path answers."""

    port: int
    claims: dict[str, object] = field(default_factory=dict)
    sign: Callable[[dict[str, Any]], str] | None = None
    key: RSAKey | None = None
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    token_requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, path: str) -> int:
        """How often it was asked for this."""
        return self.asked.count(path)

    def rotate(self) -> None:
        """From now on it signs with a new key, and publishes only that one."""
        self.key = RSAKey.generate_key(2048, auto_kid=True)

    def signed(self, claims: dict[str, Any], *, key: RSAKey | None = None) -> str:
        """A token of its own key, or of another one under the same name."""
        own = self.own_key()
        return jwt.encode({"alg": "RS256", "kid": own.kid}, claims, key or own)

    def own_key(self) -> RSAKey:
        assert self.key is not None
        return self.key


def decoded(token: str) -> dict[str, Any]:
    """The claims, whoever signed them."""
    payload = token.split(".")[1]
    found = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert isinstance(found, dict)
    return found


def unsigned(claims: dict[str, Any]) -> str:
    """A token that names no signature."""
    return f"{_encoded({'alg': 'none'})}.{_encoded(claims)}."


def signed_by_secret(claims: dict[str, Any], secret: bytes, **header: str) -> str:
    """A token signed by what the client knows too, or everybody."""
    text = f"{_encoded({'alg': 'HS256', **header})}.{_encoded(claims)}"
    return f"{text}.{_base64(hmac.digest(secret, text.encode(), 'sha256'))}"


def challenge(verifier: str) -> str:
    """S256 of PKCE."""
    return _base64(hashlib.sha256(verifier.encode()).digest())


def _encoded(value: object) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def now() -> int:
    """As the provider counts."""
    return int(time.time())


@contextmanager
def running_provider(*, users: Mapping[str, Mapping[str, object]] | None = None) -> Iterator[Provider]:
    """Until the block ends."""
    people = [oidc_provider_mock.User(sub=sub, claims=dict(claims)) for sub, claims in (users or {"alice": ALICE}).items()]
    app = oidc_provider_mock.app(require_nonce=True, user_claims=people)
    app.debug = False
    server = make_server("127.0.0.1", 0, app, threaded=True)
    provider = Provider(server.server_port)
    provider.rotate()
    _twist(app, provider)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _twist(app: flask.Flask, provider: Provider) -> None:
    @app.before_request
    def note() -> tuple[str, int] | None:
        path = flask.request.path
        provider.asked.append(path)
        if path == TOKEN:
            provider.token_requests.append((flask.request.headers.get("Authorization", ""), flask.request.form.to_dict()))
        if path in provider.answers:
            status, text = provider.answers[path]
            return text, status
        return None

    @app.after_request
    def change(answer: flask.Response) -> flask.Response:
        if flask.request.path in provider.answers:
            return answer
        if flask.request.path == KEYS:
            answer.set_data(json.dumps({"keys": [provider.own_key().as_dict(private=False)]}))
        if flask.request.path == TOKEN and answer.status_code == 200:
            token = json.loads(answer.get_data())
            claims = {name: value for name, value in (decoded(token["id_token"]) | provider.claims).items() if value is not None}
            token["id_token"] = (provider.sign or provider.signed)(claims)
            answer.set_data(json.dumps(token))
        return answer
