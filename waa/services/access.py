"""Who is let in: keys, sessions, login links, and the audit log. Nothing counts that the store has not taken."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from waa.core.access import (
    LOCAL,
    ApiKey,
    AuditEntry,
    AuditQuery,
    Identity,
    IdentityKind,
    LoginLink,
    Outcome,
    Scope,
    Session,
    descendants,
    digest,
    granted,
    is_live,
    is_secret_of,
    key_id_of,
    key_subject,
    key_text,
    owns,
    parse_scopes,
    printable,
    refusal,
    session_end,
    session_handle,
)
from waa.core.error import Conflict, Forbidden, Invalid, NotFound, SignInNeeded, Unavailable
from waa.core.port import AccessStore

log = logging.getLogger(__name__)
Result = TypeVar("Result")

MAX_KEYS = 1_000
MAX_SESSIONS = 10_000
MAX_SESSIONS_PER_SUBJECT = 50
"""The session that was seen least lately makes room."""
MAX_WAITING_ENTRIES = 1_000
"""Audit entries on their way to the store; beyond that the database has failed for long, and requests fail too."""
MAX_AUDIT_ENTRIES = 1_000_000
LINK_LIFE_S = 900.0
LOOK_EVERY_S = 1.0
"""How soon a key that was revoked elsewhere (by a command, by another server) is noticed."""
TOUCH_EVERY_S = 60.0
DAY_S = 86_400.0
COMMAND = replace(LOCAL, subject="command", name="command line")
"""Who has the files needs no key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRules:
    """The operator's decisions. ``is_required``: nobody is let in unknown. A session ends ``idle_s`` after it was last used, and
    ``life_s`` after its login. ``proxy_scopes``: of those whom a trusted proxy names."""

    is_required: bool = False
    idle_s: float = 12 * 3600.0
    life_s: float = 30 * DAY_S
    audit_s: float = 365 * DAY_S
    proxy_scopes: frozenset[Scope] = frozenset({Scope.VIEW})


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """What a request says of who sends it: keys from its headers, the token of its cookie, the user that a trusted proxy names."""

    keys: tuple[str, ...] = ()
    token: str = ""
    proxy_user: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Where somebody logs in from."""

    address: str = ""
    agent: str = ""


class Access:
    """Knows all keys and live sessions in memory, so that a request waits for nothing; writes through to the store.

    For the loop's thread only. ``identify`` is for every request; the coroutines raise Unavailable where the store fails.
    """

    def __init__(self, *, store: AccessStore, rules: AccessRules, clock: Callable[[], float]) -> None:
        self.rules = rules
        self._store = store
        self._clock = clock
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="access")
        self._keys: dict[str, ApiKey] = {}
        self._sessions: dict[str, Session] = {}
        self._by_digest: dict[str, str] = {}
        self._live: frozenset[str] = frozenset()
        self._look_at = 0.0
        self._revision = -1
        self._touched_keys: dict[str, float] = {}
        self._touched_sessions: dict[str, float] = {}
        self._listeners: list[Callable[[Collection[str]], None]] = []
        self._waiting = 0
        self._is_closed = False

    # --- Its life.

    async def open(self) -> None:
        """Load what is kept. Raises Unavailable, Conflict (see the store)."""
        await self._reload()

    async def run(self) -> None:
        """Notice what others changed and what time ended, until cancelled."""
        touch_at = self._clock() + TOUCH_EVERY_S
        is_failing = False
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
                if self._clock() >= touch_at:
                    touch_at = self._clock() + TOUCH_EVERY_S
                    await self._touch()
                is_failing = False
            except Unavailable as error:
                log.log(logging.DEBUG if is_failing else logging.WARNING, "access store fails error=%s", error)
                is_failing = True

    async def look(self) -> None:
        """One look: take over what others changed, end what has run out."""
        if await self._call(self._store.revision) != self._revision:
            await self._reload()
        elif self._clock() >= self._look_at:
            await self._reload()  # another server on this database may have seen a session that was idle here

    async def prune(self) -> None:
        """Drop the oldest of the audit log and what ended long ago."""
        now = self._clock()
        before, sessions_before = now - self.rules.audit_s, now - self.rules.idle_s - 2 * TOUCH_EVERY_S
        await self._call(lambda: self._store.prune(before=before, sessions_before=sessions_before, max_entries=MAX_AUDIT_ENTRIES))

    async def close(self) -> None:
        """Write what waits and give the store back. May be called twice."""
        if self._is_closed:
            return
        try:
            await self._touch()
        except Unavailable as error:
            log.warning("times of use are lost error=%s", error)
        self._is_closed = True
        await asyncio.to_thread(self._executor.shutdown)
        self._store.close()

    def listen(self, on_end: Callable[[Collection[str]], None]) -> None:
        """Be told the handles (see ``Identity.handle``) of the keys and sessions that have just ended."""
        self._listeners.append(on_end)

    # --- Who asks.

    @property
    def is_required(self) -> bool:
        """Whether one must log in."""
        return self.rules.is_required

    @property
    def has_admin(self) -> bool:
        """Whether a key that is taken now can administer."""
        now = self._clock()
        return any(Scope.ADMIN in key.scopes and refusal(key, now) is None for key in self._keys.values())

    def identify(self, presented: Presented) -> Identity | None:
        """Who that is; None: nobody who is known. Raises SignInNeeded: a key that is not taken, or two that contradict."""
        if presented.keys:
            if len(set(presented.keys)) > 1:
                raise SignInNeeded("Two different keys were sent: in X-API-Key and as a bearer token")
            key = self.need_key(presented.keys[0])
            session = self._session_of(presented.token)
            if session is not None and session.key_id != key.key_id:
                raise SignInNeeded("The key and the session of the cookie are not the same: send one of them")
            return _of_key(key)
        session = self._session_of(presented.token)
        if session is not None:
            self._touched_sessions[session.session_id] = self._clock()
            self._sessions[session.session_id] = replace(session, seen_at=self._clock())
            return _of_session(session)
        if presented.proxy_user:
            name = printable(presented.proxy_user, 120)
            return Identity(kind=IdentityKind.PROXY, subject=f"user:{name}", name=name, scopes=self.rules.proxy_scopes)
        return None if self.rules.is_required else LOCAL

    def need_key(self, text: str) -> ApiKey:
        """The key of this text; it counts as used. Raises SignInNeeded with why it is not taken."""
        key = self._keys.get(key_id_of(text) or "")
        if key is None or not is_secret_of(text, key.digest):
            raise SignInNeeded("This key is not known here")
        reason = refusal(key, self._clock())
        if reason is not None:
            raise SignInNeeded(f"This key {reason}")
        self._touched_keys[key.key_id] = self._clock()
        self._keys[key.key_id] = replace(key, last_used_at=self._clock())
        return key

    # --- Logging in and out.

    async def log_in(self, key: str, client: Client, *, former: str = "") -> str:
        """A session for who has the key: gives the token for the cookie. ``former``: the token that the browser had, which ends.
        Raises SignInNeeded."""
        try:
            found = self.need_key(key)
            if found.job_id:
                raise SignInNeeded("This is the token of a training: it pushes predictions, and signs nobody in")
        except SignInNeeded as error:
            known = key_id_of(key)
            subject = key_subject(known) if known in self._keys and known is not None else ""
            self.note(self._entry(None, "login", client, subject=subject, outcome=Outcome.REFUSED, detail=str(error)))
            raise
        return await self.open_session(_of_key(found), client, via="key", former=former)

    async def log_in_by_link(self, token: str, client: Client, *, former: str = "") -> str:
        """The same for a link that was not used yet. Raises SignInNeeded."""
        link = await self._call(lambda: self._store.use_link(digest(token), self._clock()))
        if link is None:
            detail = "This link was used already, or is too old"
            self.note(self._entry(None, "login", client, outcome=Outcome.REFUSED, detail=detail))
            raise SignInNeeded(detail)
        subject = f"link:{link.link_id}"
        identity = Identity(kind=IdentityKind.SESSION, subject=subject, name="login link", scopes=link.scopes)
        return await self.open_session(identity, client, via="link", former=former)

    async def open_session(self, identity: Identity, client: Client, *, via: str, former: str = "") -> str:
        """A new session of somebody who has proved who it is: gives its token, which is new with every login (a token that was
        planted in the browser before is worth nothing)."""
        now = self._clock()
        token = secrets.token_urlsafe(32)
        ends_at = now + self.rules.life_s
        key = self._keys.get(identity.key_id)
        if key is not None and key.expires_at is not None:
            ends_at = min(ends_at, key.expires_at)
        session = Session(
            session_id=secrets.token_hex(8),
            digest=digest(token),
            subject=identity.subject,
            name=identity.name,
            scopes=identity.scopes,
            via=via,
            created_at=now,
            seen_at=now,
            expires_at=ends_at,
            key_id=identity.key_id,
            address=client.address,
            agent=printable(client.agent),
        )
        ended = [replace(old, ended_at=now) for old in (*self._surplus(identity.subject), *self._former(former))]
        entry = self._entry(identity, "login", client, subject=f"session:{session.session_id}", detail=f"by {via}")
        await self._put([*ended, session], [entry])
        return token

    async def log_out(self, identity: Identity, client: Client) -> None:
        """End the session itself; a key that was sent goes on."""
        session = self._sessions.get(identity.session_id)
        if session is not None:
            await self._end([session], self._entry(identity, "logout", client, subject=session_handle(session.session_id)))

    # --- What one has.

    def keys(self, identity: Identity) -> list[ApiKey]:
        """The keys that are theirs to see, newest first: those that they made, the one that they are, all for who administers."""
        mine = [key for key in self._keys.values() if owns(identity, key.owner) or key.key_id == identity.key_id]
        return sorted(mine, key=lambda key: key.created_at, reverse=True)

    def sessions(self, identity: Identity) -> list[Session]:
        """The live sessions that are theirs to see, the latest used first."""
        mine = [session for session in self._sessions.values() if self._is_live(session) and owns(identity, session.subject)]
        return sorted(mine, key=lambda session: session.seen_at, reverse=True)

    def holds(self, identity: Identity, owner: str) -> bool:
        """Whether something of this owner is theirs: their own, a key's that they made, or they administer all."""
        return owns(identity, owner) or self.descends(owner, identity.subject)

    def descends(self, owner: str, subject: str) -> bool:
        """Whether this owner is the subject, or a key that it made, or that such a key made."""
        seen: set[str] = set()
        while owner != subject and owner not in seen:
            seen.add(owner)
            key = self._keys.get(owner.removeprefix(key_subject("")))
            owner = key.owner if key is not None else owner
        return owner == subject

    async def create_key(
        self,
        identity: Identity,
        client: Client,
        *,
        name: str,
        scopes: Iterable[str],
        life_s: float | None = None,
        job_id: str = "",
    ) -> tuple[ApiKey, str]:
        """A new key, and its text, which nobody can learn later. ``job_id``: for this training only. Raises Invalid, Forbidden (scopes
        that the maker has not), Conflict (too many)."""
        title = printable(name, 80)
        if not title:
            raise Invalid("name", "is what the key is called, up to 80 characters")
        wanted = parse_scopes(scopes)
        if life_s is not None and not 0 < life_s <= 3660 * DAY_S:
            raise Invalid("days", "is more than 0 and at most 3660, or left out for a key that does not expire")
        if identity.job_id:
            raise Forbidden("The token of a training makes no keys")
        if not wanted <= granted(identity.scopes):
            detail = f"A key cannot be good for more than its maker: {', '.join(sorted(wanted - granted(identity.scopes)))}"
            self.note(self._entry(identity, "key.create", client, outcome=Outcome.REFUSED, detail=detail))
            raise Forbidden(detail)
        now = self._clock()
        if sum(refusal(key, now) is None for key in self._keys.values()) >= MAX_KEYS:
            raise Conflict(f"There are {MAX_KEYS} keys already: revoke some")
        parent = self._keys.get(identity.key_id)
        ends = [moment for moment in (now + life_s if life_s else None, parent.expires_at if parent else None) if moment is not None]
        key_id = secrets.token_hex(6)
        text = key_text(key_id, secrets.token_urlsafe(24))
        key = ApiKey(
            key_id=key_id,
            name=title,
            owner=identity.subject,
            scopes=wanted,
            digest=digest(text),
            created_at=now,
            expires_at=min(ends, default=None),
            job_id=job_id,
        )
        detail = f"{title}: {', '.join(sorted(wanted))}"
        await self._put([key], [self._entry(identity, "key.create", client, subject=key_subject(key_id), detail=detail)])
        return key, text

    async def revoke_key(self, identity: Identity, client: Client, key_id: str) -> list[ApiKey]:
        """End a key, the keys that it made, and their sessions, at once. Gives the keys. Raises NotFound, also for what is not theirs."""
        key = self._keys.get(key_id)
        if key is None or not (owns(identity, key.owner) or identity.key_id == key_id):
            raise NotFound(f"There is no key {key_id!r}")
        now = self._clock()
        family = [item for item in (key, *descendants(self._keys.values(), key_id)) if item.revoked_at is None]
        gone = {item.key_id for item in family}
        sessions = [replace(item, ended_at=now) for item in self._sessions.values() if item.key_id in gone]
        revoked = [replace(item, revoked_at=now) for item in family]
        entries = [self._entry(identity, "key.revoke", client, subject=key_subject(item.key_id), detail=item.name) for item in revoked]
        if revoked:
            await self._put([*revoked, *sessions], entries)
        return revoked

    async def revoke_tokens(self, identity: Identity, client: Client, job_id: str) -> None:
        """End the tokens of a training."""
        live = [key for key in self._keys.values() if key.job_id == job_id and key.revoked_at is None]
        if live:
            entries = [self._entry(identity, "key.revoke", client, subject=key_subject(key.key_id), detail=key.name) for key in live]
            await self._put([replace(key, revoked_at=self._clock()) for key in live], entries)

    async def end_session(self, identity: Identity, client: Client, session_id: str) -> None:
        """End a session. Raises NotFound, also for what is not theirs."""
        session = self._sessions.get(session_id)
        if session is None or not self._is_live(session) or not owns(identity, session.subject):
            raise NotFound(f"There is no session {session_id!r}")
        detail = f"{session.name} from {session.address}"
        await self._end([session], self._entry(identity, "session.end", client, subject=session_handle(session_id), detail=detail))

    async def end_sessions_of(self, identity: Identity, client: Client, subject: str) -> int:
        """End all sessions of a subject, their own but for the one that asks. Gives how many. Raises NotFound for another's."""
        if not owns(identity, subject):
            raise NotFound(f"There is no subject {subject!r}")
        found = [item for item in self._sessions.values() if item.subject == subject and item.session_id != identity.session_id]
        await self._end(found, self._entry(identity, "session.end", client, subject=subject, detail=f"{len(found)} sessions"))
        return len(found)

    async def make_link(self, identity: Identity, client: Client) -> str:
        """The token of a link that logs in one browser once, as an administrator, within a quarter of an hour."""
        now = self._clock()
        token = secrets.token_urlsafe(24)
        link = LoginLink(
            link_id=secrets.token_hex(6),
            digest=digest(token),
            scopes=frozenset({Scope.ADMIN}),
            created_at=now,
            expires_at=now + LINK_LIFE_S,
        )
        await self._put([link], [self._entry(identity, "link.create", client, subject=f"link:{link.link_id}")])
        return token

    # --- The audit log.

    def note(self, entry: AuditEntry) -> None:
        """Write to the audit log soon, in the order of the calls; what the store refuses is said in the server's own log."""
        if self._is_closed or self._waiting >= MAX_WAITING_ENTRIES:
            log.error("audit entry lost action=%s actor=%s outcome=%s", entry.action, entry.actor, entry.outcome)
            return
        self._waiting += 1
        loop = asyncio.get_running_loop()
        written = self._executor.submit(self._store.add_audit, [entry])
        written.add_done_callback(lambda done: loop.call_soon_threadsafe(self._written, done, entry) if not loop.is_closed() else None)

    def note_action(
        self, identity: Identity | None, client: Client, action: str, *, subject: str, outcome: Outcome, detail: str = ""
    ) -> None:
        """The same, for something done outside of this service."""
        self.note(self._entry(identity, action, client, subject=subject, outcome=outcome, detail=detail))

    async def audit(self, query: AuditQuery) -> Sequence[AuditEntry]:
        """Entries of the audit log, newest first."""
        return await self._call(lambda: self._store.audit(query))

    # --- Inside.

    def _written(self, done: "Future[None]", entry: AuditEntry) -> None:
        self._waiting -= 1
        error = done.exception()
        if error is not None:
            log.error("audit entry lost action=%s actor=%s error=%s", entry.action, entry.actor, error)

    def _entry(
        self,
        identity: Identity | None,
        action: str,
        client: Client,
        *,
        subject: str = "",
        outcome: Outcome = Outcome.DONE,
        detail: str = "",
    ) -> AuditEntry:
        return AuditEntry(
            at=self._clock(),
            actor=identity.subject if identity is not None else "",
            name=identity.name if identity is not None else "",
            via=identity.kind.value if identity is not None else "",
            address=client.address,
            action=action,
            subject=printable(subject),
            outcome=outcome,
            detail=printable(detail),
        )

    def _session_of(self, token: str) -> Session | None:
        session = self._sessions.get(self._by_digest.get(digest(token), "")) if token else None
        return session if session is not None and self._is_live(session) else None

    def _is_live(self, session: Session) -> bool:
        return is_live(session, idle_s=self.rules.idle_s, now=self._clock())

    def _surplus(self, subject: str) -> list[Session]:
        """The sessions that make room for one more."""
        live = sorted((item for item in self._sessions.values() if self._is_live(item)), key=lambda item: item.seen_at)
        own = [item for item in live if item.subject == subject]
        return own[: max(0, len(own) + 1 - MAX_SESSIONS_PER_SUBJECT)] or live[: max(0, len(live) + 1 - MAX_SESSIONS)]

    def _former(self, token: str) -> list[Session]:
        session = self._session_of(token)
        return [session] if session is not None else []

    async def _end(self, sessions: Sequence[Session], entry: AuditEntry) -> None:
        now = self._clock()
        await self._put([replace(session, ended_at=now) for session in sessions], [entry])

    async def _put(self, changes: Sequence[ApiKey | Session | LoginLink], entries: Sequence[AuditEntry]) -> None:
        revision = await self._call(lambda: self._store.put(changes, entries))
        if revision == self._revision + 1:  # nobody else changed anything meanwhile; else the next look finds out
            self._revision = revision
        for change in changes:
            match change:
                case ApiKey():
                    self._keys[change.key_id] = change
                case Session():
                    self._sessions[change.session_id] = change
        self._settle()

    async def _reload(self) -> None:
        records = await self._call(self._store.load)
        self._revision = records.revision
        self._keys = {key.key_id: key for key in records.keys}
        known = self._sessions
        self._sessions = {item.session_id: _later(item, known.get(item.session_id)) for item in records.sessions}
        self._settle()

    def _settle(self) -> None:
        """Forget what has ended and tell of it; note when the next will."""
        now, idle_s = self._clock(), self.rules.idle_s
        self._sessions = {id_: item for id_, item in self._sessions.items() if is_live(item, idle_s=idle_s, now=now)}
        self._by_digest = {item.digest: id_ for id_, item in self._sessions.items()}
        keys = [key for key in self._keys.values() if refusal(key, now) is None]
        live = frozenset((*map(session_handle, self._sessions), *(key_subject(key.key_id) for key in keys)))
        ended, self._live = self._live - live, live
        ends = [session_end(item, idle_s) for item in self._sessions.values()]
        self._look_at = min([*ends, *(key.expires_at for key in keys if key.expires_at is not None)], default=float("inf"))
        if ended:
            for listener in self._listeners:
                listener(ended)

    async def _touch(self) -> None:
        keys, self._touched_keys = self._touched_keys, {}
        sessions, self._touched_sessions = self._touched_sessions, {}
        if keys or sessions:
            await self._call(lambda: self._store.touch(keys=keys, sessions=sessions))

    async def _call(self, work: Callable[[], Result]) -> Result:
        if self._is_closed:
            raise Unavailable("The server is closing.")
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _later(stored: Session, known: Session | None) -> Session:
    return replace(stored, seen_at=max(stored.seen_at, known.seen_at)) if known is not None else stored


def _of_key(key: ApiKey) -> Identity:
    return Identity(
        kind=IdentityKind.KEY,
        subject=key_subject(key.key_id),
        name=key.name,
        scopes=key.scopes,
        key_id=key.key_id,
        job_id=key.job_id,
    )


def _of_session(session: Session) -> Identity:
    return Identity(
        kind=IdentityKind.SESSION,
        subject=session.subject,
        name=session.name,
        scopes=session.scopes,
        key_id=session.key_id,
        session_id=session.session_id,
    )
