"""Which changes come from naming pipelines and looking at them. Pure."""

from dataclasses import dataclass, field, replace

from waa.core.event import Change, EventType
from waa.core.observation import Observation
from waa.core.pipeline import MAX_SPELLS, Answer, Pipeline, PipelineCheck, PipelineRules, PipelineSpec, PipelineStatus, Spell
from waa.core.state import State

DETAIL_GAP_S = 10.0
"""Another word or reason under the same status is told at most so often: those that change with every look fill no log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineNamed(Observation):
    """The operator named a pipeline, or says something else about it; ``vm`` is "" in all of these."""

    spec: PipelineSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineForgotten(Observation):
    """The operator took it away."""

    pipeline_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineLooked(Observation):
    """One look. ``backend``: where; ``looked_at``: when this process looked the time before, None: it did not;
    ``failures``: looks in a row that failed, this one included."""

    pipeline_id: str
    backend: str
    answer: Answer
    looked_at: float | None = None
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinesChecked(Observation):
    """When each pipeline was looked at last."""

    seen: dict[str, float] = field(default_factory=dict)


PipelineSeen = PipelineNamed | PipelineForgotten | PipelineLooked | PipelinesChecked


def decide_pipeline(state: State, seen: PipelineSeen, rules: PipelineRules) -> list[Change]:
    """The changes, in order."""
    match seen:
        case PipelineNamed():
            return _named(state.pipelines.get(seen.spec.pipeline_id), seen)
        case PipelineForgotten():
            gone = state.pipelines.get(seen.pipeline_id)
            return [Change(type=EventType.PIPELINE_REMOVED, at=seen.at, entity=gone)] if gone is not None else []
        case PipelineLooked():
            known = state.pipelines.get(seen.pipeline_id)
            is_meant = known is not None and known.spec.backend == seen.backend
            return _looked(known, seen, rules, state.checked_at(seen.pipeline_id)) if known is not None and is_meant else []
        case PipelinesChecked():
            check = PipelineCheck(at=seen.at, seen={key: at for key, at in seen.seen.items() if key in state.pipelines})
            is_news = check.seen and (state.pipeline_check is None or state.pipeline_check.seen != check.seen)
            return [Change(type=EventType.PIPELINES_CHECKED, at=seen.at, entity=check)] if is_news else []


def status_after(known: Pipeline, seen: PipelineLooked, rules: PipelineRules, *, goes_on: bool) -> PipelineStatus:
    """What is known after a look: an answer counts at once, its absence only if it lasts."""
    if seen.answer.failure is None:
        return seen.answer.status
    is_down_still = goes_on and known.status is PipelineStatus.DOWN
    return PipelineStatus.DOWN if is_down_still or seen.failures >= rules.down_after else PipelineStatus.UNKNOWN


def _named(known: Pipeline | None, seen: PipelineNamed) -> list[Change]:
    fresh = Pipeline(pipeline_id=seen.spec.pipeline_id, spec=seen.spec, told_at=seen.at)
    if known is None:
        return [Change(type=EventType.PIPELINE_ADDED, at=seen.at, entity=fresh)]
    if known.spec == seen.spec:
        return []
    is_same_place = known.spec.backend == seen.spec.backend  # elsewhere, nothing seen so far tells of what is there
    named = replace(known, spec=seen.spec, told_at=seen.at) if is_same_place else fresh
    previous = known.status.value if named.status is not known.status else None
    return [Change(type=EventType.PIPELINE_CHANGED, at=seen.at, entity=named, previous=previous)]


def _looked(known: Pipeline, seen: PipelineLooked, rules: PipelineRules, checked_at: float | None) -> list[Change]:
    last = known.spells[-1] if known.spells else None
    goes_on = last is not None and seen.looked_at is not None and seen.at - seen.looked_at <= rules.gap_s
    status = status_after(known, seen, rules, goes_on=goes_on)
    failure = seen.answer.failure
    failing_at = None if failure is None else known.failing_since_at if goes_on and known.failing_since_at is not None else seen.at
    after = replace(
        known,
        status=status,
        said=seen.answer.said,
        failure=failure,
        failing_since_at=failing_at,
        spells=_spells(known, seen.at),
        told_at=seen.at,
    )
    if last is not None and goes_on and last.status is status:
        is_news = (known.said, _why(known)) != (after.said, _why(after))
        if not is_news or 0 <= seen.at - known.told_at < DETAIL_GAP_S:
            return []
        return [Change(type=EventType.PIPELINE_CHANGED, at=seen.at, entity=after)]
    ended_at = seen.at if goes_on else max(seen.looked_at or 0.0, checked_at or 0.0)
    spells = (*_spells(known, ended_at), Spell(status=status, from_at=seen.at, until_at=seen.at))
    after = replace(after, spells=spells[-MAX_SPELLS:])
    type_ = EventType.PIPELINE_STATUS_CHANGED if status is not known.status else EventType.PIPELINE_CHANGED
    previous = known.status.value if status is not known.status else None
    return [Change(type=type_, at=seen.at, entity=after, previous=previous)]


def _spells(known: Pipeline, until_at: float) -> tuple[Spell, ...]:
    """Its spells, the last one observed up to a moment."""
    if not known.spells:
        return ()
    last = known.spells[-1]
    return (*known.spells[:-1], replace(last, until_at=max(last.until_at, until_at)))


def _why(pipeline: Pipeline) -> object:
    return pipeline.failure.reason if pipeline.failure is not None else None
