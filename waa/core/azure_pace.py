"""How often Azure is asked, and how long not after it failed. Pure: the moments come in."""

from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum

from waa.core.error import Failure, WaaError
from waa.core.logs.mask import mask
from waa.core.status import Reason

MAX_WAIT_S = 900.0
"""Whatever Retry-After says, it is asked again after this."""
FEW_READS = 50
"""With fewer reads left of a subscription's allowance, it is asked less often."""
SLOWER = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds between two looks. ``moving``: while a VM is on the way to another power state; ``quiet``: while no job is live;
    ``followed``: a log that nobody has opened, read for the run that it may tell of. ``linger_s``: so long after the last look of
    somebody it is still asked."""

    vms_s: float = 60.0
    moving_s: float = 15.0
    addresses_s: float = 300.0
    jobs_s: float = 30.0
    quiet_s: float = 120.0
    details_s: float = 60.0
    log_s: float = 2.0
    silent_s: float = 15.0
    followed_s: float = 15.0
    linger_s: float = 45.0
    min_wait_s: float = 5.0


class Fault(StrEnum):
    """Why Azure gave no answer. LOGIN: no token can be had; TOKEN: the one that was had is refused; EXPIRED: a signed address counts
    no longer; FOREIGN: a link leads to another server."""

    LOGIN = "login"
    TOKEN = "token"  # noqa: S105 - a word
    DENIED = "denied"
    THROTTLED = "throttled"
    SERVER = "server"
    NETWORK = "network"
    MISSING = "missing"
    EXPIRED = "expired"
    PARSE = "parse"
    FOREIGN = "foreign"


_REASONS = {
    Fault.LOGIN: Reason.AUTH,
    Fault.TOKEN: Reason.AUTH,
    Fault.DENIED: Reason.DENIED,
    Fault.NETWORK: Reason.NETWORK,
    Fault.PARSE: Reason.PARSE,
}


class CloudError(WaaError):
    """A look at Azure that failed. ``retry_after_s``: how long it asks not to be asked, None: it did not say."""

    def __init__(self, fault: Fault, message: str, *, remedy: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(mask(message))
        self.fault = fault
        self.remedy = remedy
        self.retry_after_s = retry_after_s

    @property
    def failure(self) -> Failure:
        """For people."""
        return Failure(reason=_REASONS.get(self.fault, Reason.PROTOCOL), message=str(self), remedy=self.remedy)


def wait_s(error: CloudError, failures: int, *, spread: float, pace: Pace) -> float:
    """How long not to ask after that many failures in a row (at least 1); ``spread`` 0..1 takes up to half of a doubled wait away."""
    if error.retry_after_s is not None and error.fault in (Fault.THROTTLED, Fault.SERVER):
        return min(max(error.retry_after_s, 1.0), MAX_WAIT_S)
    match error.fault:
        case Fault.LOGIN | Fault.TOKEN:
            return 12 * pace.min_wait_s
        case Fault.DENIED | Fault.MISSING | Fault.FOREIGN:
            return 120 * pace.min_wait_s
        case _:
            return min(60 * pace.min_wait_s, pace.min_wait_s * 2.0 ** min(failures - 1, 20)) * (1 - spread / 2)


def retry_after_s(value: str | None, *, now: float) -> float | None:
    """Seconds of a Retry-After header, in both of its forms."""
    if value is None:
        return None
    try:
        return max(0.0, float(int(value)))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    return max(0.0, (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp() - now)


def stretched_s(interval_s: float, remaining_reads: int | None) -> float:
    """An interval, longer where few reads are left."""
    return interval_s * SLOWER if remaining_reads is not None and remaining_reads < FEW_READS else interval_s


def log_interval_s(silent_looks: int, pace: Pace) -> float:
    """Until the next look at an opened log: longer the longer it is silent."""
    return min(pace.silent_s, pace.log_s * 1.5 ** min(silent_looks, 20))
