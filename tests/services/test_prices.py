"""Whose word counts for a price, when Azure's list is asked, and what is kept of it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.core.builders import a_spec
from tests.support.price_list import PriceServer, an_item, price_list
from tests.support.wait import until
from tests.web.stream_house import Clock
from waa.core.price import KnownPrice, PriceEntry, PriceSource, placement_of
from waa.core.spec import VmSpec
from waa.probes.retail_prices import RetailPrices
from waa.services.prices import FRESH_S, Prices, Quote
from waa.store.price_file import PriceFile

D8 = a_spec(size="Standard_D8ds_v5", region="eastus2")
SPOT = a_spec(size="Standard_D8ds_v5", region="eastus2", spot=True)


class Shop:
    """Prices on a clock of their own, at work."""

    def __init__(self, prices: Prices, server: PriceServer, clock: Clock) -> None:
        self.prices, self.server, self.clock = prices, server, clock
        self.changes = 0
        prices.on_change = self._count

    def quote(self, spec: VmSpec = D8) -> Quote:
        return self.prices.quote(spec, placement_of(spec))

    async def asked(self, count: int) -> None:
        await until(lambda: len(self.server.asked) >= count and not self.server.faults)

    def _count(self) -> None:
        self.changes += 1


@asynccontextmanager
async def shop(
    folder: Path, server: PriceServer, *, entries: Sequence[PriceEntry] = (), currency: str = "USD", may_ask: bool = True, now: float = 1e6
) -> AsyncIterator[Shop]:
    clock = Clock()
    clock.now = now
    prices = Prices(
        entries=entries,
        currency=currency,
        clock=clock,
        listed=RetailPrices(server.url) if may_ask else None,
        cache=PriceFile(folder / "prices.json"),
        spread=lambda: 0.0,
    )
    await prices.open()
    work = asyncio.create_task(prices.run())
    try:
        yield Shop(prices, server, clock)
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
        await prices.close()


async def test_the_vms_own_price_wins_then_the_table_then_the_list(tmp_path: Path) -> None:
    async with price_list() as server, shop(tmp_path, server, entries=[PriceEntry(size="Standard_D8ds_v5", per_hour=1.0)]) as built:
        server.items = [an_item(skuName="D8ds v5 Spot", retailPrice=0.0768)]
        own = a_spec(size="Standard_D8ds_v5", price_per_hour=2.0)
        assert [(quote.price.per_hour, quote.price.source) for quote in (built.quote(own), built.quote()) if quote.price] == [
            (2.0, PriceSource.VM),
            (1.0, PriceSource.TABLE),
        ]
        assert built.quote(SPOT).why_not == "Azure's price list is asked for Standard_D8ds_v5, eastus2, spot."
        await until(lambda: built.quote(SPOT).price is not None)
        price = built.quote(SPOT).price
        assert price is not None
        assert (price.per_hour, price.source) == (0.0768, PriceSource.AZURE)
        assert built.changes == 1
        assert len(server.asked) == 1


async def test_without_leave_the_list_is_never_asked(tmp_path: Path) -> None:
    PriceFile(tmp_path / "prices.json").save({"usd eastus2 standard_d8ds_v5 linux regular": KnownPrice(per_hour=9.0, at=1e6)})
    async with price_list() as server, shop(tmp_path, server, may_ask=False) as built:
        assert built.quote().why_not == "There is no [[price]] for Standard_D8ds_v5, eastus2, and azure_prices is off."
        assert built.quote(a_spec()).why_not == "Neither its price_per_hour nor its size is set."
        assert not server.asked


async def test_a_size_without_a_region_is_not_asked_for(tmp_path: Path) -> None:
    async with price_list() as server, shop(tmp_path, server) as built:
        assert built.quote(a_spec(size="Standard_D8ds_v5")).why_not.endswith("Azure's list needs its region.")
        built.quote()
        await built.asked(1)
        assert len(server.asked) == 1


async def test_what_the_list_says_outlives_a_restart_for_a_day(tmp_path: Path) -> None:
    async with price_list() as server:
        server.items = [an_item()]
        async with shop(tmp_path, server) as built:
            built.quote()
            await until(lambda: built.quote().price is not None)
        async with shop(tmp_path, server, now=1e6 + FRESH_S - 10) as built:
            assert built.quote().price is not None
            assert built.quote().at == 1e6
            built.quote(SPOT)
            await built.asked(2)
            assert len(server.asked) == 2, "only what is not known is asked for"
        server.items = [an_item(retailPrice=0.5)]
        async with shop(tmp_path, server, now=1e6 + FRESH_S + 10) as built:
            assert built.quote().price is not None, "the old one counts until there is a new one"
            await until(lambda: (price := built.quote().price) is not None and price.per_hour == 0.5)


async def test_a_price_that_the_list_does_not_have_is_not_asked_for_again(tmp_path: Path) -> None:
    async with price_list() as server:
        async with shop(tmp_path, server) as built:
            built.quote()
            await until(lambda: built.quote().why_not == "Azure's price list has none for Standard_D8ds_v5, eastus2.")
        async with shop(tmp_path, server) as built:
            assert built.quote().why_not.startswith("Azure's price list has none")
        assert len(server.asked) == 1


async def test_faults_are_told_and_tried_again_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with price_list() as server, shop(tmp_path, server) as built:
        server.items, server.faults = [an_item()], [(500, {}, "x"), (429, {"Retry-After": "600"}, "")]
        with caplog.at_level(logging.WARNING):
            built.quote()
            await until(lambda: built.quote().why_not == "127.0.0.1 does not say its prices now (HTTP 500).")
            assert "price not known" in caplog.text
            built.clock.now += 59
            built.quote(SPOT)  # another question wakes it: that one is asked, the first one is not due
            await until(lambda: "HTTP 429" in built.quote(SPOT).why_not)
        built.clock.now += 2
        built.quote(a_spec(size="Standard_D2", region="eastus2"))
        await until(lambda: built.quote().price is not None)
        assert "HTTP 429" in built.quote(SPOT).why_not, "it is not due for ten minutes"
        caplog.clear()


async def test_a_currency_is_asked_for_and_kept_apart(tmp_path: Path) -> None:
    async with price_list() as server:
        server.items = [an_item(), an_item(currencyCode="EUR", retailPrice=0.35)]
        for currency, per_hour in (("USD", 0.384), ("EUR", 0.35)):
            async with shop(tmp_path, server, currency=currency) as built:
                assert built.quote().price is None
                await until(lambda built=built: built.quote().price is not None)  # type: ignore[misc]
                price = built.quote().price
                assert price is not None
                assert (price.currency, price.per_hour) == (currency, per_hour)


async def test_a_damaged_file_is_told_and_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "prices.json").write_text('{"half')
    async with price_list() as server:
        server.items = [an_item()]
        async with shop(tmp_path, server) as built:
            assert "prices not read" in caplog.text
            built.quote()
            await until(lambda: built.quote().price is not None)
        assert PriceFile(tmp_path / "prices.json").load()
        caplog.clear()


def test_a_disk_that_refuses_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    PriceFile(tmp_path / "none" / "prices.json").save({"a": KnownPrice(per_hour=None, at=1.0)})
    assert "prices not kept" in caplog.text
    caplog.clear()
