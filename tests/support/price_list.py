"""Azure's price list on a free port of this machine: it filters and pages as the real one does, and can be made to fail."""

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

PATH = "/api/retail/prices"
_TERM = re.compile(r"(\w+) eq '([^']*)'")
_NAMES = {"priceType": "type"}


def an_item(**fields: Any) -> dict[str, Any]:
    """A Linux machine's pay-as-you-go price, as the list writes it."""
    return {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": 0.384,
        "unitPrice": 0.384,
        "armRegionName": "eastus2",
        "location": "US East 2",
        "meterName": "D8ds v5",
        "productName": "Virtual Machines Ddsv5 Series",
        "skuName": "D8ds v5",
        "serviceName": "Virtual Machines",
        "serviceFamily": "Compute",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "isPrimaryMeterRegion": True,
        "armSkuName": "Standard_D8ds_v5",
    } | fields


@dataclass(slots=True)
class PriceServer:
    """``faults`` are answered first, each once: a status, headers and a body. ``next_page`` replaces the address of the next page."""

    port: int
    items: list[dict[str, Any]] = field(default_factory=list)
    page_size: int = 100
    faults: list[tuple[int, Mapping[str, str], str]] = field(default_factory=list)
    next_page: str | None = None
    asked: list[dict[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"

    def answer(self, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of what fits the filter, compared with its case."""
        currency = query.get("currencyCode", "'USD'").strip("'")
        wanted = {_NAMES.get(name, name): value for name, value in _TERM.findall(query["$filter"])}
        found = [item for item in self.items if all(item[name] == value for name, value in wanted.items())]
        found = [item for item in found if item["currencyCode"] == currency]
        skip = int(query.get("$skip", "0"))
        after = skip + self.page_size
        following = f"{self.url}?{urlencode({**query, '$skip': str(after)})}" if after < len(found) else None
        page: Sequence[dict[str, Any]] = found[skip:after]
        return {
            "BillingCurrency": currency,
            "CustomerEntityId": "Default",
            "CustomerEntityType": "Retail",
            "Items": page,
            "NextPageLink": self.next_page or following,
            "Count": len(page),
        }


class _Handler(RequestHandler):
    def initialize(self, server: PriceServer) -> None:
        self.server = server

    def get(self) -> None:
        query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        self.server.asked.append(query)
        if self.server.faults:
            status, headers, body = self.server.faults.pop(0)
            self.set_status(status)
            for name, value in headers.items():
                self.set_header(name, value)
            self.finish(body)
        else:
            self.finish(json.dumps(self.server.answer(query)))

    def log_request(self) -> None:
        """Refusals are meant here."""


@asynccontextmanager
async def price_list() -> AsyncIterator[PriceServer]:
    """The running list; it ends with the block."""
    sock, port = bind_unused_port()
    known = PriceServer(port=port)
    application = Application([(PATH, _Handler, {"server": known})], log_function=lambda _handler: None)
    server = HTTPServer(application)
    server.add_socket(sock)
    try:
        yield known
    finally:
        server.stop()
        await server.close_all_connections()
