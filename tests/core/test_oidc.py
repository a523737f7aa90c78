"""Who is let in by what an OpenID provider says (X1)."""

import pytest

from waa.core.access import Scope
from waa.core.error import Forbidden, Invalid, SignInNeeded
from waa.core.oidc import Admission, Claims, check_issuer, conditions

ANN = {"sub": "7", "email": "Ann@Example.org", "email_verified": True, "groups": ["lab", "waa"], "level": 3, "staff": True, "name": "Ann"}


def admits(entry: str, claims: Claims) -> bool:
    try:
        Admission(allow=conditions([entry], field="oidc_allow")).identify(claims)
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize(
    ("entry", "is_let_in"),
    [
        ("ann@example.org", True),
        ("ANN@EXAMPLE.ORG", True),
        ("nn@example.org", False),
        ("@example.org", True),
        ("@ample.org", False),
        ("@org", False),
        ("groups=waa", True),
        ("groups=wa", False),
        ("groups=['lab', 'waa']", False),
        ("level=3", True),
        ("staff=true", True),
        ("staff=1", False),
        ("nothing=None", False),
        ("sub=7", True),
    ],
)
def test_who_is_let_in(entry: str, is_let_in: bool) -> None:
    assert admits(entry, ANN) is is_let_in


@pytest.mark.parametrize("verified", [None, False, 1, "yes", "false", [True]])
def test_an_address_that_nobody_vouches_for_is_nobodys(verified: object) -> None:
    claims = {**ANN, "email_verified": verified}
    assert not admits("@example.org", claims)
    identity = Admission(allow=conditions(["groups=waa"], field="oidc_allow")).identify(claims)
    assert (identity.subject, identity.name) == ("user:7", "Ann")


def test_a_provider_may_write_the_truth_as_text() -> None:
    assert admits("@example.org", {**ANN, "email_verified": "true"})


def test_who_administers_need_not_be_named_twice() -> None:
    admission = Admission(allow=(), admins=conditions(["groups=waa"], field="oidc_admins"))
    identity = admission.identify(ANN)
    assert (identity.subject, identity.scopes) == ("user:ann@example.org", frozenset({Scope.ADMIN}))
    with pytest.raises(Forbidden, match="may not sign in here"):
        admission.identify({**ANN, "groups": "lab"})


@pytest.mark.parametrize("subject", [None, "", 7, "x" * 256, "a\nb"])
def test_somebody_without_a_name_is_nobody(subject: object) -> None:
    with pytest.raises(SignInNeeded):
        Admission(allow=conditions(["groups=waa"], field="oidc_allow")).identify({**ANN, "sub": subject})


@pytest.mark.parametrize("entry", ["", "@", "ann", "a b@example.org", "=x", "groups=", "@exa mple.org"])
def test_an_entry_that_means_nothing_is_named(entry: str) -> None:
    with pytest.raises(Invalid, match="oidc_allow"):
        conditions([entry], field="oidc_allow")


@pytest.mark.parametrize("issuer", ["https://login.example.org", "https://x.example/realms/lab", "http://127.0.0.1:9", "http://[::1]:9/x"])
def test_an_issuer_that_can_be_asked(issuer: str) -> None:
    check_issuer(issuer)


@pytest.mark.parametrize(
    "issuer",
    ["http://login.example.org", "http://127.0.0.1.evil.example", "ftp://x", "https://", "https://u@x", "https://x?y", "https://x#y",
     "https://x:port", "https://x y", "https://é.example"],
)  # fmt: skip
def test_an_issuer_that_cannot(issuer: str) -> None:
    with pytest.raises(Invalid, match="oidc_issuer"):
        check_issuer(issuer)
