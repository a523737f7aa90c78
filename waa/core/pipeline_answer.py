"""What an HTTP answer says of a pipeline. Pure."""

import json
from collections.abc import Mapping

from waa.core.error import Failure
from waa.core.logs.mask import mask
from waa.core.pipeline import MAX_SAID, Answer, AuthKind, PipelineSpec, PipelineStatus
from waa.core.status import Reason

WORDS: Mapping[PipelineStatus, frozenset[str]] = {
    PipelineStatus.UP: frozenset(
        (
            "up",
            "ok",
            "okay",
            "healthy",
            "running",
            "pass",
            "passing",
            "passed",
            "ready",
            "active",
            "alive",
            "available",
            "serving",
            "online",
        )
    ),
    PipelineStatus.DEGRADED: frozenset(("degraded", "warn", "warning", "partial", "impaired")),
    PipelineStatus.DOWN: frozenset(
        ("down", "unhealthy", "fail", "failing", "failed", "failure", "error", "critical", "dead", "crashed", "stopped", "offline")
    ),
}
"""The usual words, in lower case; any other one is shown as it is and means nothing."""

_CREDENTIAL_REMEDIES: Mapping[AuthKind, str] = {
    AuthKind.NONE: "It asks for a credential: give the pipeline a token, an api_key, or a username with a password.",
    AuthKind.BEARER: "The bearer token is not accepted: give the pipeline one that is.",
    AuthKind.API_KEY: "The API key is not accepted: give the pipeline one that is, in the header that the backend reads.",
    AuthKind.BASIC: "The user name and password are not accepted: give the pipeline ones that are.",
}


def answer_of(spec: PipelineSpec, code: int, content_type: str, body: bytes) -> Answer:
    """What a complete answer says: of a success its word, of anything else why the look failed."""
    return _said(spec, content_type, body) if 200 <= code < 300 else Answer(failure=_refusal(spec, code))


def failed(reason: Reason, message: str, remedy: str = "") -> Answer:
    """A look that failed."""
    return Answer(failure=Failure(reason=reason, message=message, remedy=remedy))


def status_of(word: str) -> PipelineStatus:
    """What a word of a backend means here."""
    plain = word.strip().casefold()
    return next((status for status, words in WORDS.items() if plain in words), PipelineStatus.UNKNOWN)


def _said(spec: PipelineSpec, content_type: str, body: bytes) -> Answer:
    told = spec.place.netloc
    text = body.strip()
    kind = content_type.partition(";")[0].strip().lower()
    if not (kind == "application/json" or kind.endswith("+json") or text.startswith((b"{", b"["))):
        return Answer(status=PipelineStatus.UP)
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return failed(
            Reason.PARSE, f"{told} answers with JSON that cannot be read", "Look at what the backend writes: it is cut off or no JSON."
        )
    word = found.get("status") if isinstance(found, dict) else None
    if word is None:
        return Answer(status=PipelineStatus.UP)
    if not isinstance(word, str):
        return failed(
            Reason.PARSE, f"{told} answers with a status that is no word", 'The backend should answer {"status": "healthy"} or the like.'
        )
    said = mask("".join(letter for letter in word if letter.isprintable()).strip())[:MAX_SAID]
    return Answer(status=status_of(said), said=said)


def _refusal(spec: PipelineSpec, code: int) -> Failure:
    reason, what, remedy = _refused(spec, code)
    return Failure(reason=reason, message=f"{spec.place.netloc} answers {code}{f': {what}' if what else ''}", remedy=remedy)


def _refused(spec: PipelineSpec, code: int) -> tuple[Reason, str, str]:
    """The reason, what it means, and what to do."""
    gone = (
        Reason.NOT_FOUND,
        "there is no such pipeline",
        f"There is nothing at {spec.path}: correct the id, or the path of the backend's address.",
    )
    known = {
        401: (Reason.AUTH, "it does not know who asks", _CREDENTIAL_REMEDIES[spec.auth]),
        403: (
            Reason.FORBIDDEN,
            "this may not be asked",
            "Who asks is known and may not see this pipeline: give that right at the backend.",
        ),
        404: gone,
        410: gone,
        429: (Reason.HTTP_STATUS, "it is asked too often", "Raise pipeline_interval_s and pipeline_background_s."),
    }
    if code in known:
        return known[code]
    if code < 400:
        remedy = "Redirects are not followed, so that credentials stay where they belong: name the address that it leads to."
        return Reason.REDIRECT, "it is somewhere else", remedy
    if code >= 500:
        return Reason.HTTP_STATUS, "the backend fails", "Look at the backend's own log."
    return Reason.HTTP_STATUS, "", "The backend does not take a plain GET here: check its address."
