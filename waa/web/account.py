"""The page of keys and sessions: one's own, for administrators everybody's; and the audit log."""

import math
from http import HTTPStatus

from waa.core.access import Identity
from waa.core.codec import encode
from waa.core.error import Conflict, Forbidden, Invalid
from waa.services.access import DAY_S
from waa.web.base import BaseHandler
from waa.web.export import CSV
from waa.web.export_rows import csv_line, moment
from waa.web.pages import PageHandler
from waa.web.views.access import AUDIT_NAMES, AUDIT_PAGE, AuditFilter, KeyForm, access_page, audit_page
from waa.web.views.query import Query

MAX_EXPORTED = 50_000
AUDIT_COLUMNS = ("number", "at", "actor", "name", "via", "address", "action", "subject", "outcome", "detail")


class AccessHandler(PageHandler):
    """``GET /access``: who one is, one's keys and sessions."""

    def get(self) -> None:
        self.write_access(self.need_identity())

    def write_access(
        self,
        identity: Identity,
        status: HTTPStatus = HTTPStatus.OK,
        *,
        form: KeyForm | None = None,
        made: tuple[str, str] | None = None,
    ) -> None:
        """The page; nothing keeps a copy of it, as it may show a key."""
        access = self.deps.access
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        page = access_page(
            identity,
            keys=access.keys(identity),
            sessions=access.sessions(identity),
            now=self.deps.clock(),
            is_required=access.is_required,
            form=form,
            made=made,
        )
        self.write_page("pages/access.html", page=page)


class KeyCreateHandler(AccessHandler):
    """``POST /access/keys``: a new key, shown in the answer and never again."""

    def get(self) -> None:
        self.redirect("/access")

    async def post(self) -> None:
        identity = self.need_identity()
        name, days = self.get_body_argument("name", ""), self.get_body_argument("days", "").strip()
        scopes = tuple(self.get_body_arguments("scope"))
        try:
            key, text = await self.deps.access.create_key(identity, self.client, name=name, scopes=scopes, life_s=_life_s(days))
        except Invalid as error:
            told = {error.field: str(error).removeprefix(f"{error.field}: ")}
            self.refuse(identity, HTTPStatus.UNPROCESSABLE_ENTITY, KeyForm(name=name, days=days, scopes=scopes, errors=told))
        except (Forbidden, Conflict) as error:
            status = HTTPStatus.FORBIDDEN if isinstance(error, Forbidden) else HTTPStatus.CONFLICT
            self.refuse(identity, status, KeyForm(name=name, days=days, scopes=scopes, errors={"scope": str(error)}))
        else:
            self.write_access(identity, HTTPStatus.CREATED, made=(key.name, text))

    def refuse(self, identity: Identity, status: HTTPStatus, form: KeyForm) -> None:
        """The page again, with what was entered and what is wrong with it."""
        self.write_access(identity, status, form=form)


class KeyRevokeHandler(PageHandler):
    """``POST /access/keys/<id>/revoke``."""

    async def post(self, key_id: str) -> None:
        await self.deps.access.revoke_key(self.need_identity(), self.client, key_id)
        self.redirect("/access#keys", status=HTTPStatus.SEE_OTHER)


class SessionEndHandler(PageHandler):
    """``POST /access/sessions/<id>/end``."""

    async def post(self, session_id: str) -> None:
        await self.deps.access.end_session(self.need_identity(), self.client, session_id)
        self.redirect("/access#sessions", status=HTTPStatus.SEE_OTHER)


class OtherSessionsEndHandler(PageHandler):
    """``POST /access/sessions/end``: all of one's own but the one that asks."""

    async def post(self) -> None:
        identity = self.need_identity()
        await self.deps.access.end_sessions_of(identity, self.client, identity.subject)
        self.redirect("/access#sessions", status=HTTPStatus.SEE_OTHER)


class AuditHandler(PageHandler):
    """``GET /audit[?q=&actor=&action=&outcome=&since=&until=&before=]``: who did what, when, from where."""

    async def get(self) -> None:
        chosen = _chosen(self)
        entries = await self.deps.access.audit(chosen.query(AUDIT_PAGE + 1))
        self.set_header("Cache-Control", "no-store")
        self.write_page("pages/audit.html", page=audit_page(chosen, entries))


class AuditExportHandler(BaseHandler):
    """``GET /audit.csv``, ``GET /audit.json``: the same as a file, the newest 50,000."""

    cost = 10.0

    async def get(self, form: str) -> None:
        entries = await self.deps.access.audit(_chosen(self).query(MAX_EXPORTED))
        rows = [
            (entry.entry_id, moment(entry.at), entry.actor, entry.name, entry.via, entry.address, entry.action, entry.subject,
             entry.outcome.value, entry.detail)
            for entry in entries
        ]  # fmt: skip
        self.set_header("Content-Disposition", f'attachment; filename="audit.{form}"')
        if form == "csv":
            self.set_header("Content-Type", CSV)
            self.write(b"".join(map(csv_line, (AUDIT_COLUMNS, *rows))))
        else:
            self.set_header("Content-Type", "application/json; charset=utf-8")
            self.write(encode({"entries": [dict(zip(AUDIT_COLUMNS, row, strict=True)) for row in rows]}))
        self.set_header("Cache-Control", "no-store")


def _chosen(handler: BaseHandler) -> AuditFilter:
    return AuditFilter.of(Query.parse(handler.request.query, AUDIT_NAMES))


def _life_s(days: str) -> float | None:
    """Raises Invalid."""
    if not days:
        return None
    try:
        life_s = float(days.replace(",", ".")) * DAY_S
    except ValueError:
        life_s = math.nan
    if not math.isfinite(life_s):
        raise Invalid("days", "is a number of days, or empty for a key that does not expire")
    return life_s
