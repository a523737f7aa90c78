"""Looks at pipelines: each by a task of its own, whoever watches, so that a slow backend holds up nothing but itself."""

import asyncio
import functools
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from waa.core.destination import REMEDY, Destinations
from waa.core.error import Conflict, Invalid, NotFound, Unavailable
from waa.core.pipeline import MAX_PIPELINES, NO_CREDENTIAL, AuthKind, Bound, Credential, Pace, Pipeline, PipelineSpec, PipelineStatus
from waa.core.pipeline_change import PipelineForgotten, PipelineLooked, PipelineNamed, PipelinesChecked, PipelineSeen
from waa.core.port import PipelineProbe, SecretStore
from waa.core.spec import Origin
from waa.services.news import wait_for_event
from waa.services.recorder import Recorder
from waa.services.supervise import Supervisor

log = logging.getLogger(__name__)

MAX_AT_ONCE = 128
"""Looks in flight, in all."""
MAX_PER_BACKEND = 8
"""Of one backend: one that hangs takes no more than these from the others."""
CHECK_EVERY_S = 120.0
"""How often the moments of the last looks are written down: an event for all of them."""
GLANCE_S = 20.0
"""Somebody who asked once is taken to watch for so long: pages that poll ask every 10 s."""
RECOUNT_S = 1.0
"""How long the answer to who watches what is good for."""
SPREAD = 0.1
"""Of the time between two looks, either way: what began together does not stay together."""

Wait = Callable[[asyncio.Event, float | None], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class _Looks:
    """What the looks at one pipeline remember. Times ``_s`` are the pace's clock."""

    woken: asyncio.Event = field(default_factory=asyncio.Event)
    began_s: float | None = None
    restless_s: float
    glanced_s: float | None = None
    failures: int = 0
    looked_at: float | None = None


class Pipelines:
    """Names pipelines, looks at them, and knows when each was looked at last. For the loop's thread only.

    ``clock`` is the wall's; ``pace_clock`` gives monotonic seconds, in which ``wait`` waits. ``given`` are the credentials of those that
    the configuration names.
    """

    def __init__(
        self,
        *,
        recorder: Recorder,
        probe: PipelineProbe,
        supervisor: Supervisor,
        secrets: SecretStore,
        destinations: Destinations,
        clock: Callable[[], float],
        given: Mapping[str, Credential] | None = None,
        pace: Pace | None = None,
        pace_clock: Callable[[], float] = time.monotonic,
        wait: Wait = wait_for_event,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._recorder = recorder
        self._probe = probe
        self._supervisor = supervisor
        self._secrets = secrets
        self._destinations = destinations
        self._clock = clock
        self._given = dict(given or {})
        self._pace = pace or Pace()
        self._pace_clock = pace_clock
        self._wait = wait
        self._chance = chance
        self._credentials: dict[str, Bound] = {}
        self._looks: dict[str, _Looks] = {}
        self._watchers: list[Callable[[], Iterable[str]]] = []
        self._watched: frozenset[str] = frozenset()
        self._counted_s: float | None = None
        self._at_once = asyncio.Semaphore(MAX_AT_ONCE)
        self._lanes: dict[str, asyncio.Semaphore] = {}
        self._is_closed = False

    @property
    def has_history(self) -> bool:
        """Whether they are looked at while nobody watches."""
        return self._pace.has_history

    def seen_at(self, pipeline_id: str) -> float | None:
        """When it was looked at last, by this process or an earlier one; None: never."""
        state = self._recorder.state
        pipeline = state.pipelines.get(pipeline_id)
        if pipeline is None or not pipeline.spells:
            return None
        own = self._looks.get(pipeline_id)
        known = (own.looked_at if own is not None else None, state.checked_at(pipeline_id), pipeline.spells[-1].until_at)
        return max(at for at in known if at is not None)

    def need(self, pipeline_id: str) -> Pipeline:
        """The pipeline of that id. Raises NotFound."""
        pipeline = self._recorder.state.pipelines.get(pipeline_id)
        if pipeline is None:
            raise NotFound(f"There is no pipeline {pipeline_id!r}")
        return pipeline

    async def start(self, specs: Collection[PipelineSpec] = ()) -> None:
        """Take over what the configuration says now (what it no longer names goes), and begin to look."""
        stored = await asyncio.to_thread(self._secrets.load)
        named = {spec.pipeline_id for spec in specs}
        for pipeline in list(self._recorder.state.pipelines.values()):
            if pipeline.spec.origin is Origin.CONFIG and pipeline.pipeline_id not in named:
                await self._record(PipelineForgotten(vm="", at=self._clock(), pipeline_id=pipeline.pipeline_id))
        for spec in specs:
            await self._record(PipelineNamed(vm="", at=self._clock(), spec=spec))
        for pipeline in self._recorder.state.pipelines.values():
            key = pipeline.pipeline_id
            if pipeline.spec.origin is Origin.CONFIG:
                self._credentials[key] = Bound(backend=pipeline.spec.backend, credential=self._given.get(key, NO_CREDENTIAL))
            elif key in stored:
                self._credentials[key] = stored[key]
            self._begin(key)

    async def add(self, spec: PipelineSpec, credential: Credential) -> bool:
        """Look at one more, or say something else about it; gives whether it is new. Raises Conflict, Invalid where it leads to where
        the operator does not want it to, Unavailable."""
        known = self._recorder.state.pipelines.get(spec.pipeline_id)
        if known is not None and known.spec.origin is not Origin.API:
            raise Conflict(f"id: {spec.pipeline_id!r} is defined by the {known.spec.origin}: change it there, or choose another id")
        if known is None and len(self._recorder.state.pipelines) >= MAX_PIPELINES:
            raise Conflict(f"id: there are {MAX_PIPELINES} pipelines already")
        self.check(spec)
        bound = Bound(backend=spec.backend, credential=credential)
        await asyncio.to_thread(self._secrets.put, spec.pipeline_id, bound if credential.kind is not AuthKind.NONE else None)
        self._credentials[spec.pipeline_id] = bound
        await self._record(PipelineNamed(vm="", at=self._clock(), spec=spec))
        if known is None or known.spec.backend != spec.backend:
            await self._end(spec.pipeline_id)
        self._begin(spec.pipeline_id)
        self.glance((spec.pipeline_id,))
        return known is None

    async def remove(self, pipeline_id: str) -> None:
        """Look no more, and forget it. Raises NotFound, Conflict where the configuration names it, Unavailable."""
        pipeline = self.need(pipeline_id)
        if pipeline.spec.origin is not Origin.API:
            raise Conflict(f"{pipeline_id!r} is defined by the {pipeline.spec.origin}: remove it there")
        await self._end(pipeline_id)
        await self._record(PipelineForgotten(vm="", at=self._clock(), pipeline_id=pipeline_id))
        self._credentials.pop(pipeline_id, None)
        await asyncio.to_thread(self._secrets.put, pipeline_id, None)

    def check(self, spec: PipelineSpec) -> None:
        """Judge what is written about one. Raises Invalid (``backend``)."""
        refusal = self._destinations.refusal(spec.place.host, origin=spec.origin)
        if refusal is not None:
            raise Invalid("backend", f"{refusal}; {REMEDY}")

    def watch(self, watcher: Callable[[], Iterable[str]]) -> None:
        """From now on ask this, too, which pipelines somebody sees."""
        self._watchers.append(watcher)

    def glance(self, pipeline_ids: Iterable[str]) -> None:
        """Somebody looks at these now: they are looked at soon, and for a while."""
        now = self._pace_clock()
        self._counted_s = None
        for pipeline_id in pipeline_ids:
            own = self._looks.get(pipeline_id)
            if own is not None:
                own.glanced_s = now
                own.woken.set()

    async def run(self) -> None:
        """Write down now and then when was looked; until it is cancelled."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            await self.check_in()

    async def check_in(self) -> None:
        """Write down when each was looked at last: what a server that is killed leaves behind."""
        seen = {key: own.looked_at for key, own in self._looks.items() if own.looked_at is not None}
        if seen:
            await self._recorder.record(PipelinesChecked(vm="", at=self._clock(), seen=seen))

    async def close(self) -> None:
        """Look no more. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        for pipeline_id in list(self._looks):
            await self._supervisor.stop(_task(pipeline_id))
        with suppress(Unavailable):  # then the gap in the history is longer
            await self.check_in()
        await self._probe.close()

    # --- one pipeline ---

    def _begin(self, pipeline_id: str) -> None:
        if pipeline_id not in self._looks and not self._is_closed:
            self._looks[pipeline_id] = _Looks(restless_s=self._pace_clock())
            self._supervisor.start(_task(pipeline_id), functools.partial(self._look_on, pipeline_id))

    async def _end(self, pipeline_id: str) -> None:
        if self._looks.pop(pipeline_id, None) is not None:
            await self._supervisor.stop(_task(pipeline_id))
        self._probe.forget(pipeline_id)
        used = {pipeline.spec.place.netloc for pipeline in self._recorder.state.pipelines.values()}
        self._lanes = {netloc: lane for netloc, lane in self._lanes.items() if netloc in used or lane.locked()}

    async def _look_on(self, pipeline_id: str) -> None:
        own = self._looks[pipeline_id]
        first_s = self._pace_clock() + self._chance() * self._pace.interval_s / 2
        while True:
            await self._until_due(pipeline_id, own, first_s)
            own.began_s = self._pace_clock()
            await self._look(pipeline_id, own)

    async def _until_due(self, pipeline_id: str, own: _Looks, first_s: float) -> None:
        """One look at a time: the next one is due some time after the last one began. What could not be kept is left out."""
        while True:
            every_s = self._every_s(pipeline_id, own)
            left_s = None
            if every_s is not None:
                spread = 1 + SPREAD * (2 * self._chance() - 1)
                due_s = own.began_s + every_s * spread if own.began_s is not None else first_s
                left_s = due_s - self._pace_clock()
                if left_s <= 0:
                    return
            own.woken.clear()
            await self._wait(own.woken, left_s)
            if left_s is not None and not own.woken.is_set():
                return

    def _every_s(self, pipeline_id: str, own: _Looks) -> float | None:
        now = self._pace_clock()
        pipeline = self._recorder.state.pipelines.get(pipeline_id)
        is_down = pipeline is not None and pipeline.status is PipelineStatus.DOWN
        return self._pace.every_s(
            is_watched=self._is_watched(pipeline_id, own, now),
            is_in_doubt=own.failures > 0 and not is_down,
            calm_s=now - own.restless_s,
        )

    def _is_watched(self, pipeline_id: str, own: _Looks, now: float) -> bool:
        if own.glanced_s is not None and now - own.glanced_s < GLANCE_S:
            return True
        if self._counted_s is None or now - self._counted_s >= RECOUNT_S:
            self._counted_s = now
            self._watched = frozenset(each for watcher in self._watchers for each in watcher())
        return pipeline_id in self._watched

    async def _look(self, pipeline_id: str, own: _Looks) -> None:
        before = self._recorder.state.pipelines.get(pipeline_id)
        if before is None:
            return
        spec = before.spec
        lane = self._lanes.setdefault(spec.place.netloc, asyncio.Semaphore(MAX_PER_BACKEND))
        async with lane, self._at_once:
            answer = await self._probe.look(spec, self._credential(spec))
        at = self._clock()
        own.failures = own.failures + 1 if answer.failure is not None else 0
        look = PipelineLooked(
            vm="", at=at, pipeline_id=pipeline_id, backend=spec.backend, answer=answer, looked_at=own.looked_at, failures=own.failures
        )
        with suppress(Unavailable):  # it is kept, and stored when that is possible again
            await self._record(look)
        own.looked_at = at
        after = self._recorder.state.pipelines.get(pipeline_id)
        if answer.failure is not None or (after is not None and after.status is not before.status):
            own.restless_s = self._pace_clock()
        if after is not None and after.status is not before.status:
            reason = after.failure.reason if after.failure is not None else "-"
            log.info("pipeline status id=%s was=%s now=%s reason=%s", pipeline_id, before.status, after.status, reason)

    def _credential(self, spec: PipelineSpec) -> Credential:
        """What this backend gets; between two backends of a pipeline neither gets the other's."""
        bound = self._credentials.get(spec.pipeline_id)
        return bound.credential if bound is not None and bound.backend == spec.backend else NO_CREDENTIAL

    async def _record(self, seen: PipelineSeen) -> None:
        await self._recorder.record(seen, wait=True)


def _task(pipeline_id: str) -> str:
    return f"pipeline {pipeline_id}"
