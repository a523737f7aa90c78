"""What pages of trainings are about, as it stands in their addresses."""

from dataclasses import dataclass
from urllib.parse import quote_plus

from waa.core.error import Invalid
from waa.core.training import EVERYTHING, JOB_ID, MAX_NUMBER, PredictionFilter, Side, Turn
from waa.web.views.query import Query, printed

MATCHES = {"yes": "Those that match", "no": "Those that differ"}
PREDICTION_NAMES = ("epoch", "match", "before", "after")
COMPARE_NAMES = ("a", "ae", "b", "be", "turn", "after")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionSubject:
    """Which predictions a table shows: the newest; those older than ``before``; or those newer than ``after``, next to it."""

    job_id: str
    filter: PredictionFilter = EVERYTHING
    before: int | None = None
    after: int | None = None

    @classmethod
    def of(cls, job_id: str, query: Query) -> "PredictionSubject":
        """Raises Invalid."""
        match = query.choice("match", MATCHES)
        before, after = _number(query, "before"), _number(query, "after")
        if before is not None and after is not None:
            raise Invalid("after", "does not go with before")
        wanted = PredictionFilter(epoch=_number(query, "epoch"), match=match == "yes" if match else None)
        return cls(job_id=_job_id("jobId", job_id), filter=wanted, before=before, after=after)

    @classmethod
    def parse(cls, text: str | None) -> "PredictionSubject":
        """Raises Invalid."""
        job_id, _, query = (text or "").partition("?")
        return cls.of(job_id, Query.parse(query, PREDICTION_NAMES))

    @property
    def query(self) -> str:
        """The choice as it stands in an address, "" for the newest of all."""
        match = {True: "yes", False: "no", None: ""}[self.filter.match]
        return printed({"epoch": _text(self.filter.epoch), "match": match, "before": _text(self.before), "after": _text(self.after)})

    @property
    def text(self) -> str:
        """The one way to write it."""
        return f"{self.job_id}?{self.query}" if self.query else self.job_id

    @property
    def url(self) -> str:
        """The page that shows it."""
        return f"{monitor_url(self.job_id)}{f'&{self.query}' if self.query else ''}"

    def narrowed(self, wanted: PredictionFilter) -> "PredictionSubject":
        """The newest of others."""
        return PredictionSubject(job_id=self.job_id, filter=wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonSubject:
    """Two sides, which of their pairs are listed, and from where on."""

    first: Side
    second: Side
    turn: Turn | None = None
    after: int = 0

    @classmethod
    def of(cls, query: Query) -> "ComparisonSubject":
        """Raises Invalid."""
        turn = query.choice("turn", tuple(Turn))
        first, second = (Side(job_id=_job_id(side, query.one(side)), epoch=_number(query, f"{side}e")) for side in ("a", "b"))
        if first == second:
            raise Invalid("be", "names another epoch, or b another training: the two sides are the same")
        return cls(first=first, second=second, turn=Turn(turn) if turn else None, after=_number(query, "after") or 0)

    @classmethod
    def parse(cls, text: str | None) -> "ComparisonSubject":
        """Raises Invalid."""
        return cls.of(Query.parse(text or "", COMPARE_NAMES))

    @property
    def text(self) -> str:
        """The one way to write it."""
        sides = {"a": self.first.job_id, "ae": _text(self.first.epoch), "b": self.second.job_id, "be": _text(self.second.epoch)}
        return printed({**sides, "turn": self.turn.value if self.turn is not None else "", "after": _text(self.after or None)})

    @property
    def url(self) -> str:
        """The page that shows it."""
        return f"/training/compare?{self.text}"


def jobs_of(about: str) -> tuple[str, ...]:
    """The trainings that the subject of a comparison names."""
    subject = ComparisonSubject.parse(about)
    return subject.first.job_id, subject.second.job_id


def monitor_url(job_id: str) -> str:
    """The page of a training."""
    return f"/training/monitor?jobId={quote_plus(job_id)}"


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _number(query: Query, name: str) -> int | None:
    """Raises Invalid."""
    text = query.one(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_NUMBER)) and int(text) <= MAX_NUMBER):
        raise Invalid(name, "is a whole number")
    return int(text)


def _job_id(name: str, text: str) -> str:
    """Raises Invalid."""
    if not JOB_ID.fullmatch(text):
        raise Invalid(name, "names a training")
    return text
