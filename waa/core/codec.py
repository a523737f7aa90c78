"""JSON of entities and events, typed in both directions. ``Any`` stops here."""

import dataclasses
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeVar, get_type_hints

import msgspec

from waa.core.cloud import CloudJob, CloudVm
from waa.core.entity import Entity, Run, Task, Trouble, Vm
from waa.core.error import Invalid
from waa.core.event import EventType
from waa.core.incident import Incident
from waa.core.job import Job
from waa.core.meter import Meter
from waa.core.pipeline import Pipeline, PipelineCheck
from waa.core.spec import LogSide, Origin, Transport, VmOs, VmSpec
from waa.core.training import Epoch, PredictionBatch, Training

_KINDS: Mapping[str, type[Entity]] = {
    "vm": Vm,
    "run": Run,
    "task": Task,
    "trouble": Trouble,
    "job": Job,
    "incident": Incident,
    "training": Training,
    "epoch": Epoch,
    "predictions": PredictionBatch,
    "meter": Meter,
    "pipeline": Pipeline,
    "pipelines": PipelineCheck,
    "cloud_vm": CloudVm,
    "cloud_job": CloudJob,
}
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_DECODERS = {kind: msgspec.json.Decoder(type_) for kind, type_ in _KINDS.items()}

_CHOICES: Mapping[str, type[StrEnum]] = {"transport": Transport, "log_side": LogSide, "os": VmOs}

Decoded = TypeVar("Decoded")


def kind_of(type_: EventType) -> str:
    """Which kind of entity an event carries."""
    return type_.value.partition(".")[0]


def encode(value: object) -> bytes:
    """Compact JSON of any entity, event data or plain structure; NaN becomes null, half a surrogate pair a ``?``."""
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:  # a file name or log byte that was no UTF-8; it must not stop what else is told
        return _ENCODER.encode(_encodable(msgspec.to_builtins(value)))


def decode_entity(kind: str, data: bytes | str) -> Entity:
    """The entity back from its JSON. Raises Invalid where it does not fit."""
    if kind not in _DECODERS:
        raise Invalid("kind", f"{kind!r} is not one of {', '.join(_DECODERS)}")
    try:
        return _DECODERS[kind].decode(data)
    except msgspec.MsgspecError as error:
        raise Invalid(kind, str(error)) from error


def decode(type_: type[Decoded], data: bytes | str, *, name: str) -> Decoded:
    """A typed value from JSON. Raises Invalid that names the field (``name`` where it is the whole)."""
    try:
        return msgspec.json.decode(data, type=type_)
    except msgspec.ValidationError as error:
        raise _named(error, name) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(name, f"is not JSON: {error}") from error
    except RecursionError as error:
        raise Invalid(name, "is nested too deeply") from error


def decode_fields(type_: type[Decoded], data: bytes | str, *, name: str) -> Decoded:
    """A typed dictionary from a JSON object that has no fields but its own. Raises Invalid that names the field."""
    given = decode(dict[str, object], data, name=name)
    allowed = get_type_hints(type_)
    for key in given:
        if key not in allowed:
            raise Invalid(key[:80], f"is not one of the fields; allowed: {', '.join(allowed)}")
    return convert(type_, given, name=name)


def schemas(types: Iterable[Any], *, place: str) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The JSON schema of each type as ``encode`` writes and ``decode`` reads it, and what they refer to by ``place`` (``#/a/{name}``)."""
    found, parts = msgspec.json.schema_components(list(types), ref_template=place, schema_hook=_any_json)
    return list(found), parts


def _any_json(type_: type) -> dict[str, Any]:
    if type_ is object:
        return {"description": "Any JSON"}
    raise NotImplementedError(type_)


def convert(type_: type[Decoded], value: object, *, name: str, strict: bool = True) -> Decoded:
    """A typed value from plain structures; ``strict=False`` reads numbers and booleans from text (forms, environment)."""
    try:
        return msgspec.convert(value, type_, strict=strict)
    except msgspec.ValidationError as error:
        raise _named(error, name) from error


def to_plain(value: object) -> object:
    """Plain dicts, lists and scalars of any value that ``encode`` takes."""
    return msgspec.to_builtins(value)


def spec_from(table: Mapping[str, object], *, origin: Origin, strict: bool = True) -> VmSpec:
    """A VM from plain values. Raises Invalid that names the field. ``strict=False`` reads text, as forms send it."""
    allowed = [item.name for item in dataclasses.fields(VmSpec) if item.name != "origin"]
    for key in table:
        if key not in allowed:
            raise Invalid(str(key)[:80], f"is not a field of a VM; allowed: {', '.join(allowed)}")
    try:
        return convert(VmSpec, {**table, "origin": origin.value}, name="vm", strict=strict)
    except Invalid as error:
        kind = _CHOICES.get(error.field)
        if kind is None:
            raise
        raise Invalid(error.field, f"is not one of: {', '.join(kind)}") from error


def _encodable(plain: object) -> object:
    match plain:
        case str():
            return plain.encode("utf-8", "replace").decode()
        case list():
            return [_encodable(item) for item in plain]
        case dict():
            return {_encodable(key): _encodable(item) for key, item in plain.items()}
        case _:
            return plain


def _named(error: msgspec.ValidationError, name: str) -> Invalid:
    text, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").lstrip(".").removeprefix("[...]")
    if not field and "field `" in text:
        field = text.split("field `")[1].split("`")[0]
    if isinstance(error.__cause__, Invalid):
        return error.__cause__
    return Invalid(field or name, text)
