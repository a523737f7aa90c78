"""What a view may see, and the moments that it shows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from waa.core.access import ALL_SCOPES, Scope
from waa.core.attention import Limits
from waa.core.dwell import UsualTime, unknown_time
from waa.core.entity import Task, Vm
from waa.core.state import State
from waa.core.training import Training
from waa.services.azure import AzureAccess, NoAzure
from waa.services.live_query import Seen
from waa.services.prices import Quote
from waa.services.task_record import RecordSeen
from waa.web.terminal import LogLine

HEARTBEAT_S = 10.0
"""The page's stream tells this often that what is shown still holds."""

STALE_AFTER_S = 2 * HEARTBEAT_S
"""A datum older than two intervals is shown as stale."""


def _no_lines(_source: str, _log_key: str) -> Sequence[LogLine]:
    return ()


def _unread(_task: Task) -> RecordSeen:
    return RecordSeen(is_reading=True)


def _none_of(_owner: str | None) -> list[Training]:
    return []


def _unread_query(_subject: Any) -> Seen[Any]:
    return Seen()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingLook:
    """What views may ask of trainings. ``of``: those of a subject (see ``access.Identity``), None: all. ``predictions`` and
    ``comparison`` give what is known of a table or a comparison, and may begin to read it anew."""

    of: Callable[[str | None], Sequence[Training]] = _none_of
    predictions: Callable[[Any], Seen[Any]] = _unread_query
    comparison: Callable[[Any], Seen[Any]] = _unread_query


def _unpriced(_vm: Vm) -> Quote:
    return Quote(price=None, why_not="No prices are kept here.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Who looks at a page. ``name`` "": somebody on this machine, where no login is needed; ``can_leave``: there is a session to end;
    ``scopes``: what they may, with what those include."""

    name: str = ""
    can_leave: bool = False
    scopes: frozenset[Scope] = ALL_SCOPES

    @property
    def told_scopes(self) -> str:
        """For the page's style sheet: panels are the same bytes for everyone, and it hides what in them is not theirs."""
        return " ".join(scope.value for scope in Scope if scope in self.scopes)


def _never(_pipeline_id: str) -> float | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSight:
    """When a pipeline was looked at last, younger than events know. A look that is older than ``gap_s`` says nothing of now.
    ``has_history`` False: pipelines are looked at only while somebody watches."""

    seen_at: Callable[[str], float | None] = _never
    gap_s: float = 90.0
    has_history: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at everything, at ``now``. ``seen_at``: VM name -> its last sign of life, younger than ``Vm.seen_at``;
    ``retry_at``: when one that cannot be reached is tried next.

    ``usual_s``: how long a VM usually stays in a phase of its set-up. ``interval_s`` is the refresh interval of *Live Evaluation*
    without a stream; ``sse`` False: the operator switched streaming off and pages only poll. ``csrf_token`` and ``viewer`` (None:
    somebody unknown) are for pages, never for panels: a panel is the same bytes for everyone. ``log_lines``: VM name -> the end of its
    live log, oldest first. ``record_of`` gives what is known of a task's result folder, and may begin to read it anew. ``quote_of``:
    what an hour of a VM costs. ``rate``: how fast time passes on a clock that is not the world's (0: it stands), None for the world's;
    ``base`` goes before the addresses of panels and streams. ``azure`` tells how Azure stands, and goes on asking it because somebody
    looks; ``lines_of`` gives the tail of one log by the name of its VM (or job) and its key.
    """

    state: State
    now: float
    seen_at: Mapping[str, float] = field(default_factory=dict)
    retry_at: Mapping[str, float] = field(default_factory=dict)
    limits: Limits = Limits()
    usual_s: UsualTime = unknown_time
    interval_s: float = 5.0
    sse: bool = True
    csrf_token: str = ""
    viewer: Viewer | None = None
    version: str = ""
    log_lines: Mapping[str, Sequence[LogLine]] = field(default_factory=dict)
    record_of: Callable[[Task], RecordSeen] = _unread
    trainings: TrainingLook = TrainingLook()
    quote_of: Callable[[Vm], Quote] = _unpriced
    azure: AzureAccess = NoAzure()
    lines_of: Callable[[str, str], Sequence[LogLine]] = _no_lines
    rate: float | None = None
    base: str = ""
    pipelines: PipelineSight = PipelineSight()

    def may(self, scope: str) -> bool:
        """For pages: whether what needs the scope is open to who looks."""
        return self.viewer is not None and scope in self.viewer.scopes


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What every panel's template sees. ``now`` is left out of comparisons: two equal views differ only in ages that
    the page counts on by itself, so the later one need not be rendered."""

    now: float = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """When a VM last gave a sign of life, None: never. ``is_stale``: longer ago than two intervals."""

    vm: str
    at: float | None = field(compare=False)
    is_stale: bool


def sign_of(look: Look, vm: str) -> Sign:
    """The VM's last sign of life, from the heartbeat or from its events, whichever is younger."""
    known = look.state.vms[vm].seen_at
    moments = [at for at in (look.seen_at.get(vm), known) if at is not None]
    at = max(moments) if moments else None
    return Sign(vm=vm, at=at, is_stale=at is not None and look.now - at > STALE_AFTER_S)
