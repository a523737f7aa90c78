"""What Azure's own word adds to what VMs cost: whether a VM is billed that SSH cannot reach, and what it is that is paid for."""

from waa.core.cloud import CloudJob, CloudVm, PowerState
from waa.core.entity import Vm
from waa.core.price import Placement, placement_of
from waa.core.spec import Origin, VmOs
from waa.core.state import State
from waa.services.meter import PowerSeen

_FREE = (PowerState.DEALLOCATING, PowerState.DEALLOCATED, PowerState.GONE)
"""Azure bills all others, also a machine that is stopped and still allocated."""


class AzureCost:
    """For the meters. ``power_at``: when Azure said last how the power of each watched VM is; it is filled by discovery."""

    def __init__(self, state: State) -> None:
        self.power_at: dict[str, float] = {}
        self._state = state

    def power_of(self, vm: Vm) -> PowerSeen | None:
        """Whether a VM is billed, as Azure said last since this server began; None: not known."""
        at, power = self.power_at.get(vm.name), vm.power.value
        if at is None or power is None or power.state is PowerState.UNKNOWN:
            return None
        return PowerSeen(at=at, is_billed=power.state not in _FREE)

    def placement_of(self, vm: Vm) -> Placement | None:
        """What a VM is: what the operator says of it, else what Azure says of the machine or job that it is."""
        told = placement_of(vm.spec)
        if told is not None or vm.spec.azure_id is None:
            return told
        if vm.spec.origin is Origin.JOB:
            job = next((job for job in self._state.cloud_jobs.values() if job.resource_id == vm.spec.azure_id), None)
            return _of_job(job) if job is not None else None
        found = self._state.cloud_vms.get(vm.spec.azure_id.lower())
        return _of_machine(found) if found is not None and found.size else None


def _of_machine(vm: CloudVm) -> Placement:
    return Placement(size=vm.size, region=vm.region, os=VmOs.WINDOWS if vm.os == "windows" else VmOs.LINUX, spot=vm.is_spot)


def _of_job(job: CloudJob) -> Placement | None:
    """A node of a dedicated cluster costs what a machine of its size does; nobody lists what a low-priority one costs today."""
    return Placement(size=job.vm_size) if job.vm_size and job.is_low_priority is False else None
