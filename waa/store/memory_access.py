"""An access store that forgets with its process: for tests, and as the plainest reading of the port."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from waa.core.access import ApiKey, AuditEntry, AuditQuery, LoginLink, Session
from waa.core.port import AccessRecords


class MemoryAccessStore:
    """An AccessStore in plain dictionaries. Outlives ``close``, so that a test can open it again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: dict[str, ApiKey] = {}
        self._sessions: dict[str, Session] = {}
        self._links: dict[str, LoginLink] = {}
        self._entries: list[AuditEntry] = []
        self._last_id = 0
        self._revision = 0

    def load(self) -> AccessRecords:
        """All keys and live sessions."""
        with self._lock:
            live = [session for session in self._sessions.values() if session.ended_at is None]
            return AccessRecords(keys=list(self._keys.values()), sessions=live, revision=self._revision)

    def revision(self) -> int:
        """The number of the last change."""
        return self._revision

    def put(self, changes: Sequence[ApiKey | Session | LoginLink], entries: Sequence[AuditEntry]) -> int:
        """Keep these versions."""
        with self._lock:
            for change in changes:
                match change:
                    case ApiKey():
                        self._keys[change.key_id] = change
                    case Session():
                        self._sessions[change.session_id] = change
                    case LoginLink():
                        self._links[change.link_id] = change
            self._add(entries)
            self._revision += 1
            return self._revision

    def use_link(self, digest: str, at: float) -> LoginLink | None:
        """Use up a link."""
        with self._lock:
            for link in self._links.values():
                if link.digest == digest and link.used_at is None and link.expires_at > at:
                    self._links[link.link_id] = replace(link, used_at=at)
                    return self._links[link.link_id]
            return None

    def touch(self, *, keys: Mapping[str, float], sessions: Mapping[str, float]) -> None:
        """When they were last used."""
        with self._lock:
            self._keys |= {id_: replace(self._keys[id_], last_used_at=at) for id_, at in keys.items() if id_ in self._keys}
            known = self._sessions
            self._sessions |= {id_: replace(known[id_], seen_at=at) for id_, at in sessions.items() if id_ in known}

    def add_audit(self, entries: Sequence[AuditEntry]) -> None:
        """Write to the audit log."""
        with self._lock:
            self._add(entries)

    def audit(self, query: AuditQuery) -> list[AuditEntry]:
        """Entries, newest first."""
        return [entry for entry in reversed(self._entries) if _is_asked(entry, query)][: query.limit]

    def prune(self, *, before: float, sessions_before: float, max_entries: int) -> None:
        """Drop what is too old."""
        with self._lock:
            self._entries = [entry for entry in self._entries[-max_entries:] if entry.at >= before]
            self._keys = {
                id_: key for id_, key in self._keys.items() if all(at is None or at >= before for at in (key.revoked_at, key.expires_at))
            }
            self._sessions = {id_: item for id_, item in self._sessions.items() if _last_moment(item) >= sessions_before}
            self._links = {id_: link for id_, link in self._links.items() if link.expires_at >= before}

    def close(self) -> None:
        """Nothing to give back."""

    def _add(self, entries: Sequence[AuditEntry]) -> None:
        for entry in entries:
            self._last_id += 1
            self._entries.append(replace(entry, entry_id=self._last_id))


def _last_moment(session: Session) -> float:
    return min(session.seen_at, session.expires_at, session.seen_at if session.ended_at is None else session.ended_at)


def _is_asked(entry: AuditEntry, query: AuditQuery) -> bool:
    told = (entry.actor, entry.name, entry.address, entry.action, entry.subject, entry.detail)
    return (
        (query.before_id is None or entry.entry_id < query.before_id)
        and query.actor in ("", entry.actor)
        and (query.action in ("", entry.action) or (query.action.endswith(".") and entry.action.startswith(query.action)))
        and query.outcome in (None, entry.outcome)
        and (query.since is None or entry.at >= query.since)
        and (query.until is None or entry.at < query.until)
        and any(query.text.lower() in text.lower() for text in told)
    )
