"""Asks backends over HTTP how their pipelines are: only addresses that were checked are connected to, and redirects are not followed.

HTTP/1.1 as far as a health check needs it, over asyncio's streams: Tornado's own client closes each connection after one answer.
"""

import asyncio
import base64
import functools
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from waa.core.destination import REMEDY, Destinations, literal
from waa.core.pipeline import Answer, AuthKind, Credential, PipelineSpec, Place
from waa.core.pipeline_answer import answer_of, failed
from waa.core.status import Reason

MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 64 * 1024
MAX_INTERIM = 5
"""Answers 1xx before the one that counts."""
CONNECT_S = 3.0
"""For one address, of several that a name has."""
NAME_THREADS = 16
"""For looking names up, which cannot be cut short: a resolver that hangs keeps no other work of this server waiting."""
IDLE_S = 45.0
"""A connection that was not used for so long is not used again."""
LIFE_S = 300.0
"""Nor one that is so old: a name may lead elsewhere by now."""
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: [^\r\n]*)?")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[^\r\n]*)?\r\n")


class _TooLarge(Exception):
    """More than a health check has to say."""


class _Denied(Exception):
    """The operator, or common sense, does not want this place to be connected to."""


class _Malformed(Exception):
    """What was answered is no HTTP."""


@dataclass(slots=True, kw_only=True)
class _Connection:
    """One that is kept for the next look. ``used``: it has answered before; the server may have closed it since."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    place: Place
    opened_s: float
    used_s: float
    used: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    code: int
    headers: Mapping[str, str]
    body: bytes
    may_stay: bool


class HttpProbe:
    """See ``port.PipelineProbe``. Keeps one connection per pipeline; for the loop's thread only.

    ``tls``: how certificates are verified, by default against what this machine trusts.
    """

    def __init__(
        self, *, destinations: Destinations, timeout_s: float, user_agent: str = "waa-live", tls: Callable[[], ssl.SSLContext] | None = None
    ) -> None:
        self._destinations = destinations
        self._timeout_s = timeout_s
        self._agent = user_agent
        self._make_tls = tls or ssl.create_default_context
        self._tls: ssl.SSLContext | None = None
        self._kept: dict[str, _Connection] = {}
        self._names = ThreadPoolExecutor(max_workers=NAME_THREADS, thread_name_prefix="pipeline names")

    async def look(self, spec: PipelineSpec, credential: Credential) -> Answer:
        """Ask once. Never raises; a look that fails says why."""
        told = spec.place.netloc
        opened: list[bool] = []
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await self._ask(spec, credential, opened)
        except TimeoutError:
            what = (
                "accepts the connection and does not answer"
                if opened
                else f"makes no {'secure ' if spec.place.is_secure else ''}connection"
            )
            remedy = "The backend may hang, or a firewall drop what is sent to it."
            return failed(Reason.TIMEOUT, f"{told} {what} within {self._timeout_s:g} s", remedy)
        except (OSError, EOFError, _Denied, _TooLarge, _Malformed) as error:
            return _failed(spec, error)
        return answer_of(spec, reply.code, reply.headers.get("content-type", ""), reply.body)

    def forget(self, pipeline_id: str) -> None:
        """Give the connection of one pipeline back."""
        kept = self._kept.pop(pipeline_id, None)
        if kept is not None:
            kept.writer.transport.abort()

    async def close(self) -> None:
        """Give all connections back. May be called twice."""
        for pipeline_id in list(self._kept):
            self.forget(pipeline_id)
        self._names.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, spec: PipelineSpec, credential: Credential, opened: list[bool]) -> _Reply:
        """The answer; asked again on a new connection where the kept one turned out to be closed."""
        request = _request(spec, credential, self._agent)
        kept = self._take(spec)
        if kept is not None:
            opened.append(True)
            try:
                return await self._exchange(spec.pipeline_id, kept, request)
            except (ConnectionError, EOFError):
                opened.clear()
        fresh = await self._connect(spec)
        opened.append(True)
        return await self._exchange(spec.pipeline_id, fresh, request)

    async def _exchange(self, pipeline_id: str, connection: _Connection, request: bytes) -> _Reply:
        is_whole = False
        try:
            connection.writer.write(request)
            await connection.writer.drain()
            reply = await _read_reply(connection.reader)
            is_whole = reply.may_stay
        finally:
            if not is_whole:
                connection.writer.transport.abort()
        connection.used_s, connection.used = asyncio.get_running_loop().time(), True
        self._kept[pipeline_id] = connection
        return reply

    def _take(self, spec: PipelineSpec) -> _Connection | None:
        kept = self._kept.pop(spec.pipeline_id, None)
        if kept is None:
            return None
        now = asyncio.get_running_loop().time()
        is_fit = kept.place == spec.place and now - kept.used_s <= IDLE_S and now - kept.opened_s <= LIFE_S
        if not is_fit or kept.reader.at_eof() or kept.writer.is_closing():
            kept.writer.transport.abort()
            return None
        return kept

    async def _connect(self, spec: PipelineSpec) -> _Connection:
        place, failure = spec.place, None
        if place.is_secure and self._tls is None:
            self._tls = self._make_tls()
        for address in await self._addresses(spec):
            secure: dict[str, Any] = {"ssl": self._tls, "server_hostname": place.host} if place.is_secure else {}
            try:
                async with asyncio.timeout(CONNECT_S):
                    reader, writer = await asyncio.open_connection(address, place.port, limit=MAX_HEAD_BYTES, **secure)
            except (OSError, TimeoutError) as error:
                failure = failure or error
                continue
            now = asyncio.get_running_loop().time()
            return _Connection(reader=reader, writer=writer, place=place, opened_s=now, used_s=now)
        raise failure or OSError("it has no address")

    async def _addresses(self, spec: PipelineSpec) -> list[str]:
        """The addresses of a host that may be connected to: these very ones are."""
        host = spec.place.host
        refusal = self._destinations.refusal(host, origin=spec.origin)
        if refusal is not None:
            raise _Denied(refusal)
        written = literal(host)
        if written is not None:
            return [str(written)]
        look_up = functools.partial(socket.getaddrinfo, host, spec.place.port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._names, look_up)
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        verdicts, refusal = self._destinations.permitted(addresses, host=host, origin=spec.origin)
        if refusal is not None:
            raise _Denied(refusal)
        return [address for address, is_permitted in zip(addresses, verdicts, strict=True) if is_permitted]


def _failed(spec: PipelineSpec, error: Exception) -> Answer:
    """Why a look failed, and what to do about it."""
    told, kib = spec.place.netloc, MAX_BODY_BYTES // 1024
    match error:
        case _Denied():
            return failed(Reason.DENIED, str(error), REMEDY)
        case _TooLarge():
            reason, what, remedy = Reason.TOO_LARGE, f"answers with more than {kib} KiB", "A health check should be short."
        case _Malformed():
            reason, what, remedy = Reason.PROTOCOL, f"does not speak HTTP: {error}", "Check scheme and port of the backend's address."
        case socket.gaierror():
            reason, what, remedy = Reason.DNS, "has no known address", "Correct the host name in the backend's address."
        case ssl.SSLError():
            reason, what, remedy = Reason.TLS, _words(error), _tls_remedy(error)
        case ConnectionRefusedError():
            reason, what, remedy = Reason.REFUSED, "refuses the connection", "Start the backend, or correct its port."
        case ConnectionError() | EOFError():
            reason, what, remedy = Reason.CLOSED, "closes the connection without a whole answer", "Look at the backend's own log."
        case _:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            reason, what, remedy = Reason.NETWORK, f"is out of reach: {why}", "Check the network between this server and it."
    return failed(reason, f"{told} {what}", remedy)


def _request(spec: PipelineSpec, credential: Credential, agent: str) -> bytes:
    lines = [f"GET {spec.path} HTTP/1.1", f"Host: {spec.place.netloc}", f"User-Agent: {agent}", "Accept: application/json, */*;q=0.5"]
    match credential.kind:
        case AuthKind.BEARER:
            lines.append(f"Authorization: Bearer {credential.secret}")
        case AuthKind.API_KEY:
            lines.append(f"{credential.header}: {credential.secret}")
        case AuthKind.BASIC:
            pair = base64.b64encode(f"{credential.username}:{credential.secret}".encode()).decode()
            lines.append(f"Authorization: Basic {pair}")
        case AuthKind.NONE:
            pass
    return "\r\n".join((*lines, "", "")).encode("ascii")


async def _read_reply(reader: asyncio.StreamReader) -> _Reply:
    for _ in range(MAX_INTERIM):
        version, code, headers = await _read_head(reader)
        if code >= 200:
            break
    else:
        raise _Malformed("it never comes to an answer")
    said = headers.get("connection", "").lower()
    may_stay = "close" not in said and (version == 1 or "keep-alive" in said)
    if code in (204, 304):
        return _Reply(code=code, headers=headers, body=b"", may_stay=may_stay)
    body, is_bounded = await _read_body(reader, headers)
    return _Reply(code=code, headers=headers, body=body, may_stay=may_stay and is_bounded)


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, int, dict[str, str]]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise _Malformed(f"its headers are longer than {MAX_HEAD_BYTES // 1024} KiB") from error
    except asyncio.IncompleteReadError as error:
        if error.partial and not error.partial.startswith(b"HTTP/"):
            raise _Malformed("it begins with something else") from error
        raise
    first, *lines = head[:-4].split(b"\r\n")
    found = _STATUS_LINE.fullmatch(first)
    if found is None:
        raise _Malformed("it begins with something else")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or name != name.strip():
            raise _Malformed("its headers cannot be read")
        headers[name.lower()] = value.strip()
    return int(found[1]), int(found[2]), headers


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> tuple[bytes, bool]:
    """The body, and whether its end is told by itself and not by the end of the connection."""
    if "transfer-encoding" in headers:
        if headers["transfer-encoding"].lower() != "chunked":
            raise _Malformed("it encodes the answer in an unknown way")
        return await _read_chunks(reader), True
    length = headers.get("content-length")
    if length is None:
        body = b""
        while piece := await reader.read(MAX_HEAD_BYTES):
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise _TooLarge
        return body, False
    if not re.fullmatch(r"\d{1,18}", length, re.ASCII):
        raise _Malformed("its length cannot be read")
    if int(length) > MAX_BODY_BYTES:
        raise _TooLarge
    return await reader.readexactly(int(length)), True


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        head = _CHUNK.fullmatch(await _read_line(reader))
        if head is None:
            raise _Malformed("its chunks cannot be read")
        size = int(head[1], 16)
        if len(body) + size > MAX_BODY_BYTES:
            raise _TooLarge
        if not size:
            break
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise _Malformed("its chunks cannot be read")
    for _ in range(32):  # trailers
        if await _read_line(reader) == b"\r\n":
            return body
    raise _Malformed("its chunks do not end")


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n")
    except asyncio.LimitOverrunError as error:
        raise _Malformed("its chunks cannot be read") from error


def _words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"has a certificate that is not trusted: {error.verify_message}"
    return f"makes no secure connection ({error.reason or 'TLS'})"


def _tls_remedy(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "Give the backend a certificate for this name, or name its authority in SSL_CERT_FILE before this server starts."
    return "Does it speak TLS at all there? If not, its address begins with http://."
