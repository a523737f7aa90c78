"""How a server is asked: its address and key, one kept connection, and what can go wrong."""

import base64
import contextlib
import dataclasses
import http.client
import ipaddress
import json
import os
import socket
import ssl
import urllib.parse
import urllib.request

DEFAULT_URL = "http://127.0.0.1:8765"
PUSH = "/api/training/predictions"
JOBS = "/api/training/jobs"
FOREIGN = "the answer is not one of a WAA Live server"
MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_MESSAGE = 300

Json = dict[str, object]


class ClientError(Exception):
    """The server did not do what it was asked."""


class Unavailable(ClientError):
    """It was not reached, or cannot now (429, 5xx): the same may work later, after ``retry_after_s`` where that is said."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Refused(ClientError):
    """It says no: 401 to the key, 404 where there is no such job of yours, 422 to a value (``field`` names it)."""

    def __init__(self, status: int, message: str, field: str | None = None) -> None:
        super().__init__(f"{status} {message}" + (f" ({field})" if field else ""))
        self.status, self.field = status, field


class Invalid(ValueError):
    """An argument that no server takes; ``field`` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}")
        self.field = field


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server and a key for it. ``url`` ends without a slash, ``proxy`` is the URL of one on the way."""

    url: str
    host: str
    port: int | None
    prefix: str
    key: str = dataclasses.field(repr=False)
    context: ssl.SSLContext | None
    proxy: str | None = dataclasses.field(repr=False)
    timeout_s: float


def target_at(url: str, key: str, *, ca_file: str | None, timeout_s: float) -> Target:
    """With the proxy of the environment, where the server is not on this machine. Raises Invalid, which does not tell the key, and
    OSError for a ``ca_file`` that cannot be read."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid("url", "is one such as https://waa.example.org")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise Invalid("url", "holds no login, query or fragment; keys are given apart")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise Invalid("key", "is printable ASCII without spaces")
    is_direct = _is_loopback(parts.hostname) or urllib.request.proxy_bypass(parts.hostname)
    return Target(
        url=url.rstrip("/"),
        host=parts.hostname,
        port=parts.port,
        prefix=parts.path.rstrip("/"),
        key=key,
        context=ssl.create_default_context(cafile=ca_file) if parts.scheme == "https" else None,
        proxy=None if is_direct else urllib.request.getproxies().get(parts.scheme),
        timeout_s=timeout_s,
    )


def key_of_environment() -> str:
    """Of ``WAA_KEY``, or of the file that ``WAA_KEY_FILE`` names; empty: none. Raises OSError."""
    path = os.environ.get("WAA_KEY_FILE")
    if os.environ.get("WAA_KEY") or not path:
        return os.environ.get("WAA_KEY", "")
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read().strip()


class Wire:
    """One connection that is kept between requests. For one thread at a time; ``abort`` may come from any."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connection: http.client.HTTPConnection | None = None
        self._is_aborted = False

    def ask(self, method: str, path: str, body: bytes | None = None) -> Json:
        """The answer's JSON object, empty for none. Raises Refused, Unavailable.

        A kept connection may have been closed meanwhile: then the request is made a second time, so it must be one that can be.
        """
        is_kept = self._connection is not None and self._connection.sock is not None
        try:
            try:
                return self._ask(method, path, body)
            except ConnectionError:
                self.close()
                if not is_kept or self._is_aborted:
                    raise
                return self._ask(method, path, body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise Unavailable(f"{self._target.url} cannot be asked: {str(error) or type(error).__name__}"[:MAX_MESSAGE]) from error

    def close(self) -> None:
        """The next request opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def abort(self) -> None:
        """Break off the request that is under way; there is no next one."""
        self._is_aborted = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _ask(self, method: str, path: str, body: bytes | None) -> Json:
        if self._is_aborted:
            raise ConnectionAbortedError("closed")
        target = self._target
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "waa-client"}
        if target.key:
            headers["X-API-Key"] = target.key
        full = target.prefix + path
        if target.proxy and target.context is None:
            full = target.url + path
            headers |= _proxy_headers(target.proxy)
        if self._connection is None:
            self._connection = _connection(target)
        self._connection.request(method, full, body=body, headers=headers)
        response = self._connection.getresponse()
        data = response.read(MAX_ANSWER_BYTES + 1)
        if len(data) > MAX_ANSWER_BYTES:
            raise http.client.HTTPException("the answer is too long")
        return _answer(response, data)


def ask_once(target: Target, method: str, path: str, body: bytes | None = None) -> Json:
    """As ``Wire.ask``, over a connection of its own."""
    wire = Wire(target)
    try:
        return wire.ask(method, path, body)
    finally:
        wire.close()


def _answer(response: http.client.HTTPResponse, data: bytes) -> Json:
    try:
        found = json.loads(data) if data else {}
    except (ValueError, RecursionError):
        found = None
    if response.status in (200, 201, 204) and isinstance(found, dict):
        return found
    if 200 <= response.status < 300:
        raise Unavailable(FOREIGN)
    error = found.get("error") if isinstance(found, dict) else None
    error = error if isinstance(error, dict) else {}
    message = " ".join(str(error.get("message") or response.reason).split())[:MAX_MESSAGE]
    if response.status == 429 or response.status >= 500:
        wait = response.getheader("Retry-After", "").strip()
        raise Unavailable(f"{response.status} {message}", float(wait) if wait.isascii() and wait.isdigit() else None)
    field = error.get("field")
    raise Refused(response.status, message, field if isinstance(field, str) else None)


def _connection(target: Target) -> http.client.HTTPConnection:
    proxy = urllib.parse.urlsplit(target.proxy if "://" in target.proxy else f"http://{target.proxy}") if target.proxy else None
    host, port = (proxy.hostname or "", proxy.port or 80) if proxy is not None else (target.host, target.port)
    if target.context is None:
        return http.client.HTTPConnection(host, port, timeout=target.timeout_s)
    connection = http.client.HTTPSConnection(host, port, timeout=target.timeout_s, context=target.context)
    if target.proxy:
        connection.set_tunnel(target.host, target.port or 443, _proxy_headers(target.proxy))
    return connection


def _proxy_headers(proxy: str) -> dict[str, str]:
    parts = urllib.parse.urlsplit(proxy)
    if parts.username is None:
        return {}
    login = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(login.encode()).decode()}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
