"""How long VMs stay in the phases of their set-up."""

from tests.core.builders import T0, a_spec, a_vm
from waa.core.dwell import MAX_KEPT, Dwells
from waa.core.entity import Vm
from waa.core.event import Event, EventType
from waa.core.spec import Origin
from waa.core.status import Phase


class Told:
    """Phases of VMs, folded as they come."""

    def __init__(self) -> None:
        self.dwells = Dwells()
        self._id = 0

    def event(self, vm: Vm, at: float, type_: EventType = EventType.VM_PHASE_CHANGED) -> None:
        self._id += 1
        self.dwells.take(Event(id=self._id, type=type_, at=T0 + at, entity=vm))

    def phases(self, *told: tuple[float, Phase], vm: str = "vm-1", origin: Origin = Origin.CONFIG) -> None:
        for at, phase in told:
            self.event(a_vm(vm, phase=phase, spec=a_spec(vm, origin=origin)), at)

    def install(self, *, vm: str = "vm-1", download_s: float, origin: Origin = Origin.CONFIG) -> None:
        """From off to extracting."""
        steps = ((0.0, Phase.OFF), (10.0, Phase.BOOTING), (15.0, Phase.DOWNLOADING), (15.0 + download_s, Phase.EXTRACTING))
        self.phases(*steps, vm=vm, origin=origin)


def test_the_median_of_a_vms_own_stays_is_usual() -> None:
    told = Told()
    for download_s in (500.0, 540.0):
        told.install(download_s=download_s)
    assert told.dwells.usual_s("vm-1", Phase.DOWNLOADING) is None  # two are no habit
    told.install(download_s=9000.0)
    assert told.dwells.usual_s("vm-1", Phase.DOWNLOADING) == 540.0
    assert told.dwells.usual_s("vm-1", Phase.BOOTING) == 5.0
    assert told.dwells.usual_s("vm-1", Phase.EXTRACTING) is None  # never seen to its end


def test_a_new_vm_is_compared_with_all_others() -> None:
    told = Told()
    for name, download_s in (("a", 100.0), ("b", 200.0), ("c", 300.0)):
        told.install(vm=name, download_s=download_s)
    assert told.dwells.usual_s("vm-9", Phase.DOWNLOADING) == 200.0
    told.install(vm="d", download_s=1.0, origin=Origin.DEMO)
    assert told.dwells.usual_s("vm-9", Phase.DOWNLOADING) == 200.0  # the demo plays faster than life


def test_stays_that_did_not_lead_on_or_were_not_seen_whole_do_not_count() -> None:
    told = Told()
    for _ in range(4):
        told.phases((0, Phase.UNKNOWN), (1, Phase.DOWNLOADING), (100, Phase.EXTRACTING))  # it had begun before
        told.phases((0, Phase.OFF), (1, Phase.DOWNLOADING), (50, Phase.UNREACHABLE), (90, Phase.DOWNLOADING), (100, Phase.EXTRACTING))
        told.phases((0, Phase.OFF), (1, Phase.DOWNLOADING), (50, Phase.OFF))  # stopped
        told.phases((60, Phase.DOWNLOADING), (70, Phase.BOOTING))  # crashed
    assert told.dwells.usual_s("vm-1", Phase.DOWNLOADING) is None


def test_windows_boots_after_it_was_built() -> None:
    told = Told()
    for _ in range(3):
        told.phases((0, Phase.OFF), (5, Phase.BUILDING), (35, Phase.BOOTING), (55, Phase.OOBE), (655, Phase.READY))
    assert [told.dwells.usual_s("vm-1", phase) for phase in (Phase.BUILDING, Phase.BOOTING, Phase.OOBE)] == [30.0, 20.0, 600.0]
    assert told.dwells.usual_s("vm-1", Phase.READY) is None  # no set-up


def test_the_newest_count_and_a_vm_that_went_is_forgotten() -> None:
    told = Told()
    for _ in range(MAX_KEPT):
        told.install(download_s=100.0)
    for _ in range(MAX_KEPT):
        told.install(download_s=7.0)
    assert told.dwells.usual_s("vm-1", Phase.DOWNLOADING) == 7.0
    told.event(a_vm(), 0, EventType.VM_REMOVED)
    for download_s in (50.0, 60.0, 70.0):
        told.install(download_s=download_s)
    assert told.dwells.usual_s("vm-1", Phase.DOWNLOADING) == 60.0


def test_an_event_that_changes_no_phase_ends_no_stay() -> None:
    told = Told()
    for _ in range(3):
        told.phases((0, Phase.OFF), (10, Phase.DOWNLOADING), (60, Phase.DOWNLOADING), (110, Phase.EXTRACTING))
    assert told.dwells.usual_s("vm-1", Phase.DOWNLOADING) == 100.0
