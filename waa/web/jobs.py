"""Imports as jobs: starting, looking, cancelling, and the stream of one (requirements C1 to C3)."""

import asyncio
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from tornado.http1connection import HTTP1Connection
from tornado.web import HTTPError, stream_request_body

from waa.core.codec import decode_fields
from waa.core.error import Invalid, NotFound, Unavailable
from waa.core.job import ImportKind, ImportRequest
from waa.web.api import ApiHandler
from waa.web.base import MAX_BODY_BYTES, BaseHandler
from waa.web.decision import Access
from waa.web.deps import LOCAL_NAME, Deps
from waa.web.job_feed import job_payload
from waa.web.pages import PageHandler
from waa.web.payload import ImportBody
from waa.web.stream import StreamHandler

ARCHIVE_TYPES = frozenset(
    {
        "application/zip",
        "application/x-zip-compressed",
        "application/x-tar",
        "application/gzip",
        "application/x-gzip",
        "application/x-bzip2",
        "application/x-xz",
        "application/octet-stream",
    }
)
"""Content types that no form of another site can send."""

MAX_TEXT = 1024
_FORWARDED = ("X-Forwarded-For", "X-Real-Ip", "Forwarded", "Via")


class JobListHandler(ApiHandler):
    """``GET /api/jobs``: all that are remembered, newest first."""

    def get(self) -> None:
        state = self.deps.recorder.state
        jobs = sorted(state.jobs.values(), key=lambda job: job.created_at, reverse=True)
        self.write_json({"jobs": [job_payload(state, job) for job in jobs]})


class JobHandler(ApiHandler):
    """``GET /api/jobs/<id>``; ``DELETE`` cancels it and answers when it has ended."""

    def get(self, job_id: str) -> None:
        self.write_json(job_payload(self.deps.recorder.state, self.deps.jobs.need(job_id)))

    async def delete(self, job_id: str) -> None:
        job = await self.deps.jobs.cancel(job_id)
        self.write_json(job_payload(self.deps.recorder.state, job))


class JobStreamHandler(StreamHandler):
    """``GET /api/jobs/<id>/stream``: how it stands at once, then as it goes on, until its end (C2)."""

    def get(self, job_id: str) -> None:
        self.deps.jobs.need(job_id)
        self.join(
            self.deps.job_feed.group(job_id),
            first=self.deps.job_feed.first(job_id),
            resumed="Last-Event-ID" in self.request.headers,
        )
        self.deps.job_feed.settle(job_id)


@stream_request_body
class ImportHandler(ApiHandler):
    """``POST /api/traces/import`` (C1): JSON that names a folder here or on a VM, or the archive itself as the body, with ``?name=``."""

    cost = 10.0

    def initialize(self, deps: Deps, access: Access) -> None:
        super().initialize(deps, access)
        self._json = bytearray()
        self._upload: _Upload | None = None
        self._refusal: Exception | None = None

    def check_xsrf_cookie(self) -> None:
        """Neither JSON nor an archive can be sent by a foreign form; foreign scripts fail the Origin check."""
        self.admit()
        if not self.is_json and self._content_type not in ARCHIVE_TYPES:
            raise Invalid("Content-Type", f"is application/json, or for an archive one of: {', '.join(sorted(ARCHIVE_TYPES))}")

    def prepare(self) -> None:
        super().prepare()
        if not self.is_json and self._content_type in ARCHIVE_TYPES and self.request.method == "POST":
            limits = self.deps.settings
            length = int(self.request.headers.get("Content-Length", "0"))
            if length > limits.upload_limit_bytes:
                raise HTTPError(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    "An archive may have up to %d bytes (setting upload_limit_mb)",
                    limits.upload_limit_bytes,
                )
            if isinstance(self.request.connection, HTTP1Connection):
                self.request.connection.set_max_body_size(limits.upload_limit_bytes)
            name = self.one_argument("name") or "archive"
            if "/" in name or "\0" in name:
                raise Invalid("name", "is the name of a file, without folders")
            self._upload = _Upload(Path(limits.upload_folder), name)

    async def data_received(self, chunk: bytes) -> None:
        """A piece of the body."""
        if self._refusal is not None:
            return
        if self._upload is None:
            self._json += chunk
            if len(self._json) > MAX_BODY_BYTES:
                self._refusal = HTTPError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is longer than %d bytes", MAX_BODY_BYTES)
            return
        try:
            await asyncio.to_thread(self._upload.write, chunk)
        except OSError as error:
            self._refusal = Unavailable(f"The archive cannot be stored: {error.strerror or error}")

    async def post(self) -> None:
        if self._refusal is not None:
            raise self._refusal
        if self._upload is not None:
            request = ImportRequest(
                kind=ImportKind.ARCHIVE,
                path=self._upload.finish(),
                name=self._upload.name,
                label=_text("label", self.one_argument("label")),
            )
        else:
            request = import_request(self, decode_fields(ImportBody, bytes(self._json), name="body"))
        job = await self.deps.jobs.submit(request)
        self._upload = None
        self.audit_subject, self.audit_detail = job.job_id, request.name or request.path
        self.set_header("Location", f"/api/jobs/{job.job_id}")
        self.write_json({"job_id": job.job_id, "status": job.status.value, "stream": f"/api/jobs/{job.job_id}/stream"}, HTTPStatus.ACCEPTED)

    def on_finish(self) -> None:
        """What was not handed to a job is removed."""
        super().on_finish()
        if self._upload is not None:
            self._upload.discard()

    def on_connection_close(self) -> None:
        """The client went away while it sent."""
        if self._upload is not None:
            self._upload.discard()

    @property
    def _content_type(self) -> str:
        return self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


class ImportFormHandler(PageHandler):
    """``POST /imports``: the same from the form, for a page without JavaScript; a folder here or on a VM."""

    cost = 10.0

    async def post(self) -> None:
        values: ImportBody = {"path": self.get_body_argument("path"), "label": self.get_body_argument("label")}
        if self.get_body_argument("source", "folder") == "vm":
            values |= {"vm": self.get_body_argument("vm", ""), "inner": self.get_body_argument("inner", "") == "true"}
        request = import_request(self, values)
        job = await self.deps.jobs.submit(request)
        self.audit_subject, self.audit_detail = job.job_id, request.path
        self.redirect("/#tasks-panel", status=HTTPStatus.SEE_OTHER)


def import_request(handler: BaseHandler, body: ImportBody) -> ImportRequest:
    """The import of a JSON body or a form. Raises Invalid by field, NotFound for an unknown VM; refuses other folders."""
    path, vm, label = _text("path", body.get("path")), _text("vm", body.get("vm")), _text("label", body.get("label"))
    inner = body.get("inner") or False
    if not path.startswith("/") or "\0" in path:
        raise Invalid("path", "is the absolute path of a folder")
    if vm:
        if vm not in handler.deps.recorder.state.vms:
            raise NotFound(f"vm: there is no VM named {vm!r}")
        return ImportRequest(kind=ImportKind.VM, path=path, vm=vm, inner=inner, label=label)
    if inner:
        raise Invalid("inner", "goes with vm")
    return ImportRequest(kind=ImportKind.FOLDER, path=_allowed(handler, path), label=label)


def _allowed(handler: BaseHandler, path: str) -> str:
    """The real path of a folder that this client may have read."""
    roots = handler.deps.settings.import_roots
    real = Path(path).resolve()
    if roots and not any(real.is_relative_to(Path(root).expanduser().resolve()) for root in roots):
        raise HTTPError(HTTPStatus.FORBIDDEN, "path: only folders inside import_roots may be imported: %s", ", ".join(roots))
    if not roots and not _is_here(handler):
        raise HTTPError(
            HTTPStatus.FORBIDDEN, "path: from elsewhere, only folders inside the setting import_roots may be imported; it is empty"
        )
    return str(real)


def _is_here(handler: BaseHandler) -> bool:
    """Whether the client sits at this machine, and is no proxy for one that does not."""
    if any(name in handler.request.headers for name in _FORWARDED):
        return False
    address = handler.request.remote_ip or ""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == LOCAL_NAME


def _text(name: str, value: str | None) -> str:
    if value is None:
        return ""
    if len(value) > MAX_TEXT or any(ord(letter) < 32 for letter in value):
        raise Invalid(name, f"is text of up to {MAX_TEXT} printable characters")
    return value.strip()


class _Upload:
    """An archive on its way to the disk."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = _text("name", name)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / f"{uuid4().hex}.upload"
        self._file: BinaryIO | None = self._path.open("xb")

    def write(self, chunk: bytes) -> None:
        """The next piece. For any thread, one at a time."""
        if self._file is not None:
            self._file.write(chunk)

    def finish(self) -> str:
        """Where it lies. Raises Invalid for an empty one."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if not self._path.stat().st_size:
            raise Invalid("archive", "is empty: the body of the request is the archive")
        return str(self._path)

    def discard(self) -> None:
        """Remove it. May be called twice."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._path.unlink(missing_ok=True)
