"""Azure over REST: ARM's lists, Azure ML's run history and log blobs, by Tornado's HTTP client. Only GET.

Tokens go to ARM and to the run history, never to a blob, and nowhere by a redirect. Signed addresses of blobs stay in here: no error,
log line or answer holds one.
"""

import base64
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from tornado.httpclient import HTTPClientError, HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders, HTTPInputError
from tornado.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError, SimpleAsyncHTTPClient

from waa.core import azure
from waa.core.azure import Details, Interface, VmListed, Workspace
from waa.core.azure_pace import CloudError, Fault, retry_after_s
from waa.core.cloud import CloudJob, PowerState
from waa.core.port import BlobPart, TokenSource

log = logging.getLogger(__name__)
Item = TypeVar("Item")

COMPUTE_VERSION, NETWORK_VERSION, ML_VERSION = "2024-07-01", "2022-07-01", "2022-10-01"
CONNECT_S, REQUEST_S = 10.0, 30.0
MAX_BYTES = 16 * 1024 * 1024
"""Of one answer; a page of a list has some hundred KB."""
MAX_PAGES = 50
"""Of one list."""
MAX_DISCOVERY_BYTES = 64 * 1024
_CLAIMS = re.compile(r'claims="([^"]{1,4000})"')


@dataclass(slots=True)
class _Page:
    """One answer of ARM or the run history."""

    data: Any
    headers: HTTPHeaders


class AzureRest:
    """See ``port.Cloud``. For the loop's thread only; ``clock`` is the wall's."""

    def __init__(self, *, base: str, tokens: TokenSource, clock: Callable[[], float]) -> None:
        self._base = base.rstrip("/")
        self._tokens = tokens
        self._clock = clock
        self._http = SimpleAsyncHTTPClient(force_instance=True, max_clients=8, max_body_size=MAX_BYTES, max_header_size=256 * 1024)
        self._history: dict[str, str] = {}
        self._remaining: dict[str, int] = {}

    def remaining_reads(self, subscription: str) -> int | None:
        """Of ARM's allowance, as the last answer said; None: it did not."""
        return self._remaining.get(subscription)

    async def vms(self, subscription: str) -> list[VmListed]:
        """Raises CloudError, as all of these do."""
        return await self._listed(subscription, "Microsoft.Compute/virtualMachines", {"api-version": COMPUTE_VERSION}, azure.vm_of)

    async def powers(self, subscription: str) -> dict[str, PowerState]:
        """Power states by key of the VM."""
        query = {"api-version": COMPUTE_VERSION, "statusOnly": "true"}
        return dict(await self._listed(subscription, "Microsoft.Compute/virtualMachines", query, azure.power_of))

    async def interfaces(self, subscription: str) -> list[Interface]:
        """All network interfaces."""
        return await self._listed(subscription, "Microsoft.Network/networkInterfaces", {"api-version": NETWORK_VERSION}, azure.interface_of)

    async def addresses(self, subscription: str) -> dict[str, str]:
        """Public addresses by key."""
        query = {"api-version": NETWORK_VERSION}
        return dict(await self._listed(subscription, "Microsoft.Network/publicIPAddresses", query, azure.address_of))

    async def jobs(self, workspace: Workspace, *, at_most: int) -> tuple[list[CloudJob], bool]:
        """Jobs of a workspace that are not archived, and whether these are all."""
        url = f"{self._base}{_quoted(workspace.path)}/jobs?{urlencode({'api-version': ML_VERSION, 'listViewType': 'ActiveOnly'})}"
        items, is_whole = await self._pages(url, workspace.subscription, at_most=at_most)
        return _read(items, lambda item: azure.job_of(item, workspace)), is_whole

    async def details(self, workspace: Workspace, name: str) -> Details:
        """What the run history says of a job."""
        page = await self._get(await self._run_url(workspace, name, "details"), workspace.subscription)
        return azure.details_of(page.data)

    async def children(self, workspace: Workspace, parent: CloudJob, *, at_most: int) -> list[CloudJob]:
        """The jobs that are parts of one, as many as that."""
        url = await self._run_url(workspace, parent.name, "children")
        items, _ = await self._pages(url, workspace.subscription, at_most=at_most)
        return _read(items, lambda item: azure.child_of(item, parent))[:at_most]

    async def read_blob(self, url: str, first: int, size: int) -> BlobPart:
        """At most so many bytes of a log from a byte on. Raises CloudError: EXPIRED where the address counts no longer."""
        if not azure.is_blob_host(url, base=self._base):
            raise CloudError(Fault.FOREIGN, "The address of the log is not one of Azure's storage")
        headers = {"Range": f"bytes={first}-{first + size - 1}", "x-ms-version": "2020-10-02"}
        answer = await self._fetch(HTTPRequest(url, headers=headers, decompress_response=False, **_LIMITS), what="the log")
        match answer.code:
            case HTTPStatus.PARTIAL_CONTENT:
                total = _total(answer.headers)
                return BlobPart(data=answer.body, total=total if total is not None else first + len(answer.body))
            case HTTPStatus.OK:  # a storage that knows no ranges sends all of it
                return BlobPart(data=answer.body[first : first + size], total=len(answer.body))
            case HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                total = _total(answer.headers)
                return BlobPart(data=b"", total=total if total is not None else first)
            case HTTPStatus.FORBIDDEN | HTTPStatus.UNAUTHORIZED:
                raise CloudError(Fault.EXPIRED, "The signed address of the log counts no longer, or the storage refuses this network")
            case HTTPStatus.NOT_FOUND:
                raise CloudError(Fault.MISSING, "The log is not there")
        raise self._refusal(answer, what="the log")

    async def close(self) -> None:
        """Give the connections back. May be called twice."""
        self._http.close()

    # --- lists ---

    async def _listed(self, subscription: str, kind: str, query: Mapping[str, str], read: Callable[[object], Item | None]) -> list[Item]:
        url = f"{self._base}/subscriptions/{quote(subscription, safe='')}/providers/{kind}?{urlencode(query)}"
        items, is_whole = await self._pages(url, subscription)
        if not is_whole:
            raise CloudError(Fault.PARSE, f"The list of {kind.rpartition('/')[2]} has more than {MAX_PAGES} pages")
        return _read(items, read)

    async def _pages(self, url: str, subscription: str, *, at_most: int | None = None) -> tuple[list[object], bool]:
        """The items of a list, and whether these are all of them."""
        items: list[object] = []
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            page = await self._get(url, subscription)
            value, link = (page.data.get("value"), page.data.get("nextLink")) if isinstance(page.data, dict) else (None, None)
            if not isinstance(value, list):
                raise CloudError(Fault.PARSE, f"{_place(url)} does not answer with a list")
            items += value
            if not isinstance(link, str) or not link:
                return items, True
            if not azure.is_same_server(link, url):
                raise CloudError(Fault.FOREIGN, f"{_place(url)} leads to another server for its next page, which is not followed")
            if link in seen:
                raise CloudError(Fault.PARSE, f"{_place(url)} leads to the same page again and again")
            if at_most is not None and len(items) >= at_most:
                return items, False
            seen.add(link)
            url = link
        return items, False

    async def _run_url(self, workspace: Workspace, name: str, part: str) -> str:
        history = self._history.get(workspace.path.lower())
        if history is None:
            history = self._history[workspace.path.lower()] = await self._discover(workspace)
        return f"{history}/history/v1.0{_quoted(workspace.path)}/runs/{quote(name, safe='')}/{part}"

    async def _discover(self, workspace: Workspace) -> str:
        """Where the run history of a workspace is. The place is named by an answer, so it is looked at before it gets a token."""
        found = await self._get(f"{self._base}{_quoted(workspace.path)}?{urlencode({'api-version': ML_VERSION})}", workspace.subscription)
        properties = found.data.get("properties") if isinstance(found.data, dict) else None
        url = properties.get("discoveryUrl") if isinstance(properties, dict) else None
        if not isinstance(url, str) or not azure.is_history_host(url, base=self._base):
            raise CloudError(Fault.FOREIGN, f"The workspace {workspace.name} names no run history of Azure ML")
        answer = await self._fetch(HTTPRequest(url, **_LIMITS), what="the discovery of Azure ML")
        if answer.code != HTTPStatus.OK or len(answer.body) > MAX_DISCOVERY_BYTES:
            raise self._refusal(answer, what="the discovery of Azure ML")
        data = _parsed(answer, "the discovery of Azure ML")
        api = data.get("api") if isinstance(data, dict) else None
        if not isinstance(api, str) or not azure.is_history_host(api, base=self._base):
            raise CloudError(Fault.FOREIGN, f"The discovery of {workspace.name} names no run history of Azure ML")
        return api.rstrip("/")

    # --- requests ---

    async def _get(self, url: str, subscription: str) -> _Page:
        """An answer with a token; a token that is refused is fetched anew, once."""
        what = _place(url)
        answer = await self._ask(url, claims=None, what=what)
        if answer.code == HTTPStatus.UNAUTHORIZED:
            self._tokens.forget()
            answer = await self._ask(url, claims=_claims(answer.headers), what=what)
        remaining = answer.headers.get("x-ms-ratelimit-remaining-subscription-reads", "")
        if remaining.isdecimal():
            self._remaining[subscription] = int(remaining[:9])
        if answer.code != HTTPStatus.OK:
            raise self._refusal(answer, what=what)
        return _Page(_parsed(answer, what), answer.headers)

    async def _ask(self, url: str, *, claims: str | None, what: str) -> HTTPResponse:
        token = await self._tokens.token(claims)
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        return await self._fetch(HTTPRequest(url, headers=headers, **_LIMITS), what=what)

    async def _fetch(self, request: HTTPRequest, *, what: str) -> HTTPResponse:
        try:
            answer = await self._http.fetch(request, raise_error=False)
        except (OSError, HTTPClientError, HTTPInputError, HTTPStreamClosedError, ValueError) as error:
            raise CloudError(Fault.NETWORK, f"{what} cannot be reached: {_reason(error, request.url)}", remedy=_NETWORK_REMEDY) from None
        if answer.code == 599:  # how Tornado tells of a connection that ended
            raise CloudError(Fault.NETWORK, f"{what} cannot be reached: {_reason(answer.error, request.url)}", remedy=_NETWORK_REMEDY)
        log.debug("azure asked status=%d what=%s", answer.code, what)
        return answer

    def _refusal(self, answer: HTTPResponse, *, what: str) -> CloudError:
        """The error of an answer that is none. Nothing of the request stands in it."""
        code, words = _error_of(answer)
        told = f" ({code}: {words})" if code else ""
        after_s = retry_after_s(answer.headers.get("Retry-After"), now=self._clock())
        match answer.code:
            case HTTPStatus.UNAUTHORIZED:
                return CloudError(Fault.TOKEN, f"{what} refuses the login{told}", remedy="Log in to the tenant of this subscription.")
            case HTTPStatus.FORBIDDEN:
                remedy = "Give the login the role Reader there."
                return CloudError(Fault.DENIED, f"{what} may not be read by this login{told}", remedy=remedy)
            case HTTPStatus.NOT_FOUND:
                remedy = "Check the names in the configuration."
                return CloudError(Fault.MISSING, f"{what} is not there{told}", remedy=remedy)
            case HTTPStatus.TOO_MANY_REQUESTS:
                return CloudError(Fault.THROTTLED, f"{what} was asked too often", retry_after_s=after_s)
            case status if status >= 500:
                return CloudError(Fault.SERVER, f"{what} fails with status {status}{told}", retry_after_s=after_s)
        return CloudError(Fault.PARSE, f"{what} answers with status {answer.code}{told}")


_LIMITS: dict[str, Any] = {"connect_timeout": CONNECT_S, "request_timeout": REQUEST_S, "follow_redirects": False}
_NETWORK_REMEDY = "Check this machine's network, proxy and DNS."


def _read(items: Sequence[object], read: Callable[[object], Item | None]) -> list[Item]:
    return [found for item in items if (found := read(item)) is not None]


def _quoted(path: str) -> str:
    return quote(path, safe="/")


def _place(url: str) -> str:
    """A URL without its query, for people: ids of subscriptions say nothing to them."""
    parts = urlsplit(url)
    names = [name for name in parts.path.split("/") if name]
    last = names[-1] if names else ""
    if last in ("details", "children") and len(names) > 1:
        return f"the {last} of {names[-2]} at {parts.hostname}"
    return f"{last} at {parts.hostname}"


def _parsed(answer: HTTPResponse, what: str) -> Any:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        raise CloudError(Fault.PARSE, f"{what} does not answer with JSON") from None


def _error_of(answer: HTTPResponse) -> tuple[str, str]:
    """Code and first sentence of ARM's error, "" where it is none."""
    try:
        error = json.loads(answer.body).get("error")
        code, message = error["code"], error["message"]
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return "", ""
    if not isinstance(code, str) or not isinstance(message, str):
        return "", ""
    return code[:80], message.partition("\n")[0][:200]


def _claims(headers: HTTPHeaders) -> str | None:
    """What a token must prove, where the refusal says so (continuous access evaluation)."""
    match = _CLAIMS.search(headers.get("WWW-Authenticate", ""))
    if match is None:
        return None
    try:
        return base64.urlsafe_b64decode(match.group(1).replace("+", "-").replace("/", "_") + "==").decode()
    except ValueError:
        return None


def _total(headers: HTTPHeaders) -> int | None:
    """The size of the whole from a Content-Range."""
    total = headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdecimal() and len(total) < 18 else None


def _reason(error: BaseException | None, url: str) -> str:
    """Why, without the address: its query can hold a signature."""
    if isinstance(error, HTTPTimeoutError):
        return "no answer in time"
    text = (getattr(error, "strerror", None) or str(error) or type(error).__name__) if error is not None else "the connection ended"
    return str(text).replace(url, "").replace(urlsplit(url).query or "\0", "")[:200]
