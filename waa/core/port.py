"""What the services need from the adapters, as protocols: the arrows of imports stay downward."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from waa.core.access import ApiKey, AuditEntry, AuditQuery, LoginLink, Session
from waa.core.azure import Details, Interface, VmListed, Workspace
from waa.core.cloud import CloudJob, PowerState
from waa.core.entity import Entity, RunId
from waa.core.error import Failure, LinkError
from waa.core.event import Change, Event, EventType
from waa.core.logs.excerpt import Excerpt
from waa.core.observation import LogCursor, LogFound, LogSource, StatusSeen
from waa.core.oidc import Attempt, Claims
from waa.core.pipeline import Answer, Bound, Credential, PipelineSpec
from waa.core.price import KnownPrice, ListedPrice, Placement
from waa.core.results.folder import FolderFound
from waa.core.results.tree import FileListed
from waa.core.spec import VmSpec
from waa.core.training import EVERYTHING, PairCounts, Prediction, PredictionFilter, Side, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """Outcome of a one-off command; ``exit_status`` is -1 where a signal ended it. ``truncated``: output was cut."""

    exit_status: int
    stdout: bytes
    stderr: bytes
    truncated: bool = False


class RemoteProcess(Protocol):
    """A long-lived command on the machine. Its output goes to the callbacks given to ``Link.start``, on the loop's
    thread. Its end is told once by ``on_end``."""

    def write(self, data: bytes) -> None:
        """Send a few bytes to its standard input; never blocks, lost if the process is gone."""

    def pause(self) -> None:
        """Stop reading: the remote end is pushed back by the window."""

    def resume(self) -> None:
        """Read on."""

    def close(self) -> None:
        """End it: its standard input closes, and our scripts end with that. May be called twice."""


class Link(Protocol):
    """One open connection to a machine (SSH or local). All methods are for the loop's thread."""

    async def start(
        self,
        command: str,
        *,
        on_stdout: Callable[[bytes], None],
        on_stderr: Callable[[bytes], None],
        on_end: Callable[[int | None], None],
    ) -> RemoteProcess:
        """Run ``command`` by ``/bin/sh`` and keep it. Raises LinkError."""

    async def run(self, command: str, *, timeout_s: float = 10.0, max_bytes: int = 1_000_000) -> CommandResult:
        """Run a short command to its end. Raises LinkError (timeout, closed, command)."""

    async def wait_closed(self) -> LinkError:
        """Return when the connection is gone, with why."""

    async def close(self) -> None:
        """End everything on it. May be called twice."""


class LinkOpener(Protocol):
    """Opens links; one for the whole server, holds the bounded executor."""

    async def open(self, spec: VmSpec) -> Link:
        """Connect. Raises LinkError with the reason and a remedy."""

    async def close(self) -> None:
        """Abort what is being opened and give the threads back."""


class LogFollower(Protocol):
    """One followed log."""

    def pause(self) -> None:
        """Stop reading; the machine is pushed back."""

    def resume(self) -> None:
        """Read on."""

    def close(self) -> None:
        """Stop following. May be called twice."""


class Watch(Protocol):
    """What is asked of one VM over one open link."""

    async def run(self) -> None:
        """Report until the link ends or is silent: always ends by raising LinkError."""

    async def follow(
        self,
        source: LogSource,
        offset: int,
        *,
        on_data: Callable[[bytes], None],
        on_reset: Callable[[LogSource], None],
        on_end: Callable[[Failure | None], None],
    ) -> LogFollower:
        """Give the log's bytes from ``offset`` on, as they are written. ``on_reset``: truncated or replaced, what
        follows begins at byte 0 of the new source. Raises LinkError."""

    async def read_result(self, *, domain: str, task_id: str, roots: Sequence[str], inner: bool) -> bytes | None:
        """The newest ``<domain>/<task_id>/result.txt`` below the roots, None where there is none. Raises LinkError."""

    async def read_screenshot(self, *, domain: str, task_id: str, roots: Sequence[str], inner: bool) -> bytes | None:
        """The newest screenshot of a task below the roots, a whole PNG; None where there is none. Raises LinkError."""

    async def read_screen_sums(self, *, domain: str, task_id: str, roots: Sequence[str], inner: bool, newest: int) -> tuple[str, ...]:
        """Checksums of the ``newest`` so many screenshots of a task, the newest first. Raises LinkError."""

    async def read_task(self, *, domain: str, task_id: str, roots: Sequence[str], inner: bool, within: str = "") -> FolderFound | None:
        """The newest folder of a task below the roots, preferably below one named ``within``; None where there is none.
        Raises LinkError."""

    async def read_log_range(self, source: LogSource, *, from_at: float, until_at: float, max_bytes: int) -> Excerpt | None:
        """The lines of a log from a moment until before another one, by the times that stand in it; None where there is no such log.
        Raises LinkError."""

    async def read_first(self, paths: Sequence[str], *, inner: bool, max_bytes: int) -> tuple[str, bytes] | None:
        """The first of these files that is there, with at most ``max_bytes`` bytes of it; None where none is. Raises LinkError."""

    async def read_task_file(self, *, folder: str, name: str, inner: bool, max_bytes: int) -> bytes | None:
        """A file of a task's folder; None where there is none, or a longer one. Raises LinkError."""

    async def list_results(self, path: str, *, inner: bool) -> Sequence[FileListed]:
        """The files below a folder that matter to results. Raises LinkError, Invalid (``path``) where there is no such folder."""

    async def fetch_results(
        self, path: str, files: Sequence[FileListed], *, inner: bool, into: str, on_progress: Callable[[int, int], None]
    ) -> None:
        """Bring files of ``list_results`` into a folder on this machine, but for those that are there already. ``on_progress``: bytes
        done, bytes in all. Raises LinkError, Unavailable where the disk refuses."""


class PictureStore(Protocol):
    """Keeps pictures by key within a bound. Methods block, and may be called from any thread."""

    def get(self, key: str) -> bytes | None:
        """The picture, None where it is not kept."""

    def put(self, key: str, data: bytes) -> None:
        """Keep it; those not used for longest go. What the disk refuses is not kept."""


class Shrink(Protocol):
    """Makes thumbnails. Blocks; may be called from any thread."""

    def __call__(self, png: bytes, *, width: int) -> bytes | None:
        """A WebP of at most that width in pixels; None where the PNG cannot be read or is too large to be."""


class WatchMaker(Protocol):
    """Makes the watch of one VM; the callbacks come on the loop's thread."""

    def __call__(
        self,
        link: Link,
        spec: VmSpec,
        *,
        on_status: Callable[[StatusSeen], None],
        on_alive: Callable[[float], None],
        on_logs: Callable[[tuple[LogFound, ...]], None],
    ) -> Watch:
        """A watch that is not running yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a store holds: the newest version of every entity in the order in which they were first heard of (so runs
    before their tasks, tasks in the order of their start; of troubles the newest few), the log cursors, and the range
    of event ids that it can still give (``first_event_id`` is ``last_event_id + 1`` where it holds none)."""

    store_id: str
    entities: Sequence[Entity]
    cursors: Sequence[LogCursor]
    first_event_id: int
    last_event_id: int


class Pruned(NamedTuple):
    """The first event id that is still held, and the runs and trainings that went."""

    first_event_id: int
    runs: Sequence[RunId] = ()
    trainings: Sequence[str] = ()


class Store(Protocol):
    """Keeps events, the newest version of each entity, and log cursors. Methods block: for the recorder's one thread.

    All raise Unavailable where the database cannot be used now.
    """

    def load(self) -> Snapshot:
        """Everything needed to continue after a restart. ``store_id`` names this database for good."""

    def append(self, changes: Sequence[Change], cursors: Sequence[LogCursor] = ()) -> list[Event]:
        """All of it in one transaction, durable when it returns. Ids rise without end, also across restarts.
        VM_REMOVED deletes the VM; its runs, tasks and cursors stay as history, but for the demo's."""

    def events_since(self, after: int, *, types: Collection[EventType] | None = None, limit: int = 1000) -> list[Event]:
        """The events with a greater id, oldest first."""

    def events_of(self, topics: Collection[str], *, after: int = 0, limit: int = 1000) -> list[Event]:
        """The same, of these topics only (see ``topic_of``)."""

    def prune(self, *, max_events: int, runs_before: float) -> Pruned:
        """Drop the oldest events beyond ``max_events``, the PASSING ones sooner, and the runs (with tasks) that ended before a moment, as
        well as trainings (with predictions) that said nothing since."""

    def check(self) -> None:
        """Ask the database for a sign of life."""

    def close(self) -> None:
        """Give everything back. May be called twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRecords:
    """The keys (revoked ones too), the sessions that were not ended, and the number of the change that they reflect."""

    keys: Sequence[ApiKey]
    sessions: Sequence[Session]
    revision: int


class AccessStore(Protocol):
    """Keeps keys, sessions, login links and the audit log; never a secret. Several processes may write at once: the running
    server and a command beside it. Methods block; all raise Unavailable where the database cannot be used now."""

    def load(self) -> AccessRecords:
        """All keys and live sessions."""

    def revision(self) -> int:
        """The number of the last change of a key or session, whoever made it."""

    def put(self, changes: Sequence[ApiKey | Session | LoginLink], entries: Sequence[AuditEntry]) -> int:
        """Keep these versions and what the audit log says about them, in one transaction. Gives its revision."""

    def use_link(self, digest: str, at: float) -> LoginLink | None:
        """Use up a link, None where there is none that can be used (any more): of two at once, one gets it."""

    def touch(self, *, keys: Mapping[str, float], sessions: Mapping[str, float]) -> None:
        """When keys were last used and sessions last seen, by id. No change in the sense of ``revision``."""

    def add_audit(self, entries: Sequence[AuditEntry]) -> None:
        """Write to the audit log."""

    def audit(self, query: AuditQuery) -> list[AuditEntry]:
        """Entries of the audit log, newest first."""

    def prune(self, *, before: float, sessions_before: float, max_entries: int) -> None:
        """Drop audit entries, revoked keys and links from before a moment, sessions that ended or were last seen before another one,
        and the oldest audit entries beyond a number."""

    def close(self) -> None:
        """Give everything back. May be called twice."""


class PredictionReader(Protocol):
    """Reads the predictions that a Store has taken. Methods block, and may be called from several threads; all raise Unavailable where
    the database cannot be used now."""

    def known(self, job_id: str, client_ids: Collection[str]) -> dict[str, int]:
        """Those of these ids that a training has used already, with their ``seq``."""

    def page(
        self,
        job_id: str,
        wanted: PredictionFilter = EVERYTHING,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[Prediction]:
        """Predictions with ``after < seq < before``, the oldest or the newest ``limit`` of them, in that order."""

    def pairs(
        self, first: Side, second: Side, *, turn: Turn | None = None, after: int = 0, limit: int = 50
    ) -> list[tuple[Prediction, Prediction]]:
        """Predictions of two sides about the same prompt and target, in the order of the first side's ``seq``, from beyond ``after`` on;
        all, or those of one turn."""

    def pair_counts(self, first: Side, second: Side) -> PairCounts:
        """How two sides compare."""

    def close(self) -> None:
        """Give everything back. May be called twice."""


class OpenIdProvider(Protocol):
    """Where people log in who are known elsewhere. The coroutines raise Unavailable where it does not answer."""

    issuer: str
    host: str

    @property
    def logout_url(self) -> str:
        """Where one signs out there, "" where that is not known (yet)."""

    async def login_url(self, attempt: Attempt) -> str:
        """Where the browser has to go."""

    async def claims(self, attempt: Attempt, code: str) -> Claims:
        """What the provider says of who logged in, checked. Raises SignInNeeded: the code or the token does not count."""

    async def close(self) -> None:
        """Give the connections back. May be called twice."""


class PriceList(Protocol):
    """Azure's price list."""

    async def ask(self, placement: Placement, currency: str) -> Sequence[ListedPrice]:
        """What it says about a size in a region, and a little more. Raises Unavailable; TooOften where it says when to come back."""

    async def close(self) -> None:
        """Give the connections back. May be called twice."""


class PriceCache(Protocol):
    """Prices that outlive a restart. Blocks; one caller at a time."""

    def load(self) -> dict[str, KnownPrice]:
        """What is kept; nothing where it is damaged."""

    def save(self, known: Mapping[str, KnownPrice]) -> None:
        """Keep this. What the disk refuses is logged and not kept."""


class PipelineProbe(Protocol):
    """Asks backends how their pipelines are. For the loop's thread."""

    async def look(self, spec: PipelineSpec, credential: Credential) -> Answer:
        """Ask once, within a bound of time. Never raises: what fails is the answer's failure."""

    def forget(self, pipeline_id: str) -> None:
        """Give back what is kept open for one."""

    async def close(self) -> None:
        """Give everything back. May be called twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobPart:
    """Some bytes of a file, and the size of the whole just now."""

    data: bytes
    total: int


class TokenSource(Protocol):
    """Where the token for Azure comes from."""

    async def token(self, claims: str | None = None) -> str:
        """One that counts now; ``claims`` is what a refusal asked it to prove. Raises CloudError (LOGIN)."""

    def forget(self) -> None:
        """The one given last was refused."""

    async def close(self) -> None:
        """Give everything back. May be called twice."""


class SecretStore(Protocol):
    """Keeps credentials apart from all records. Methods block, and may be called from any thread."""

    def load(self) -> Mapping[str, Bound]:
        """All of them by id. Raises Unavailable."""

    def put(self, key: str, bound: Bound | None) -> None:
        """Keep one, or (None) forget it. Raises Unavailable."""


class Cloud(Protocol):
    """What is asked of Azure. The coroutines raise CloudError."""

    def remaining_reads(self, subscription: str) -> int | None:
        """How much of its allowance is left, None: not known."""

    async def vms(self, subscription: str) -> Sequence[VmListed]:
        """All VMs of a subscription."""

    async def powers(self, subscription: str) -> Mapping[str, PowerState]:
        """Power states by key of the VM."""

    async def interfaces(self, subscription: str) -> Sequence[Interface]:
        """All network interfaces."""

    async def addresses(self, subscription: str) -> Mapping[str, str]:
        """Public addresses by key."""

    async def jobs(self, workspace: Workspace, *, at_most: int) -> tuple[Sequence[CloudJob], bool]:
        """Jobs that are not archived, about so many, and whether these are all."""

    async def details(self, workspace: Workspace, name: str) -> Details:
        """What is known of one job."""

    async def children(self, workspace: Workspace, parent: CloudJob, *, at_most: int) -> Sequence[CloudJob]:
        """The jobs that are parts of one."""

    async def read_blob(self, url: str, first: int, size: int) -> BlobPart:
        """Some bytes of a log, none where it is not longer."""

    async def close(self) -> None:
        """Give the connections back. May be called twice."""
