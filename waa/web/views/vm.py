"""VMs as they are shown: cards of the fleet, the list, all that is known of one."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar
from urllib.parse import quote

from waa.core.attention import attention_of, minutes
from waa.core.cloud import POWER_WORDS
from waa.core.dwell import SETUP_PHASES
from waa.core.entity import Run, Trouble, Vm
from waa.core.error import Failure
from waa.core.incident import Severity
from waa.core.observation import Reading
from waa.core.spec import LogSide, Origin, Transport, VmSpec
from waa.core.state import State, current_run
from waa.core.status import BootStage, ContainerStatus, Phase, RunStatus
from waa.web.view import Look, Sign, View, sign_of
from waa.web.views.azure import Discovery, discovery, keep_asking
from waa.web.views.cost import CardCost, Spending, VmCost, cost_of_card, cost_of_vm, spending_of
from waa.web.views.run import RunSummary, need_vm, summary_of

Value = TypeVar("Value")

DENSE_FROM = 9
"""So many VMs are shown as condensed cards."""

MAX_TROUBLES_SHOWN = 5

PHASE_WORDS = {
    Phase.UNKNOWN: "Unknown",
    Phase.OFF: "Off",
    Phase.BOOTING: "Booting",
    Phase.DOWNLOADING: "Downloading",
    Phase.EXTRACTING: "Extracting",
    Phase.CONFIGURING: "Configuring",
    Phase.BUILDING: "Building",
    Phase.OOBE: "Windows set-up",
    Phase.READY: "Ready",
    Phase.RUNNING: "Running",
    Phase.IDLE: "Idle",
    Phase.UNREACHABLE: "Unreachable",
}

PHASE_TONES = {
    Phase.UNKNOWN: "unknown",
    Phase.OFF: "off",
    Phase.READY: "ready",
    Phase.RUNNING: "running",
    Phase.IDLE: "idle",
    Phase.UNREACHABLE: "unreachable",
}
"""The others are on the way: ``setup``."""

STEPS = ("Boot", "Fetch", "Extract", "Build", "Setup", "Ready", "Run")
"""Windows set-up and what follows, in order."""

_PHASE_STEPS = {
    Phase.BOOTING: 0,
    Phase.DOWNLOADING: 1,
    Phase.EXTRACTING: 2,
    Phase.CONFIGURING: 3,
    Phase.BUILDING: 3,
    Phase.OOBE: 4,
    Phase.READY: 5,
    Phase.RUNNING: 6,
}

_STAGE_STEPS = {
    BootStage.STARTING: 0,
    BootStage.DOWNLOADING: 1,
    BootStage.EXTRACTING: 2,
    BootStage.CONFIGURING: 3,
    BootStage.BUILDING: 3,
    BootStage.BOOTING: 4,
    BootStage.INSTALLING: 4,
    BootStage.WINDOWS: 4,
}


class StepStatus(StrEnum):
    """Where the VM is relative to a step. LAST: it was there when it was last seen."""

    DONE = "done"
    CURRENT = "current"
    LAST = "last"
    TODO = "todo"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """One step of the stepper."""

    word: str
    status: StepStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseView:
    """A phase as word, tone and stepper. ``percent`` 0..100 where the phase tells. ``usually``: how long it takes, in words, ""
    where that is not known."""

    phase: Phase
    word: str
    tone: str
    detail: str
    since_at: float | None
    percent: float | None
    steps: tuple[StepView, ...]
    usually: str = ""

    @property
    def step(self) -> int:
        """Number of the step reached, 1-based; 0: none is known."""
        reached = [number for number, step in enumerate(self.steps, start=1) if step.status is not StepStatus.TODO]
        return reached[-1] if reached else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Why a VM cannot be reached. ``retry_at`` None: it is being tried."""

    message: str
    remedy: str
    since_at: float | None
    retry_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How to reach a VM. ``vnc_url`` "": no address is known, ``tunnel`` is the command that opens one at ``local_url``."""

    target: str
    container: str
    vnc_url: str
    tunnel: str
    local_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A VM of the fleet. ``alert`` is the severity of the worst thing that needs a person, "" where nothing does."""

    name: str
    is_demo: bool
    phase: PhaseView
    outage: Outage | None
    run: RunSummary | None
    sign: Sign
    disk_percent: float | None
    memory_percent: float | None
    vnc_url: str
    alert: str
    boot_error: str
    screenshot_url: str
    cost: CardCost | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet(View):
    """All VMs as cards. ``counts``: tone, word and number of the phases, those that occur. ``spending`` None: no price is known."""

    cards: tuple[Card, ...]
    counts: tuple[tuple[str, str, int], ...]
    is_dense: bool
    spending: Spending | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A VM of the list."""

    name: str
    is_demo: bool
    phase: PhaseView
    way: Way
    sign: Sign


@dataclass(frozen=True, slots=True, kw_only=True)
class VmList(View):
    """*VM Discovery*: what is watched, and what could be."""

    rows: tuple[Row, ...]
    azure: Discovery


@dataclass(frozen=True, slots=True, kw_only=True)
class Datum:
    """One thing observed. ``value`` "" : not known (yet). ``since_at``: since when it is so. ``failure``: why the newest
    look failed (at ``failed_at``); the value is then the last known one."""

    name: str
    value: str
    since_at: float | None = None
    failure: Failure | None = None
    failed_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VmDetail(View):
    """All that is known of one VM."""

    name: str
    is_demo: bool
    phase: PhaseView
    outage: Outage | None
    sign: Sign
    way: Way
    data: tuple[Datum, ...]
    boot_error: str
    boot_error_at: float | None
    troubles: tuple[Trouble, ...]
    cost: VmCost


def fleet(look: Look, _subject: str | None) -> Fleet:
    """All VMs by name: a card keeps its place, what needs a person is marked on it."""
    keep_asking(look)
    alerts: dict[str, Severity] = {}
    for item in attention_of(look.state, now=look.now, limits=look.limits, usual_s=look.usual_s):
        alerts.setdefault(item.vm, item.severity)
    cards = [_card(look, vm, alerts.get(vm.name)) for vm in sorted(look.state.vms.values(), key=lambda vm: vm.name.lower())]
    counted = Counter((card.phase.tone, "Setting up" if card.phase.tone == "setup" else card.phase.word) for card in cards)
    return Fleet(
        now=look.now,
        cards=tuple(cards),
        counts=tuple((tone, word, count) for (tone, word), count in sorted(counted.items(), key=lambda item: -item[1])),
        is_dense=len(cards) >= DENSE_FROM,
        spending=spending_of(look),
    )


def vm_list(look: Look, _subject: str | None) -> VmList:
    """All VMs by name, with how to reach them."""
    vms = sorted(look.state.vms.values(), key=lambda vm: vm.name.lower())
    return VmList(
        now=look.now,
        azure=discovery(look),
        rows=tuple(
            Row(
                name=vm.name,
                is_demo=is_demo(vm.spec),
                phase=phase_view(look, vm),
                way=way_to(vm.spec),
                sign=sign_of(look, vm.name),
            )
            for vm in vms
        ),
    )


def vm_detail(look: Look, name: str | None) -> VmDetail:
    """All that is known of one VM. Raises NotFound."""
    vm = need_vm(look.state, name)
    keep_asking(look)
    troubles = [trouble for trouble in look.state.troubles if trouble.vm == vm.name]
    return VmDetail(
        now=look.now,
        name=vm.name,
        is_demo=is_demo(vm.spec),
        phase=phase_view(look, vm),
        outage=_outage(look, vm),
        sign=sign_of(look, vm.name),
        way=way_to(vm.spec),
        data=tuple(_data(vm)),
        boot_error=vm.boot.error,
        boot_error_at=vm.boot.error_at,
        troubles=tuple(reversed(troubles[-MAX_TROUBLES_SHOWN:])),
        cost=cost_of_vm(look, vm),
    )


def is_demo(spec: VmSpec) -> bool:
    """Whether this is the embedded demo, which must be told everywhere."""
    return spec.origin is Origin.DEMO


def phase_view(look: Look, vm: Vm) -> PhaseView:
    """The phase of a VM; of one out of reach, the stepper keeps what was known last."""
    step, here = _step_of(vm, current_run(look.state, vm))
    usual_s = look.usual_s(vm.name, vm.phase) if vm.phase in SETUP_PHASES else None
    statuses = [StepStatus.DONE if number < step else here if number == step else StepStatus.TODO for number in range(len(STEPS))]
    return PhaseView(
        phase=vm.phase,
        word=PHASE_WORDS[vm.phase],
        tone=PHASE_TONES.get(vm.phase, "setup"),
        detail=vm.phase_detail,
        since_at=vm.phase_at,
        percent=vm.boot.percent if vm.phase is Phase.DOWNLOADING else None,
        usually=minutes(usual_s) if usual_s is not None else "",
        steps=tuple(StepView(word=word, status=status) for word, status in zip(STEPS, statuses, strict=True)),
    )


def way_to(spec: VmSpec) -> Way:
    """How a person reaches the VM and its screen."""
    if spec.origin is Origin.JOB:
        return Way(target="a job of Azure ML", container="", vnc_url="", tunnel="", local_url="")
    if spec.transport is Transport.LOCAL:
        target, jump = "this machine", ""
    else:
        host = f"[{spec.ssh_host}]" if ":" in spec.ssh_host else spec.ssh_host
        user = f"{spec.ssh_user}@" if spec.ssh_user else ""
        target = f"{user}{host}" + (f":{spec.ssh_port}" if spec.ssh_port not in (None, 22) else "")
        jump = f" -J {spec.proxy_jump}" if spec.proxy_jump else ""
    local_url = f"http://127.0.0.1:{spec.vnc_port}/"
    if spec.vnc_url or spec.transport is Transport.LOCAL:
        return Way(target=target, container=spec.container, vnc_url=spec.vnc_url or local_url, tunnel="", local_url=local_url)
    port = f" -p {spec.ssh_port}" if spec.ssh_port not in (None, 22) else ""
    user = f"{spec.ssh_user}@" if spec.ssh_user else ""
    tunnel = f"ssh -N -L {spec.vnc_port}:127.0.0.1:{spec.vnc_port}{jump}{port} {user}{spec.ssh_host}"
    return Way(target=target, container=spec.container, vnc_url="", tunnel=tunnel, local_url=local_url)


def _step_of(vm: Vm, run: Run | None) -> tuple[int, StepStatus]:
    if vm.phase is Phase.IDLE:
        return len(STEPS), StepStatus.DONE
    if vm.phase in (Phase.UNREACHABLE, Phase.UNKNOWN):
        if run is not None and run.status is RunStatus.RUNNING:
            return _PHASE_STEPS[Phase.RUNNING], StepStatus.LAST
        if vm.probe.value is not None and vm.probe.value.ready:
            return _PHASE_STEPS[Phase.READY], StepStatus.LAST
        return (_STAGE_STEPS[vm.boot.stage], StepStatus.LAST) if vm.boot.stage is not None else (-1, StepStatus.TODO)
    if vm.phase is Phase.BOOTING and vm.boot.stage is BootStage.BOOTING:
        return _STAGE_STEPS[BootStage.BOOTING], StepStatus.CURRENT
    return _PHASE_STEPS.get(vm.phase, -1), StepStatus.CURRENT


def _outage(look: Look, vm: Vm) -> Outage | None:
    link = vm.connection
    if link.connected is not False or vm.phase in (Phase.OFF, Phase.BOOTING):  # its cloud says why
        return None
    failure = link.failure
    return Outage(
        message=failure.message if failure is not None else "The connection is gone.",
        remedy=failure.remedy if failure is not None else "",
        since_at=link.since_at,
        retry_at=look.retry_at.get(vm.name),
    )


def _card(look: Look, vm: Vm, alert: Severity | None) -> Card:
    state: State = look.state
    run = current_run(state, vm)
    machine = vm.machine.value
    return Card(
        name=vm.name,
        is_demo=is_demo(vm.spec),
        phase=phase_view(look, vm),
        outage=_outage(look, vm),
        run=summary_of(state, run) if run is not None else None,
        sign=sign_of(look, vm.name),
        disk_percent=machine.disk_used_percent if machine is not None else None,
        memory_percent=machine.memory_used_percent if machine is not None else None,
        vnc_url=way_to(vm.spec).vnc_url,
        alert=alert.value if alert is not None else "",
        screenshot_url=screenshot_url(state, vm, run),
        boot_error=vm.boot.error if PHASE_TONES.get(vm.phase, "setup") == "setup" else "",
        cost=cost_of_card(look, vm),
    )


def screenshot_url(state: State, vm: Vm, run: Run | None) -> str:
    """Where the last screenshot of the VM's run is; another address for every step, "" before the first, and of a job, which shows none."""
    if vm.spec.origin is Origin.JOB:
        return ""
    tasks = state.tasks.get(run.run_id, {}).values() if run is not None else ()
    task = max((task for task in tasks if task.step), key=lambda task: task.changed_at, default=None)
    if task is None:
        return ""
    moment = quote(f"{task.run_id}-{task.index}-{task.attempt}-{task.step}{'-end' if task.is_over else ''}", safe="")
    return f"/vms/{quote(vm.name, safe='')}/screenshot?of={moment}&width=640"


def _data(vm: Vm) -> list[Datum]:
    spec = vm.spec
    link = vm.connection
    connection = {None: "not tried yet", True: "connected", False: "not connected"}[link.connected]
    data = [Datum(name="Connection", value=connection, since_at=link.since_at)]
    if spec.origin is Origin.JOB:
        return [
            *data,
            Datum(name="Job", value=(spec.azure_id or "").rpartition("/")[2]),
            Datum(name="Log", value=spec.log_path.lstrip("/")),
        ]
    if spec.azure_id is not None:
        power = vm.power.value
        data.append(_datum("Power (Azure)", vm.power, POWER_WORDS[power.state] + (", spot" if power.is_spot else "") if power else ""))
    if spec.container:
        data.append(_datum("Container", vm.container, _container_text(vm)))
    probe = vm.probe.value
    data.append(_datum("Guest server", vm.probe, ("ready" if probe.ready else "not ready") + f": {probe.status}" if probe else ""))
    runner = vm.runner.value
    runner_text = "" if runner is None else f"process {runner.pid} ({runner.where or 'host'})" if runner.pid is not None else "none runs"
    data.append(_datum("Runner", vm.runner, runner_text))
    machine = vm.machine.value
    disk = memory = clock = ""
    if machine is not None:
        disk = _disk_text(machine.disk_used_percent, machine.disk_free_bytes)
        memory = f"{machine.memory_used_percent:.0f} % used" if machine.memory_used_percent is not None else ""
        clock = f"{machine.clock_skew_s:+.0f} s from ours" if machine.clock_skew_s is not None else ""
    data += [_datum("Disk", vm.machine, disk), _datum("Memory", vm.machine, memory), _datum("Clock", vm.machine, clock)]
    booted_at = machine.booted_at if machine is not None else None
    data.append(Datum(name="Machine", value="booted" if booted_at is not None else "", since_at=booted_at))
    stage = f"{vm.boot.stage.value}: {vm.boot.detail}".rstrip(": ") if vm.boot.stage is not None else ""
    data.append(Datum(name="Set-up stage", value=stage, since_at=vm.boot.stage_at))
    sides = {LogSide.AUTO: "host or container", LogSide.HOST: "host", LogSide.CONTAINER: "container"}
    data.append(Datum(name="Run log", value=f"{spec.log_path} ({sides[spec.log_side]})"))
    return data


def _datum(name: str, reading: Reading[Value], value: str) -> Datum:
    return Datum(name=name, value=value, since_at=reading.since_at, failure=reading.failure, failed_at=reading.failed_at)


def _container_text(vm: Vm) -> str:
    container = vm.container.value
    if container is None:
        return ""
    text = f"{vm.spec.container}: {container.status.value}"
    if container.status is not ContainerStatus.RUNNING and container.exit_code is not None:
        text += f", exit status {container.exit_code}"
    return text + (f", {container.image}" if container.image else "")


def _disk_text(percent: float | None, free_bytes: int | None) -> str:
    parts = [f"{percent:.0f} % used"] if percent is not None else []
    if free_bytes is not None:
        parts.append(f"{free_bytes / 1024**3:.1f} GiB free")
    return ", ".join(parts)
