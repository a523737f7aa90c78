"""Predictions read back from the SQL database. The store writes them, in the commit that tells of them."""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from waa.core.codec import decode
from waa.core.error import Unavailable
from waa.core.training import EVERYTHING, PairCounts, Prediction, PredictionFilter, Side, Turn, turn_of
from waa.store import schema
from waa.store.engine import make_engine, translated, where

MAX_PARAMETERS = 500
_P = schema.prediction.c


class SqlPredictions:
    """A PredictionReader (see there) on the database of a store that is open already: that one makes the tables."""

    def __init__(self, url: str) -> None:
        self._engine = make_engine(url)
        self._is_closed = False

    def known(self, job_id: str, client_ids: Collection[str]) -> dict[str, int]:
        """Ids that are used already."""
        ids = list(client_ids)
        found: dict[str, int] = {}
        for start in range(0, len(ids), MAX_PARAMETERS):
            part = ids[start : start + MAX_PARAMETERS]
            rows = self._rows(sa.select(_P.client_id, _P.seq).where(_P.job_id == job_id, _P.client_id.in_(part)))
            found |= {row.client_id: row.seq for row in rows}
        return found

    def page(
        self,
        job_id: str,
        wanted: PredictionFilter = EVERYTHING,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[Prediction]:
        """Predictions of a training."""
        query = sa.select(_P.data).where(_P.job_id == job_id, _P.seq > after).limit(limit)
        query = query.order_by(_P.seq.desc() if newest_first else _P.seq)
        if before is not None:
            query = query.where(_P.seq < before)
        if wanted.epoch is not None:
            query = query.where(_P.epoch == wanted.epoch)
        if wanted.match is not None:
            query = query.where(_P.matched.is_(wanted.match))
        return [_prediction(row.data) for row in self._rows(query)]

    def pairs(
        self, first: Side, second: Side, *, turn: Turn | None = None, after: int = 0, limit: int = 50
    ) -> list[tuple[Prediction, Prediction]]:
        """Predictions of two sides about the same."""
        one, other = _newest(first), _newest(second)
        a, b = schema.prediction.alias("a"), schema.prediction.alias("b")
        query = (
            sa.select(a.c.data, b.c.data.label("other"))
            .select_from(one.join(other, one.c.pair == other.c.pair))
            .join(a, sa.and_(a.c.job_id == first.job_id, a.c.seq == one.c.seq))
            .join(b, sa.and_(b.c.job_id == second.job_id, b.c.seq == other.c.seq))
            .where(one.c.seq > after)
            .order_by(one.c.seq)
            .limit(limit)
        )
        if turn is not None:
            query = query.where(_turns(a.c.matched, b.c.matched, turn))
        return [(_prediction(row.data), _prediction(row.other)) for row in self._rows(query)]

    def pair_counts(self, first: Side, second: Side) -> PairCounts:
        """How two sides compare."""
        one, other = _newest(first), _newest(second)
        a, b = schema.prediction.alias("a"), schema.prediction.alias("b")
        query = (
            sa.select(a.c.matched, b.c.matched.label("other"), sa.func.count().label("n"))
            .select_from(one.join(other, one.c.pair == other.c.pair))
            .join(a, sa.and_(a.c.job_id == first.job_id, a.c.seq == one.c.seq))
            .join(b, sa.and_(b.c.job_id == second.job_id, b.c.seq == other.c.seq))
            .group_by(a.c.matched, b.c.matched)
        )
        turns = dict.fromkeys(Turn, 0)
        for row in self._rows(query):
            turns[turn_of(row.matched, row.other)] += row.n
        common = sum(turns.values())
        totals = [self._rows(sa.select(sa.func.count().label("n")).select_from(side))[0].n for side in (one, other)]
        return PairCounts(turns=turns, only_first=totals[0] - common, only_second=totals[1] - common)

    def close(self) -> None:
        """Give everything back. May be called twice."""
        self._is_closed = True
        self._engine.dispose()

    def _rows(self, query: sa.Select[Any]) -> list[sa.Row[Any]]:
        with translated(self._engine):
            if self._is_closed:
                raise Unavailable(f"The database {where(self._engine)} was closed.")
            with self._engine.connect() as connection, connection.begin():
                return list(connection.execute(query))


def _newest(side: Side) -> sa.Subquery:
    """The newest prediction about each prompt."""
    query = sa.select(_P.pair, sa.func.max(_P.seq).label("seq")).where(_P.job_id == side.job_id).group_by(_P.pair)
    return (query if side.epoch is None else query.where(_P.epoch == side.epoch)).subquery()


def _turns(first: sa.Column[Any], second: sa.Column[Any], turn: Turn) -> sa.ColumnElement[bool]:
    match turn:
        case Turn.UNJUDGED:
            return sa.or_(first.is_(None), second.is_(None))
        case Turn.FIXED:
            return sa.and_(first.is_(False), second.is_(True))
        case Turn.BROKEN:
            return sa.and_(first.is_(True), second.is_(False))
        case Turn.BOTH:
            return sa.and_(first.is_(True), second.is_(True))
        case Turn.NEITHER:
            return sa.and_(first.is_(False), second.is_(False))


def _prediction(data: str) -> Prediction:
    return decode(Prediction, data, name="prediction")
