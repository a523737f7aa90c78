"""Reads the configuration, opens everything in order, serves, and closes in reverse."""

import asyncio
import functools
import importlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tornado.netutil import bind_sockets

from waa import __version__
from waa.cli import COMMANDS, offer_link, run_command
from waa.clock import Clock, system_clock
from waa.config import Config, ConfigError, Switch, load
from waa.core.access import parse_scopes
from waa.core.attention import Limits
from waa.core.azure import Auth, Scope, need_subscription, tag_filter, workspace_of
from waa.core.destination import Destinations, rule
from waa.core.entity import Vm
from waa.core.error import Failure, Invalid, WaaError
from waa.core.event import Event, EventType
from waa.core.logs.mask import MaskPolicy, compile_patterns, mask, use_policy
from waa.core.observation import TroubleMet, VmForgotten, VmNamed
from waa.core.oidc import Admission, conditions
from waa.core.pipeline import Pace, PipelineRules
from waa.core.port import OpenIdProvider, TokenSource
from waa.core.proxy import parse_proxies
from waa.core.spec import Origin
from waa.core.state import current_run
from waa.core.status import Reason
from waa.core.transition import Rules
from waa.demo.vm import DemoVm
from waa.probes import archive, results
from waa.probes.azure import AzureRest
from waa.probes.files import read_live_files
from waa.probes.host import HostWatch
from waa.probes.http import HttpProbe
from waa.probes.local import LocalOpener
from waa.probes.opener import Opener
from waa.probes.retail_prices import RetailPrices
from waa.probes.ssh import SshOpener
from waa.services.access import Access, AccessRules
from waa.services.azure import Azure, AzureAccess, NoAzure
from waa.services.azure_cost import AzureCost
from waa.services.dwell import DwellTimes
from waa.services.importer import Importer
from waa.services.jobs import Jobs
from waa.services.live_files import NAME as LIVE_FILES_NAME
from waa.services.live_files import LiveFiles
from waa.services.meter import Meters
from waa.services.monitor import Monitor
from waa.services.oidc import OpenIdLogins
from waa.services.picture import Pictures
from waa.services.pipelines import Pipelines
from waa.services.prices import Prices
from waa.services.recorder import Recorder
from waa.services.result_reader import ResultReader
from waa.services.screens import ScreenCheck
from waa.services.supervise import Supervisor
from waa.services.task_record import TaskRecords
from waa.services.task_text import TaskTexts
from waa.services.training import Trainings
from waa.services.watchman import Watchman
from waa.store.access import SqlAccessStore
from waa.store.pictures import PictureFolder
from waa.store.prediction import SqlPredictions
from waa.store.price_file import PriceFile
from waa.store.secrets import SecretFile
from waa.store.sql import SqlStore
from waa.store.thumbnail import shrink
from waa.tls import Tls
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

log = logging.getLogger("waa")
ROOT = Path(__file__).resolve().parent
PRUNE_EVERY_S = 3600.0
DAY_S = 86400.0
MEGABYTE = 1_000_000
PIPELINE_GAP_S = 60.0
"""Looks at pipelines may come so much later than they should, and still observe the time between them."""
SPARE_CONNECTIONS = 256
"""Of one address, beyond its streams: for what it asks besides."""
BURST_S = 4
"""How many seconds' worth of requests may come at once."""
MIN_BURST = 20
"""Of whatever rate: more than the dearest request costs."""
LOGINS_PER_MINUTE = 10
"""From one address."""
LEAVING = "demo leaves"


class LogLines(Mapping[str, Sequence[LogLine]]):
    """The live log of each VM: that of its run, else that of its container, made when somebody looks."""

    def __init__(self, recorder: Recorder, tails: LogTails) -> None:
        self._recorder = recorder
        self._tails = tails

    def __getitem__(self, name: str) -> Sequence[LogLine]:
        vm = self._recorder.state.vms[name]
        keys = self._tails.keys(name)
        run = current_run(self._recorder.state, vm)
        chosen = run.log.key if run is not None and run.log.key in keys else next(iter(keys[::-1]), None)
        tail = self._tails.tail(name, chosen) if chosen is not None else None
        return tail.lines if tail is not None else ()

    def __iter__(self) -> Iterator[str]:
        return iter(self._recorder.state.vms)

    def __len__(self) -> int:
        return len(self._recorder.state.vms)


class Demo:
    """The embedded demo VM, which goes as soon as a real one is named."""

    def __init__(self, config: Config, recorder: Recorder, monitor: Monitor, supervisor: Supervisor) -> None:
        self._config = config
        self._supervisor = supervisor
        self._recorder = recorder
        self._monitor = monitor
        self._vm: DemoVm | None = None
        self._is_leaving = False

    async def start(self) -> None:
        """Play, where the configuration asks for it or names nothing else."""
        state = self._recorder.state
        is_alone = not (self._config.live_files or self._config.pipelines or state.pipelines) and not any(
            vm.spec.origin is not Origin.DEMO for vm in state.vms.values()
        )
        if self._config.demo is Switch.OFF or (self._config.demo is Switch.AUTO and not is_alone):
            return
        self._vm = DemoVm(folder=self._config.data / "demo", speed=self._config.demo_speed)
        spec = await asyncio.to_thread(self._vm.start)
        await self._monitor.name(spec)
        if self._config.demo is Switch.AUTO:
            self._recorder.hub.listen(self._hear)

    async def close(self) -> None:
        """End it. May be called twice."""
        await self._supervisor.stop(LEAVING)
        await self._stop()

    async def _stop(self) -> None:
        vm, self._vm = self._vm, None
        if vm is not None:
            await asyncio.to_thread(vm.stop)

    def _hear(self, events: Sequence[Event]) -> None:
        added = (event.entity for event in events if event.type is EventType.VM_ADDED)
        if not self._is_leaving and any(isinstance(vm, Vm) and vm.spec.origin is not Origin.DEMO for vm in added):
            self._is_leaving = True
            self._supervisor.start(LEAVING, self._leave)

    async def _leave(self) -> None:
        for vm in list(self._recorder.state.vms.values()):
            if vm.spec.origin is Origin.DEMO:
                await self._monitor.forget(vm.name)
        await self._stop()


class MaskingFormatter(logging.Formatter):
    """Log lines without credentials, also where an exception quotes one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback below it."""
        return mask(super().format(record))


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What lies below the web, open and at work."""

    recorder: Recorder
    access: Access
    supervisor: Supervisor
    destinations: Destinations
    tails: LogTails
    monitor: Monitor
    pictures: Pictures
    records: TaskRecords
    texts: TaskTexts
    jobs: Jobs
    pipelines: Pipelines
    live_files: LiveFiles | None
    dwell_times: DwellTimes
    trainings: Trainings
    meters: Meters
    azure: AzureAccess


@asynccontextmanager
async def serve(config: Config, clock: Clock = system_clock) -> AsyncIterator[int]:
    """The running server; gives its port. Everything is closed when the block ends."""
    async with AsyncExitStack() as stack:
        config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        tls = Tls(config.tls_cert, config.tls_key, clock=clock) if config.tls_cert else None
        sockets = _bind(config)
        for sock in sockets:
            stack.callback(sock.close)
        services = await _open_services(config, clock, stack)
        deps = _open_web(config, clock, stack, services, has_tls=tls is not None)
        server = EdgeServer(
            make_app(deps, ROOT / "static"),
            limits=EdgeLimits(max_connections=config.max_connections, max_per_address=config.max_streams_per_address + SPARE_CONNECTIONS),
            proxies=deps.settings.proxies,
            max_body_size=MAX_REQUEST_BYTES,
        )
        if tls is not None:
            server.ssl_options = tls.pair.context
            services.supervisor.start("certificate", functools.partial(tls.watch, functools.partial(setattr, server, "ssl_options")))
        server.add_sockets(sockets)
        stack.push_async_callback(server.close_all_connections)
        stack.push_async_callback(deps.streams.close)
        stack.callback(server.stop)
        if config.needs_login and not services.access.has_admin:
            print(await offer_link(config, services.access, sockets[0].getsockname()[1]), flush=True)
        yield sockets[0].getsockname()[1]


async def _open_services(config: Config, clock: Clock, stack: AsyncExitStack) -> Services:
    store = SqlStore(config.database_url)
    rules = Rules(threshold=config.threshold, runner_grace_s=config.runner_grace_s, pipelines=_pipeline_rules(config))
    recorder = Recorder(store=store, rules=rules, clock=clock)
    stack.push_async_callback(recorder.close)
    state = await recorder.open()
    access = Access(store=SqlAccessStore(config.database_url), rules=_access_rules(config), clock=clock)
    stack.push_async_callback(access.close)
    await access.open()
    supervisor = Supervisor(on_failure=lambda name, error: _report(supervisor, recorder, clock(), name, error))
    stack.push_async_callback(supervisor.close)
    destinations = _destinations(config)
    opener = Opener(
        ssh=SshOpener(data_dir=config.data, max_threads=config.ssh_threads, clock=clock, destinations=destinations),
        local=LocalOpener(destinations),
    )
    stack.push_async_callback(opener.close)
    tails = LogTails()
    monitor = Monitor(
        recorder=recorder,
        opener=opener,
        make_watch=functools.partial(HostWatch, clock=clock, interval_s=config.status_interval_s),
        supervisor=supervisor,
        on_log=tails.take,
        clock=clock,
    )
    pictures = _pictures(config)
    stack.push_async_callback(pictures.close)
    reader = ResultReader(state=state, monitor=monitor, local=results)
    records = TaskRecords(reader=reader, state=state, pictures=pictures, clock=clock)
    stack.push_async_callback(records.close)
    texts = TaskTexts(reader=reader, clock=clock)
    stack.push_async_callback(texts.close)
    demo = Demo(config, recorder, monitor, supervisor)
    stack.push_async_callback(demo.close)
    stack.push_async_callback(monitor.close)
    await _name_vms(config, recorder, clock)
    prices, meters, azure_cost = await _open_meters(config, recorder, monitor, clock, stack)
    monitor.start()
    await demo.start()
    live_files = _live_files(config, recorder, monitor, clock)
    if live_files is not None:
        supervisor.start("live files", live_files.run)
    importer = _importer(config, recorder, monitor, clock)
    jobs = Jobs(recorder=recorder, work=importer.work, clock=clock)
    stack.push_async_callback(jobs.close)
    jobs.start()
    pipelines = _pipelines(config, recorder, supervisor, destinations, clock)
    stack.push_async_callback(pipelines.close)
    await pipelines.start([spec for spec, _ in config.pipelines])
    azure = _azure(config, clock, stack, _AzureNeeds(recorder, monitor, supervisor, tails, destinations, azure_cost.power_at))
    supervisor.start("prune", functools.partial(_prune, config, recorder, importer, access, clock))
    supervisor.start("access", access.run)

    trainings = Trainings(recorder=recorder, reader=SqlPredictions(config.database_url), access=access, clock=clock)
    stack.push_async_callback(trainings.close)
    supervisor.start("trainings", trainings.run)

    limits = _limits(config)
    dwell_times = DwellTimes(recorder)
    watchman = Watchman(recorder=recorder, limits=limits, clock=clock, usual_s=dwell_times.usual_s)
    screens = ScreenCheck(recorder=recorder, reader=monitor, repeats=limits.loop_repeats, clock=clock)
    for name, work in (
        ("dwell times", dwell_times.run),
        ("watchman", watchman.run),
        ("screens", screens.run),
        ("pipelines", pipelines.run),
        ("meters", meters.run),
        ("prices", prices.run),
    ):
        supervisor.start(name, work)
    return Services(
        recorder=recorder,
        access=access,
        supervisor=supervisor,
        destinations=destinations,
        tails=tails,
        monitor=monitor,
        pictures=pictures,
        records=records,
        texts=texts,
        jobs=jobs,
        pipelines=pipelines,
        live_files=live_files,
        dwell_times=dwell_times,
        trainings=trainings,
        meters=meters,
        azure=azure,
    )


def _open_web(config: Config, clock: Clock, stack: AsyncExitStack, services: Services, *, has_tls: bool) -> Deps:
    recorder, monitor, live_files = services.recorder, services.monitor, services.live_files
    state, tails = recorder.state, services.tails
    limits = _limits(config)
    log_lines = LogLines(recorder, tails)
    sight = PipelineSight(
        seen_at=services.pipelines.seen_at, gap_s=_pipeline_rules(config).gap_s, has_history=services.pipelines.has_history
    )
    queries = TrainingQueries(trainings=services.trainings, state=state, clock=clock)
    stack.push_async_callback(queries.close)
    training_look = TrainingLook(
        of=services.trainings.of_subject, predictions=queries.predictions.peek, comparison=queries.comparisons.peek
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
            limits=limits,
            usual_s=services.dwell_times.usual_s,
            interval_s=config.interval_s,
            sse=config.sse,
            version=__version__,
            log_lines=log_lines,
            record_of=services.records.peek,
            trainings=training_look,
            quote_of=services.meters.quote,
            pipelines=sight,
            azure=services.azure,
            lines_of=lines_of,
        )

    streams = StreamService(
        StreamLimits(
            max_streams=config.max_streams,
            max_per_address=config.max_streams_per_address,
            max_per_owner=config.max_streams_per_user,
            max_per_browser=config.max_streams_per_browser,
            lifetime_s=config.stream_lifetime_s,
        )
    )
    services.access.listen(streams.end_of)
    renderer = Renderer(ROOT / "templates", ROOT / "static")
    feed = BenchmarkFeed(
        state=state, hub=recorder.hub, streams=streams, seen_at=monitor.seen_at, clock=clock, azure=services.azure, tails=tails
    )
    stack.callback(feed.close)
    job_feed = JobFeed(state=state, hub=recorder.hub, streams=streams)
    stack.callback(job_feed.close)
    training_feed = TrainingFeed(state=state, hub=recorder.hub, streams=streams, trainings=services.trainings, clock=clock)
    stack.callback(training_feed.close)
    pipeline_feed = PipelineFeed(look=look, hub=recorder.hub, streams=streams, clock=clock)
    stack.callback(pipeline_feed.close)
    panels = PanelStreams(
        renderer=renderer,
        look=look,
        hub=recorder.hub,
        streams=streams,
        tails=tails,
        clock=clock,
        records=services.records,
        queries=queries,
    )
    stack.callback(panels.close)
    services.pipelines.watch(pipeline_feed.watched)
    services.pipelines.watch(lambda: shown_ids(look(), panels.watched))
    replays = Replays(renderer=renderer, streams=streams, look=look)
    stack.callback(replays.close)
    return Deps(
        settings=_web_settings(config, services.destinations, has_tls=has_tls),
        access=services.access,
        logins=RateLimiter(rate=LOGINS_PER_MINUTE / 60, burst=LOGINS_PER_MINUTE),
        recorder=recorder,
        hub=recorder.hub,
        monitor=monitor,
        streams=streams,
        panels=panels,
        replays=replays,
        records=services.records,
        pictures=services.pictures,
        texts=services.texts,
        feed=feed,
        jobs=services.jobs,
        job_feed=job_feed,
        trainings=services.trainings,
        training_feed=training_feed,
        pipelines=services.pipelines,
        pipeline_feed=pipeline_feed,
        renderer=renderer,
        look=look,
        clock=clock,
        file_progress=lambda: live_files.progress if live_files is not None else None,
        rates=RateLimiter(rate=config.rate_limit, burst=max(config.rate_limit * BURST_S, MIN_BURST)) if config.rate_limit else None,
        oidc=_oidc(config, clock, stack, services),
        azure=services.azure,
    )


def _web_settings(config: Config, destinations: Destinations, *, has_tls: bool) -> WebSettings:
    return WebSettings(
        embed_origins=config.embed_origins,
        cors_origins=config.cors_origins,
        allowed_hosts=config.allowed_hosts,
        is_local=config.is_local,
        import_roots=config.import_roots,
        upload_folder=str(config.data / "uploads"),
        upload_limit_bytes=int(config.upload_limit_mb * MEGABYTE),
        threshold=config.threshold,
        destinations=destinations,
        hsts_s=int(config.hsts_days * DAY_S) if has_tls else 0,
        proxies=parse_proxies(config.trusted_proxies),
        proxy_user_header=config.proxy_user_header,
        public_metrics=config.public_metrics,
        public_url=config.public_url,
    )


async def _name_vms(config: Config, recorder: Recorder, clock: Clock) -> None:
    """What the file says now counts: VMs that it no longer names go, as does the demo of an earlier start, and what Azure named where
    it is not asked any more."""
    lasting = (Origin.API, Origin.AZURE, Origin.JOB) if _asks_azure(config) else (Origin.API,)
    named = {spec.name for spec in config.vms} | ({LIVE_FILES_NAME} if config.live_files else set())
    for vm in list(recorder.state.vms.values()):
        if vm.spec.origin not in lasting and vm.name not in named:
            await recorder.record(VmForgotten(vm=vm.name, at=clock()), wait=True)
    for spec in config.vms:
        await recorder.record(VmNamed(vm=spec.name, at=clock(), spec=spec), wait=True)


async def _open_meters(
    config: Config, recorder: Recorder, monitor: Monitor, clock: Clock, stack: AsyncExitStack
) -> tuple[Prices, Meters, AzureCost]:
    """Before the monitor starts: what an earlier server saw has ended."""
    prices = Prices(
        entries=config.prices,
        currency=config.currency,
        clock=clock,
        listed=RetailPrices(config.azure_prices_url) if config.azure_prices else None,
        cache=PriceFile(config.data / "prices.json"),
    )
    stack.push_async_callback(prices.close)
    await prices.open()
    azure = AzureCost(recorder.state)
    meters = Meters(
        recorder=recorder,
        prices=prices,
        seen_at=monitor.seen_at,
        machine_at=monitor.machine_at,
        clock=clock,
        power_of=azure.power_of,
        placement_of=azure.placement_of,
    )
    stack.push_async_callback(meters.close)
    await meters.open()
    return prices, meters, azure


def _report(supervisor: Supervisor, recorder: Recorder, now: float, name: str, error: Exception) -> None:
    """A prober that failed for a reason that nobody foresaw is shown to the users too."""
    vm = name.removeprefix("vm ")
    failure = Failure(reason=Reason.PROTOCOL, message=f"watching {vm} failed: {error}", remedy="See the server's log.")
    told = functools.partial(recorder.record, TroubleMet(vm=vm, at=now, failure=failure))
    if f"report {vm}" not in supervisor.names:
        supervisor.start(f"report {vm}", told)


async def _prune(config: Config, recorder: Recorder, importer: Importer, access: Access, clock: Clock) -> None:
    while True:
        await recorder.prune(max_events=config.max_events, runs_before=clock() - config.keep_runs_days * DAY_S)
        await asyncio.to_thread(importer.sweep)
        await access.prune()
        await asyncio.sleep(PRUNE_EVERY_S)


def _live_files(config: Config, recorder: Recorder, monitor: Monitor, clock: Clock) -> LiveFiles | None:
    if not config.live_files:
        return None
    folder = Path(config.live_files).expanduser().absolute()
    read = functools.partial(read_live_files, folder)
    return LiveFiles(folder=str(folder), recorder=recorder, read=read, clock=clock, seen_at=monitor.seen_at)


def _importer(config: Config, recorder: Recorder, monitor: Monitor, clock: Clock) -> Importer:
    return Importer(
        recorder=recorder,
        reader=results,
        extract=archive.extract,
        fetcher=monitor,
        folder=config.data / "imports",
        clock=clock,
        threshold=config.threshold,
    )


def _destinations(config: Config) -> Destinations:
    """Where VMs may be. Raises ConfigError where the file itself names one elsewhere."""
    destinations = Destinations(
        allow=tuple(rule(text) for text in config.allow_hosts),
        deny=tuple(rule(text) for text in config.deny_hosts),
        clients_reach_loopback=config.is_local,
    )
    for spec in config.vms:
        try:
            destinations.check(spec)
        except Invalid as error:
            raise ConfigError(f"[[vm]] {spec.name}: {error}") from error
    return destinations


def _pipeline_rules(config: Config) -> PipelineRules:
    slowest_s = max(config.pipeline_interval_s, config.pipeline_background_s) + config.pipeline_timeout_s
    return PipelineRules(down_after=config.pipeline_down_after, gap_s=slowest_s + PIPELINE_GAP_S)


def _pipelines(config: Config, recorder: Recorder, supervisor: Supervisor, destinations: Destinations, clock: Clock) -> Pipelines:
    """Raises ConfigError where the file names a backend where none may be."""
    pipelines = Pipelines(
        recorder=recorder,
        probe=HttpProbe(destinations=destinations, timeout_s=config.pipeline_timeout_s, user_agent=f"waa-live/{__version__}"),
        supervisor=supervisor,
        secrets=SecretFile(config.data / "pipeline-secrets.json"),
        destinations=destinations,
        clock=clock,
        given={spec.pipeline_id: credential for spec, credential in config.pipelines},
        pace=Pace(
            interval_s=config.pipeline_interval_s,
            background_s=config.pipeline_background_s,
            has_history=config.pipeline_history,
        ),
    )
    for spec, _ in config.pipelines:
        try:
            pipelines.check(spec)
        except Invalid as error:
            raise ConfigError(f"[[pipeline]] {spec.pipeline_id}: {error}") from error
    return pipelines


def _oidc(config: Config, clock: Clock, stack: AsyncExitStack, services: Services) -> OpenIdLogins | None:
    """Logins at the OpenID provider. Raises ConfigError where its library is not installed."""
    if not config.oidc_issuer:
        return None
    try:
        adapter = importlib.import_module("waa.probes.oidc")
    except ModuleNotFoundError as error:
        raise ConfigError(f"oidc_issuer: needs Authlib, which is not installed ({error.name}): pip install 'authlib>=1.9,<2'") from error
    client = adapter.OidcClient(
        issuer=config.oidc_issuer, client_id=config.oidc_client_id, secret=config.oidc_client_secret, scopes=config.oidc_scopes
    )
    provider: OpenIdProvider = adapter.Provider(client, destinations=services.destinations, clock=clock)
    stack.push_async_callback(provider.close)
    admission = Admission(
        allow=conditions(config.oidc_allow, field="oidc_allow"),
        admins=conditions(config.oidc_admins, field="oidc_admins"),
        grants=parse_scopes(config.oidc_grants, field="oidc_grants"),
    )
    return OpenIdLogins(provider=provider, admission=admission, access=services.access)


def _asks_azure(config: Config) -> bool:
    return config.azure_auth is not Auth.NONE and bool(config.azure_subscriptions or config.azure_workspaces)


@dataclass(frozen=True, slots=True)
class _AzureNeeds:
    recorder: Recorder
    monitor: Monitor
    supervisor: Supervisor
    tails: LogTails
    destinations: Destinations
    power_at: dict[str, float]


def _azure(config: Config, clock: Clock, stack: AsyncExitStack, needs: _AzureNeeds) -> AzureAccess:
    """Azure, or why it is not asked."""
    if config.azure_auth is Auth.NONE:
        return NoAzure('It is switched off: azure_auth is "none".')
    if not _asks_azure(config):
        return NoAzure()
    try:
        adapter = importlib.import_module("waa.probes.azure_login")
    except ModuleNotFoundError as error:
        return NoAzure(f"It needs azure-identity, which is not installed ({error.name}): pip install 'azure-identity>=1.25,<2'")
    base = config.azure_url.rstrip("/")
    tokens: TokenSource = adapter.Login(
        auth=config.azure_auth, scope=f"{base}/.default", authority=config.azure_authority.rstrip("/"), clock=clock
    )
    stack.push_async_callback(tokens.close)
    cloud = AzureRest(base=base, tokens=tokens, clock=clock)
    stack.push_async_callback(cloud.close)
    scope = Scope(
        subscriptions=tuple(dict.fromkeys(need_subscription(text) for text in config.azure_subscriptions)),
        resource_groups=config.azure_resource_groups,
        tags=tuple(tag_filter(text) for text in config.azure_tags),
        workspaces=tuple(dict.fromkeys(workspace_of(text, config.azure_subscriptions) for text in config.azure_workspaces)),
        watch_tag=tag_filter(config.azure_watch_tag) if config.azure_watch_tag else None,
        is_private=config.azure_use_private_ip,
        trust_first=config.azure_trust_first,
        has_history=config.azure_history,
    )
    azure = Azure(
        scope=scope,
        cloud=cloud,
        recorder=needs.recorder,
        watcher=needs.monitor,
        check=needs.destinations.check,
        supervisor=needs.supervisor,
        on_log=needs.tails.take,
        seen_at=needs.monitor.seen_at,
        power_at=needs.power_at,
        clock=clock,
    )
    stack.push_async_callback(azure.close)
    azure.start()
    return azure


def _access_rules(config: Config) -> AccessRules:
    return AccessRules(
        is_required=config.needs_login,
        idle_s=config.session_hours * 3600,
        life_s=config.session_days * DAY_S,
        audit_s=config.audit_days * DAY_S,
        proxy_scopes=parse_scopes(config.proxy_scopes, field="proxy_scopes"),
    )


def _pictures(config: Config) -> Pictures:
    store = PictureFolder(config.data / "screenshots", max_bytes=int(config.screenshot_cache_mb * MEGABYTE))
    return Pictures(store=store, shrink=shrink)


def _limits(config: Config) -> Limits:
    return Limits(
        unreachable_after_s=config.unreachable_after_s,
        stalled_after_s=config.stalled_after_s,
        idle_after_s=config.idle_after_s,
        guest_down_after_s=config.guest_down_after_s,
        loop_repeats=config.loop_repeats,
        run_budget=config.run_budget,
        monthly_budget=config.monthly_budget,
    )


def _bind(config: Config) -> list[socket.socket]:
    try:
        return bind_sockets(config.port, config.host)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"host, port: cannot listen on {config.host}:{config.port}: {reason} (WAA_PORT chooses another)") from error


def _url(config: Config, port: int) -> str:
    name = f"[{config.host}]" if ":" in config.host else config.host
    return f"{'https' if config.tls_cert else 'http'}://{name}:{port}/"


async def run(config: Config) -> None:
    """Serve until SIGINT or SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with serve(config) as port:
        print(f"WAA Live {__version__} on {_url(config, port)}  (data in {config.data}; Ctrl-C stops)", flush=True)
        await stopped.wait()
        log.info("stopping")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 after a clean stop, 2 for a wrong configuration."""
    os.umask(0o077)  # what is written is for this user only
    try:
        given = sys.argv[1:] if arguments is None else arguments
        if given and given[0] in COMMANDS:
            return run_command(given, os.environ)
        config = load(given, os.environ)
        use_policy(MaskPolicy(is_on=config.mask_secrets, patterns=compile_patterns(config.mask_patterns)))
        handler = logging.StreamHandler()
        handler.setFormatter(MaskingFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        logging.basicConfig(level=config.log_level.value.upper(), handlers=[handler])
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("azure").setLevel(logging.CRITICAL)  # 1,800 characters for each login that fails; we tell the one that matters
        asyncio.run(run(config))
    except WaaError as error:
        print(f"waa-live: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
