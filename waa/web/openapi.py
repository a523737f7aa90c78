"""``GET /api/openapi.json``: what programs can ask, made from the route table, its decisions and the types of bodies and answers.

What no table can say is written down here: the query of each operation, what its answers are, and how it can fail.
"""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from waa import __version__
from waa.core.access import Scope
from waa.core.codec import schemas
from waa.core.comparison import Comparison
from waa.core.rerun import Again
from waa.core.spec import MAX_TEXT, NAME, VmSpec
from waa.services.picture import WIDTHS
from waa.services.replay import Order
from waa.web import (
    account,
    api,
    azure,
    compare,
    export,
    health,
    incidents,
    jobs,
    pages,
    payload,
    pipelines,
    replay,
    report,
    runs,
    stream,
    task_text,
    training,
)
from waa.web.api import ALIASES, ApiHandler
from waa.web.base import SESSION_COOKIE
from waa.web.decision import Access, Decision
from waa.web.panels import QUERY
from waa.web.views.access import AUDIT_GROUPS
from waa.web.views.pipelines import COLUMNS as PIPELINE_COLUMNS
from waa.web.views.pipelines import STATUSES as PIPELINE_STATUSES
from waa.web.views.query import MAX_PAGE
from waa.web.views.query import MAX_TEXT as MAX_CHOICE
from waa.web.views.report import Pictures
from waa.web.views.run_table import BY, ONLY
from waa.web.views.run_table import COLUMNS as TASK_COLUMNS
from waa.web.views.run_table import STATUSES as TASK_STATUSES
from waa.web.views.runs import COLUMNS as RUN_COLUMNS
from waa.web.views.runs import SINCE_S
from waa.web.views.runs import STATUSES as RUN_STATUSES

Json = dict[str, Any]
Route = tuple[str, type[Any], Access]

PLACE = "#/components/schemas/{name}"
JSON, HTML, SSE, CSV, NDJSON, PLAIN = (
    "application/json", "text/html", "text/event-stream", "text/csv", "application/x-ndjson", "text/plain",
)  # fmt: skip
FORM = "application/x-www-form-urlencoded"
TEXT: Json = {"type": "string"}
SHORT: Json = {"type": "string", "maxLength": 1024}
DAY: Json = {"type": "string", "pattern": r"^(\d{4}-\d{2}-\d{2})?$"}
BINARY: Json = {}
"""Bytes: OpenAPI 3.1 says nothing more of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A value of the query, or of a header where ``place`` says so."""

    name: str
    text: str
    schema: Json = field(default_factory=lambda: SHORT)
    required: bool = False
    place: str = "query"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A good answer: what it is by content type: a type of ours, several (any one of them), or a schema. None: no body."""

    content: Mapping[str, Any] = field(default_factory=dict)
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of a route. ``body`` is by content type; ``errors`` are its own, beyond those that every operation can have.
    ``is_whole``: sent in one piece, so that it has an ETag. ``events``: what the messages of a stream hold, by name."""

    answers: Mapping[int, Answer]
    query: tuple[Parameter, ...] = ()
    body: Mapping[str, Any] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    summary: str = ""
    is_whole: bool = True
    events: Mapping[str, Any] = field(default_factory=dict)


def document(routes: Iterable[Route]) -> Json:
    """The OpenAPI 3.1 document of all routes that have an operation here."""
    known = [(path, *route[1:]) for route in routes if route[1] in OPERATIONS for path in paths_of(route[0])]
    catalogue = Catalogue(operation for _, handler, _ in known for operation in OPERATIONS[handler].values())
    paths: Json = {}
    for path, handler, access in known:
        names = _names(handler, next(iter(OPERATIONS[handler])))
        template = _template(path, names)
        for method, operation in OPERATIONS[handler].items():
            written = _operation(operation, method, handler, access[method], catalogue)
            written["parameters"] = [*_path_parameters(path, names), *map(_parameter, operation.query)]
            written["operationId"] = re.sub(r"\W+", "_", f"{method.lower()}{template}").strip("_")
            paths.setdefault(template, {})[method.lower()] = _without_empty(written)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "WAA Live",
            "version": __version__,
            "description": (
                "Live data of benchmark runs. Every GET has its HEAD. Moments are epoch seconds; null is what is not known, or what there "
                "is none of. Errors have one form, with the field that is wrong where there is one. A server that only listens locally "
                "asks for no key."
            ),
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": catalogue.parts,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
            },
        },
    }


def paths_of(pattern: str) -> Iterator[str]:
    """The patterns of a route without parts that may be left out: with them, and without."""
    optional = re.search(r"\(\?:([^()]*)\)\?", pattern)
    if optional is None:
        yield pattern
        return
    for part in ("", optional.group(1)):
        yield from paths_of(pattern[: optional.start()] + part + pattern[optional.end() :])


class Catalogue:
    """The schemas of all types that operations name."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        types: dict[Any, None] = {payload.ErrorPayload: None, VmSpec: None}
        for operation in operations:
            for content in (*(answer.content for answer in operation.answers.values()), operation.body, operation.events):
                for value in content.values():
                    types |= dict.fromkeys(_types_of(value))
        found, parts = schemas(types, place=PLACE)
        self._schemas = dict(zip(types, found, strict=True))
        self.parts = {name: _tidy(part) for name, part in sorted(parts.items())}
        self.parts["VmRegistration"] = _registration(self.parts["VmSpec"])
        if not any("VmSpec" in str(part) for name, part in self.parts.items() if name != "VmSpec"):
            del self.parts["VmSpec"]

    def schema(self, value: Any) -> Json:
        """Of a type, of any one of several, or the schema that it is already."""
        if isinstance(value, tuple):
            return {"anyOf": [self._schemas[type_] for type_ in value]}
        return value if isinstance(value, dict) else self._schemas[value]

    def content(self, content: Mapping[str, Any]) -> Json:
        """By content type."""
        return {type_: {"schema": self.schema(value)} for type_, value in content.items()}


def _types_of(value: Any) -> tuple[Any, ...]:
    if isinstance(value, tuple):
        return value
    return () if isinstance(value, dict) else (value,)


def _operation(operation: Operation, method: str, handler: type[Any], decision: Decision, catalogue: Catalogue) -> Json:
    summary, description = _told(handler)
    responses = {
        str(status): _without_empty(
            {
                "description": HTTPStatus(status).phrase,
                "content": catalogue.content(answer.content) if SSE not in answer.content else _messages(operation.events, catalogue),
                "headers": {name: {"schema": TEXT} for name in answer.headers},
            }
        )
        for status, answer in operation.answers.items()
    }
    if method == "GET" and operation.is_whole:
        responses["304"] = {"description": "It is what If-None-Match names"}
    for status in _errors(operation, method, decision):
        responses.setdefault(str(status), _error(status, catalogue, is_page=not issubclass(handler, ApiHandler)))
    return {
        "summary": operation.summary or summary,
        "description": description if not operation.summary else "",
        "security": _security(decision),
        "requestBody": {"required": True, "content": catalogue.content(operation.body)} if operation.body else {},
        "responses": dict(sorted(responses.items())),
    }


def _messages(events: Mapping[str, Any], catalogue: Catalogue) -> Json:
    """A stream, whose schema is that of one message, as OpenAPI has it from 3.2 on."""
    fields: Json = {"id": TEXT, "event": TEXT, "data": TEXT, "retry": {"type": "integer"}}
    told = [
        {"properties": {"event": {"const": name}, "data": {"contentMediaType": JSON, "contentSchema": catalogue.schema(value)}}}
        for name, value in events.items()
    ]
    message: Json = {"type": "object", "properties": fields, "additionalProperties": False}
    return {SSE: {"schema": message | ({"anyOf": [*told, {"not": {"properties": {"event": {"enum": list(events)}}}}]} if told else {})}}


def _errors(operation: Operation, method: str, decision: Decision) -> Iterator[int]:
    """What every operation can answer, by what it has."""
    yield from (400, 421, 429, *operation.errors)
    if decision.scopes is not None:
        yield from (401, 403)
    if operation.query:
        yield 422
    if operation.body:
        yield from (403, 413, 422)
    if method != "GET":
        yield from (403, 503)


def _error(status: int, catalogue: Catalogue, *, is_page: bool) -> Json:
    content = {JSON: payload.ErrorPayload, HTML: TEXT} if is_page else {JSON: payload.ErrorPayload}
    told: Json = {"description": HTTPStatus(status).phrase, "content": catalogue.content(content)}
    if status in (429, 503):
        told["headers"] = {"Retry-After": {"description": "Seconds", "schema": TEXT}}
    if status == HTTPStatus.UNAUTHORIZED:
        told["headers"] = {"WWW-Authenticate": {"schema": TEXT}}
    return told


def _security(decision: Decision) -> list[dict[str, list[str]]]:
    """Any one of these is enough. The words are scopes."""
    if decision.scopes is None:
        return []
    needed: list[list[str]] = [[scope.value] for scope in Scope if scope in decision.scopes] or [[]]
    return [{}, *({scheme: scopes} for scopes in needed for scheme in ("key", "bearer", "session"))]


def _told(handler: type[Any]) -> tuple[str, str]:
    """The first sentence of a docstring without the address that it begins with, and the rest."""
    text = " ".join((handler.__doc__ or "").split()).replace("``", "`")
    text = re.sub(r"^`[A-Z]+ /[^`]*`[^:]*: ", "", text)
    text = re.sub(r" \([A-Z]\d+( to [A-Z]\d+)?\)", "", text)
    first, _, rest = text.partition(". ")
    return first[:1].upper() + first[1:].rstrip("."), rest


def _names(handler: type[Any], method: str) -> list[str]:
    """The names of the parts of a path."""
    return list(inspect.signature(getattr(handler, method.lower())).parameters)[1:]


def _template(pattern: str, names: Sequence[str]) -> str:
    left = iter(names)
    return re.sub(r"\(([^()]*)\)", lambda _: f"{{{next(left)}}}", pattern).replace("\\.", ".")


def _path_parameters(pattern: str, names: Sequence[str]) -> list[Json]:
    groups = re.findall(r"\(([^()]*)\)", pattern)
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1, "pattern": f"^({group})$"}}
        for name, group in zip(names, groups, strict=False)
    ]


def _parameter(parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.text,
        "required": parameter.required,
        "schema": parameter.schema,
    }


def _registration(spec: Json) -> Json:
    """The body that registers a VM: the fields of its specification, each under both of its names; null leaves it at its default."""
    fields: Json = {name: dict(schema) for name, schema in spec["properties"].items() if name != "origin"}
    for name, bounds in _BOUNDS.items():
        fields[name] |= bounds
    fields |= {alias: {**fields[name], "description": f"Another name of {name}"} for alias, name in ALIASES.items()}
    written = {name: schema if name in _REQUIRED or "anyOf" in schema else _or_null(schema) for name, schema in fields.items()}
    return {"type": "object", "properties": written, "required": list(_REQUIRED), "additionalProperties": False}


def _or_null(schema: Json) -> Json:
    return {"anyOf": [{name: value for name, value in schema.items() if name != "default"}, {"type": "null"}]}


def _tidy(schema: Json) -> Json:
    """Without the line breaks and double quotes of our docstrings."""
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split()).replace("``", "`")
    return schema


def _without_empty(value: Json) -> Json:
    return {name: item for name, item in value.items() if item not in ({}, "") and (item != [] or name == "security")}


def _choice(*allowed: str) -> Json:
    return {"type": "string", "enum": list(allowed)}


def _listed(allowed: Iterable[str]) -> Json:
    word = f"({'|'.join(allowed)})"
    return {"type": "string", "pattern": f"^({word}(,{word})*)?$"}


def _order(columns: Iterable[str]) -> Json:
    return {"type": "string", "pattern": f"^(-?({'|'.join(columns)}))?$"}


def _json(type_: Any, *headers: str) -> Answer:
    return Answer(content={JSON: type_}, headers=headers)


_REQUIRED = ("name", "ssh_host")
_BOUNDS: Mapping[str, Json] = {
    "name": {"pattern": f"^{NAME.pattern}$"},
    "ssh_host": {"minLength": 1, "maxLength": 253},
    "engine": {"minLength": 1, "maxLength": 200},
    "guest_ip": {"minLength": 2, "maxLength": 253},
    "waa_port": {"minimum": 1, "maximum": 65535},
    "vnc_port": {"minimum": 1, "maximum": 65535},
    "log_path": {"pattern": "^/", "maxLength": MAX_TEXT},
    "process": {"minLength": 1, "maxLength": 200},
}
REGISTRATION: Json = {"$ref": PLACE.format(name="VmRegistration")}

VM = Parameter(name="vm", text="The name of a VM")
RUN_ID = Parameter(name="run_id", text="The id of a run")
WIDTH = Parameter(name="width", text="Of a thumbnail, in pixels", schema=_choice(*map(str, WIDTHS)))
PAGE = Parameter(
    name="page", text="Counted from 1; without it, all that match", schema={"type": "integer", "minimum": 1, "maximum": MAX_PAGE}
)
PANELS = Parameter(name="panels", text="Names of panels, with commas", required=True)
SUBJECTS = tuple(Parameter(name=name, text="What panels are about", schema={"type": "string", "maxLength": 1024}) for name in QUERY)
LAST_EVENT = (
    Parameter(name="Last-Event-ID", text="Resume after this id", place="header", schema=TEXT),
    Parameter(name="lastEventId", text="The same, for clients that cannot set headers", schema=TEXT),
)
TASK_FILTER = (
    Parameter(name="status", text="Which tasks", schema=_listed(TASK_STATUSES)),
    Parameter(name="domain", text="Of this domain", schema={"type": "string", "maxLength": MAX_CHOICE}),
    Parameter(name="q", text="Whose id, instruction or error has these words", schema={"type": "string", "maxLength": MAX_CHOICE}),
    Parameter(name="only", text="Which of them", schema=_choice(*ONLY, "")),
    Parameter(name="sort", text="By this column, with a minus the other way", schema=_order(TASK_COLUMNS)),
    PAGE,
    Parameter(name="by", text="How domains are ordered", schema=_choice(*BY, "")),
)
RUN_FILTER = (
    Parameter(name="q", text="Whose name or arguments have these words", schema={"type": "string", "maxLength": MAX_CHOICE}),
    Parameter(name="status", text="Which runs", schema=_listed(RUN_STATUSES)),
    Parameter(name="vm", text="Of this VM; imported: of none", schema={"type": "string", "maxLength": MAX_CHOICE}),
    Parameter(name="since", text="Begun in this time", schema=_choice(*SINCE_S, "")),
    Parameter(name="sort", text="By this column, with a minus the other way", schema=_order(RUN_COLUMNS)),
    PAGE,
)
PIPELINE_FILTER = (
    Parameter(name="q", text="Whose id, title, backend or failure has these words", schema={"type": "string", "maxLength": MAX_CHOICE}),
    Parameter(name="status", text="Which pipelines", schema=_listed(PIPELINE_STATUSES)),
    Parameter(name="sort", text="By this column, with a minus the other way", schema=_order(PIPELINE_COLUMNS)),
    PAGE,
)
PIPELINE_IDS = Parameter(
    name="pipelineIds", text="Ids with commas; without it, all", schema={"type": "string", "maxLength": pipelines.MAX_IDS_CHARS}
)
AUDIT_FILTER = (
    Parameter(name="q", text="With these words", schema={"type": "string", "maxLength": MAX_CHOICE}),
    Parameter(name="actor", text="Who", schema={"type": "string", "maxLength": MAX_CHOICE}),
    Parameter(name="action", text="What, or a group of it", schema=_choice(*AUDIT_GROUPS, "")),
    Parameter(name="outcome", text="How it ended"),
    Parameter(name="since", text="From this day on", schema=DAY),
    Parameter(name="until", text="Up to and with this day", schema=DAY),
    Parameter(name="before", text="Older than this entry", schema={"type": "integer", "minimum": 0}),
)
AZURE_JOB = Parameter(name="job_id", text="The name of a job of Azure ML, or its key or resource id")
AZURE_LOG = Parameter(name="log", text="The name of one of its logs; without it, the main one")
EVENT_STREAM = {200: Answer(content={SSE: TEXT})}
IMPORTED = _json(payload.JobStarted, "Location")
BENCHMARK_EVENTS: Mapping[str, Any] = {
    "status": payload.StatusPayload,
    "progress": payload.ProgressPayload,
    "task_complete": payload.TaskPayload,
    "task_settled": payload.TaskPayload,
    "incident": payload.IncidentPayload,
    "jobs": payload.AzureJobsChanged,
    "job_log": payload.AzureLogChanged,
}
NUMBER: Json = {"type": "integer", "minimum": 0, "maximum": training.MAX_SEQ}
PREDICTION_QUERY = (
    Parameter(name="epoch", text="Of this epoch", schema=NUMBER),
    Parameter(name="match", text="That match their target, or do not", schema=_choice("yes", "no")),
    Parameter(name="before", text="Older than this seq", schema=NUMBER),
    Parameter(name="after", text="Newer than this seq", schema=NUMBER),
    Parameter(name="limit", text="How many at the most", schema={"type": "integer", "minimum": 1, "maximum": training.MAX_PAGE}),
)
TRAINING_EVENTS: Mapping[str, Any] = {
    "prediction": payload.PredictionEvent,
    "epoch_complete": payload.EpochComplete,
    "trends_update": payload.TrendsEvent,
    "training": payload.TrainingPayload,
}
PIPELINE_EVENTS: Mapping[str, Any] = {"batch_update": payload.PipelineBatch, "status_update": payload.PipelineUpdate}
JOB_EVENTS = dict.fromkeys(("progress", "completed", "failed"), payload.JobPayload)


def _read(type_: Any, *query: Parameter, errors: tuple[int, ...] = (), summary: str = "") -> Mapping[str, Operation]:
    """A GET that answers with JSON."""
    return {"GET": Operation(answers={200: _json(type_)}, query=query, errors=errors, summary=summary)}


def _file(content: Mapping[str, Any], summary: str, *query: Parameter) -> Mapping[str, Operation]:
    """A GET that answers with a file, piece by piece."""
    return {"GET": Operation(answers={200: Answer(content=content)}, query=query, errors=(404,), is_whole=False, summary=summary)}


def _stream(*query: Parameter, errors: tuple[int, ...] = (), events: Mapping[str, Any] | None = None) -> Mapping[str, Operation]:
    """A GET that goes on."""
    return {"GET": Operation(answers=EVENT_STREAM, query=query, errors=(*errors, 503), is_whole=False, events=events or {})}


class OpenApiHandler(ApiHandler):
    """``GET /api/openapi.json``: this document."""

    def get(self) -> None:
        self.write_json(self.settings["openapi"])


OPERATIONS: Mapping[type[Any], Mapping[str, Operation]] = {
    OpenApiHandler: _read({"type": "object"}),
    api.TasksHandler: _read(list[payload.BackgroundRow]),
    api.BenchmarkLiveHandler: _read(payload.LivePayload, VM, RUN_ID, errors=(404,)),
    api.BenchmarkProgressHandler: _read(payload.ProgressFile, VM, RUN_ID, errors=(404,)),
    api.CurrentRunHandler: _read(payload.CurrentRun, VM, RUN_ID, errors=(404,)),
    api.TaskHandler: _read(payload.TaskDetail, errors=(404, 422)),
    api.VmListHandler: _read(payload.VmsPayload),
    api.SpendingHandler: _read(payload.SpendingAnswer),
    api.ProbeVmHandler: _read((payload.AgedStatus, payload.AgedStatuses), VM, errors=(404,)),
    azure.AzureJobsHandler: _read(payload.AzureJobsPayload),
    azure.AzureJobLogsHandler: _read(payload.AzureLogsPayload, replace(AZURE_JOB, required=True), AZURE_LOG, errors=(404, 409)),
    azure.AzureVmsHandler: _read(payload.AzureVmsPayload),
    api.VmRegisterHandler: {
        "POST": Operation(
            answers={200: _json(payload.Registered), 201: _json(payload.Registered)}, body={JSON: REGISTRATION}, errors=(409,)
        )
    },
    api.VmHandler: {
        "GET": Operation(answers={200: _json(payload.VmPayload)}, errors=(404,), summary="One VM with its readings"),
        "DELETE": Operation(answers={204: Answer()}, errors=(404, 409), summary="Take a VM off the list"),
    },
    runs.RunListHandler: _read(payload.RunsPayload, *RUN_FILTER, errors=(404,)),
    runs.RunHandler: _read(payload.RunAnswer, *TASK_FILTER, errors=(404,)),
    runs.ThresholdHandler: {"POST": Operation(answers={200: _json(payload.Rejudged)}, body={JSON: payload.ThresholdBody}, errors=(404,))},
    task_text.TaskSpecificationApiHandler: _read(payload.SpecificationPayload, errors=(404, 422), summary="A task's own file"),
    compare.CompareApiHandler: _read(
        Comparison, Parameter(name="runs", text="Ids with commas; the first is the base", required=True), errors=(404,)
    ),
    incidents.IncidentListHandler: _read(
        payload.IncidentsPayload,
        VM,
        RUN_ID,
        Parameter(name="open", text="Those that go on, or those that do not", schema={"type": "boolean"}),
        errors=(404,),
    ),
    incidents.RerunHandler: _read(
        dict[str, list[str]], Parameter(name="status", text="Which tasks to run again", schema=_listed(Again)), errors=(404,)
    ),
    jobs.ImportHandler: {
        "POST": Operation(
            answers={202: IMPORTED},
            query=(
                Parameter(name="name", text="Of the archive, where the body is one"),
                Parameter(name="label", text="Of its runs, where the body is an archive"),
            ),
            body={JSON: payload.ImportBody, **dict.fromkeys(sorted(jobs.ARCHIVE_TYPES), BINARY)},
            errors=(404,),
        )
    },
    jobs.JobListHandler: _read(payload.JobsPayload),
    jobs.JobHandler: {
        "GET": Operation(answers={200: _json(payload.JobPayload)}, errors=(404,), summary="One job"),
        "DELETE": Operation(answers={200: _json(payload.JobPayload)}, errors=(404, 409), summary="Cancel a job; answers when it has ended"),
    },
    jobs.JobStreamHandler: _stream(errors=(404,), events=JOB_EVENTS),
    pipelines.PipelineListHandler: {
        "GET": Operation(answers={200: _json(payload.PipelinesPayload)}, query=PIPELINE_FILTER),
        "POST": Operation(
            answers={200: _json(payload.PipelineAnswer), 201: _json(payload.PipelineAnswer)},
            body={JSON: payload.PipelineBody},
            errors=(409,),
            summary="Look at one more pipeline, or say something else about it",
        ),
    },
    pipelines.PipelineHandler: {
        "GET": Operation(answers={200: _json(payload.PipelinePayload)}, errors=(404,), summary="One pipeline with its history"),
        "DELETE": Operation(answers={204: Answer()}, errors=(404, 409), summary="Look at a pipeline no more"),
    },
    pipelines.PipelineStatusHandler: _read(payload.PipelineStatuses, PIPELINE_IDS, errors=(404,)),
    pipelines.PipelineStreamHandler: _stream(PIPELINE_IDS, *LAST_EVENT, errors=(404,), events=PIPELINE_EVENTS),
    export.TasksCsvHandler: _file({CSV: TEXT}, "The attempts of a run, one in each line"),
    export.StepsCsvHandler: _file({CSV: TEXT}, "The steps of a run, one in each line"),
    export.StepsJsonHandler: _file({NDJSON: TEXT}, "The steps of a run, an object in each line"),
    report.ReportHandler: _file(
        {HTML: TEXT},
        "A run as one page that opens offline",
        Parameter(name="pictures", text="Which screenshots", schema=_choice(*Pictures)),
    ),
    stream.BenchmarkStreamHandler: _stream(
        Parameter(name="interval", text="Seconds between progress messages, 1 to 60; others are clamped"),
        AZURE_JOB,
        *LAST_EVENT,
        events=BENCHMARK_EVENTS,
        errors=(404, 409),
    ),
    training.TrainingListHandler: {
        "GET": Operation(answers={200: _json(payload.TrainingsPayload)}, summary="One's trainings, the one that spoke last first"),
        "POST": Operation(
            answers={200: _json(payload.TrainingMade), 201: _json(payload.TrainingMade)},
            body={JSON: payload.TrainingBody},
            errors=(404, 409),
            summary="Make a training, or give one a new title",
        ),
    },
    training.TrainingHandler: {
        "GET": Operation(answers={200: _json(payload.TrainingPayload)}, errors=(404,), summary="One training"),
        "DELETE": Operation(answers={204: Answer()}, errors=(404,), summary="Remove a training with its predictions and tokens"),
    },
    training.TrainingTokenHandler: {
        "POST": Operation(answers={201: _json(payload.TrainingToken)}, body={JSON: {"type": "object"}}, errors=(404, 409))
    },
    training.TrainingFinishHandler: {
        "POST": Operation(answers={200: _json(payload.TrainingPayload)}, body={JSON: payload.FinishBody}, errors=(404,))
    },
    training.EpochCompleteHandler: {
        "POST": Operation(answers={200: _json(payload.EpochTrend)}, body={JSON: {"type": "object"}}, errors=(404,))
    },
    training.PredictionPushHandler: {
        "POST": Operation(
            answers={
                200: _json((payload.BatchTaken, payload.PredictionTaken)),
                201: _json(payload.PredictionTaken),
            },
            body={JSON: (payload.PredictionBody, payload.BatchBody)},
            errors=(404, 409),
        )
    },
    training.PredictionListHandler: _read(payload.PredictionsPayload, *PREDICTION_QUERY, errors=(404,)),
    training.PredictionStreamHandler: _stream(
        Parameter(name="epoch", text="Only this one", schema=NUMBER), *LAST_EVENT, errors=(404,), events=TRAINING_EVENTS
    ),
    stream.PanelStreamHandler: _stream(PANELS, *SUBJECTS, errors=(404,)),
    pages.FragmentHandler: {"GET": Operation(answers={200: Answer(content={HTML: TEXT})}, query=SUBJECTS, errors=(404,))},
    pages.ScreenshotHandler: {
        "GET": Operation(
            answers={200: Answer(content={"image/png": BINARY, "image/webp": BINARY}), 302: Answer(headers=("Location",))},
            query=(WIDTH, Parameter(name="of", text="Of which step: there is a picture then in any case")),
            errors=(404,),
        )
    },
    pages.TaskFileHandler: {
        "GET": Operation(answers={200: Answer(content={"image/png": BINARY, "image/webp": BINARY})}, query=(WIDTH,), errors=(404, 503))
    },
    replay.ReplayHandler: {
        "GET": Operation(answers={200: _json(payload.ReplayStatus)}, errors=(404,), summary="Where a replay is"),
        "POST": Operation(answers={200: _json(payload.ReplayStatus)}, body={FORM: Order}, errors=(404,), summary="Move a replay"),
    },
    replay.ReplayFragmentHandler: {"GET": Operation(answers={200: Answer(content={HTML: TEXT})}, query=SUBJECTS, errors=(404,))},
    replay.ReplayStreamHandler: _stream(PANELS, *SUBJECTS, errors=(404,)),
    account.AuditExportHandler: {
        "GET": Operation(
            answers={200: Answer(content={JSON: payload.AuditPayload, CSV: TEXT})},
            query=AUDIT_FILTER,
            errors=(404,),
            summary="The audit log, the newest 50,000 entries",
        )
    },
    health.LiveHandler: _read(payload.HealthPayload),
    health.ReadyHandler: {
        "GET": Operation(
            answers={200: _json(payload.HealthPayload), 503: _json(payload.HealthPayload)},
        )
    },
    health.MetricsHandler: {"GET": Operation(answers={200: Answer(content={PLAIN: TEXT})})},
}
"""All that programs ask. A route whose handler is not here is a page."""
