"""The whole application in this process, driven by observations: only the machines are missing."""

import asyncio
import functools
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httputil import HTTPHeaders
from tornado.testing import bind_unused_port

from tests.core.builders import FILE, T0, a_cursor, a_log_read, a_spec
from tests.support.wait import PATIENCE_S
from tests.web.stream_house import Clock
from waa.core.attention import Limits
from waa.core.destination import Destinations
from waa.core.error import Failure, LinkError
from waa.core.logs import fact as f
from waa.core.logs.files import LiveProgress
from waa.core.observation import AnyObservation, LinkOpened, LogSource, VmNamed
from waa.core.outside import Outside
from waa.core.pipeline import Answer, Credential, Pace, PipelineRules, PipelineSpec
from waa.core.pipeline_answer import failed
from waa.core.port import AccessStore, Link, LinkOpener, PipelineProbe, PredictionReader, Store
from waa.core.price import PriceEntry
from waa.core.spec import Origin, VmSpec
from waa.core.status import Reason
from waa.core.transition import Rules
from waa.probes import archive, results
from waa.probes.host import HostWatch
from waa.services.access import Access, AccessRules
from waa.services.azure import Azure, AzureAccess, NoAzure
from waa.services.importer import Importer
from waa.services.jobs import Jobs
from waa.services.meter import Meters
from waa.services.monitor import Monitor
from waa.services.oidc import OpenIdLogins
from waa.services.picture import Pictures
from waa.services.pipelines import Pipelines
from waa.services.prices import Prices
from waa.services.recorder import Recorder
from waa.services.result_reader import ResultReader
from waa.services.supervise import Supervisor
from waa.services.task_record import FolderReader, TaskRecords
from waa.services.task_text import TaskTexts, TextReader
from waa.services.training import Trainings
from waa.services.watchman import Watchman
from waa.store.memory import MemoryPredictions, MemoryStore
from waa.store.memory_access import MemoryAccessStore
from waa.store.secrets import SecretFile
from waa.store.thumbnail import shrink
from waa.web.app import MAX_REQUEST_BYTES, make_app
from waa.web.deps import Deps, WebSettings
from waa.web.edge import EdgeLimits, EdgeServer
from waa.web.feed import BenchmarkFeed
from waa.web.job_feed import JobFeed
from waa.web.limit import RateLimiter
from waa.web.panel_stream import PanelStreams
from waa.web.pipeline_feed import PipelineFeed
from waa.web.render import Renderer
from waa.web.replays import Replays
from waa.web.stream_service import StreamLimits, StreamService
from waa.web.terminal import LogLine, LogTails
from waa.web.training_feed import TrainingFeed
from waa.web.training_query import TrainingQueries
from waa.web.view import Look, PipelineSight, TrainingLook
from waa.web.views.pipelines import shown_ids

ROOT = Path(__file__).parents[2]


class ShutOpener:
    """Every machine refuses the connection: what the tests see comes from what they record."""

    async def open(self, spec: VmSpec) -> Link:
        raise LinkError(Failure(reason=Reason.REFUSED, message=f"{spec.ssh_host} refuses the connection", remedy="Start it."))

    async def close(self) -> None:
        """Nothing to give back."""


class ShutBackends:
    """Every backend refuses the connection."""

    async def look(self, spec: PipelineSpec, credential: Credential) -> Answer:
        return failed(Reason.REFUSED, f"{spec.place.netloc} refuses the connection", "Start it.")

    def forget(self, pipeline_id: str) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """Nothing to give back."""


class NoPictures:
    """A disk that is full."""

    def get(self, key: str) -> bytes | None:
        return None

    def put(self, key: str, data: bytes) -> None:
        """Not kept."""


class _Lines(Mapping[str, Sequence[LogLine]]):
    def __init__(self, tails: LogTails) -> None:
        self._tails = tails

    def __getitem__(self, name: str) -> Sequence[LogLine]:
        tail = self._tails.tail(name, FILE.key)
        if tail is None:
            raise KeyError(name)
        return tail.lines

    def __iter__(self) -> Any:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Message:
    """One event as a client understands it; ``data`` is what its JSON says, text where it is none."""

    event: str
    data: Any
    id: str | None = None
    retry_ms: int | None = None

    @property
    def number(self) -> int:
        """Of the id."""
        assert self.id is not None
        return int(self.id.rpartition("-")[2])


@dataclass(slots=True)
class Listener:
    """A client of one stream."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: int = 0
    headers: HTTPHeaders = field(default_factory=HTTPHeaders)
    seen: list[Message] = field(default_factory=list)
    _body: bytes = b""

    async def next(self) -> Message:
        """The next message. Raises AssertionError where the stream ends or is silent."""
        async with asyncio.timeout(PATIENCE_S):
            while b"\n\n" not in self._body:
                size = int((await self.reader.readline()) or b"0", 16)
                assert size, f"the stream ended after {self.seen[-3:]}"
                self._body += (await self.reader.readexactly(size + 2))[:-2]
        raw, _, self._body = self._body.partition(b"\n\n")
        message = _parsed(raw.decode())
        self.seen.append(message)
        return message

    async def take(self, count: int) -> list[Message]:
        """That many messages."""
        return [await self.next() for _ in range(count)]

    async def until(self, event: str) -> Message:
        """The next message of that name."""
        while (message := await self.next()).event != event:
            pass
        return message

    async def close(self) -> None:
        """Go away."""
        self.writer.close()
        await self.writer.wait_closed()


def _parsed(raw: str) -> Message:
    fields: dict[str, str] = {}
    for line in raw.split("\n"):
        name, _, value = line.partition(": ")
        fields[name] = f"{fields[name]}\n{value}" if name in fields else value
    data = fields.get("data", "")
    retry = fields.get("retry")
    found = json.loads(data) if data.startswith(("{", "[")) else data
    return Message(fields.get("event", "message"), found, fields.get("id"), int(retry) if retry is not None else None)


@dataclass(slots=True, kw_only=True)
class House:
    """The running application."""

    port: int
    access: Access
    trainings: Trainings
    recorder: Recorder
    monitor: Monitor
    streams: StreamService
    panels: PanelStreams
    replays: Replays
    tails: LogTails
    clock: Clock
    stream_clock: Clock
    supervisor: Supervisor
    pipelines: Pipelines
    folder: Path
    watchman: Watchman
    meters: Meters
    edge: EdgeServer | None = None
    azure: AzureAccess = field(default_factory=NoAzure)
    progress: LiveProgress | None = None
    listeners: list[Listener] = field(default_factory=list)

    @property
    def netloc(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def ask(
        self, path: str, method: str = "GET", *, body: str | bytes | None = None, headers: Mapping[str, str] | None = None, **options: Any
    ) -> HTTPResponse:
        """One request, whatever its answer; redirects are not followed."""
        return await AsyncHTTPClient().fetch(
            f"http://{self.netloc}{path}",
            method=method,
            body=body,
            headers=dict(headers or {}),
            raise_error=False,
            follow_redirects=False,
            allow_nonstandard_methods=True,
            **options,
        )

    async def json(self, path: str, **options: Any) -> Any:
        """What a program reads there."""
        answer = await self.ask(path, **options)
        assert answer.code == 200, answer.body
        return json.loads(answer.body)

    async def post_json(self, path: str, value: object) -> HTTPResponse:
        """A program's request."""
        body = value if isinstance(value, bytes) else json.dumps(value)
        return await self.ask(path, "POST", body=body, headers={"Content-Type": "application/json"})

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that has asked nothing yet."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def raw(self, data: bytes) -> bytes:
        """Everything that is answered to these bytes until the connection ends."""
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await self.connect()
            try:
                writer.write(data)
                return await reader.read()
            finally:
                writer.close()

    async def listen(self, path: str = "/api/benchmark-sse", *, headers: Mapping[str, str] | None = None) -> Listener:
        """A client that has read the head of a stream's answer."""
        reader, writer = await self.connect()
        lines = [f"GET {path} HTTP/1.1", f"Host: {self.netloc}", *(f"{name}: {value}" for name, value in (headers or {}).items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        listener = Listener(reader, writer)
        self.listeners.append(listener)
        async with asyncio.timeout(PATIENCE_S):
            start, _, rest = (await reader.readuntil(b"\r\n\r\n")).decode().partition("\r\n")
        listener.status = int(start.split()[1])
        listener.headers = HTTPHeaders.parse(rest)
        return listener

    async def record(self, *observations: AnyObservation | Outside) -> None:
        """Take observations in; they are stored and shown when this returns."""
        for observation in observations:
            await self.recorder.record(observation)
        await self.recorder.flush()

    async def name(self, name: str = "vm-1", **fields: Any) -> None:
        """A VM that is on the list, and watched by nobody."""
        await self.record(VmNamed(vm=name, at=T0, spec=a_spec(name, origin=Origin.API, **fields)), LinkOpened(vm=name, at=T0))

    async def tell(self, *facts: f.AnyFact, vm: str = "vm-1", source: LogSource = FILE) -> None:
        """What the log of a VM says."""
        await self.record(a_log_read(*facts, at=self.clock(), vm=vm, source=source))

    async def start_run(self, *, total: int | None = 30, at: float = T0, vm: str = "vm-1") -> None:
        """A run begins."""
        planned = [f.RunPlanned(at=at, total=total)] if total is not None else []
        await self.tell(f.RunStarted(at=at, dialect=f.Dialect.WAA), *planned, vm=vm)


@asynccontextmanager
async def house(
    *,
    store: Store | None = None,
    capacity: int = 2000,
    threshold: float = 1.0,
    settings: WebSettings | None = None,
    limits: StreamLimits | None = None,
    opener: LinkOpener | None = None,
    reader: FolderReader | None = None,
    texts: TextReader | None = None,
    sse: bool = True,
    rules: AccessRules | None = None,
    access_store: AccessStore | None = None,
    predictions: PredictionReader | None = None,
    oidc: Callable[[Access], OpenIdLogins] | None = None,
    edge: EdgeLimits | None = None,
    rates: RateLimiter | None = None,
    prices: Sequence[PriceEntry] = (),
    looked_for: Limits | None = None,
    probe: PipelineProbe | None = None,
    pace: Pace | None = None,
    azure: Callable[["House"], AzureAccess] | None = None,
) -> AsyncIterator[House]:
    """The application on a free port with its own clocks; all of it is closed in the end, the store by its recorder."""
    clock, stream_clock = Clock(), Clock()
    clock.now = T0 + 7200
    async with AsyncExitStack() as stack:
        kept = store or MemoryStore()
        recorder = Recorder(store=kept, rules=Rules(threshold=threshold), clock=clock, capacity=capacity)
        stack.push_async_callback(recorder.close)
        state = await recorder.open()
        supervisor = Supervisor()
        stack.push_async_callback(supervisor.close)
        access = Access(store=access_store or MemoryAccessStore(), rules=rules or AccessRules(), clock=clock)
        stack.push_async_callback(access.close)
        await access.open()
        tails = LogTails()
        monitor = Monitor(
            recorder=recorder,
            opener=opener or ShutOpener(),
            make_watch=functools.partial(HostWatch, clock=clock),
            supervisor=supervisor,
            on_log=tails.take,
            clock=clock,
        )
        stack.push_async_callback(monitor.close)
        pictures = Pictures(store=NoPictures(), shrink=shrink)
        stack.push_async_callback(pictures.close)
        local = ResultReader(state=state, monitor=monitor, local=results)
        records = TaskRecords(reader=reader or local, state=state, pictures=pictures, clock=clock)
        stack.push_async_callback(records.close)
        task_texts = TaskTexts(reader=texts or local, clock=clock)
        stack.push_async_callback(task_texts.close)
        told = predictions or MemoryPredictions(kept if isinstance(kept, MemoryStore) else MemoryStore())
        trainings = Trainings(recorder=recorder, reader=told, access=access, clock=clock)
        stack.push_async_callback(trainings.close)
        supervisor.start("trainings", trainings.run)
        queries = TrainingQueries(trainings=trainings, state=state, clock=clock)
        stack.push_async_callback(queries.close)
        training_look = TrainingLook(of=trainings.of_subject, predictions=queries.predictions.peek, comparison=queries.comparisons.peek)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pipelines = Pipelines(
            recorder=recorder,
            probe=probe or ShutBackends(),
            supervisor=supervisor,
            secrets=SecretFile(folder / "secrets.json"),
            destinations=settings.destinations if settings is not None else Destinations(),
            clock=clock,
            pace=pace,
        )
        stack.push_async_callback(pipelines.close)
        await pipelines.start()
        sight = PipelineSight(seen_at=pipelines.seen_at, gap_s=PipelineRules().gap_s)
        streams = StreamService(limits, clock=stream_clock, tick_s=0.01, chance=lambda: 0.5)
        access.listen(streams.end_of)

        meters = Meters(
            recorder=recorder,
            prices=Prices(entries=prices, currency="USD", clock=clock),
            seen_at=monitor.seen_at,
            machine_at=monitor.machine_at,
            clock=clock,
        )

        def lines_of(source: str, log_key: str) -> Sequence[LogLine]:
            tail = tails.tail(source, log_key)
            return tail.lines if tail is not None else ()

        def look() -> Look:
            return Look(
                state=state,
                now=clock(),
                seen_at=monitor.seen_at,
                retry_at=monitor.retry_at,
                limits=looked_for or Limits(),
                sse=sse,
                version="0",
                log_lines=_Lines(tails),
                record_of=records.peek,
                trainings=training_look,
                quote_of=meters.quote,
                pipelines=sight,
                azure=built.azure,
                lines_of=lines_of,
            )

        renderer = Renderer(ROOT / "templates", ROOT / "static")
        job_feed = JobFeed(state=state, hub=recorder.hub, streams=streams)
        stack.callback(job_feed.close)
        pipeline_feed = PipelineFeed(look=look, hub=recorder.hub, streams=streams, clock=clock)
        stack.callback(pipeline_feed.close)
        importer = Importer(
            recorder=recorder,
            reader=results,
            extract=archive.extract,
            fetcher=monitor,
            folder=folder / "imports",
            clock=clock,
            threshold=threshold,
        )
        jobs = Jobs(recorder=recorder, work=importer.work, clock=clock, tell_every_s=0.01)
        stack.push_async_callback(jobs.close)
        jobs.start()
        training_feed = TrainingFeed(state=state, hub=recorder.hub, streams=streams, trainings=trainings, clock=clock)
        stack.callback(training_feed.close)
        panels = PanelStreams(
            renderer=renderer,
            look=look,
            hub=recorder.hub,
            streams=streams,
            tails=tails,
            clock=clock,
            records=records,
            queries=queries,
        )
        stack.callback(panels.close)
        pipelines.watch(pipeline_feed.watched)
        pipelines.watch(lambda: shown_ids(look(), panels.watched))
        replays = Replays(renderer=renderer, streams=streams, look=look, clock=stream_clock)
        stack.callback(replays.close)
        sock, port = bind_unused_port()
        built = House(
            port=port,
            access=access,
            trainings=trainings,
            recorder=recorder,
            monitor=monitor,
            streams=streams,
            panels=panels,
            replays=replays,
            tails=tails,
            clock=clock,
            stream_clock=stream_clock,
            supervisor=supervisor,
            pipelines=pipelines,
            folder=folder,
            watchman=Watchman(recorder=recorder, limits=looked_for or Limits(), clock=clock),
            meters=meters,
        )
        if azure is not None:
            built.azure = azure(built)
            stack.push_async_callback(built.azure.close)
            if isinstance(built.azure, Azure):
                built.azure.start()
        feed = BenchmarkFeed(
            state=state, hub=recorder.hub, streams=streams, seen_at=monitor.seen_at, clock=clock, azure=built.azure, tails=tails
        )
        stack.callback(feed.close)
        deps = Deps(
            azure=built.azure,
            settings=settings or WebSettings(upload_folder=str(folder / "uploads"), upload_limit_bytes=50_000_000, threshold=threshold),
            access=access,
            logins=RateLimiter(rate=10 / 60, burst=10),
            recorder=recorder,
            hub=recorder.hub,
            monitor=monitor,
            streams=streams,
            panels=panels,
            replays=replays,
            records=records,
            pictures=pictures,
            texts=task_texts,
            feed=feed,
            jobs=jobs,
            job_feed=job_feed,
            trainings=trainings,
            training_feed=training_feed,
            pipelines=pipelines,
            pipeline_feed=pipeline_feed,
            renderer=renderer,
            look=look,
            clock=clock,
            file_progress=lambda: built.progress,
            oidc=oidc(access) if oidc is not None else None,
            rates=rates,
        )
        server = EdgeServer(
            make_app(deps, ROOT / "static"),
            limits=edge,
            proxies=deps.settings.proxies,
            max_body_size=MAX_REQUEST_BYTES,
            clock=stream_clock,
            tick_s=0.01,
        )
        server.add_socket(sock)
        built.edge = server
        stack.push_async_callback(server.close_all_connections)
        stack.push_async_callback(streams.close)
        stack.callback(server.stop)
        try:
            yield built
        finally:
            AsyncHTTPClient().close()
            for listener in built.listeners:
                listener.writer.close()


async def until(condition: Callable[[], object | Awaitable[object]], what: str) -> None:
    """Let the loop run until the condition holds. Raises AssertionError naming what was waited for."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found = condition()
                if await found if isinstance(found, Awaitable) else found:
                    return
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"waited in vain for {what}") from None


__all__ = ["FILE", "T0", "House", "Listener", "Message", "ShutOpener", "a_cursor", "house", "until"]
