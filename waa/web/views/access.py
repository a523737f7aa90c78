"""The pages of logins, keys, sessions and the audit log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from waa.core.access import ApiKey, AuditEntry, AuditQuery, Identity, Outcome, Scope, Session, granted, key_subject, refusal
from waa.core.error import Invalid
from waa.web.views.query import Query, printed

AUDIT_PAGE = 100
AUDIT_NAMES = ("q", "actor", "action", "outcome", "since", "until", "before")
AUDIT_GROUPS = ("login", "logout", "session.", "key.", "link.", "vm.", "run.", "results.", "job.")
GROUP_WORDS: Mapping[str, str] = {
    "login": "Logins",
    "logout": "Logouts",
    "session.": "Sessions",
    "key.": "Keys",
    "link.": "Login links",
    "vm.": "VMs",
    "run.": "Runs",
    "results.": "Imports",
    "job.": "Jobs",
}
SCOPE_WORDS: Mapping[Scope, str] = {
    Scope.VIEW: "See everything",
    Scope.OPERATE: "Add and remove VMs, set thresholds, import; includes view and ingest",
    Scope.INGEST: "Push results",
    Scope.TRAINING: "Create trainings and push their predictions",
    Scope.METRICS: "Read the server's own figures (/metrics)",
    Scope.ADMIN: "Everything: keys and sessions of others and the audit log too",
}

VIA_WORDS: Mapping[str, str] = {"key": "by key", "link": "by link", "oidc": "by OpenID Connect"}
MAX_PROGRAM = 40
# The order matters: each of them also says the names below it.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("HeadlessChrome/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginPage:
    """The form. ``next``: where to go then; ``error``: why the last try failed; ``told``: what happened before. ``provider``: where one
    signs in with OpenID Connect, "" nowhere; ``refused``: why that failed; ``leave_url``: where one signs out there too."""

    next: str
    error: str = ""
    told: str = ""
    is_over_tls: bool = True
    provider: str = ""
    refused: str = ""
    leave_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """A key in the list. ``maker``: in words; ``until``: the day of its end, "" where it has none; ``state``: good, expired, revoked;
    ``is_own``: the one that asks."""

    key_id: str
    name: str
    maker: str
    scopes: str
    created_at: float
    until: str
    expires_at: float | None
    last_used_at: float | None
    state: str
    is_own: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A session in the list. ``browser``: in words, of what it says of itself (``agent``); ``is_own``: the one that asks."""

    session_id: str
    name: str
    via: str
    scopes: str
    address: str
    browser: str
    agent: str
    created_at: float
    seen_at: float
    is_own: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeChoice:
    """A scope that a new key may have."""

    value: str
    words: str
    is_chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyForm:
    """What was entered for a new key and what is wrong with it; ``error`` belongs to no field."""

    name: str = ""
    days: str = "90"
    scopes: tuple[str, ...] = (Scope.VIEW.value,)
    errors: Mapping[str, str] | None = None

    def error(self, field: str) -> str:
        """What is wrong with a field."""
        return (self.errors or {}).get(field, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPage:
    """Keys and sessions of one identity, or of all. ``scopes``: what they may, by scope and in words; ``over``: keys that are refused;
    ``made``: the text of a key that was made just now, and its name."""

    name: str
    scopes: tuple[tuple[str, str], ...]
    is_required: bool
    sees_all: bool
    keys: tuple[KeyRow, ...]
    over: tuple[KeyRow, ...]
    sessions: tuple[SessionRow, ...]
    choices: tuple[ScopeChoice, ...]
    form: KeyForm
    made: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """What the reader chose, as it stands in the address."""

    q: str = ""
    actor: str = ""
    action: str = ""
    outcome: str = ""
    since: str = ""
    until: str = ""
    before: str = ""

    @classmethod
    def of(cls, query: Query) -> "AuditFilter":
        """Raises Invalid."""
        before = query.one("before")
        if before and not (before.isascii() and before.isdigit() and len(before) < 19):
            raise Invalid("before", "is the number of an entry")
        for name in ("since", "until"):
            _day(query.one(name), name)
        return cls(
            q=query.one("q"),
            actor=query.one("actor"),
            action=query.choice("action", AUDIT_GROUPS),
            outcome=query.choice("outcome", tuple(Outcome)),
            since=query.one("since"),
            until=query.one("until"),
            before=before,
        )

    def query(self, limit: int) -> AuditQuery:
        """For the store. ``until`` counts the whole day in."""
        until = _day(self.until, "until")
        return AuditQuery(
            before_id=int(self.before) if self.before else None,
            actor=self.actor,
            action=self.action,
            outcome=Outcome(self.outcome) if self.outcome else None,
            text=self.q,
            since=_day(self.since, "since"),
            until=until + 86_400 if until is not None else None,
            limit=limit,
        )

    def url(self, path: str, *, before: str = "") -> str:
        """The same choice elsewhere, or further back."""
        chosen = {name: getattr(self, name) for name in AUDIT_NAMES if name != "before"} | {"before": before}
        text = printed(chosen)
        return f"{path}?{text}" if text else path


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Entries, newest first. ``older`` and ``newest`` are addresses, "" where there is nothing."""

    filter: AuditFilter
    entries: tuple[AuditEntry, ...]
    groups: tuple[tuple[str, str], ...]
    outcomes: tuple[str, ...]
    older: str
    newest: str
    csv: str
    json: str

    @property
    def is_narrow(self) -> bool:
        """Whether something was chosen."""
        return self.filter != AuditFilter()


def access_page(
    identity: Identity,
    *,
    keys: Sequence[ApiKey],
    sessions: Sequence[Session],
    now: float,
    is_required: bool,
    form: KeyForm | None = None,
    made: tuple[str, str] | None = None,
) -> AccessPage:
    """What somebody has, and may make."""
    form = form or KeyForm()
    allowed = granted(identity.scopes)
    names = {key_subject(key.key_id): key.name for key in keys}
    rows = [_key_row(key, identity, names, now) for key in keys]
    return AccessPage(
        name=identity.name,
        scopes=tuple((scope.value, SCOPE_WORDS[scope]) for scope in Scope if scope in identity.scopes),
        is_required=is_required,
        sees_all=Scope.ADMIN in identity.scopes,
        keys=tuple(row for row in rows if row.state == "good"),
        over=tuple(row for row in rows if row.state != "good"),
        sessions=tuple(_session_row(session, identity) for session in sessions),
        choices=tuple(
            ScopeChoice(value=scope.value, words=SCOPE_WORDS[scope], is_chosen=scope.value in form.scopes)
            for scope in Scope
            if scope in allowed
        ),
        form=form,
        made=made,
    )


def audit_page(filter_: AuditFilter, entries: Sequence[AuditEntry]) -> AuditPage:
    """Of one entry more than a page holds."""
    shown = tuple(entries[:AUDIT_PAGE])
    has_older = len(entries) > len(shown)
    return AuditPage(
        filter=filter_,
        entries=shown,
        groups=tuple(GROUP_WORDS.items()),
        outcomes=tuple(Outcome),
        older=filter_.url("/audit", before=str(shown[-1].entry_id)) if has_older else "",
        newest=filter_.url("/audit") if filter_.before else "",
        csv=filter_.url("/audit.csv"),
        json=filter_.url("/audit.json"),
    )


def _key_row(key: ApiKey, identity: Identity, names: Mapping[str, str], now: float) -> KeyRow:
    reason = refusal(key, now)
    return KeyRow(
        key_id=key.key_id,
        name=key.name,
        maker="you" if key.owner == identity.subject else _maker(key.owner, names),
        scopes=_words(key.scopes),
        created_at=key.created_at,
        until=_date(key.expires_at) if key.expires_at is not None else "",
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
        state=reason.split()[-1] if reason else "good",
        is_own=identity.subject == key_subject(key.key_id),
    )


def _session_row(session: Session, identity: Identity) -> SessionRow:
    return SessionRow(
        session_id=session.session_id,
        name=session.name,
        via=VIA_WORDS.get(session.via, session.via),
        scopes=_words(session.scopes),
        address=session.address,
        browser=browser_words(session.agent),
        agent=session.agent,
        created_at=session.created_at,
        seen_at=session.seen_at,
        is_own=session.session_id == identity.session_id,
    )


def browser_words(agent: str) -> str:
    """A browser and its system, as far as its ``User-Agent`` tells them: "Firefox on Windows"; else how the text begins."""
    found = (next((name for mark, name in marks if mark in agent), "") for marks in (_BROWSERS, _SYSTEMS))
    words = " on ".join(name for name in found if name)
    return words or agent.partition(" ")[0].partition("/")[0][:MAX_PROGRAM]


def _maker(owner: str, names: Mapping[str, str]) -> str:
    """Who made a key, in words; see ``Identity.subject``."""
    kind, _, name = owner.partition(":")
    words = {"local": "somebody on that machine", "command": "the command line", "link": "a login link"}
    return words.get(kind) or names.get(owner) or (f"key {name}" if kind == "key" else name or owner)


def _date(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment.day} {moment:%b %Y}"


def _words(scopes: frozenset[Scope]) -> str:
    return ", ".join(scope.value for scope in Scope if scope in scopes)


def _day(text: str, name: str) -> float | None:
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise Invalid(name, "is a day such as 2026-01-31") from None
