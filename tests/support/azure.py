"""Azure on this machine, for the tests: ARM, a run history, log blobs, Entra's tokens and a machine's identity service.

Answers are made from published ones (``tests/corpus/azure``). Runs in a thread with a loop of its own, so that blocking clients and other
processes can use it too; tests change its attributes, and read ``asked``.
"""

import asyncio
import copy
import json
import re
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from tests.support.wait import PATIENCE_S

CORPUS = Path(__file__).parents[1] / "corpus" / "azure"
SUBSCRIPTION = "5a7e1c00-0000-4000-8000-0000000000aa"
GROUP = "rg-bench"
WORKSPACE = "bench-ws"
TENANT = "7e4a0000-0000-4000-8000-0000000000bb"
STARTED = "2026-02-04T12:00:00.0000000Z"


def corpus(name: str) -> Any:
    """A published answer."""
    return json.loads((CORPUS / name).read_text(encoding="utf-8"))


@dataclass(slots=True)
class Machine:
    """A virtual machine. ``power`` None: Azure does not say."""

    name: str
    group: str = GROUP
    power: str | None = "running"
    public_ip: str = "203.0.113.7"
    private_ip: str = "10.0.0.4"
    size: str = "Standard_D8ds_v5"
    region: str = "eastus2"
    os: str = "Linux"
    priority: str = "Regular"
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def resource_id(self) -> str:
        return f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{self.group}/providers/Microsoft.Compute/virtualMachines/{self.name}"


@dataclass(slots=True)
class FakeJob:
    """A job of the workspace. ``logs``: the blobs by name, which grow as a test appends to them."""

    name: str
    status: str = "Running"
    created: str = "2026-02-04T11:58:00.1234567+00:00"
    type: str = "Command"
    title: str = ""
    logs: dict[str, bytearray] = field(default_factory=dict)
    children: list["FakeJob"] = field(default_factory=list)
    started: str | None = STARTED
    ended: str | None = None
    duration: str | None = None
    error: str | None = None
    portal: str | None = None

    def write(self, data: bytes, name: str = "user_logs/std_log.txt") -> None:
        """The program writes."""
        self.logs.setdefault(name, bytearray()).extend(data)

    def end(self, status: str = "Completed", *, ended: str = "2026-02-04T12:20:30Z", duration: str = "00:20:30.5000000") -> None:
        """The job is over."""
        self.status, self.ended, self.duration = status, ended, duration


@dataclass(slots=True)
class Fault:
    """What is answered instead to requests whose path (with query) matches, so many times; then it is over."""

    pattern: str
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    times: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as it came."""

    path: str
    token: str | None
    range: str | None
    body: str
    at: float


class FakeAzure:
    """``with FakeAzure() as azure``; ``azure.url`` is ARM's. With TLS it is an authority for tokens too."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.machines: list[Machine] = []
        self.jobs: list[FakeJob] = []
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.page_size = 2
        self.next_base: str | None = None
        self.history_base: str | None = None
        self.blob_base: str | None = None
        self.tokens = {"token-1"}
        self.claims = ""
        self.signature = "sig-1"
        self.issued = 0
        self.token_life_s = 3600
        self.secret = "right-secret"
        self.remaining_reads = 249
        self.url = ""
        self._tls = tls
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "FakeAzure":
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        return self

    def __exit__(self, *_exc: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)

    def count(self, pattern: str) -> int:
        """How many requests matched."""
        return sum(1 for asked in self.asked if re.search(pattern, asked.path))

    def paths(self) -> list[str]:
        """Of all requests, without queries."""
        return [asked.path.partition("?")[0] for asked in self.asked]

    def job(self, name: str) -> FakeJob:
        """Also one that is a part of another."""
        every = [*self.jobs, *(child for job in self.jobs for child in job.children)]
        return next(job for job in every if job.name == name)

    def expire_signatures(self) -> None:
        """Signed addresses given so far count no longer."""
        self.signature = f"sig-{int(self.signature.rpartition('-')[2]) + 1}"

    def _run(self) -> None:
        async def serve() -> None:
            sockets = bind_sockets(0, "127.0.0.1")
            server = HTTPServer(Application([(r"/.*", _Handler, {"azure": self})], log_function=_quiet), ssl_options=self._tls)
            server.add_sockets(sockets)
            scheme, host = ("https", "localhost") if self._tls is not None else ("http", "127.0.0.1")
            self.url = f"{scheme}://{host}:{sockets[0].getsockname()[1]}"
            self._server = server

        loop = self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve())
        loop.call_soon(self._ready.set)
        loop.run_forever()
        self._server.stop()
        loop.run_until_complete(self._server.close_all_connections())
        loop.close()

    # --- answers ---

    def answer(self, request: HTTPServerRequest, query: Callable[[str], str]) -> tuple[int, dict[str, str], Any]:
        """Status, headers, and JSON (or bytes)."""
        for pattern, make in self._routes:
            match = re.fullmatch(pattern, request.path, re.IGNORECASE)
            if match is not None:
                is_open = request.path.startswith(("/blobs/", "/discovery/", "/metadata/")) or "/v2.0/" in request.path
                if not is_open and (refusal := self._refusal(request)) is not None:
                    return refusal
                return make(request, query, *match.groups())
        return 404, {}, {"error": {"code": "InvalidResourceType", "message": f"There is nothing at {request.path}"}}

    def _refusal(self, request: HTTPServerRequest) -> tuple[int, dict[str, str], Any] | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token in self.tokens:
            return None
        claims = f', error="insufficient_claims", claims="{self.claims}"' if self.claims else ""
        headers = {"WWW-Authenticate": f'Bearer authorization_uri="https://login.microsoftonline.com/{TENANT}"{claims}'}
        return 401, headers, {"error": {"code": "InvalidAuthenticationToken", "message": "The access token is invalid."}}

    @property
    def _routes(self) -> tuple[tuple[str, Callable[..., tuple[int, dict[str, str], Any]]], ...]:
        compute = rf"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/virtualMachines"
        network = rf"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Network"
        home = rf"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/{WORKSPACE}"
        return (
            (compute, self._machines),
            (f"{network}/networkInterfaces", self._interfaces),
            (f"{network}/publicIPAddresses", self._addresses),
            (home, self._workspace),
            (f"{home}/jobs", self._job_list),
            (f"/discovery/{WORKSPACE}", self._discovery),
            (rf"/history/v1\.0{home}/runs/([^/]+)/details", self._details),
            (rf"/history/v1\.0{home}/runs/([^/]+)/children", self._children),
            (r"/blobs/([^/]+)/(.+)", self._blob),
            (r"/([^/]+)/oauth2/v2\.0/token", self._token),
            (r"/([^/]+)/v2\.0/\.well-known/openid-configuration", self._configuration),
            (r"/metadata/identity/oauth2/token", self._identity),
        )

    def _page(self, request: HTTPServerRequest, items: list[Any]) -> tuple[int, dict[str, str], Any]:
        start = int((re.search(r"skiptoken=(\d+)", request.query) or ["", "0"])[1])
        page: dict[str, Any] = {"value": items[start : start + self.page_size]}
        if start + self.page_size < len(items):
            query = re.sub(r"&?%24skiptoken=\d+", "", request.query)
            base = self.next_base if self.next_base is not None else self.url
            page["nextLink"] = f"{base}{request.path}?{query}&%24skiptoken={start + self.page_size}"
        return 200, {"x-ms-ratelimit-remaining-subscription-reads": str(self.remaining_reads)}, page

    def _machines(self, request: HTTPServerRequest, query: Callable[[str], str]) -> tuple[int, dict[str, str], Any]:
        is_status = query("statusOnly") == "true"
        return self._page(request, [self._status(each) if is_status else self._machine(each) for each in self.machines])

    def _machine(self, machine: Machine) -> Any:
        item = copy.deepcopy(corpus("vm.json"))
        item |= {"id": machine.resource_id, "name": machine.name, "location": machine.region, "tags": machine.tags}
        properties = item["properties"]
        properties["hardwareProfile"]["vmSize"] = machine.size
        properties["storageProfile"]["osDisk"]["osType"] = machine.os
        properties["osProfile"]["adminUsername"] = "azureuser"
        properties["priority"] = machine.priority
        properties["networkProfile"]["networkInterfaces"][0]["id"] = self._card_id(machine)
        return item

    def _status(self, machine: Machine) -> Any:
        view = copy.deepcopy(corpus("instance_view.json"))
        view["statuses"] = [status for status in view["statuses"] if not status["code"].startswith("PowerState/")]
        if machine.power is not None:  # before the other one: nothing says in which order they come
            view["statuses"].insert(0, {"code": f"PowerState/{machine.power}", "level": "Info", "displayStatus": f"VM {machine.power}"})
        return {"id": machine.resource_id.upper(), "name": machine.name, "properties": {"instanceView": view}}

    def _card_id(self, machine: Machine) -> str:
        return (
            f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{machine.group}/providers/Microsoft.Network/networkInterfaces/{machine.name}-nic"
        )

    def _address_id(self, machine: Machine) -> str:
        return (
            f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{machine.group}/providers/Microsoft.Network/publicIPAddresses/{machine.name}-ip"
        )

    def _interfaces(self, request: HTTPServerRequest, _query: Callable[[str], str]) -> tuple[int, dict[str, str], Any]:
        items = []
        for machine in self.machines:
            item = copy.deepcopy(corpus("interface.json"))
            item |= {"id": self._card_id(machine).replace("Microsoft.Network", "microsoft.network"), "name": f"{machine.name}-nic"}
            way = item["properties"]["ipConfigurations"][0]["properties"]
            way["privateIPAddress"] = machine.private_ip
            way["publicIPAddress"] = {"id": self._address_id(machine).lower()}
            items.append(item)
        return self._page(request, items)

    def _addresses(self, request: HTTPServerRequest, _query: Callable[[str], str]) -> tuple[int, dict[str, str], Any]:
        without, with_one = corpus("public_addresses.json")
        items = []
        for machine in self.machines:
            item = copy.deepcopy(with_one if machine.public_ip else without)
            item["id"] = self._address_id(machine)
            if machine.public_ip:
                item["properties"]["ipAddress"] = machine.public_ip
            items.append(item)
        return self._page(request, items)

    @property
    def _home(self) -> str:
        return f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/{WORKSPACE}"

    def _workspace(self, *_: object) -> tuple[int, dict[str, str], Any]:
        base = self.history_base if self.history_base is not None else self.url
        return 200, {}, {"id": self._home, "name": WORKSPACE, "properties": {"discoveryUrl": f"{base}/discovery/{WORKSPACE}"}}

    def _discovery(self, request: HTTPServerRequest, _query: Callable[[str], str]) -> tuple[int, dict[str, str], Any]:
        assert "Authorization" not in request.headers
        return 200, {}, {"api": self.url, "experimentation": self.url, "history": self.url}

    def _job_list(self, request: HTTPServerRequest, query: Callable[[str], str]) -> tuple[int, dict[str, str], Any]:
        assert query("listViewType") == "ActiveOnly"
        return self._page(request, [self._job(job) for job in self.jobs])

    def _job(self, job: FakeJob) -> Any:
        item = copy.deepcopy(corpus("job.json"))
        item |= {"id": f"{self._home}/jobs/{job.name}", "name": job.name}
        properties = item["properties"]
        properties |= {"displayName": job.title or job.name, "status": job.status, "jobType": job.type, "experimentName": "waa"}
        properties["computeId"] = f"{self._home}/computes/gpu-cluster"
        properties["services"]["Studio"]["endpoint"] = (
            job.portal if job.portal is not None else f"https://ml.azure.com/runs/{job.name}?wsid={self._home}"
        )
        item["systemData"]["createdAt"] = job.created
        return item

    def _details(self, _request: HTTPServerRequest, _query: Callable[[str], str], name: str) -> tuple[int, dict[str, str], Any]:
        job = self.job(name)
        data = copy.deepcopy(corpus("run_details.json"))
        base = self.blob_base if self.blob_base is not None else self.url
        data |= {
            "runId": job.name,
            "status": job.status,
            "createdTimeUtc": job.created,
            "startTimeUtc": job.started,
            "endTimeUtc": job.ended,
            "duration": job.duration,
            "error": {"error": {"code": "UserError", "message": job.error}} if job.error else None,
            "logFiles": {log: f"{base}/blobs/{quote(job.name)}/{log}?sv=2019-02-02&sp=r&sig={self.signature}" for log in job.logs},
        }
        data["compute"]["vmSize"] = "Standard_NC6s_v3"
        data["compute"]["priority"] = "LowPriority"
        return 200, {}, data

    def _children(self, request: HTTPServerRequest, _query: Callable[[str], str], name: str) -> tuple[int, dict[str, str], Any]:
        items = [
            {
                "runId": job.name,
                "displayName": job.title or job.name,
                "status": job.status,
                "startTimeUtc": job.started,
                "endTimeUtc": job.ended,
                "createdTimeUtc": job.created,
                "parentRunId": name,
            }
            for job in self.job(name).children
        ]
        return self._page(request, items)

    def _blob(self, request: HTTPServerRequest, query: Callable[[str], str], name: str, log: str) -> tuple[int, dict[str, str], Any]:
        assert "Authorization" not in request.headers
        if query("sig") != self.signature:
            return (
                403,
                {"x-ms-error-code": "AuthenticationFailed"},
                b"<?xml version='1.0'?><Error><Code>AuthenticationFailed</Code></Error>",
            )
        data = self.job(name).logs.get(log)
        if data is None:
            return 404, {"x-ms-error-code": "BlobNotFound"}, b"<Error/>"
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if match is None:
            return 200, {"x-ms-blob-type": "AppendBlob"}, bytes(data)
        first, last, total = int(match[1]), int(match[2] or len(data) - 1), len(data)
        if first >= total:
            return 416, {"Content-Range": f"bytes */{total}", "x-ms-error-code": "InvalidRange"}, b""
        part = bytes(data[first : last + 1])
        return 206, {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{total}", "x-ms-blob-type": "AppendBlob"}, part

    # --- logins ---

    def _token(self, request: HTTPServerRequest, _query: Callable[[str], str], _tenant: str) -> tuple[int, dict[str, str], Any]:
        if f"client_secret={self.secret}" not in request.body.decode():
            message = (
                "AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the client secret value."
            )
            return 401, {}, {"error": "invalid_client", "error_description": message, "error_codes": [7000215]}
        return 200, {}, {"token_type": "Bearer", "expires_in": self.token_life_s, "access_token": self._issue()}

    def _issue(self) -> str:
        self.issued += 1
        token = f"issued-{self.issued}"
        self.tokens.add(token)
        return token

    def _configuration(self, _request: HTTPServerRequest, _query: Callable[[str], str], tenant: str) -> tuple[int, dict[str, str], Any]:
        base = f"{self.url}/{tenant}"
        return (
            200,
            {},
            {
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                "issuer": f"{base}/v2.0",
            },
        )

    def _identity(self, request: HTTPServerRequest, query: Callable[[str], str]) -> tuple[int, dict[str, str], Any]:
        if request.headers.get("Metadata") != "true":
            return 400, {}, {"error": "invalid_request"}
        expires_on = str(int(time.time()) + self.token_life_s)
        token = {"access_token": self._issue(), "expires_in": str(self.token_life_s), "expires_on": expires_on}
        return 200, {}, token | {"resource": query("resource"), "token_type": "Bearer"}


def _quiet(_handler: RequestHandler) -> None:
    """What was asked stands in ``asked``."""


class _Handler(RequestHandler):
    def initialize(self, azure: FakeAzure) -> None:
        self._azure = azure

    def check_xsrf_cookie(self) -> None:
        """Programs ask."""

    def get(self) -> None:
        request, azure = self.request, self._azure
        token = request.headers.get("Authorization")
        body = request.body.decode("utf-8", "replace")
        azure.asked.append(Asked(request.uri or "", token, request.headers.get("Range"), body, time.monotonic()))
        for fault in azure.faults:
            if fault.times > 0 and re.search(fault.pattern, request.uri or ""):
                fault.times -= 1
                self._send(fault.status, fault.headers, fault.body.encode() if fault.body else b"")
                return
        self._send(*azure.answer(request, lambda name: self.get_argument(name, "")))

    post = get

    def _send(self, status: int, headers: dict[str, str], content: Any) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/octet-stream" if isinstance(content, bytes) else "application/json; charset=utf-8")
        for name, value in headers.items():
            self.set_header(name, value)
        self.finish(content if isinstance(content, bytes) else json.dumps(content))
