"""Which price counts for a VM, and how it is written."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.builders import a_spec
from waa.core.money import fine, money, rate
from waa.core.price import ListedPrice, Placement, Price, PriceEntry, PriceSource, listed_price, own_price, placement_of, table_price
from waa.core.spec import VmOs

CORPUS = Path(__file__).parents[1] / "corpus" / "prices"
D8 = Placement(size="Standard_D8ds_v5", region="eastus2")


def an_item(**fields: Any) -> ListedPrice:
    item = ListedPrice(
        currency="USD",
        per_unit=0.384,
        unit="1 Hour",
        size="Standard_D8ds_v5",
        region="eastus2",
        type_="Consumption",
        product="Virtual Machines Ddsv5 Series",
        sku="D8ds v5",
        meter="D8ds v5",
    )
    return replace(item, **fields)


ITEMS = [
    an_item(),
    an_item(per_unit=0.752, product="Virtual Machines Ddsv5 Series Windows"),
    an_item(per_unit=0.0768, sku="D8ds v5 Spot", meter="D8ds v5 Spot"),
    an_item(per_unit=0.1504, sku="D8ds v5 Spot", meter="D8ds v5 Spot", product="Virtual Machines Ddsv5 Series Windows"),
    an_item(per_unit=0.08, sku="D8ds v5 Low Priority", meter="D8ds v5 Low Priority"),
    an_item(per_unit=0.3, type_="DevTestConsumption"),
    an_item(per_unit=1988.0, type_="Reservation"),
    an_item(per_unit=0.2, type_="DevTestConsumption", sku="D8ds v5 Spot"),
    an_item(per_unit=9.0, unit="1/Month"),
    an_item(per_unit=0.41, region="westeurope"),
    an_item(per_unit=0.35, currency="EUR"),
    an_item(per_unit=0.1, size="Standard_D2ds_v5"),
    an_item(per_unit=0.2, min_units=100.0),
    an_item(per_unit=float("nan")),
]


@pytest.mark.parametrize(
    ("placement", "per_hour"),
    [
        (D8, 0.384),
        (replace(D8, os=VmOs.WINDOWS), 0.752),
        (replace(D8, spot=True), 0.0768),
        (replace(D8, spot=True, os=VmOs.WINDOWS), 0.1504),
        (replace(D8, size="standard_d8DS_v5", region="EastUS2"), 0.384),
        (replace(D8, region="westeurope"), 0.41),
        (replace(D8, size="Standard_E64-32ds_v4"), None),
        (replace(D8, region="westeurope", spot=True), None),
    ],
)
def test_azures_list_is_read_by_system_and_spot_and_nothing_else_gets_in(placement: Placement, per_hour: float | None) -> None:
    found = listed_price(ITEMS, placement, "USD")
    assert (found.per_hour if found else None) == per_hour
    assert found is None or (found.source, found.currency, found.label) == (PriceSource.AZURE, "USD", placement.text)


@given(st.permutations(ITEMS))
def test_the_order_of_the_list_does_not_matter(items: list[ListedPrice]) -> None:
    assert [price.per_hour for spot in (False, True) if (price := listed_price(items, replace(D8, spot=spot), "USD"))] == [0.384, 0.0768]


def test_the_recorded_answers_hold_what_is_read() -> None:
    official = json.loads((CORPUS / "official_page.json").read_text())["Items"][0]
    assert official["type"] == "DevTestConsumption"
    assert official["productName"].endswith(" Windows")
    assert official["unitOfMeasure"] == "1 Hour"
    names = [item["skuName"] for item in json.loads((CORPUS / "regular_and_spot.json").read_text())["Items"]]
    assert names == ["D8ds v5", "D8ds v5 Spot"]


def test_the_closest_entry_of_the_table_counts() -> None:
    entries = [
        PriceEntry(size="standard_d8ds_v5", per_hour=1.0),
        PriceEntry(size="Standard_D8ds_v5", per_hour=2.0, os=VmOs.WINDOWS),
        PriceEntry(size="Standard_D8ds_v5", per_hour=3.0, region="EastUS2"),
        PriceEntry(size="Standard_D8ds_v5", per_hour=4.0, spot=True),
    ]
    places = [D8, replace(D8, region="westeurope"), replace(D8, region="", os=VmOs.WINDOWS), replace(D8, spot=True)]
    assert [price.per_hour for place in places if (price := table_price(entries, place, "EUR"))] == [3.0, 1.0, 2.0, 4.0]
    assert table_price(entries, replace(D8, size="Standard_D2"), "EUR") is None
    assert table_price(entries[:3], replace(D8, spot=True), "EUR") is None, "a regular price is none of a spot machine"


def test_a_vm_has_a_price_and_a_place_where_the_operator_says_so() -> None:
    assert own_price(a_spec(), "USD") is None
    assert placement_of(a_spec()) is None
    assert own_price(a_spec(price_per_hour=0.0), "EUR") == Price(per_hour=0.0, currency="EUR", source=PriceSource.VM)
    placed = placement_of(a_spec(size="Standard_D8ds_v5", region="eastus2", spot=True, os=VmOs.WINDOWS))
    assert placed is not None
    assert placed.text == "Standard_D8ds_v5, eastus2, windows, spot"


@pytest.mark.parametrize(
    ("amount", "text"), [(0.0, "$0.00"), (0.004, "< $0.01"), (0.01, "$0.01"), (1234.5, "$1,234.50"), (1_234_567.891, "$1,234,567.89")]
)
def test_money_is_told_in_cents_and_little_is_not_nothing(amount: float, text: str) -> None:
    assert money(amount, "USD") == text


def test_small_money_has_three_digits_that_count() -> None:
    assert [fine(amount, "EUR") for amount in (0.0, 0.00004, 0.0123, 0.1526, 2.0)] == ["€0.00", "< €0.0001", "€0.0123", "€0.153", "€2.00"]


def test_an_hour_is_told_as_exactly_as_the_list_does() -> None:
    assert [rate(per_hour, "CHF") for per_hour in (0.384, 0.07681, 2.0, 1234.5)] == [
        "CHF 0.384/h",
        "CHF 0.07681/h",
        "CHF 2.00/h",
        "CHF 1,234.50/h",
    ]
