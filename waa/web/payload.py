"""The types of the JSON that programs get. The functions that make it are checked against them, and the OpenAPI document is made
from them. Moments are epoch seconds; null is what is not known, or what there is none of."""

from typing import NotRequired, TypedDict

from waa.core.entity import Boot
from waa.core.observation import Container, Machine, Reading, Runner
from waa.core.statistics import Coverage


class ErrorDetail(TypedDict):
    """What is wrong, and with which field, null: with none in particular."""

    status: int
    message: str
    field: str | None


class ErrorPayload(TypedDict):
    """The answer to every request that fails."""

    error: ErrorDetail


class HealthPayload(TypedDict):
    """A sign of life."""

    status: str


class ProbePayload(TypedDict):
    """The guest's answer to ``/probe`` and where its screen is."""

    status: str | None
    vnc_url: str | None


class StatusPayload(TypedDict):
    """One VM (A3), but for the age of what is said."""

    type: str
    vm: str
    connected: bool
    phase: str
    phase_detail: str
    waa_ready: bool
    probe: ProbePayload


class AgedStatus(StatusPayload):
    """One VM with the moment of its last sign of life, null: never."""

    observed_at: float | None


class AgedStatuses(TypedDict):
    """Every VM."""

    vms: list[AgedStatus]


class FailurePayload(TypedDict):
    """Why something could not be read, and what can be done about it."""

    reason: str
    message: str
    remedy: str


class CostPayload(TypedDict):
    """What some time of a VM cost, in the currency: at least ``spent``, and ``unseen`` more if it was up for the ``unseen_seconds`` in
    which nobody saw it. ``per_hour``: how fast ``spent`` grows now. ``is_partial``: for a part of it no price was known."""

    currency: str
    spent: float
    unseen: float
    unseen_seconds: float
    per_hour: float
    is_partial: bool


class RunCostPayload(CostPayload):
    """What a run costs. ``projected`` is what it will have cost by its early and its late end, null where that cannot be told;
    ``per_passed_task`` and ``per_task`` are of ``spent``, null where no task passed, or ended. ``budget`` null: there is none."""

    projected: list[float] | None
    per_passed_task: float | None
    per_task: float | None
    budget: float | None


class VmCostPayload(TypedDict):
    """What a VM costs. ``standing``: up (billed), off (deallocated) or unknown (out of sight), null: it was never seen.
    ``price_source`` is vm, table or azure (its public list, asked at ``priced_at``); without a price, ``price_note`` says why.
    ``since`` is from when on ``total`` counts."""

    currency: str | None
    price_per_hour: float | None
    price_source: str | None
    price_note: str | None
    priced_at: float | None
    standing: str | None
    since: float | None
    total: CostPayload | None
    this_month: CostPayload | None


class SpendingPayload(CostPayload):
    """What all VMs cost since the month began (UTC). ``budget`` null: there is none."""

    month_began_at: float
    budget: float | None


class SpendingAnswer(TypedDict):
    """What all VMs cost, null: no price is known."""

    spending: SpendingPayload | None


class VmPayload(AgedStatus):
    """A VM: how it is reached, its state, and each reading with its age."""

    name: str
    origin: str
    ssh_host: str
    ssh_user: str | None
    ssh_port: int | None
    docker_container: str | None
    waa_port: int
    vnc_port: int
    internal_ip: str
    phase_at: float | None
    failure: FailurePayload | None
    retry_at: float | None
    container: Reading[Container]
    runner: Reading[Runner]
    machine: Reading[Machine]
    boot: Boot
    current_run: str | None
    cost: VmCostPayload


class VmsPayload(TypedDict):
    """Every VM."""

    vms: list[VmPayload]


class Registered(TypedDict):
    """A VM that is watched now."""

    status: str
    vm: VmPayload


class ProgressPayload(TypedDict):
    """One run (A4). ``tasks_completed`` counts tasks that ended."""

    vm: str
    run_id: str
    status: str
    tasks_completed: int
    total_tasks: int | None
    current_task: str | None
    current_step: int | None
    current_index: int | None


class TaskPayload(TypedDict):
    """An attempt at a task (A5). ``success`` and ``score`` of null are unknown."""

    vm: str
    run_id: str
    task_id: str
    domain: str
    attempt: int
    success: bool | None
    score: float | None
    status: str


class FullTask(TaskPayload):
    """All that the events told of an attempt."""

    index: int
    instruction: str | None
    step: int
    action: str | None
    error: str | None
    provisional: bool
    started_at: float
    ended_at: float | None


class LackingPayload(TypedDict):
    """Why the steps of a task were not read."""

    reason: str
    message: str


class PicturePayload(TypedDict):
    """A screenshot; its size in pixels."""

    name: str
    url: str
    thumbnail: str
    width: int | None
    height: int | None


class PointPayload(TypedDict):
    """Where an action points, in fractions of the picture."""

    x: float
    y: float


class StepPayload(TypedDict):
    """One step of a result folder."""

    label: str
    step: int
    part: int
    action: str
    thought: str | None
    before: PicturePayload | None
    after: PicturePayload | None
    points: list[PointPayload]
    at: float | None
    reward: float | None
    done: bool


class TaskDetail(FullTask):
    """An attempt with the steps of its result folder; ``steps`` is null where that was not read, ``lacking`` says why."""

    specification: str
    threshold: float
    exact_score: float | None
    traceback: str | None
    folder: str | None
    read_at: float | None
    is_other_attempt: bool
    is_cut: bool
    lacking: LackingPayload | None
    steps: list[StepPayload] | None


class SetupPayload(TypedDict):
    """What is done to the guest before a task."""

    type: str
    detail: str


class EvaluatorPayload(TypedDict):
    """What the evaluator asks for."""

    functions: tuple[str, ...]
    result: str
    expected: str


class SpecificationPayload(TypedDict):
    """A task's own file; ``document`` and what is read from it are null where it was not found, ``lacking`` says why."""

    run_id: str
    domain: str
    task_id: str
    path: str | None
    searched: tuple[str, ...]
    read_at: float | None
    lacking: FailurePayload | None
    setup: list[SetupPayload] | None
    evaluator: EvaluatorPayload | None
    document: dict[str, object] | None


class Counts(TypedDict):
    """Both denominators of the success rate are named: ``scored`` and ``completed``."""

    total_tasks: int | None
    tasks_completed: int
    passed: int
    failed: int
    error: int
    unknown: int
    scored: int
    success_rate: float | None


class ImportedPayload(TypedDict):
    """Where an imported run comes from."""

    kind: str
    source: str
    at: float


class RunPayload(Counts):
    """A run with its counts. ``imported`` null: it was watched. ``cost`` null: not known."""

    run_id: str
    label: str | None
    vm: str
    imported: ImportedPayload | None
    status: str
    dialect: str
    log: str
    started_at: float
    ended_at: float | None
    end_reason: str | None
    threshold: float
    average_score: float | None
    arguments: dict[str, str]
    cost: RunCostPayload | None


class RunWithTasks(RunPayload):
    """A run with its attempts, in the order of their start."""

    tasks: list[FullTask]


class CurrentRun(TypedDict):
    """The newest run."""

    run: RunWithTasks | None


class RunsPayload(TypedDict):
    """Runs; ``total`` counts all that match."""

    runs: list[RunPayload]
    total: int


class DomainPayload(TypedDict):
    """A domain of a run. ``interval`` is that of the rate."""

    domain: str
    planned: int | None
    completed: int
    passed: int
    failed: int
    error: int
    unknown: int
    success_rate: float | None
    interval: list[float]
    median_steps: float | None
    median_seconds: float | None


class PlannedPayload(TypedDict):
    """A task of a run's plan."""

    domain: str
    task_id: str


class ListedTask(TypedDict):
    """A task of a run: an attempt with all that its events told, or one to come, whose ``attempt`` is null."""

    vm: str
    run_id: str
    task_id: str
    domain: str
    attempt: int | None
    success: bool | None
    score: float | None
    status: str
    index: int | None
    instruction: NotRequired[str | None]
    step: NotRequired[int]
    action: NotRequired[str | None]
    error: NotRequired[str | None]
    provisional: NotRequired[bool]
    started_at: NotRequired[float]
    ended_at: NotRequired[float | None]
    is_replaced: NotRequired[bool]


class RunDetail(RunPayload):
    """A run with what its rate rests on, its domains, its plan and those of its tasks that were asked for."""

    coverage: Coverage
    domains: list[DomainPayload]
    plan: list[PlannedPayload]
    tasks: list[ListedTask]


class RunAnswer(TypedDict):
    """One run; ``total`` counts all of its tasks that match."""

    run: RunDetail
    total: int


class LiveActionPayload(TypedDict):
    """A whole action, as its type."""

    type: str


class LiveStepPayload(TypedDict):
    """The newest step, counted from 0."""

    step_idx: int
    action: LiveActionPayload


class LiveTaskPayload(TypedDict):
    """The task that runs."""

    task_id: str
    instruction: str | None
    domain: str
    steps: list[LiveStepPayload]
    result: None


class LivePayload(TypedDict):
    """The shape of ``benchmark_live.json`` (A11); without a run its status alone."""

    status: str
    vm: NotRequired[str]
    run_id: NotRequired[str]
    total_tasks: NotRequired[int | None]
    tasks_completed: NotRequired[int]
    current_task: NotRequired[LiveTaskPayload | None]


class ProgressFile(TypedDict):
    """The shape of ``benchmark_progress.json`` (A11)."""

    status: str
    provider: str
    tasks_complete: int | None
    tasks_total: int | None
    message: str


class BackgroundRow(TypedDict):
    """One piece of work (A10). Percent and seconds of null are unknown."""

    task_id: str
    task_type: str
    title: str
    description: str
    status: str
    phase: str
    progress_percent: float | None
    elapsed_seconds: int | None
    metadata: dict[str, str]


class Rejudged(TypedDict):
    """A run after its threshold was set: what it was, and how many tasks pass or fail now that did not before."""

    run: RunPayload
    was: float
    now_passed: int
    now_failed: int


class IncidentPayload(TypedDict):
    """Something that went wrong; ``ended_at`` is null while it goes on. ``tasks`` are keys of tasks of the run: domain, id, attempt."""

    incident_id: str
    vm: str
    run_id: str | None
    concern: str
    severity: str
    title: str
    detail: str | None
    remedy: str | None
    began_at: float
    ended_at: float | None
    tasks: list[str]


class IncidentsPayload(TypedDict):
    """Incidents, newest first."""

    incidents: list[IncidentPayload]


class JobRun(TypedDict):
    """A run that an import brought."""

    run_id: str
    name: str
    url: str


class JobResult(TypedDict):
    """What an import found. ``new`` and ``changed`` count tasks; ``notes`` tell what was passed over, and why."""

    runs: list[JobRun]
    tasks: int
    steps: int
    new: int
    changed: int
    notes: list[str]


class JobPayload(TypedDict):
    """A job (C2). ``progress`` in percent."""

    job_id: str
    kind: str
    source: str
    label: str | None
    status: str
    progress: int
    detail: str | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    result: JobResult | None
    error: str | None
    details: list[str]


class JobsPayload(TypedDict):
    """Jobs, newest first."""

    jobs: list[JobPayload]


class JobStarted(TypedDict):
    """An import that was taken; its stream tells how it goes."""

    job_id: str
    status: str
    stream: str


class AzureProblem(TypedDict):
    """Why a part is old or lacking since a moment, and when it is asked for again."""

    part: str
    message: str
    remedy: str
    since: float | None
    retry_at: float | None


class AzureJobPayload(TypedDict):
    """A job of Azure ML. ``key`` is unique; ``job_id`` is its name in its workspace. ``started_at``, ``ended_at``, ``duration_s`` and
    ``vm_size`` are null until its details were read. ``run_id``: of the benchmark's run that its log tells."""

    job_id: str
    key: str
    resource_id: str
    workspace: str
    display_name: str | None
    type: str | None
    status: str
    is_live: bool
    experiment: str | None
    created_at: float | None
    started_at: float | None
    ended_at: float | None
    duration_s: float | None
    compute: str | None
    vm_size: str | None
    low_priority: bool | None
    portal_url: str | None
    parent: str | None
    run_id: str | None
    error: str | None


class AzureJobsPayload(TypedDict):
    """Jobs of Azure, newest first; none where it is off. ``is_whole`` false: there are older ones that are not listed."""

    enabled: bool
    message: str
    refreshed_at: float | None
    problems: list[AzureProblem]
    is_whole: bool
    jobs: list[AzureJobPayload]


class AzureJobsChanged(TypedDict):
    """The ``jobs`` event: all of them (``is_whole``), or those that changed, and the keys of those that are gone."""

    jobs: list[AzureJobPayload]
    gone: list[str]
    is_whole: bool


class AzureLine(TypedDict):
    """A line of a log; the last one can come again with the same number, while it has no end yet."""

    number: int
    text: str


class AzureLogsPayload(TypedDict):
    """The end of the log of a job. ``log`` is the one of ``logs`` that the lines are of. ``complete``: the job is over and this is its
    end; ``reading``: it is being read for the first time."""

    enabled: bool
    message: str
    job_id: str
    key: str | None
    status: str | None
    log: str | None
    logs: list[str]
    lines: list[AzureLine]
    reading: bool
    complete: bool
    error: str | None


class AzureLogChanged(TypedDict):
    """The ``job_log`` event: lines of one log of a job; ``anew``: what came before is void."""

    job_id: str
    key: str
    log: str
    anew: bool
    lines: list[AzureLine]


class AzureVmPayload(TypedDict):
    """A VM that Azure has. ``vm`` is its name here where it is watched."""

    resource_id: str
    name: str
    resource_group: str
    subscription: str
    region: str | None
    size: str | None
    os: str | None
    spot: bool
    power: str
    public_ip: str | None
    private_ip: str | None
    tags: dict[str, str]
    vm: str | None


class AzureVmsPayload(TypedDict):
    """The VMs that Azure has, by name; none where it is off."""

    enabled: bool
    message: str
    refreshed_at: float | None
    problems: list[AzureProblem]
    vms: list[AzureVmPayload]


class ReplayStatus(TypedDict):
    """Where a replay is: ``at`` and ``duration`` in seconds, ``now`` is its own time, ``rate`` how fast that passes, ``source`` says
    what it rests on."""

    at: float
    duration: float
    now: float
    rate: float
    speed: float
    playing: bool
    skip_idle: bool
    source: str


class AuditRow(TypedDict):
    """An entry of the audit log; ``at`` in UTC."""

    number: int
    at: str
    actor: str
    name: str
    via: str
    address: str
    action: str
    subject: str
    outcome: str
    detail: str


class AuditPayload(TypedDict):
    """The audit log, newest first."""

    entries: list[AuditRow]


class ImportBody(TypedDict, total=False):
    """Which results to import: a folder here, or with ``vm`` on a VM (``inner``: in its container)."""

    path: str | None
    vm: str | None
    inner: bool | None
    label: str | None


class ThresholdBody(TypedDict):
    """From which score on tasks pass; null: the configured one."""

    threshold: float | None


class TrainingPayload(TypedDict):
    """A training that pushes predictions."""

    job_id: str
    title: str | None
    status: str
    error: str | None
    total_count: int
    latest_epoch: int | None
    latest_step: int | None
    created_at: float
    changed_at: float
    ended_at: float | None


class TrainingsPayload(TypedDict):
    """One's trainings, the one that spoke last first."""

    jobs: list[TrainingPayload]


class TrainingMade(TypedDict):
    """A training, where its page and stream are, and its token, null: it was there already."""

    job: TrainingPayload
    token: str | None
    stream: str
    url: str


class TrainingToken(TypedDict):
    """A key that pushes to one training, shown once."""

    token: str


class PredictionPayload(TypedDict):
    """A prediction; ``id`` is its pusher's name of it, ``seq`` its place in the training."""

    id: str
    job_id: str
    seq: int
    epoch: int
    step: int
    prompt: str
    prediction: str
    target: str | None
    scores: dict[str, float]
    exact_match: bool | None
    metadata: dict[str, str | int | float | bool]
    created_at: float
    received_at: float


class PredictionsPayload(TypedDict):
    """Predictions, newest first; ``last_event_id`` is where a stream goes on from here."""

    job_id: str
    predictions: list[PredictionPayload]
    total_count: int
    last_event_id: str


class EpochComplete(TypedDict):
    """An epoch and what came of it so far."""

    epoch: int
    prediction_count: int
    latest_step: int


class EpochTrend(EpochComplete):
    """The quality of an epoch: means of whatever was pushed."""

    exact_match: float | None
    scores: dict[str, float]
    is_complete: bool


class PredictionEvent(TypedDict):
    """A new prediction; ``total_count`` is that of the training."""

    type: str
    prediction: PredictionPayload
    total_count: int


class TrendsEvent(TypedDict):
    """All epochs."""

    epochs: list[EpochTrend]


class ItemError(TypedDict):
    """What is wrong with one prediction of a batch."""

    message: str
    field: str | None


class PredictionTaken(TypedDict):
    """What became of a prediction: ``created`` or ``duplicate``."""

    id: str
    seq: int
    status: str


class BatchItem(TypedDict):
    """What became of a prediction of a batch; ``invalid`` ones have no ``seq``."""

    index: int
    id: str | None
    seq: int | None
    status: str
    error: ItemError | None


class BatchTaken(TypedDict):
    """What became of a batch; ``total_count`` is that of the training."""

    results: list[BatchItem]
    created: int
    duplicates: int
    invalid: int
    total_count: int


class TrainingBody(TypedDict, total=False):
    """A new training, or a new title."""

    job_id: str | None
    title: str | None


class FinishBody(TypedDict):
    """How a training ended: completed, failed or cancelled."""

    status: str
    error: NotRequired[str | None]


class PredictionBody(TypedDict):
    """A prediction, or with ``predictions`` a batch of them."""

    job_id: str
    id: NotRequired[str | None]
    epoch: int
    step: int
    prompt: str
    prediction: str
    target: NotRequired[str | None]
    scores: NotRequired[dict[str, float] | None]
    exact_match: NotRequired[bool | None]
    metadata: NotRequired[dict[str, str | int | float | bool | None] | None]
    created_at: NotRequired[float | None]


class BatchBody(TypedDict):
    """Up to 500 predictions, each with the fields of a single one but for ``job_id``."""

    job_id: str
    predictions: list[dict[str, object]]


class PipelineStatusPayload(TypedDict):
    """A pipeline in one line (D1): ``up``, ``degraded``, ``down`` or ``unknown``."""

    pipelineId: str
    status: str


class PipelineStatuses(TypedDict):
    """Several of them."""

    updates: list[PipelineStatusPayload]


class PipelineBatch(PipelineStatuses):
    """How all of a stream's pipelines stand: its first message (D1)."""

    type: str
    timestamp: float


class PipelineUpdate(PipelineStatusPayload):
    """One whose status changed; ``previousStatus`` null: it is new (D1)."""

    type: str
    timestamp: float
    previousStatus: str | None


class PipelineUptime(TypedDict):
    """Of a time up to now: how much of what is known it was up (null: nothing is known), and how much is known."""

    rate: float | None
    coverage: float


class SpellPayload(TypedDict):
    """A time in which the status was the same, and was observed."""

    status: str
    from_at: float
    until_at: float


class PipelinePayload(TypedDict):
    """A pipeline. ``status`` is what is known of now, ``last_status`` what was seen last, at ``observed_at``; ``said`` is the backend's own
    word. Between spells that do not touch it was not observed."""

    id: str
    status: str
    title: str | None
    backend: str
    auth: str
    origin: str
    last_status: str
    said: str | None
    since_at: float | None
    observed_at: float | None
    is_stale: bool
    failure: FailurePayload | None
    failing_since_at: float | None
    uptime: dict[str, PipelineUptime]
    spells: list[SpellPayload]


class PipelinesPayload(TypedDict):
    """All that match."""

    pipelines: list[PipelinePayload]
    total: int


class PipelineAnswer(TypedDict):
    """A pipeline that is looked at from now on."""

    status: str
    pipeline: PipelinePayload


class PipelineBody(TypedDict):
    """A pipeline: its id, the base address of its backend, and what it is asked with: a ``token``, an ``api_key`` (in the header
    ``api_key_header``), or a ``username`` with a ``password``. Credentials are kept apart and never given out."""

    id: str
    backend: str
    title: NotRequired[str | None]
    token: NotRequired[str | None]
    api_key: NotRequired[str | None]
    api_key_header: NotRequired[str | None]
    username: NotRequired[str | None]
    password: NotRequired[str | None]
