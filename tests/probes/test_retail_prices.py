"""Azure's price list, asked over HTTP: pages, faults, and what is not followed."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tornado.testing import bind_unused_port

from tests.support.price_list import PATH, PriceServer, an_item, price_list
from waa.core.error import TooOften, Unavailable
from waa.core.price import Placement, listed_price
from waa.probes.retail_prices import MAX_PAGES, RetailPrices, is_same_place

CORPUS = Path(__file__).parents[1] / "corpus" / "prices"
D8 = Placement(size="Standard_D8ds_v5", region="eastus2")


@asynccontextmanager
async def listed() -> AsyncIterator[tuple[PriceServer, RetailPrices]]:
    async with price_list() as server:
        prices = RetailPrices(server.url)
        try:
            yield server, prices
        finally:
            await prices.close()
            await prices.close()


async def test_the_question_names_one_size_in_one_region() -> None:
    async with listed() as (server, prices):
        server.items = [an_item(), an_item(armSkuName="Standard_D4ds_v5"), an_item(armRegionName="westeurope"), an_item(type="Reservation")]
        found = await prices.ask(replace(D8, region="EastUS2"), "USD")
        assert [(item.size, item.region, item.type_, item.per_unit) for item in found] == [
            ("Standard_D8ds_v5", "eastus2", "Consumption", 0.384)
        ]
        assert server.asked == [
            {
                "api-version": "2023-01-01-preview",
                "currencyCode": "'USD'",
                "meterRegion": "'primary'",
                "$filter": "serviceName eq 'Virtual Machines' and armRegionName eq 'eastus2' and armSkuName eq 'Standard_D8ds_v5' "
                "and priceType eq 'Consumption'",
            }
        ]


async def test_the_recorded_answers_are_understood() -> None:
    async with listed() as (server, prices):
        server.items = json.loads((CORPUS / "regular_and_spot.json").read_text())["Items"]
        found = await prices.ask(D8, "USD")
        told = [listed_price(found, replace(D8, spot=spot), "USD") for spot in (False, True)]
        assert [price.per_hour if price else None for price in told] == [0.384, 0.0768]
        server.faults = [(200, {}, (CORPUS / "official_page.json").read_text())]
        with pytest.raises(Unavailable, match="names a next page elsewhere"):
            await prices.ask(D8, "USD")
        official = json.loads((CORPUS / "official_page.json").read_text()) | {"NextPageLink": ""}
        server.faults = [(200, {}, json.dumps(official))]
        found = await prices.ask(D8, "USD")
        assert [(item.type_, item.per_unit) for item in found] == [("DevTestConsumption", 5.536)]
        there = Placement(size="Standard_E64-32ds_v4", region="westeurope")
        assert listed_price(found, there, "USD") is None, "a price for development is none"


async def test_all_pages_are_read() -> None:
    async with listed() as (server, prices):
        server.page_size = 2
        server.items = [an_item(retailPrice=1.0 + number) for number in range(5)]
        assert [item.per_unit for item in await prices.ask(D8, "USD")] == [1.0, 2.0, 3.0, 4.0, 5.0]
        assert [query.get("$skip") for query in server.asked] == [None, "2", "4"]


async def test_pages_without_end_are_given_up() -> None:
    async with listed() as (server, prices):
        server.items, server.next_page = [an_item()], f"{server.url}?%24filter=&x=1"
        with pytest.raises(Unavailable, match="more than 10 pages"):
            await prices.ask(D8, "USD")
        assert len(server.asked) == MAX_PAGES


@pytest.mark.parametrize(
    "place",
    [
        "https://127.0.0.1:{port}" + PATH,
        "http://127.0.0.2:{port}" + PATH,
        "http://127.0.0.1:1" + PATH,
        "//[",
        "http://127.0.0.1:{port}/other",
    ],
)
async def test_a_next_page_elsewhere_is_not_asked(place: str) -> None:
    async with listed() as (server, prices):
        server.items, server.next_page = [an_item()], place.format(port=server.port)
        with pytest.raises(Unavailable, match="names a next page elsewhere, which is not asked"):
            await prices.ask(D8, "USD")
        assert len(server.asked) == 1


def test_the_usual_port_may_be_named_or_not() -> None:
    link = json.loads((CORPUS / "official_page.json").read_text())["NextPageLink"]
    assert link.startswith("https://prices.azure.com:443/")
    assert is_same_place(link, "https://prices.azure.com/api/retail/prices")
    assert not is_same_place(link, "http://prices.azure.com/api/retail/prices")
    assert not is_same_place("https://prices.azure.com:99999/api", "https://prices.azure.com/api")


@pytest.mark.parametrize("body", ["", "<html>", "[]", '{"Items": {}}', '{"Items": [{"retailPrice": "cheap"}]}', '{"Items": null}'])
async def test_an_answer_that_is_no_list_of_prices_is_refused(body: str) -> None:
    async with listed() as (server, prices):
        server.faults = [(200, {}, body)]
        with pytest.raises(Unavailable, match="answers something else than prices"):
            await prices.ask(D8, "USD")


async def test_items_with_gaps_are_passed_over() -> None:
    async with listed() as (server, prices):
        server.faults = [(200, {}, json.dumps({"Items": [{}, {"retailPrice": None, "skuName": None}], "NextPageLink": ""}))]
        found = await prices.ask(D8, "USD")
        assert len(found) == 2
        assert listed_price(found, D8, "USD") is None


@pytest.mark.parametrize(("status", "told"), [(400, None), (404, None), (500, None), (302, None), (429, None), (429, "Wed, 21 Oct 2026")])
async def test_a_refusal_names_the_status(status: int, told: str | None) -> None:
    async with listed() as (server, prices):
        server.faults = [(status, {"Retry-After": told} if told else {}, "no")]
        with pytest.raises(Unavailable, match=f"HTTP {status}"):
            await prices.ask(D8, "USD")


@pytest.mark.parametrize(("told", "wait_s"), [("7", 7.0), ("0", 1.0), ("999999", 3600.0)])
async def test_who_says_when_to_come_back_is_heard_within_reason(told: str, wait_s: float) -> None:
    async with listed() as (server, prices):
        server.faults = [(429, {"Retry-After": told}, ""), (503, {"Retry-After": told}, "")]
        for _ in range(2):
            with pytest.raises(TooOften) as caught:
                await prices.ask(D8, "USD")
            assert caught.value.wait_s == wait_s


async def test_nobody_there_is_unavailable() -> None:
    sock, port = bind_unused_port()
    sock.close()
    prices = RetailPrices(f"http://127.0.0.1:{port}{PATH}")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1 cannot be asked for prices"):
        await prices.ask(D8, "USD")
    await prices.close()
