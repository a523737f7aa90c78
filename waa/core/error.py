"""Errors named by what the caller can do about them. ``web/base.py`` alone turns them into HTTP."""

from dataclasses import dataclass

from waa.core.logs.mask import mask
from waa.core.status import Reason


class WaaError(Exception):
    """Base of the errors that the product raises on purpose; its text is fit to show to a user."""


class NotFound(WaaError):
    """There is no such thing (or it is not yours)."""


class Conflict(WaaError):
    """It exists already, or is in a state that forbids this."""


class Invalid(WaaError):
    """The input is wrong. ``field`` names what to correct, the text says what is allowed."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class Unavailable(WaaError):
    """It cannot be done now; trying again later can help."""


class SignInNeeded(WaaError):
    """Who asks is not known, or not any more."""


class Forbidden(WaaError):
    """Who asks is known, and may not do this."""


class TooOften(WaaError):
    """It was asked for too often; after ``wait_s`` seconds it can be asked for again."""

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Cancelled(WaaError):
    """Who asked for it wants it no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A look that failed: why, in one sentence, and what the user can do about it. Both quote machines: credentials are hidden."""

    reason: Reason
    message: str
    remedy: str = ""

    def __post_init__(self) -> None:
        """Hide what a command or a server said and nobody should see."""
        object.__setattr__(self, "message", mask(self.message))
        object.__setattr__(self, "remedy", mask(self.remedy))


class LinkError(WaaError):
    """A machine could not be looked at."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
