"""How long VMs stay in each phase of Windows set-up, folded from the events of their phases. Pure."""

from collections import deque
from collections.abc import Callable
from statistics import median

from waa.core.entity import Vm
from waa.core.event import Event, EventType
from waa.core.status import Phase

PHASE_EVENTS = (
    EventType.VM_PHASE_CHANGED,
    EventType.VM_CONNECTED,
    EventType.VM_DISCONNECTED,
    EventType.VM_ADDED,
    EventType.VM_REMOVED,
)
"""Events that may tell of another phase."""

MAX_KEPT = 50
"""Durations kept per VM and phase, and of all VMs per phase: the newest say most."""

MIN_KNOWN = 3
"""Fewer are no habit."""

UsualTime = Callable[[str, Phase], float | None]
"""How long a VM usually stays in a phase, seconds; None: not known."""

SETUP_PHASES = (Phase.BOOTING, Phase.DOWNLOADING, Phase.EXTRACTING, Phase.CONFIGURING, Phase.BUILDING, Phase.OOBE)
_RANKS = {phase: rank for rank, phase in enumerate((*SETUP_PHASES, Phase.READY, Phase.RUNNING, Phase.IDLE))}
_BACK = {(Phase.CONFIGURING, Phase.BOOTING), (Phase.BUILDING, Phase.BOOTING)}
"""Windows boots after it was built."""


def unknown_time(_vm: str, _phase: Phase) -> float | None:
    """Nothing is known of any VM."""
    return None


class Dwells:
    """What was seen so far. A stay counts from an observed beginning to an observed end that leads on: what ends by a stop, a failure
    or out of sight says nothing. The demo is compared with itself only."""

    def __init__(self) -> None:
        self._entered: dict[str, tuple[Phase, float | None]] = {}
        self._own: dict[tuple[str, Phase], deque[float]] = {}
        self._all: dict[Phase, deque[float]] = {}

    def take(self, event: Event) -> None:
        """Fold one event, in the order of their ids."""
        vm = event.entity
        if not isinstance(vm, Vm) or event.type not in PHASE_EVENTS:
            return
        if event.type is EventType.VM_REMOVED:
            self._forget(vm.name)
            return
        phase, entered_at = self._entered.get(vm.name, (None, None))
        if phase is vm.phase:
            return
        if phase is not None and entered_at is not None and _leads_on(phase, vm.phase):
            self._keep(vm, phase, event.at - entered_at)
        is_blind = phase in (None, Phase.UNKNOWN, Phase.UNREACHABLE)
        self._entered[vm.name] = (vm.phase, None if is_blind else event.at)

    def usual_s(self, vm: str, phase: Phase) -> float | None:
        """The median of a VM's own stays, else of those of all VMs, seconds; None where fewer than MIN_KNOWN are known of either."""
        for known in (self._own.get((vm, phase)), self._all.get(phase)):
            if known is not None and len(known) >= MIN_KNOWN:
                return median(known)
        return None

    def _keep(self, vm: Vm, phase: Phase, stay_s: float) -> None:
        if stay_s < 0:
            return
        self._own.setdefault((vm.name, phase), deque(maxlen=MAX_KEPT)).append(stay_s)
        if not vm.is_played:
            self._all.setdefault(phase, deque(maxlen=MAX_KEPT)).append(stay_s)

    def _forget(self, name: str) -> None:
        self._entered.pop(name, None)
        for phase in SETUP_PHASES:
            self._own.pop((name, phase), None)


def _leads_on(phase: Phase, following: Phase) -> bool:
    if phase not in SETUP_PHASES:
        return False
    return _RANKS.get(following, -1) > _RANKS[phase] or (phase, following) in _BACK
