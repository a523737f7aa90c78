"""Who may see and do what: identities, keys, sessions, one-time links, and the record of what was done.

Secrets are random and long (192 bits and more), so one SHA-256 of them is kept: there is nothing to guess that a slow
hash would make dearer, and every request has to pay for it.
"""

import hashlib
import hmac
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from waa.core.error import Invalid


class Scope(StrEnum):
    """What a key or a session is good for. ``ingest`` pushes results, ``training`` predictions, ``metrics`` reads the server's figures."""

    VIEW = "view"
    OPERATE = "operate"
    INGEST = "ingest"
    TRAINING = "training"
    METRICS = "metrics"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)
_INCLUDED: Mapping[Scope, frozenset[Scope]] = {
    Scope.ADMIN: ALL_SCOPES,
    # Who may add a VM gets results in anyway: withholding ``ingest`` would only make two keys out of one.
    Scope.OPERATE: frozenset({Scope.OPERATE, Scope.VIEW, Scope.INGEST}),
}


class IdentityKind(StrEnum):
    """How somebody is known: not at all needed (local), by a key, by a session of a browser, by the word of a trusted proxy."""

    LOCAL = "local"
    KEY = "key"
    SESSION = "session"
    PROXY = "proxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who asks. ``subject`` owns things: ``local``, ``key:<id>``, ``user:<name>``, ``link:<id>``; ``name`` is for people.
    ``scopes`` are as granted, see ``allows``. ``key_id`` is also set for the session of somebody who logged in by a key.
    ``job_id``: what may be done is done to this training only, "": to any."""

    kind: IdentityKind
    subject: str
    name: str
    scopes: frozenset[Scope]
    key_id: str = ""
    session_id: str = ""
    job_id: str = ""

    @property
    def handle(self) -> str:
        """What ends when the identity does, and its streams with it: its session, else its key; "" where nothing ends."""
        if self.session_id:
            return session_handle(self.session_id)
        return key_subject(self.key_id) if self.key_id else ""


LOCAL = Identity(kind=IdentityKind.LOCAL, subject="local", name="this machine", scopes=ALL_SCOPES)
"""Everybody, where no login is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key without its secret. ``owner`` is the subject that made it; ``digest`` is of its whole text. ``last_used_at``
    lags by up to a minute. ``job_id``: good for this training only, "": for any."""

    key_id: str
    name: str
    owner: str
    scopes: frozenset[Scope]
    digest: str
    created_at: float
    expires_at: float | None = None
    last_used_at: float | None = None
    revoked_at: float | None = None
    job_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A browser that logged in. ``digest`` is of the token in its cookie; ``via`` is how: key, link, oidc. ``key_id``: the key
    it ends with. ``seen_at`` lags by up to a minute; ``expires_at`` is its end at the latest."""

    session_id: str
    digest: str
    subject: str
    name: str
    scopes: frozenset[Scope]
    via: str
    created_at: float
    seen_at: float
    expires_at: float
    key_id: str = ""
    ended_at: float | None = None
    address: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginLink:
    """A link that logs in one browser once, before ``expires_at``."""

    link_id: str
    digest: str
    scopes: frozenset[Scope]
    created_at: float
    expires_at: float
    used_at: float | None = None


class Outcome(StrEnum):
    """What became of an action: done, not allowed, or gone wrong (bad input included)."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Somebody did something. ``actor`` is a subject ("" unknown), ``via`` a kind of identity, ``action`` such as ``vm.add``,
    ``subject`` what it was done to. ``entry_id`` is given by the store. Never holds a secret."""

    at: float
    actor: str
    name: str
    via: str
    address: str
    action: str
    subject: str = ""
    outcome: Outcome = Outcome.DONE
    detail: str = ""
    entry_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """Which entries, newest first: older than the entry ``before_id``, of this actor, action (or a group: ``vm.``), outcome,
    containing ``text`` in who, from where, what or detail. ``since`` counts in, ``until`` does not."""

    before_id: int | None = None
    actor: str = ""
    action: str = ""
    outcome: Outcome | None = None
    text: str = ""
    since: float | None = None
    until: float | None = None
    limit: int = 100


MAX_TEXT = 200
"""Characters of what comes from clients into sessions and the audit log: user agents, names, details."""
_KEY = re.compile(r"waa_([0-9a-f]{12})_([A-Za-z0-9_-]{32})")


def key_text(key_id: str, secret: str) -> str:
    """The key as its owner sees it, once."""
    return f"waa_{key_id}_{secret}"


def key_id_of(text: str) -> str | None:
    """The id in the text of a key, None where it is none."""
    found = _KEY.fullmatch(text)
    return found.group(1) if found else None


def digest(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def is_secret_of(text: str, kept: str) -> bool:
    """Whether ``kept`` is the digest of this text; takes the same time for a near miss."""
    return hmac.compare_digest(digest(text), kept)


def key_subject(key_id: str) -> str:
    """The subject of a key."""
    return f"key:{key_id}"


def session_handle(session_id: str) -> str:
    """The name under which the streams of a session are ended."""
    return f"session:{session_id}"


def granted(scopes: Iterable[Scope]) -> frozenset[Scope]:
    """The scopes with what they include."""
    return frozenset().union(*(_INCLUDED.get(scope, frozenset({scope})) for scope in scopes))


def allows(identity: Identity, needed: Collection[Scope]) -> bool:
    """Whether the identity has one of the scopes (none needed: yes)."""
    return not needed or not granted(identity.scopes).isdisjoint(needed)


def owns(identity: Identity, owner: str) -> bool:
    """Whether something of this owner is theirs to see and end: their own, or they administer all."""
    return identity.subject == owner or allows(identity, (Scope.ADMIN,))


def refusal(key: ApiKey, now: float) -> str | None:
    """Why a key is not taken any more, None where it is."""
    if key.revoked_at is not None:
        return "was revoked"
    if key.expires_at is not None and key.expires_at <= now:
        return "has expired"
    return None


def session_end(session: Session, idle_s: float) -> float:
    """When it ends, or ended, if nobody uses it from now on."""
    return session.ended_at if session.ended_at is not None else min(session.expires_at, session.seen_at + idle_s)


def is_live(session: Session, *, idle_s: float, now: float) -> bool:
    """Whether a session still counts."""
    return session.ended_at is None and session_end(session, idle_s) > now


def descendants(keys: Iterable[ApiKey], key_id: str) -> list[ApiKey]:
    """The keys that a key made, and those that they made: they end with it, or one leaked key would outlive its revocation."""
    made: dict[str, list[ApiKey]] = {}
    for key in keys:
        made.setdefault(key.owner, []).append(key)
    found: list[ApiKey] = []
    waiting = [key_id]
    while waiting:
        children = made.pop(key_subject(waiting.pop()), [])
        found += children
        waiting += [child.key_id for child in children]
    return found


def parse_scopes(values: Iterable[str], *, field: str = "scope") -> frozenset[Scope]:
    """Scopes by their names. Raises Invalid: an unknown one, or none."""
    names = [value.strip() for value in values if value.strip()]
    known = {scope.value: scope for scope in Scope}
    for name in names:
        if name not in known:
            raise Invalid(field, f"{name[:40]!r} is not one of: {', '.join(known)}")
    if not names:
        raise Invalid(field, f"name at least one of: {', '.join(known)}")
    return frozenset(known[name] for name in names)


def printable(text: str, limit: int = MAX_TEXT) -> str:
    """Text of a client, on one line and bounded."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:limit]).strip()
