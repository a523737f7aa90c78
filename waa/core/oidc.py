"""Signing in at an OpenID provider: who is let in by what the provider says of them, and what one login has to remember."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from waa.core.access import Identity, IdentityKind, Scope, printable
from waa.core.error import Forbidden, Invalid, SignInNeeded

Claims = Mapping[str, object]
"""What a provider says of somebody, signed by it and checked."""

MAX_SUBJECT = 255
"""Characters; OpenID Connect allows no more."""
_EMAIL = re.compile(r"[^@\s=]{1,64}@[^@\s=]{1,190}")
_DOMAIN = re.compile(r"@[A-Za-z0-9.-]{1,190}")
_CLAIM = re.compile(r"([^=\s]{1,200})=(.{1,200})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One entry of ``oidc_allow`` or ``oidc_admins``: an address, all of a domain (``@example.org``), or a claim with this value,
    or with this value in its list. Addresses are in lower case."""

    email: str = ""
    domain: str = ""
    claim: str = ""
    value: str = ""

    def holds(self, claims: Claims) -> bool:
        """Whether it is about them. An address that its provider has not verified is anybody's."""
        if self.claim:
            found = claims.get(self.claim)
            return self.value in [_word(each) for each in (found if isinstance(found, list) else [found])]
        email = verified_email(claims)
        return bool(email) and (email == self.email or (bool(self.domain) and email.endswith(self.domain)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The operator's decisions: who may sign in, with which scopes, and who administers."""

    allow: tuple[Condition, ...]
    admins: tuple[Condition, ...] = ()
    grants: frozenset[Scope] = frozenset({Scope.VIEW, Scope.OPERATE})

    def identify(self, claims: Claims) -> Identity:
        """Who that is here, and what they may do. Raises SignInNeeded (nobody is named), Forbidden (not let in)."""
        identity = _named(claims)
        if any(each.holds(claims) for each in self.admins):
            return _with(identity, frozenset({Scope.ADMIN}))
        if any(each.holds(claims) for each in self.allow):
            return _with(identity, self.grants)
        unsure = "email" in claims and not verified_email(claims)
        why = ": its provider has not verified your address" if unsure else ""
        raise Forbidden(f"{identity.name} may not sign in here{why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A login under way, kept by the browser that began it. ``state`` ties the answer to it, ``nonce`` the provider's word,
    ``verifier`` the code (PKCE). ``redirect_uri`` is where the answer comes to; ``next``: where to go then."""

    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    next: str = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a browser brings back from the provider. ``issuer``: who answers, "" where that is not said."""

    state: str
    code: str = ""
    error: str = ""
    issuer: str = ""


def conditions(texts: Iterable[str], *, field: str) -> tuple[Condition, ...]:
    """From a setting. Raises Invalid that names it."""
    return tuple(_condition(text.strip(), field) for text in texts)


def verified_email(claims: Claims) -> str:
    """The address in lower case, "" where there is none that the provider vouches for. Some write the truth as text."""
    email = claims.get("email")
    verified = claims.get("email_verified")
    is_verified = verified is True or verified == "true"
    return email.lower() if is_verified and isinstance(email, str) and _EMAIL.fullmatch(email) else ""


def check_issuer(issuer: str) -> None:
    """Whether it can be asked safely: HTTPS, or this machine. Raises Invalid (``oidc_issuer``)."""
    is_plain_text = issuer.isascii() and issuer.isprintable() and " " not in issuer
    if not is_plain_text or not is_safe(issuer, from_loopback=is_loopback_url(issuer)) or "?" in issuer or "#" in issuer:
        raise Invalid(
            "oidc_issuer", f"{issuer!r} is not an address such as https://login.example.org (http is for a provider on loopback only)"
        )


def is_safe(url: object, *, from_loopback: bool) -> bool:
    """Whether an address may be asked or shown: HTTPS without a login in it; plain HTTP on loopback only, and only for a provider
    that is there itself."""
    if not isinstance(url, str) or not url.isprintable():
        return False
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    if not parts.hostname or parts.username is not None or parts.password is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and from_loopback and is_loopback_url(url))


def is_loopback_url(url: str) -> bool:
    """Whether its host is written as this machine's own."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _condition(text: str, field: str) -> Condition:
    claim = _CLAIM.fullmatch(text)
    if claim is not None:
        return Condition(claim=claim[1], value=claim[2])
    if _DOMAIN.fullmatch(text):
        return Condition(domain=text.lower())
    if _EMAIL.fullmatch(text):
        return Condition(email=text.lower())
    raise Invalid(field, f"{text!r} is not an e-mail address, a domain such as @example.org, or a claim such as groups=waa")


def _named(claims: Claims) -> Identity:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject or len(subject) > MAX_SUBJECT or not subject.isprintable():
        raise SignInNeeded("The provider does not say who you are")
    email = verified_email(claims)
    given = claims.get("name")
    name = printable(given, 80) if isinstance(given, str) else ""
    return Identity(kind=IdentityKind.SESSION, subject=f"user:{email or subject}", name=email or name or subject, scopes=frozenset())


def _with(identity: Identity, scopes: frozenset[Scope]) -> Identity:
    return Identity(kind=identity.kind, subject=identity.subject, name=identity.name, scopes=scopes)


def _word(value: object) -> str | None:
    """A value of a claim as a setting writes it; None for what it cannot write."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None
