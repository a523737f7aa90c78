"""Pipelines, for people and for programs: the list, one with its history, naming and removing, and the streams of statuses."""

from collections.abc import Iterable
from http import HTTPStatus

from waa.core.codec import decode
from waa.core.error import Conflict, Invalid, NotFound
from waa.core.pipeline import Credential, PipelineSpec
from waa.core.pipeline_form import pipeline_from
from waa.core.spec import Origin
from waa.web.api import ApiHandler
from waa.web.base import BaseHandler
from waa.web.pages import PageHandler
from waa.web.payload import PipelinePayload
from waa.web.pipeline_feed import Ids, pipeline_payload, status_payload
from waa.web.stream import MAX_REPLAY, StreamHandler
from waa.web.views import pipelines
from waa.web.views.pipeline_form import pipeline_form, pipeline_values
from waa.web.views.pipelines import PipelineFilter, matching_pipelines, pipeline_page, pipelines_page, shown_ids
from waa.web.views.query import Query, pager

MAX_IDS = 300
MAX_IDS_CHARS = 2000


class PipelineListPageHandler(PageHandler):
    """``GET /pipelines[?q=&status=&sort=&page=]``: the pipelines, searched, filtered and sorted. ``POST`` takes the form."""

    def get(self) -> None:
        chosen = PipelineFilter.of(_query(self))
        self.deps.pipelines.glance(shown_ids(self.deps.look(), [("pipelines", chosen.text)]))
        self.write_page("pages/pipelines.html", page=pipelines_page(self.deps.look(), chosen))

    async def post(self) -> None:
        entered = {name: self.get_body_argument(name) for name in self.request.body_arguments if name != "_xsrf"}
        try:
            spec, credential = pipeline_from(pipeline_values(entered), origin=Origin.API)
            if spec.pipeline_id in self.deps.recorder.state.pipelines:
                raise Conflict(f"there is a pipeline {spec.pipeline_id!r} already")
            await add(self, spec, credential)
        except Invalid as error:
            self.refuse(HTTPStatus.UNPROCESSABLE_ENTITY, entered, error.field, str(error).removeprefix(f"{error.field}: "))
            return
        except Conflict as error:
            self.refuse(HTTPStatus.CONFLICT, entered, "id", str(error).removeprefix("id: "))
            return
        self.redirect(f"/pipelines/{spec.pipeline_id}", status=HTTPStatus.SEE_OTHER)

    def refuse(self, status: HTTPStatus, entered: dict[str, str], field: str, message: str) -> None:
        """The form again, with what was typed (but for secrets) and what is wrong with it."""
        self.set_status(status)
        self.write_page("pages/pipeline_new.html", page=pipeline_form(entered, {field: message}))


class PipelineFormHandler(PageHandler):
    """``GET /pipelines/new``: the form."""

    def get(self) -> None:
        self.write_page("pages/pipeline_new.html", page=pipeline_form())


class PipelinePageHandler(PageHandler):
    """``GET /pipelines/<id>``: one pipeline with its history."""

    def get(self, pipeline_id: str) -> None:
        self.deps.pipelines.glance((pipeline_id,))
        self.write_page("pages/pipeline.html", page=pipeline_page(self.deps.look(), pipeline_id))


class PipelineRemoveHandler(PageHandler):
    """``POST /pipelines/<id>/remove``."""

    async def post(self, pipeline_id: str) -> None:
        await self.deps.pipelines.remove(pipeline_id)
        self.redirect("/pipelines", status=HTTPStatus.SEE_OTHER)


class PipelineListHandler(ApiHandler):
    """``GET /api/pipelines``: all of them with their history, the worst first. The page's filters; without ``page`` all that match."""

    def get(self) -> None:
        chosen, look = PipelineFilter.of(_query(self)), self.deps.look()
        found = matching_pipelines(look, chosen)
        page = self.one_argument("page")
        if page == "":
            raise Invalid("page", "is a number, or left out")
        is_part = page is not None
        shown = pager(len(found), chosen.page, pipelines.PAGE_SIZE, lambda _page: "").part(found) if is_part else found
        self.write_json({"pipelines": [pipeline_payload(look, pipeline) for pipeline in shown], "total": len(found)})

    async def post(self) -> None:
        spec, credential = pipeline_from(decode(dict[str, object], self.request.body, name="body"), origin=Origin.API)
        is_new = await add(self, spec, credential)
        answer = {"status": "success", "pipeline": _payload(self, spec.pipeline_id)}
        self.write_json(answer, HTTPStatus.CREATED if is_new else HTTPStatus.OK)


class PipelineHandler(ApiHandler):
    """``GET`` and ``DELETE /api/pipelines/<id>``."""

    def get(self, pipeline_id: str) -> None:
        self.write_json(_payload(self, pipeline_id))

    async def delete(self, pipeline_id: str) -> None:
        await self.deps.pipelines.remove(pipeline_id)
        self.set_status(HTTPStatus.NO_CONTENT)


class PipelineStatusHandler(ApiHandler):
    """``GET /ui-api/pipeline/status[?pipelineIds=a,b]``: how pipelines stand, as the stream tells it (D1)."""

    def get(self) -> None:
        ids, look = chosen_ids(self), self.deps.look()
        known = look.state.pipelines
        self.deps.pipelines.glance(known if ids is None else ids)
        self.write_json({"updates": [status_payload(look, known[key]) for key in (known if ids is None else ids)]})


class PipelineStreamHandler(StreamHandler):
    """``GET /ui-api/pipeline/status/stream[?pipelineIds=a,b]``: how pipelines stand at once, then what changes (D1), resumable by id."""

    async def get(self) -> None:
        ids, recorder, feed = chosen_ids(self), self.deps.recorder, self.deps.pipeline_feed
        last_id = self.last_event_id
        missed = await self.missed(last_id, lambda after: recorder.events_of(_topics(self, ids), after=after, limit=MAX_REPLAY))
        # From here to join() there is no await: what memory holds, the snapshot and the membership fit together.
        self.join(feed.group(ids), first=feed.first(ids, missed or [], has_gap=missed is None), resumed=bool(last_id))
        self.deps.pipelines.glance(recorder.state.pipelines if ids is None else ids)


async def add(handler: BaseHandler, spec: PipelineSpec, credential: Credential) -> bool:
    """Look at a pipeline from now on; gives whether it is new. Raises Conflict, Invalid, Unavailable."""
    handler.audit_subject = spec.pipeline_id
    is_new = await handler.deps.pipelines.add(spec, credential)
    handler.audit_detail = "added" if is_new else "changed"
    return is_new


def chosen_ids(handler: BaseHandler) -> Ids:
    """The ids of ``?pipelineIds=``, sorted; None: none are given. Raises Invalid, NotFound that names those that do not exist."""
    given = handler.get_query_arguments("pipelineIds", strip=False)
    text = ",".join(given)
    wanted = sorted({name for part in text.split(",") if (name := part.strip())})
    if len(text) > MAX_IDS_CHARS or len(wanted) > MAX_IDS:
        raise Invalid("pipelineIds", f"names up to {MAX_IDS} pipelines")
    unknown = [name for name in wanted if name not in handler.deps.recorder.state.pipelines]
    if unknown:
        raise NotFound(f"pipelineIds: there is no pipeline {_listed(unknown)}")
    return tuple(wanted) or None


def _topics(handler: BaseHandler, ids: Ids) -> list[str]:
    return [f"pipelines/{key}" for key in (handler.deps.recorder.state.pipelines if ids is None else ids)]


def _listed(names: Iterable[str]) -> str:
    told = list(names)
    rest = f" and {len(told) - 10} more" if len(told) > 10 else ""
    return ", ".join(repr(name[:80]) for name in told[:10]) + rest


def _payload(handler: BaseHandler, pipeline_id: str) -> PipelinePayload:
    return pipeline_payload(handler.deps.look(), handler.deps.pipelines.need(pipeline_id))


def _query(handler: BaseHandler) -> Query:
    return Query({name: handler.get_query_arguments(name) for name in pipelines.NAMES})
