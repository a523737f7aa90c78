"""What nine errors of a login come down to: the one telling line, and what to do. Pure."""

import re
from dataclasses import dataclass

from waa.core.azure import Auth
from waa.core.logs.mask import mask

MAX_LINE = 240


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    message: str
    remedy: str


def _rule(pattern: str, message: str, remedy: str) -> _Rule:
    return _Rule(re.compile(pattern, re.IGNORECASE), message, remedy)


_LOGIN_AGAIN = "Run az login as the user that this server runs as."
_RULES = (
    _rule(
        r"AADSTS7000222",
        "The secret of the service principal has expired",
        "Make a new one (az ad app credential reset) and set AZURE_CLIENT_SECRET.",
    ),
    _rule(
        r"AADSTS7000215",
        "The secret of the service principal is wrong",
        "Set AZURE_CLIENT_SECRET to the secret's value (not its id).",
    ),
    _rule(
        r"AADSTS700016|AADSTS50059",
        "The service principal is not known in this tenant",
        "Check AZURE_CLIENT_ID and AZURE_TENANT_ID.",
    ),
    _rule(r"AADSTS90002|AADSTS900023", "The tenant is not known", "Check AZURE_TENANT_ID."),
    _rule(
        r"AADSTS(?:70043|70008|700082|50173|50078|50076|50079|700084)|az login --|refresh token (?:has|is) expired|token .{0,40}expired",
        "The login of the Azure CLI has expired",
        _LOGIN_AGAIN,
    ),
    _rule(r"run 'az login'|az account set", "The Azure CLI is not logged in", _LOGIN_AGAIN),
    _rule(
        r"getaddrinfo|name or service not known|name resolution|failed to resolve|connection refused|max retries exceeded|"
        r"connection aborted|failed to establish a new connection|certificate verify failed|timed out",
        "The login service cannot be reached",
        "Check this machine's network, proxy and DNS.",
    ),
    _rule(r"AADSTS\d+", "", "See the code at https://login.microsoftonline.com/error."),
)
_MISSING = {
    Auth.CLI: ("The Azure CLI (az) is not installed, or not on the PATH of this server", "Install it, then run az login."),
    Auth.ENV: (
        "The AZURE_* variables do not name a service principal",
        "Set AZURE_TENANT_ID, AZURE_CLIENT_ID, and AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH.",
    ),
    Auth.MANAGED: (
        "This machine has no managed identity",
        "Run the server on an Azure machine with an identity, or choose another azure_auth.",
    ),
    Auth.AUTO: (
        "No way to log in to Azure was found on this machine",
        "Run az login as the user that this server runs as, or set the AZURE_* variables of a service principal.",
    ),
}


def told(message: str, auth: Auth) -> tuple[str, str]:
    """The telling line of a failed login, and what to do about it."""
    for rule in _RULES:
        match = rule.pattern.search(message)
        if match is not None:
            return rule.message or _line_at(message, match.start()), rule.remedy
    if _is_unavailable(message) and auth in _MISSING:
        return _MISSING[auth]
    line = next((line.strip() for line in message.splitlines() if line.strip()), "The login failed")
    return _fit(line), "See azure_auth in the README."


def _is_unavailable(message: str) -> bool:
    """Whether nothing was tried in earnest: each way said only that it is not there."""
    words = ("unavailable", "not found on path", "not installed", "not fully configured", "no response from the imds", "failed to retrieve")
    return any(word in message.lower() for word in words)


def _line_at(message: str, place: int) -> str:
    start = message.rfind("\n", 0, place) + 1
    return _fit(message[start:].partition("\n")[0].strip())


def _fit(line: str) -> str:
    line = mask(re.sub(r"^\w+Credential: ", "", line))
    return line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}…"
