"""States to be looked at: VMs in all phases, runs with results, hostile text."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from markupsafe import Markup

from waa.core.entity import Boot, Connection, Run, RunId, Task, Trouble, Vm
from waa.core.error import Failure
from waa.core.incident import Concern, Incident, Severity
from waa.core.logs.fact import Activity, Dialect, TaskRef
from waa.core.observation import Container, GuestProbe, LogKind, LogSource, Machine, Reading, Runner
from waa.core.pipeline import Pipeline, PipelineSpec, PipelineStatus, Spell
from waa.core.spec import Origin, VmSpec
from waa.core.state import State
from waa.core.status import BootStage, ContainerStatus, Phase, Reason, RunStatus, TaskStatus
from waa.core.training import Prediction, PredictionBatch, Training, extend
from waa.services.live_query import Seen
from waa.store.memory import MemoryPredictions, MemoryStore
from waa.web.render import Renderer
from waa.web.terminal import LogLine
from waa.web.view import Look, PipelineSight, TrainingLook, Viewer
from waa.web.views.training_rows import read_pairs, read_window

NOW = 1_770_208_291.0
ROOT = Path(__file__).parents[2]
HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(2)> & \'quoted\' "</section>"'
CLOSED = Failure(
    reason=Reason.TIMEOUT,
    message="Nothing answers at 10.0.0.7:22 within 10 s.",
    remedy="Is the VM started? Check its power state and the network security group (port 22).",
)
INSTRUCTIONS = (
    'Enable the "Do Not Track" feature in Chrome to enhance my online privacy.',
    "Please change the default font of new documents to Times New Roman and save the template so that it is used for every new file.",
    "Make VLC start playback from where it stopped last time.",
    "Create a folder named Archive in Documents and move every file that is older than 30 days into it.",
)
DOMAINS = ("chrome", "libreoffice_writer", "vlc", "file_explorer")
P, F, E, U, R = TaskStatus.PASSED, TaskStatus.FAILED, TaskStatus.ERROR, TaskStatus.UNKNOWN, TaskStatus.RUNNING


def a_vm(name: str = "waa-1", phase: Phase = Phase.READY, **fields: object) -> Vm:
    """A VM that is connected; fields are those of Vm, and ``spec`` has its own defaults."""
    defaults: dict[str, object] = {
        "spec": VmSpec(name=name, ssh_host="10.0.0.4", ssh_user="azureuser", origin=Origin.API),
        "connection": Connection(connected=True, since_at=NOW - 3600),
        "phase": phase,
        "phase_at": NOW - 312,
        "container": Reading(
            value=Container(status=ContainerStatus.RUNNING, image="windowsarena/winarena:latest", started_at=NOW - 4000),
            since_at=NOW - 4000,
        ),
        "machine": Reading(
            value=Machine(
                disk_used_percent=71.0, disk_free_bytes=41 * 1024**3, memory_used_percent=60.0, booted_at=NOW - 9000, clock_skew_s=0.0
            ),
            since_at=NOW - 40,
        ),
        "seen_at": NOW - 3,
    }
    return Vm(name=name, **(defaults | fields))  # type: ignore[arg-type]


def a_run(vm: str = "waa-1", run_id: str | None = None, **fields: object) -> Run:
    """A run of 30 tasks that began an hour ago."""
    defaults: dict[str, object] = {
        "log": LogSource(kind=LogKind.FILE, path="/tmp/waa_benchmark.log"),
        "dialect": Dialect.WAA,
        "started_at": NOW - 3600,
        "first_seen_at": NOW - 3600,
        "total": 30,
        "runner_pid": 4711,
        "arguments": {"model": "gpt-5", "max_steps": "15"},
    }
    return Run(run_id=RunId(run_id or f"{vm}-20260204T113131"), vm=vm, **(defaults | fields))  # type: ignore[arg-type]


def a_task(run: Run, index: int = 1, status: TaskStatus = TaskStatus.PASSED, **fields: object) -> Task:
    """The ``index``-th task of a run; each takes 170 s or so."""
    started_at = run.started_at + (index - 1) * 180.0
    scores = {TaskStatus.PASSED: 1.0, TaskStatus.FAILED: 0.0}
    defaults: dict[str, object] = {
        "domain": DOMAINS[index % len(DOMAINS)],
        "task_id": f"{index:02x}0d8b7d-2f6a-4d1e-9c37-52a1f0e4b{index:03x}-WOS",
        "instruction": INSTRUCTIONS[index % len(INSTRUCTIONS)],
        "status": status,
        "score": scores.get(status),
        "provisional": index % 3 == 0,
        "step": 4 + index % 9,
        "error": "Read timed out. (read timeout=90)" if status is TaskStatus.ERROR else "",
        "started_at": started_at,
        "ended_at": None if status is TaskStatus.RUNNING else started_at + 140 + 13.0 * (index % 4),
        "changed_at": NOW - 9 if status is TaskStatus.RUNNING else started_at + 160,
        "action": "computer.mouse.move_id(id=17)\ncomputer.mouse.single_click()" if status is TaskStatus.RUNNING else "DONE",
        "activity": Activity.THINKING,
    }
    return Task(run_id=run.run_id, vm=run.vm, index=index, **(defaults | fields))  # type: ignore[arg-type]


def a_state(vms: Sequence[Vm] = (), runs: Mapping[Run, Sequence[TaskStatus]] | Sequence[tuple[Run, Sequence[TaskStatus]]] = ()) -> State:
    """A state of VMs and runs with the outcomes of their tasks in order."""
    state = State()
    for vm in vms:
        state.put(vm)
    for run, outcomes in runs.items() if isinstance(runs, Mapping) else runs:
        state.put(run)
        for index, outcome in enumerate(outcomes, start=1):
            state.put(a_task(run, index, outcome))
    return state


def an_incident(run: Run, *tasks: Task, **fields: object) -> Incident:
    """The guest of a run has not answered for five minutes; it holds up tasks."""
    defaults: dict[str, object] = {
        "incident_id": f"{run.vm}-guest_down-1",
        "concern": Concern.GUEST_DOWN,
        "severity": Severity.CRITICAL,
        "title": "The guest's server does not answer",
        "detail": "no answer: every step fails until /probe answers",
        "remedy": "Look at the screen; restart the server in the guest, or the container.",
        "began_at": NOW - 300,
        "run_id": run.run_id,
        "tasks": tuple(task.key for task in tasks),
    }
    return Incident(vm=run.vm, **(defaults | fields))  # type: ignore[arg-type]


def downloading(name: str = "waa-2") -> Vm:
    """43 % of Windows are there."""
    boot = Boot(stage=BootStage.DOWNLOADING, stage_at=NOW - 200, detail="Downloading Windows 11 Enterprise from Microsoft...", percent=43.0)
    return a_vm(name, Phase.DOWNLOADING, boot=boot, phase_detail=boot.detail)


def installing(name: str = "waa-3") -> Vm:
    """Windows sets itself up."""
    boot = Boot(
        stage=BootStage.WINDOWS, stage_at=NOW - 900, detail="Windows started successfully, visit http://localhost:8006/ to view the screen"
    )
    return a_vm(name, Phase.OOBE, boot=boot, phase_at=NOW - 900, phase_detail=boot.detail)


def running(
    name: str = "waa-1", outcomes: Sequence[TaskStatus] = (P, F, P, P, E, F, P, U, P, P, P, F, R)
) -> tuple[Vm, Run, Sequence[TaskStatus]]:
    """A run in its middle, with errors."""
    run = a_run(name, plan=tuple(TaskRef(domain="clock", task_id=f"waiting-{number}") for number in range(17)))
    run_vm = a_vm(
        name,
        Phase.RUNNING,
        run_id=run.run_id,
        phase_detail="chrome, step 7",
        probe=Reading(value=GuestProbe(ready=True, status="Probe successful"), since_at=NOW - 3000),
        runner=Reading(value=Runner(pid=4711, command="python run.py", where="container", started_at=NOW - 3600), since_at=NOW - 3600),
    )
    return run_vm, run, outcomes


def unreachable(name: str = "waa-4") -> tuple[Vm, Run, Sequence[TaskStatus]]:
    """A VM that went away in the middle of its run."""
    _, run, _ = running(name)
    link = Connection(connected=False, since_at=NOW - 95, failure=CLOSED)
    spec = VmSpec(name=name, ssh_host="10.0.0.7", ssh_user="azureuser", origin=Origin.API)
    gone = a_vm(
        name,
        Phase.UNREACHABLE,
        spec=spec,
        connection=link,
        phase_detail=CLOSED.message,
        phase_at=NOW - 95,
        run_id=run.run_id,
        seen_at=NOW - 95,
    )
    return gone, run, (P, P, F, R)


def finished(name: str = "waa-5") -> tuple[Vm, Run, Sequence[TaskStatus]]:
    """A VM that idles after its run."""
    run = a_run(name, status=RunStatus.FINISHED, started_at=NOW - 9000, ended_at=NOW - 2400, total=24, average_score=0.58)
    vm = a_vm(
        name,
        Phase.IDLE,
        phase_at=NOW - 2400,
        run_id=run.run_id,
        phase_detail="the guest is ready and nothing runs",
        probe=Reading(value=GuestProbe(ready=True, status="Probe successful"), since_at=NOW - 9000),
    )
    return vm, run, (P, F, P, P) * 6


def a_pipeline(key: str = "train", status: PipelineStatus = PipelineStatus.UP, **fields: object) -> Pipeline:
    """A pipeline that had one bad minute an hour ago."""
    history = (
        Spell(status=PipelineStatus.UP, from_at=NOW - 9000, until_at=NOW - 5000),
        Spell(status=PipelineStatus.DOWN, from_at=NOW - 5000, until_at=NOW - 4940),
        Spell(status=status, from_at=NOW - 4940, until_at=NOW - 60),
    )
    defaults: dict[str, object] = {"status": status, "spells": history, "told_at": NOW - 4940}
    spec = PipelineSpec(pipeline_id=key, backend="https://pipes.example.org/api", origin=Origin.API)
    return Pipeline(pipeline_id=key, **({"spec": spec} | defaults | fields))  # type: ignore[arg-type]


def a_fleet() -> State:
    """Five VMs, each in another phase."""
    told = [running(), unreachable(), finished()]
    state = a_state([downloading(), installing(), *(vm for vm, _, _ in told)], [(run, outcomes) for _, run, outcomes in told])
    state.put(a_pipeline())
    state.put(a_pipeline("ingest", PipelineStatus.DEGRADED, said="degraded"))
    state.put(
        Trouble(
            vm="waa-1", at=NOW - 600, failure=Failure(reason=Reason.PARSE, message="A result file could not be read.", remedy="Look at it.")
        )
    )
    train(state, "digits", title="Digits to words")
    train(state, "other", matching=1)
    return state


def a_prediction(number: int, epoch: int, *, job_id: str = "digits", matches: bool = True, text: str = "one two") -> Prediction:
    """One of a training; ``number`` tells it and what it is about from the others of its epoch."""
    return Prediction(
        job_id=job_id,
        client_id=f"{epoch}-{number}",
        epoch=epoch,
        step=100 * epoch + number,
        prompt=f"{text} {number}",
        prediction=text if matches else f"{text} {text}",
        target=text,
        scores={text: 0.5 + epoch / 10, "loss": 2.0 - epoch},
        exact_match=matches,
        metadata={text: text},
        created_at=NOW - 60,
        received_at=NOW - 50,
    )


def pushed(state: State, *predictions: Prediction) -> PredictionBatch:
    """What a push does to a training of the state."""
    job_id = predictions[0].job_id
    return extend(state.trainings[job_id], state.epochs[job_id], predictions, NOW - 50)


def train(state: State, job_id: str, *, epochs: int = 3, matching: int = 2, text: str = "one two", **fields: object) -> None:
    """A training with four predictions an epoch, ``matching`` of which match at first, and one more each epoch."""
    told: dict[str, object] = {"owner": "local", "created_at": NOW - 300, "changed_at": NOW - 300}
    state.put(Training(job_id=job_id, **(told | fields)))  # type: ignore[arg-type]
    for epoch in range(epochs):
        items = [a_prediction(number, epoch, job_id=job_id, matches=number < matching + epoch, text=text) for number in range(4)]
        state.put(pushed(state, *items))


def predictions_of(state: State, job_id: str) -> list[Prediction]:
    """What its database would hold: as many of each epoch as match, and as do not."""
    found: list[Prediction] = []
    for epoch, known in state.epochs[job_id].items():
        text = next(iter(known.scores))
        items = [a_prediction(number, epoch, job_id=job_id, matches=number < known.matched, text=text) for number in range(known.count)]
        found += [replace(item, seq=len(found) + place) for place, item in enumerate(items, 1)]
    return found


def training_look(state: State) -> TrainingLook:
    """What panels read of the trainings of a state."""
    store = MemoryStore()
    store.predictions |= {job_id: predictions_of(state, job_id) for job_id in state.trainings}
    reader = MemoryPredictions(store)
    return TrainingLook(
        of=lambda _owner: sorted(state.trainings.values(), key=lambda training: training.job_id),
        predictions=lambda subject: Seen(value=read_window(reader, subject)),
        comparison=lambda subject: Seen(value=read_pairs(reader, subject)),
    )


def a_demo() -> State:
    """The embedded demo alone."""
    vm, run, outcomes = running("demo")
    spec = VmSpec(name="demo", ssh_host="127.0.0.1", ssh_port=40022, origin=Origin.DEMO)
    return a_state([a_vm("demo", Phase.RUNNING, spec=spec, run_id=run.run_id, probe=vm.probe)], [(run, outcomes)])


def a_crowd(count: int = 30) -> State:
    """Many VMs in all phases."""
    vms, runs = [], []
    for number in range(1, count + 1):
        name = f"waa-eastus-{number:02d}"
        kind = number % 6
        if kind == 1:
            vms.append(downloading(name))
        elif kind == 2:
            vms.append(installing(name))
        else:
            vm, run, outcomes = {3: unreachable, 4: finished}.get(kind, running)(name)
            vms.append(vm)
            runs.append((run, outcomes))
    return a_state(vms, runs)


def a_hostile() -> State:
    """Everything that a log or a machine can say is markup."""
    run = a_run("waa-1", end_reason=HOSTILE, arguments={HOSTILE: HOSTILE}, plan=(TaskRef(domain=HOSTILE, task_id=HOSTILE),))
    failure = Failure(reason=Reason.COMMAND, message=HOSTILE, remedy=HOSTILE)
    vm = a_vm(
        "waa-1",
        Phase.RUNNING,
        run_id=run.run_id,
        phase_detail=HOSTILE,
        probe=Reading(value=GuestProbe(ready=False, status=HOSTILE), since_at=NOW - 500, failure=failure, failed_at=NOW),
        container=Reading(value=Container(status=ContainerStatus.RUNNING, image=HOSTILE), failure=failure, failed_at=NOW),
    )
    gone = a_vm("waa-2", Phase.UNREACHABLE, connection=Connection(connected=False, since_at=NOW - 90, failure=failure))
    failing = a_vm("waa-3", Phase.BOOTING, boot=Boot(stage=BootStage.STARTING, error=HOSTILE, detail=HOSTILE), phase_detail=HOSTILE)
    other = a_run("waa-4", arguments={HOSTILE: HOSTILE + "2"})
    state = a_state([vm, gone, failing], [(run, ()), (other, ())])
    text = {"domain": HOSTILE, "instruction": HOSTILE, "action": HOSTILE}
    state.put(a_task(run, 1, E, error=HOSTILE, **text, task_id=HOSTILE))
    state.put(a_task(other, 1, F, **text, task_id=HOSTILE))
    state.put(a_task(run, 2, R, worker=HOSTILE, repeats=9, attempt=2, **text, task_id=HOSTILE + "2"))
    state.put(Trouble(vm="waa-1", at=NOW, failure=failure))
    train(state, "digits", text=HOSTILE, title=HOSTILE, error=HOSTILE)
    train(state, "other", text=HOSTILE, title=HOSTILE, matching=0)
    spec = PipelineSpec(pipeline_id="train", backend="http://10.0.0.9/<script>alert(1)</script>", title=HOSTILE)
    state.put(a_pipeline(status=PipelineStatus.DOWN, spec=spec, failure=failure, failing_since_at=NOW - 60))
    state.put(a_pipeline("odd", PipelineStatus.UNKNOWN, said=HOSTILE))
    return state


def a_look(state: State, **fields: object) -> Look:
    """A look at NOW."""
    lines = [
        LogLine(number=number, html=Markup.escape(f"[2026-02-04 12:31:{number % 60:02d},288 INFO lib_run_single/56] Step {number}"))
        for number in range(1, 60)
    ]
    defaults: dict[str, object] = {
        "seen_at": {name: NOW - 3 for name, vm in state.vms.items() if vm.connection.connected},
        "version": "0.1.0",
        "csrf_token": "token-1",
        "viewer": Viewer(),
        "pipelines": PipelineSight(seen_at=dict.fromkeys(state.pipelines, NOW - 3).get),
        "log_lines": dict.fromkeys(state.vms, lines),
        "trainings": training_look(state),
    }
    return Look(state=state, now=NOW, **(defaults | fields))  # type: ignore[arg-type]


def a_renderer() -> Renderer:
    """The real templates and static files."""
    return Renderer(ROOT / "templates", ROOT / "static")
