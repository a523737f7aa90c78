"""The OpenAPI document is the truth: of each route, and of each answer that schemathesis gets out of a running server (X1)."""

import asyncio
import dataclasses
import itertools
import json
import logging
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import MemoryHandler
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import (
    GenerationConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.core.builders import T0
from tests.support.wait import PATIENCE_S
from tests.web.house import ROOT, House, house, until
from tests.web.trainings import item
from waa.core.access import LOCAL, Scope
from waa.core.logs import fact as f
from waa.core.spec import VmSpec
from waa.services.access import AccessRules, Client
from waa.web.api import ALIASES
from waa.web.app import DOCUMENT, ROUTES
from waa.web.deps import WebSettings
from waa.web.jobs import ARCHIVE_TYPES
from waa.web.openapi import OPERATIONS, document, paths_of
from waa.web.pages import PageHandler
from waa.web.stream_service import StreamLimits

RESULTS = ROOT / "tests" / "corpus" / "results"
EXAMPLES = 10
"""Random ones per operation and way of making them, besides those that walk the limits of each schema."""
CONFORMANCE = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]


GENERATION = GenerationConfig(modes=list(GenerationMode), max_examples=EXAMPLES, deterministic=True, no_shrink=True)


def configuration() -> SchemathesisConfig:
    """The same requests each time, right ones and wrong ones."""
    project = ProjectConfig(generation=GENERATION, request_timeout=90)
    return SchemathesisConfig(seed=7, projects=ProjectsConfig(default=project))


described = schemathesis.openapi.from_dict(json.loads(json.dumps(DOCUMENT)), config=configuration())


@dataclass(slots=True, kw_only=True)
class Open:
    """A server in a thread of its own; ``known`` are values of path parameters that lead somewhere."""

    url: str
    known: Mapping[str, tuple[str, ...]]
    keys: Mapping[str, str]


async def furnish(built: House) -> dict[str, tuple[str, ...]]:
    """A run that goes on, an imported one, its job, and VMs that refuse."""
    await built.name("waa-1")
    await built.start_run(vm="waa-1")
    await built.tell(f.TaskStarted(at=T0 + 1, domain="notepad", task_id="t-1", index=1), vm="waa-1")
    key = (await built.access.create_key(LOCAL, Client(), name="all", scopes=[scope.value for scope in Scope]))[1]
    headers = {"Content-Type": "application/json", "X-API-Key": key}
    vm = json.dumps({"name": "waa-2", "ssh_host": "10.0.0.4"})
    assert (await built.ask("/api/vms/register", "POST", body=vm, headers=headers)).code == 201
    pipeline = json.dumps({"id": "train", "backend": "http://10.0.0.9", "token": "s3cr3t"})
    assert (await built.ask("/api/pipelines", "POST", body=pipeline, headers=headers)).code == 201
    body = json.dumps({"path": str(RESULTS / "waa_v1"), "label": "imported"})
    job = json.loads((await built.ask("/api/traces/import", "POST", body=body, headers=headers)).body)["job_id"]
    await until(lambda: built.recorder.state.jobs[job].is_over, "the import")
    runs = tuple(built.recorder.state.runs)
    task = next(iter(built.recorder.state.tasks[runs[-1]].values()))
    made = json.dumps({"job_id": "digits"})
    assert (await built.ask("/api/training/jobs", "POST", body=made, headers=headers)).code == 201
    pushed = json.dumps({"job_id": "digits", "predictions": [item(number, epoch) for epoch in (0, 1) for number in range(3)]})
    assert (await built.ask("/api/training/predictions", "POST", body=pushed, headers=headers)).code == 200
    page = (await built.ask(f"/runs/{runs[-1]}/replay", headers={"X-API-Key": key})).body.decode()
    token = re.findall(r"/replay/([A-Za-z0-9_-]{24})", page)[0]
    return {
        "run_id": runs[::-1],
        "domain": (task.domain,),
        "task_id": (task.task_id,),
        "attempt": ("1",),
        "job_id": (job, "digits"),
        "epoch": ("1",),
        "token": (token,),
        "pipeline_id": ("train",),
        "name": ("waa-1", "fleet", "live-eval", "task", "step_1.png"),
    }


@contextmanager
def running(*, is_guarded: bool) -> Iterator[Open]:
    """The application with data in it. Its streams end at once, so that an answer has an end. In the end its log holds no error."""
    found: list[Open] = []
    ready, over = threading.Event(), threading.Event()

    async def live() -> None:
        limits = StreamLimits(lifetime_s=0, jitter=0, linger_s=0)
        rules = AccessRules(is_required=is_guarded)
        with tempfile.TemporaryDirectory() as folder:
            settings = WebSettings(import_roots=(str(RESULTS),), upload_folder=folder, upload_limit_bytes=1_000_000)
            async with house(limits=limits, rules=rules, settings=settings) as built:
                keys = {}
                for scope in Scope:
                    keys[scope.value] = (await built.access.create_key(LOCAL, Client(), name=scope.value, scopes=[scope.value]))[1]
                known = await furnish(built)
                found.append(Open(url=f"http://{built.netloc}", known=known, keys=keys))
                ready.set()
                await asyncio.to_thread(over.wait)

    heard = MemoryHandler(capacity=1000, flushLevel=logging.CRITICAL + 1)
    heard.setLevel(logging.ERROR)
    logging.getLogger().addHandler(heard)
    thread = threading.Thread(target=asyncio.run, args=(live(),))
    thread.start()
    try:
        assert ready.wait(PATIENCE_S)
        yield found[0]
    finally:
        over.set()
        thread.join()
        logging.getLogger().removeHandler(heard)
    assert [record.getMessage() for record in heard.buffer] == []


@pytest.fixture(scope="module")
def server() -> Iterator[Open]:
    with running(is_guarded=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def guarded() -> Iterator[Open]:
    with running(is_guarded=True) as opened:
        yield opened


def lead(case: Case[Any], known: Mapping[str, tuple[str, ...]]) -> None:
    """Let three of four requests name what there is: what random names meet is 404. Names that are wrong stay wrong."""
    allowed = {parameter.name: parameter.definition["schema"]["pattern"] for parameter in case.operation.path_parameters}
    for name in case.path_parameters or {}:
        text = str(case.path_parameters[name])
        if name in known and len(text) % 4 and re.fullmatch(allowed[name], text):
            case.path_parameters[name] = known[name][len(text) % len(known[name])]


def test_x1_each_route_is_a_page_or_in_the_document() -> None:
    for pattern, handler, _ in ROUTES:
        assert (handler in OPERATIONS) != issubclass(handler, PageHandler), pattern
    assert set(OPERATIONS) <= {handler for _, handler, _ in ROUTES}


def test_x1_the_document_has_each_method_of_each_route_and_no_more() -> None:
    told = {(path, method.upper()) for path, methods in DOCUMENT["paths"].items() for method in methods}
    expected = {
        (path, method) for pattern, handler, access in ROUTES if handler in OPERATIONS for path in paths_of(pattern) for method in access
    }
    assert len(told) == len(expected)
    for path, method in told:
        filled = re.sub(r"{(\w+)}", lambda found: SAMPLES.get(found[1], "x"), path)
        assert method in next(access for pattern, _, access in ROUTES if re.fullmatch(pattern, filled))


SAMPLES = {"job_id": "0" * 16, "epoch": "3", "token": "x" * 24, "attempt": "1", "form": "csv"}


def test_the_document_is_well_formed_and_whole() -> None:
    text = json.dumps(DOCUMENT)
    parts = DOCUMENT["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= set(parts)
    assert DOCUMENT["openapi"] == "3.1.0"
    identifiers = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len(identifiers) == len(set(identifiers))
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"][0].isupper() or operation["summary"][0] == "`", (path, method)
            named = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))


def test_x1_the_scopes_of_the_table_are_in_the_document() -> None:
    paths = DOCUMENT["paths"]
    assert {"key": ["operate"]} in paths["/api/vms/register"]["post"]["security"]
    assert {"key": ["view"]} in paths["/api/vms"]["get"]["security"]
    assert paths["/live"]["get"]["security"] == []
    assert "401" not in paths["/live"]["get"]["responses"]


def test_a_registration_may_have_what_is_decoded() -> None:
    """Each field of a VM but its origin, under all its names."""
    fields = set(DOCUMENT["components"]["schemas"]["VmRegistration"]["properties"])
    assert fields == ({item.name for item in dataclasses.fields(VmSpec)} - {"origin"}) | set(ALIASES)


async def test_the_document_is_served() -> None:
    async with house() as built:
        assert (await built.json("/api/openapi.json")) == json.loads(json.dumps(DOCUMENT))
    assert document(ROUTES) == DOCUMENT


async def test_a_method_that_is_not_there_is_405_and_told_which_are() -> None:
    async with house() as built:
        for method, path, allowed in (("TRACE", "/api/vms", "GET, HEAD, OPTIONS"), ("GET", "/api/vms/register", "OPTIONS, POST")):
            answer = await built.ask(path, method)
            assert (answer.code, answer.headers["Allow"]) == (405, allowed)


@schemathesis.serializer(*sorted(ARCHIVE_TYPES - {"application/octet-stream"}))
def archive(_context: Any, value: Any) -> bytes:
    """An archive that is none."""
    return value if isinstance(value, bytes) else str(value).encode()


ALL = [result.ok() for result in described.get_all_operations() if isinstance(result, Ok)]
by_operation = pytest.mark.parametrize("operation", ALL, ids=[operation.label for operation in ALL])
calm = pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # our server does, in this process, while examples are made
steady = settings(derandomize=True, max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))


def judge(case: Case[Any], server: Open) -> None:
    """Ask, and hold the answer against the document."""
    lead(case, server.known)
    # A query is read without what cannot be printed: a value may be right once that is gone.
    is_plain = all(str(value).isprintable() for value in (case.query or {}).values())
    case.call_and_validate(base_url=server.url, checks=[*CONFORMANCE, *([negative_data_rejection] if is_plain else [])])


def limits_of(operation: APIOperation[Any, Any, Any, Any]) -> Iterator[Case[Any]]:
    """Each bound of each schema, on either side of it."""
    return described.iter_coverage_cases(operation, generation_modes=list(GenerationMode), generation_config=GENERATION)


def test_each_operation_can_be_tried() -> None:
    assert len(ALL) == sum(map(len, DOCUMENT["paths"].values()))


@calm
@by_operation
def test_x1_every_answer_is_documented_at_each_limit(operation: APIOperation[Any, Any, Any, Any], server: Open) -> None:
    count = 0
    for case in limits_of(operation):
        judge(case, server)
        count += 1
    assert count


@calm
@by_operation
@steady
@given(data=st.data())
def test_x1_every_answer_is_documented(data: st.DataObject, operation: APIOperation[Any, Any, Any, Any], server: Open) -> None:
    mode = data.draw(st.sampled_from(list(GenerationMode)))
    judge(data.draw(operation.as_strategy(mode)), server)


@calm
@by_operation
def test_x1_a_key_without_scopes_gets_nothing_but_documented_refusals(operation: APIOperation[Any, Any, Any, Any], guarded: Open) -> None:
    for case in itertools.islice(limits_of(operation), EXAMPLES):
        lead(case, guarded.known)
        answer = case.call(base_url=guarded.url, headers={"X-API-Key": guarded.keys["training"]})
        case.validate_response(answer, checks=CONFORMANCE)
        needed = [scopes for way in operation.definition.raw["security"] for scopes in way.values()]
        if needed and ["training"] not in needed and operation.path != "/api/openapi.json" and case.method in ("GET", "POST", "DELETE"):
            assert answer.status_code in (400, 401, 403, 404, 405), answer.text
