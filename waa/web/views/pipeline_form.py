"""The form that names a pipeline. What was typed as a secret is not shown again."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from waa.core.error import Invalid
from waa.core.pipeline import API_KEY_HEADER, AuthKind
from waa.web.views.form import Input

AUTH_WORDS = {
    AuthKind.NONE: "nothing",
    AuthKind.BEARER: "a bearer token",
    AuthKind.API_KEY: "an API key",
    AuthKind.BASIC: "user name and password",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineForm:
    """The fields, and an ``error`` that belongs to none of them."""

    main: tuple[Input, ...]
    proof: tuple[Input, ...]
    error: str


_MAIN = (
    Input(name="id", label="Id", help="As the backend calls it: letters, digits, '.', '_' and '-'.", is_required=True),
    Input(
        name="backend",
        label="Backend",
        help="Its base address: /pipeline/<id>/health is appended.",
        placeholder="https://pipelines.example.org",
        is_required=True,
    ),
    Input(name="title", label="Title", help="What people call it. Blank: its id."),
)
_PROOF = (
    Input(
        name="auth",
        label="Asked with",
        help="How this server proves who it is.",
        kind="select",
        value=AuthKind.NONE.value,
        choices=tuple((kind.value, word[:1].upper() + word[1:]) for kind, word in AUTH_WORDS.items()),
    ),
    Input(name="secret", label="Secret", help="The token, the key, or the password. It is sent to this backend only.", kind="password"),
    Input(name="username", label="User name", help="With a password."),
    Input(name="api_key_header", label="Header of the key", help="With an API key.", placeholder=API_KEY_HEADER),
)
_SECRETS = {AuthKind.BEARER.value: "token", AuthKind.API_KEY.value: "api_key", AuthKind.BASIC.value: "password"}


def pipeline_form(entered: Mapping[str, str] | None = None, errors: Mapping[str, str] | None = None) -> PipelineForm:
    """Empty, or as it was sent with what is wrong with it, by the names of the API."""
    told = dict(errors or {})
    wrong = {"secret" if name in _SECRETS.values() else name: message for name, message in told.items()}

    def filled(field: Input) -> Input:
        value = field.value if entered is None or field.kind == "password" else entered.get(field.name, field.value)
        return replace(field, value=value, error=wrong.pop(field.name, ""))

    main, proof = tuple(map(filled, _MAIN)), tuple(map(filled, _PROOF))
    return PipelineForm(
        main=main, proof=proof, error="; ".join(f"{name}: {message}" if name else message for name, message in wrong.items())
    )


def pipeline_values(entered: Mapping[str, str]) -> dict[str, object]:
    """The values of the API from those of the form; blank ones are left out. Raises Invalid."""
    values: dict[str, object] = {name: text.strip() for name, text in entered.items() if text.strip() and name not in ("auth", "secret")}
    kind, secret = entered.get("auth", AuthKind.NONE.value), entered.get("secret", "").strip()
    if kind not in AUTH_WORDS:
        raise Invalid("auth", f"is one of: {', '.join(AUTH_WORDS)}")
    if bool(secret) != (kind in _SECRETS):
        raise Invalid("secret", "is needed" if kind in _SECRETS else "is given, but not what it is: choose what the backend is asked with")
    return values | ({_SECRETS[kind]: secret} if secret else {})
