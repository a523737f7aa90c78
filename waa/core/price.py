"""What an hour of a VM costs: by the operator's word, by the operator's table, or by Azure's list. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

from waa.core.error import Invalid
from waa.core.spec import MAX_PRICE, REGION, SIZE, VmOs, VmSpec

CURRENCY = re.compile(r"[A-Z]{3}")


class PriceSource(StrEnum):
    """Who says so. VM: the VM's own ``price_per_hour``; TABLE: a ``[[price]]`` of the configuration; AZURE: Azure's price list."""

    VM = "vm"
    TABLE = "table"
    AZURE = "azure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What a price depends on: the size of a machine, where it is, what it runs, and whether it may be evicted."""

    size: str
    region: str = ""
    os: VmOs = VmOs.LINUX
    spot: bool = False

    @property
    def text(self) -> str:
        """In words."""
        parts = (self.size, self.region, self.os.value if self.os is not VmOs.LINUX else "", "spot" if self.spot else "")
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """An hour's price. ``label``: for what, in words."""

    per_hour: float
    currency: str
    source: PriceSource
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceEntry:
    """A line of the operator's table; ``region`` and ``os`` None: any. Raises Invalid naming the field."""

    size: str
    per_hour: float
    region: str | None = None
    os: VmOs | None = None
    spot: bool = False

    def __post_init__(self) -> None:
        """Check what the type cannot say."""
        if not SIZE.fullmatch(self.size):
            raise Invalid("size", f"{self.size!r} is not the name of a size such as Standard_D8ds_v5")
        if not isfinite(self.per_hour) or not 0 <= self.per_hour <= MAX_PRICE:
            raise Invalid("per_hour", f"{self.per_hour!r} is not a price between 0 and {MAX_PRICE:g}")
        if self.region is not None and not REGION.fullmatch(self.region):
            raise Invalid("region", f"{self.region!r} is not the name of a region such as eastus2")

    @property
    def key(self) -> tuple[str, str, str, bool]:
        """Two entries of one key would contradict each other."""
        return self.size.lower(), (self.region or "").lower(), self.os.value if self.os is not None else "", self.spot


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPrice:
    """What Azure's list said at ``at``; ``per_hour`` None: it has no such price."""

    per_hour: float | None
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPrice:
    """An item of Azure's price list, as far as it matters."""

    currency: str
    per_unit: float
    unit: str
    size: str
    region: str
    type_: str
    product: str
    sku: str
    meter: str
    min_units: float = 0.0


def placement_of(spec: VmSpec) -> Placement | None:
    """Where the operator says that the VM is, None where its size was not said."""
    return Placement(size=spec.size, region=spec.region or "", os=spec.os, spot=spec.spot) if spec.size else None


def own_price(spec: VmSpec, currency: str) -> Price | None:
    """What the operator says of this VM itself."""
    if spec.price_per_hour is None:
        return None
    return Price(per_hour=spec.price_per_hour, currency=currency, source=PriceSource.VM)


def table_price(entries: Iterable[PriceEntry], placement: Placement, currency: str) -> Price | None:
    """What the operator's table says: the entry that fits most closely, first by region, then by system. Names are compared without
    their case, as Azure does. An entry for spot never counts for a regular machine, nor the other way."""
    fitting = [entry for entry in entries if _fits(entry, placement)]
    best = max(fitting, key=lambda entry: (entry.region is not None, entry.os is not None), default=None)
    if best is None:
        return None
    return Price(per_hour=best.per_hour, currency=currency, source=PriceSource.TABLE, label=placement.text)


def listed_price(items: Sequence[ListedPrice], placement: Placement, currency: str) -> Price | None:
    """What Azure's list says: an hour's pay-as-you-go price. Prices of reservations, of subscriptions for development, and of low
    priority are none; where several are left, the dearest counts, so that nothing costs more than is said."""
    fitting = [item.per_unit for item in items if _is_listed_for(item, placement, currency)]
    if not fitting:
        return None
    return Price(per_hour=max(fitting), currency=currency, source=PriceSource.AZURE, label=placement.text)


def _fits(entry: PriceEntry, placement: Placement) -> bool:
    return (
        entry.size.lower() == placement.size.lower()
        and entry.spot is placement.spot
        and (entry.region is None or entry.region.lower() == placement.region.lower())
        and (entry.os is None or entry.os is placement.os)
    )


def _is_listed_for(item: ListedPrice, placement: Placement, currency: str) -> bool:
    names = (item.sku, item.meter)
    is_spot = any(name.endswith(" Spot") for name in names)
    is_low_priority = any(name.endswith(" Low Priority") for name in names)
    is_windows = item.product.endswith(" Windows")
    return (
        item.type_ == "Consumption"
        and item.unit == "1 Hour"
        and item.currency == currency
        and item.min_units == 0
        and isfinite(item.per_unit)
        and item.per_unit >= 0
        and item.size.lower() == placement.size.lower()
        and item.region.lower() == placement.region.lower()
        and is_spot is placement.spot
        and not is_low_priority
        and is_windows is (placement.os is VmOs.WINDOWS)
        and not item.product.endswith(" Dedicated Host")
    )
