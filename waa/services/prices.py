"""What an hour of each VM costs: by its own setting, by the operator's table, or by Azure's list where that may be asked."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from waa.core.error import TooOften, WaaError
from waa.core.port import PriceCache, PriceList
from waa.core.price import KnownPrice, Placement, Price, PriceEntry, PriceSource, listed_price, own_price, table_price
from waa.core.spec import VmSpec
from waa.services.news import wait_for_event
from waa.services.supervise import backoff_s

log = logging.getLogger(__name__)

FRESH_S = 86_400.0
"""A listed price is asked for again after a day; until it is known anew, the old one counts."""
MIN_RETRY_S, MAX_RETRY_S = 60.0, 3600.0
LOOK_EVERY_S = 60.0
MAX_KNOWN = 500
"""Placements whose prices are kept: a fleet has a handful."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A price, or why there is none. ``at``: when Azure's list said it, None for the operator's word."""

    price: Price | None
    why_not: str = ""
    at: float | None = None


@dataclass(slots=True)
class _Trial:
    """What became of asking: how often it failed in a row, the last reason, and when to ask again."""

    failures: int = 0
    reason: str = ""
    next_at: float = 0.0


class Prices:
    """The operator's own price of a VM wins, then the table, then Azure's list. For the loop's thread only."""

    def __init__(
        self,
        *,
        entries: Sequence[PriceEntry],
        currency: str,
        clock: Callable[[], float],
        listed: PriceList | None = None,
        cache: PriceCache | None = None,
        spread: Callable[[], float] = random.random,
    ) -> None:
        """``listed`` None: Azure's list may not be asked."""
        self.currency = currency
        self._entries = tuple(entries)
        self._clock = clock
        self._listed = listed
        self._cache = cache
        self._spread = spread
        self._known: dict[str, KnownPrice] = {}
        self._wanted: dict[Placement, _Trial] = {}
        self._news = asyncio.Event()
        self.on_change: Callable[[], None] | None = None

    async def open(self) -> None:
        """Take up what an earlier server was told."""
        if self._cache is not None and self._listed is not None:
            self._known = await asyncio.to_thread(self._cache.load)

    def quote(self, spec: VmSpec, placement: Placement | None) -> Quote:
        """The price of a VM now. What Azure's list should say and has not yet, is asked for in a while."""
        own = own_price(spec, self.currency)
        if own is not None:
            return Quote(price=own)
        if placement is None:
            return Quote(price=None, why_not="Neither its price_per_hour nor its size is set.")
        told = table_price(self._entries, placement, self.currency)
        if told is not None:
            return Quote(price=told)
        if self._listed is None:
            return Quote(price=None, why_not=f"There is no [[price]] for {placement.text}, and azure_prices is off.")
        if not placement.region:
            return Quote(price=None, why_not=f"There is no [[price]] for {placement.text}, and Azure's list needs its region.")
        return self._from_list(placement)

    async def run(self) -> None:
        """Ask for what is wanted, until it is cancelled."""
        while True:
            for placement, trial in list(self._wanted.items()):
                if self._is_due(placement, trial):
                    await self._ask(placement, trial)
            self._news.clear()
            await wait_for_event(self._news, LOOK_EVERY_S)

    async def close(self) -> None:
        """Give the connections back. May be called twice."""
        if self._listed is not None:
            await self._listed.close()

    def _from_list(self, placement: Placement) -> Quote:
        known = self._known.get(self._key(placement))
        trial = self._wanted.get(placement)
        if trial is None and len(self._wanted) < MAX_KNOWN:
            trial = self._wanted[placement] = _Trial()
            self._news.set()
        if known is not None and known.per_hour is not None:
            price = Price(per_hour=known.per_hour, currency=self.currency, source=PriceSource.AZURE, label=placement.text)
            return Quote(price=price, at=known.at)
        if known is not None:
            return Quote(price=None, why_not=f"Azure's price list has none for {placement.text}.", at=known.at)
        reason = trial.reason if trial is not None else ""
        return Quote(price=None, why_not=f"{reason}." if reason else f"Azure's price list is asked for {placement.text}.")

    def _is_due(self, placement: Placement, trial: _Trial) -> bool:
        now, known = self._clock(), self._known.get(self._key(placement))
        return now >= trial.next_at and (known is None or not 0 <= now - known.at < FRESH_S)

    async def _ask(self, placement: Placement, trial: _Trial) -> None:
        if self._listed is None:
            return
        try:
            items = await self._listed.ask(placement, self.currency)
        except WaaError as error:
            trial.failures += 1
            wait_s = backoff_s(trial.failures, min_s=MIN_RETRY_S, max_s=MAX_RETRY_S, spread=self._spread())
            trial.next_at = self._clock() + (max(wait_s, error.wait_s) if isinstance(error, TooOften) else wait_s)
            if trial.reason != str(error):
                log.warning("price not known of=%r reason=%s", placement.text, error)
            trial.reason = str(error)
            return
        trial.failures, trial.reason = 0, ""
        price = listed_price(items, placement, self.currency)
        log.info("price of=%r per_hour=%s currency=%s", placement.text, price.per_hour if price else None, self.currency)
        known = self._known | {self._key(placement): KnownPrice(per_hour=price.per_hour if price else None, at=self._clock())}
        newest = dict(sorted(known.items(), key=lambda item: item[1].at)[-MAX_KNOWN:])
        if self._cache is not None:  # what is shown is kept already
            await asyncio.to_thread(self._cache.save, newest)
        self._known = newest
        if self.on_change is not None:
            self.on_change()

    def _key(self, placement: Placement) -> str:
        parts = (self.currency, placement.region, placement.size, placement.os.value, "spot" if placement.spot else "regular")
        return " ".join(parts).lower()
