"""Pipelines from plain values: a table of ``waa.toml``, a JSON body, a form."""

from collections.abc import Mapping

from waa.core.error import Invalid
from waa.core.pipeline import API_KEY_HEADER, NO_CREDENTIAL, AuthKind, Credential, PipelineSpec
from waa.core.spec import Origin

NAMES = ("id", "title", "backend", "token", "api_key", "api_key_header", "username", "password")
"""The fields of one pipeline."""
RESERVED = ("new",)
"""A page stands there."""


def pipelines_from(values: Mapping[str, object], *, origin: Origin) -> list[tuple[PipelineSpec, Credential]]:
    """The pipelines of one backend: ``id`` names one, ``ids`` several. Raises Invalid that names the field."""
    ids = values.get("ids")
    if ids is None:
        return [pipeline_from(values, origin=origin)]
    if "id" in values:
        raise Invalid("ids", "gives ids once more, with id")
    if not isinstance(ids, list) or not ids:
        raise Invalid("ids", "is a list of ids")
    if "title" in values and len(ids) > 1:
        raise Invalid("title", "goes with one id")
    rest = {name: value for name, value in values.items() if name != "ids"}
    return [pipeline_from({**rest, "id": each}, origin=origin) for each in ids]


def pipeline_from(values: Mapping[str, object], *, origin: Origin) -> tuple[PipelineSpec, Credential]:
    """One pipeline, and what it is asked with. Raises Invalid that names the field."""
    for name in values:
        if name not in NAMES:
            raise Invalid(str(name)[:80], f"is not a field of a pipeline; allowed: {', '.join(NAMES)}")
    texts = {name: value for name, value in values.items() if value is not None}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise Invalid(name, "is a text")
    given = {name: str(value) for name, value in texts.items()}
    for name in ("id", "backend"):
        if not given.get(name):
            raise Invalid(name, "is required")
    if given["id"] in RESERVED:
        raise Invalid("id", f"{given['id']!r} is the name of a page; choose another")
    credential = credential_from(given)
    spec = PipelineSpec(
        pipeline_id=given["id"], backend=given["backend"].rstrip("/"), title=given.get("title", ""), auth=credential.kind, origin=origin
    )
    return spec, credential


def credential_from(given: Mapping[str, str]) -> Credential:
    """What a backend is asked with; of a token, a key, and a user name with a password one at most. Raises Invalid."""
    kinds = [name for name in ("token", "api_key", "password") if name in given]
    if len(kinds) > 1:
        raise Invalid(kinds[1], f"cannot be given together with {kinds[0]}")
    kind = kinds[0] if kinds else ""
    if given.get("username") and kind != "password":
        raise Invalid("username", "goes with a password")
    if given.get("api_key_header") and kind != "api_key":
        raise Invalid("api_key_header", "goes with an api_key")
    match kind:
        case "token":
            return Credential(kind=AuthKind.BEARER, secret=given["token"])
        case "api_key":
            return Credential(kind=AuthKind.API_KEY, secret=given["api_key"], header=given.get("api_key_header") or API_KEY_HEADER)
        case "password":
            return Credential(kind=AuthKind.BASIC, secret=given["password"], username=given.get("username", ""))
        case _:
            return NO_CREDENTIAL
