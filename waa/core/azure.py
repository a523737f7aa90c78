"""Azure's answers, read: machines, their power and addresses, jobs, their details and logs. Pure; what does not fit is passed over."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from urllib.parse import urlsplit

from waa.core.cloud import CloudJob, CloudVm, JobStatus, PowerState
from waa.core.error import Invalid
from waa.core.logs.mask import mask

MAX_ID = 1000
"""Characters of an id; Azure's own bound is lower."""
MAX_TEXT = 300
MAX_LOGS = 4
"""Logs of one job that are read at once: one per process of a node."""


class Auth(StrEnum):
    """How to log in. AUTO: what this machine offers; CLI: who is logged in with ``az``; ENV: a service principal by ``AZURE_*``
    variables; MANAGED: the identity of the Azure machine that this runs on; NONE: Azure is not asked."""

    AUTO = "auto"
    CLI = "cli"
    ENV = "env"
    MANAGED = "managed"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """An Azure ML workspace."""

    subscription: str
    resource_group: str
    name: str

    @property
    def path(self) -> str:
        """Its resource id."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.name}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TagFilter:
    """``name=value``, or ``name`` alone for any value. Azure's tag names have no case."""

    name: str
    value: str | None = None

    def fits(self, tags: Mapping[str, str]) -> bool:
        """Whether such a tag is among these."""
        return any(name.lower() == self.name.lower() and self.value in (None, value) for name, value in tags.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is looked at. ``resource_groups`` and ``tags`` empty: any; with several tags a VM needs one of them. VMs with
    ``watch_tag`` are watched without being asked for. ``is_private``: they are reached by their private address."""

    subscriptions: tuple[str, ...] = ()
    resource_groups: tuple[str, ...] = ()
    tags: tuple[TagFilter, ...] = ()
    workspaces: tuple[Workspace, ...] = ()
    watch_tag: TagFilter | None = None
    is_private: bool = False
    trust_first: bool = False
    has_history: bool = False

    def holds(self, vm: CloudVm) -> bool:
        """Whether this VM is meant."""
        groups = {group.lower() for group in self.resource_groups}
        return (not groups or vm.resource_group.lower() in groups) and (not self.tags or any(tag.fits(vm.tags) for tag in self.tags))

    def is_watched(self, vm: CloudVm) -> bool:
        """Whether its tag says that it is to be watched."""
        return self.watch_tag is not None and self.watch_tag.fits(vm.tags)


_GUID = re.compile(r"[0-9A-Fa-f-]{36}")
_PART = re.compile(r"[A-Za-z0-9_.()-]{1,90}")
_WORKSPACE_ID = re.compile(
    r"/subscriptions/([^/]+)/resourcegroups/([^/]+)/providers/microsoft\.machinelearningservices/workspaces/([^/]+)/?", re.IGNORECASE
)


def need_subscription(text: str) -> str:
    """A subscription's id. Raises ValueError."""
    if not _GUID.fullmatch(text):
        raise ValueError(f"{text!r} is not the id of a subscription, such as 00000000-0000-0000-0000-000000000000")
    return text.lower()


def workspace_of(text: str, subscriptions: Sequence[str]) -> Workspace:
    """``[subscription/]group/workspace``, or a resource id. Raises ValueError."""
    match = _WORKSPACE_ID.fullmatch(text)
    parts = list(match.groups()) if match is not None else text.split("/")
    if len(parts) == 2 and len(subscriptions) == 1:
        parts = [subscriptions[0], *parts]
    if len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
        raise ValueError(
            f"{text!r} is not group/workspace (with one subscription in azure_subscriptions), subscription/group/workspace, "
            "or a workspace's resource id"
        )
    return Workspace(subscription=need_subscription(parts[0]), resource_group=parts[1], name=parts[2])


def tag_filter(text: str) -> TagFilter:
    """``name=value`` or ``name``. Raises ValueError."""
    name, equals, value = text.partition("=")
    if not name.strip() or len(text) > 800:
        raise ValueError(f"{text!r} is not a tag such as purpose=benchmark")
    return TagFilter(name=name.strip(), value=value.strip() if equals else None)


def check_base(text: str, *, field_name: str) -> None:
    """An address that may be given a token: https, or this machine. Raises Invalid."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    is_plain = parts.scheme == "http" and host in LOOPBACKS and port is not None
    if not host or parts.path not in ("", "/") or parts.query or parts.username or not (parts.scheme == "https" or is_plain):
        raise Invalid(field_name, f"{text!r} is not an address such as https://management.azure.com")


LOOPBACKS = ("127.0.0.1", "localhost", "::1")
_HISTORY_HOSTS = (".api.azureml.ms", ".api.ml.azure.cn", ".api.ml.azure.us")
_BLOB_HOSTS = (".blob.core.windows.net", ".blob.core.chinacloudapi.cn", ".blob.core.usgovcloudapi.net", ".blob.storage.azure.net")


def is_same_server(url: str, base: str) -> bool:
    """Whether a link stays with the server that gave it: scheme, host and port."""
    return _origin(url) is not None and _origin(url) == _origin(base)


def is_history_host(url: str, *, base: str) -> bool:
    """Whether a run history may be asked there, with the token: one of Azure ML's hosts over https, or this machine where ARM is."""
    return _is_one_of(url, _HISTORY_HOSTS, base=base)


def is_blob_host(url: str, *, base: str) -> bool:
    """Whether a log may be read there (without the token): Azure's storage over https, or this machine where ARM is."""
    return _is_one_of(url, _BLOB_HOSTS, base=base)


def _is_one_of(url: str, suffixes: tuple[str, ...], *, base: str) -> bool:
    origin, home = _origin(url), _origin(base)
    if origin is None or home is None:
        return False
    if home[1] in LOOPBACKS:
        return origin[1] in LOOPBACKS
    return origin[0] == "https" and origin[2] == 443 and origin[1].endswith(suffixes)


def _origin(url: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        return None
    return parts.scheme, parts.hostname, port if port is not None else {"https": 443, "http": 80}[parts.scheme]


# --- machines ---


@dataclass(frozen=True, slots=True, kw_only=True)
class VmListed:
    """A VM of the plain list, which knows neither power nor addresses. ``interfaces`` are ids in lower case, the primary one first."""

    vm: CloudVm
    interfaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A network interface: its private addresses, and the ids (lower case) of its public ones, the primary ones first."""

    key: str
    private_ips: tuple[str, ...] = ()
    public_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What was asked of a subscription. None: that part was not answered now, and what was known of it stays."""

    vms: Sequence[VmListed]
    powers: Mapping[str, PowerState] | None = None
    interfaces: Sequence[Interface] | None = None
    addresses: Mapping[str, str] | None = None


def vm_of(item: object) -> VmListed | None:
    """An item of ``virtualMachines``."""
    resource_id = _text(item, "id", limit=MAX_ID)
    parts = resource_id.split("/")
    if len(parts) < 9 or parts[1].lower() != "subscriptions" or parts[3].lower() != "resourcegroups":
        return None
    cards = _list(item, "properties", "networkProfile", "networkInterfaces")
    cards = sorted(cards, key=lambda card: _get(card, "properties", "primary") is not True)
    tags = _get(item, "tags")
    vm = CloudVm(
        resource_id=resource_id,
        name=_text(item, "name") or parts[-1],
        subscription=parts[2].lower(),
        resource_group=parts[4],
        region=_text(item, "location"),
        size=_text(item, "properties", "hardwareProfile", "vmSize"),
        os=_text(item, "properties", "storageProfile", "osDisk", "osType").lower(),
        is_spot=_text(item, "properties", "priority").lower() == "spot",
        admin_user=_text(item, "properties", "osProfile", "adminUsername"),
        tags={_cut(name): mask(_cut(value)) for name, value in tags.items() if isinstance(value, str)} if isinstance(tags, dict) else {},
    )
    return VmListed(vm=vm, interfaces=tuple(key for card in cards if (key := _text(card, "id", limit=MAX_ID).lower())))


def power_of(item: object) -> tuple[str, PowerState] | None:
    """The VM's key and power of an item of the list with ``statusOnly``: the status whose code says so, wherever it stands."""
    key = _text(item, "id", limit=MAX_ID).lower()
    if not key:
        return None
    for status in _list(item, "properties", "instanceView", "statuses"):
        kind, _, word = _text(status, "code").partition("/")
        if kind.lower() == "powerstate":
            known = {state.value: state for state in PowerState if state is not PowerState.GONE}
            return key, known.get(word.lower(), PowerState.UNKNOWN)
    return key, PowerState.UNKNOWN


def interface_of(item: object) -> Interface | None:
    """An item of ``networkInterfaces``."""
    key = _text(item, "id", limit=MAX_ID).lower()
    ways = sorted(_list(item, "properties", "ipConfigurations"), key=lambda way: _get(way, "properties", "primary") is not True)
    private = (_text(way, "properties", "privateIPAddress") for way in ways)
    public = (_text(way, "properties", "publicIPAddress", "id", limit=MAX_ID).lower() for way in ways)
    return Interface(key=key, private_ips=tuple(filter(None, private)), public_ids=tuple(filter(None, public))) if key else None


def address_of(item: object) -> tuple[str, str] | None:
    """The key and address of an item of ``publicIPAddresses``, "" while it has none (a dynamic one of a stopped machine)."""
    key = _text(item, "id", limit=MAX_ID).lower()
    return (key, _text(item, "properties", "ipAddress")) if key else None


def join(answers: Answers, before: Mapping[str, CloudVm]) -> list[CloudVm]:
    """The VMs by name with what is known of each; ``before`` by key."""
    cards = {card.key: card for card in answers.interfaces} if answers.interfaces is not None else None
    joined = []
    for listed in answers.vms:
        vm, known = listed.vm, before.get(listed.vm.key)
        if answers.powers is not None:
            vm = replace(vm, power=answers.powers.get(vm.key, PowerState.UNKNOWN))
        elif known is not None:
            vm = replace(vm, power=known.power)
        own = [cards[key] for key in listed.interfaces if key in cards] if cards is not None else None
        if own is not None:
            vm = replace(vm, private_ip=next((ip for card in own for ip in card.private_ips), ""))
        elif known is not None:
            vm = replace(vm, private_ip=known.private_ip)
        if own is not None and answers.addresses is not None:
            found = (answers.addresses.get(key, "") for card in own for key in card.public_ids)
            vm = replace(vm, public_ip=next(filter(None, found), ""))
        elif known is not None:
            vm = replace(vm, public_ip=known.public_ip)
        joined.append(vm)
    return sorted(joined, key=lambda vm: (vm.name.lower(), vm.key))


# --- jobs ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What the run history says of one job. ``logs``: name -> signed address, which is a secret: it is never shown, not even by
    ``repr``."""

    status: JobStatus = JobStatus.UNKNOWN
    started_at: float | None = None
    ended_at: float | None = None
    duration_s: float | None = None
    vm_size: str = ""
    is_low_priority: bool | None = None
    compute: str = ""
    parent: str = ""
    error: str = ""
    logs: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)


def job_of(item: object, workspace: Workspace) -> CloudJob | None:
    """An item of a workspace's ``jobs``."""
    resource_id, name = _text(item, "id", limit=MAX_ID), _text(item, "name")
    if not name or not resource_id.lower().startswith(f"{workspace.path.lower()}/jobs/"):
        return None
    return CloudJob(
        resource_id=resource_id,
        name=name,
        workspace=workspace.path,
        title=mask(_text(item, "properties", "displayName")),
        type=_text(item, "properties", "jobType"),
        status=status_of(_get(item, "properties", "status")),
        experiment=_text(item, "properties", "experimentName"),
        compute=_compute(item),
        portal_url=https_url(_get(item, "properties", "services", "Studio", "endpoint")),
        created_at=moment(_get(item, "systemData", "createdAt")),
        parent=_text(item, "properties", "parentJobName"),
    )


def child_of(item: object, parent: CloudJob) -> CloudJob | None:
    """An item of a run's children."""
    name = _text(item, "runId")
    if not name or "/" in name:
        return None
    details = details_of(item)
    return CloudJob(
        resource_id=f"{parent.workspace}/jobs/{name}",
        name=name,
        workspace=parent.workspace,
        title=mask(_text(item, "displayName")),
        type="Command",
        status=details.status,
        experiment=parent.experiment,
        compute=details.compute or parent.compute,
        created_at=moment(_get(item, "createdTimeUtc")),
        parent=parent.name,
        started_at=details.started_at,
        ended_at=details.ended_at,
        duration_s=details.duration_s,
    )


def details_of(data: object) -> Details:
    """A run's ``details``, or an item of children, which says less."""
    started_at, ended_at = moment(_get(data, "startTimeUtc")), moment(_get(data, "endTimeUtc"))
    duration_s = span_s(_get(data, "duration"))
    if duration_s is None and started_at is not None and ended_at is not None:
        duration_s = max(0.0, ended_at - started_at)
    files = _get(data, "logFiles")
    priority = _text(data, "compute", "priority")
    error = _text(data, "error", "error", "message") or _text(data, "error", "message")
    return Details(
        status=status_of(_get(data, "status")),
        started_at=started_at,
        ended_at=ended_at,
        duration_s=duration_s,
        vm_size=_text(data, "compute", "vmSize") or _text(data, "compute", "instanceType"),
        is_low_priority=priority.lower() != "dedicated" if priority else None,
        compute=_text(data, "compute", "target") or _text(data, "target"),
        parent=_text(data, "parentRunId"),
        error=mask(error),
        logs={name[:MAX_ID]: url for name, url in files.items() if isinstance(url, str)} if isinstance(files, dict) else {},
    )


def with_details(job: CloudJob, details: Details) -> CloudJob:
    """The job with what its details tell. Where it is over, that is told for good."""
    status = details.status if details.status is not JobStatus.UNKNOWN else job.status
    return replace(
        job,
        status=status,
        has_details=True,
        started_at=details.started_at,
        ended_at=details.ended_at,
        duration_s=details.duration_s,
        vm_size=details.vm_size or job.vm_size,
        is_low_priority=details.is_low_priority if details.is_low_priority is not None else job.is_low_priority,
        compute=job.compute or details.compute,
        parent=job.parent or details.parent,
        error=details.error,
    )


def listed_again(job: CloudJob, known: CloudJob | None) -> CloudJob:
    """A job as the list has it, with what its details told before; a list that lags behind the details does not bring it back."""
    if known is None or not known.has_details:
        return job
    is_behind = known.is_over and not job.is_over
    is_news = job.is_over and not known.is_over
    return replace(
        job,
        status=known.status if is_behind else job.status,
        has_details=not is_news,
        started_at=known.started_at,
        ended_at=known.ended_at,
        duration_s=known.duration_s,
        vm_size=known.vm_size,
        is_low_priority=known.is_low_priority,
        compute=job.compute or known.compute,
        parent=job.parent or known.parent,
        error=known.error,
    )


def newest_first(jobs: Iterable[CloudJob]) -> list[CloudJob]:
    """By the moment of creation; those without one stand last."""
    return sorted(jobs, key=lambda job: (job.created_at is None, -(job.created_at or 0.0), job.key))


_LOG_RANKS = tuple(
    re.compile(pattern)
    for pattern in (
        r"user_logs/std_log\.txt",
        r"user_logs/std_log_process_\d+\.txt",
        r"user_logs/std_log_(node|worker).*\.txt",
        r"azureml-logs/70_driver_log.*\.txt",
        r"user_logs/.+",
        r"azureml-logs/hyperdrive\.txt",
        r"logs/azureml/executionlogs\.txt",
        r".*std_?err.*|.*std_?out.*",
        r".*\.(txt|log)",
    )
)
_PROGRAM_RANKS = 5
"""Of those, the ones that a program of the user writes to."""


def chosen_logs(names: Iterable[str]) -> list[str]:
    """The logs that tell what the job's program says, at most MAX_LOGS of the best kind there is; else the one that tells most."""
    ranked = sorted((rank, _natural(name), name) for name in names if (rank := _rank(name)) is not None)
    if not ranked:
        return []
    best = ranked[0][0]
    if best >= _PROGRAM_RANKS:
        return [ranked[0][2]]
    return [name for rank, _, name in ranked if rank == best][:MAX_LOGS]


def _rank(name: str) -> int | None:
    return next((rank for rank, pattern in enumerate(_LOG_RANKS) if pattern.fullmatch(name)), None)


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name))


def status_of(value: object) -> JobStatus:
    """A status by its name; another one is unknown."""
    try:
        return JobStatus(str(value))
    except ValueError:
        return JobStatus.UNKNOWN


def moment(value: object) -> float | None:
    """Epoch seconds of an ISO date, UTC where it names no zone."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value[:64])
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


_SPAN = re.compile(r"(?:(\d{1,5})\.)?(\d{1,4}):(\d\d):(\d\d(?:\.\d{1,9})?)", re.ASCII)


def span_s(value: object) -> float | None:
    """Seconds of ``[d.]hh:mm:ss[.fffffff]``."""
    match = _SPAN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    days, hours, minutes, seconds = match.groups()
    return int(days or 0) * 86400.0 + int(hours) * 3600.0 + int(minutes) * 60.0 + float(seconds)


def https_url(value: object) -> str:
    """An address that may stand in a link, else ""."""
    if not isinstance(value, str) or len(value) > 2000 or not re.fullmatch(r"[\x21-\x7e]+", value):
        return ""
    origin = _origin(value)
    return value if origin is not None and origin[0] == "https" else ""


def _compute(item: object) -> str:
    name = _text(item, "properties", "computeId", limit=MAX_ID) or _text(item, "properties", "properties", "_azureml.ComputeTargetType")
    return name.rstrip("/").rpartition("/")[2] if name.startswith("/") else name


def _get(node: object, *path: str) -> object:
    for name in path:
        if not isinstance(node, Mapping):
            return None
        node = node.get(name)
    return node


def _text(node: object, *path: str, limit: int = MAX_TEXT) -> str:
    value = _get(node, *path)
    return _cut(value, limit) if isinstance(value, str) else ""


def _list(node: object, *path: str) -> list[object]:
    value = _get(node, *path)
    return value if isinstance(value, list) else []


def _cut(text: str, limit: int = MAX_TEXT) -> str:
    return "".join(letter for letter in text[:limit] if letter.isprintable())
