"""Azure's Retail Prices API, asked without a login over Tornado's HTTP client."""

from collections.abc import Sequence
from typing import TypedDict
from urllib.parse import SplitResult, urlencode, urlsplit

from tornado.httpclient import HTTPResponse
from tornado.httputil import HTTPInputError
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from waa.core.codec import decode
from waa.core.error import Invalid, TooOften, Unavailable
from waa.core.price import ListedPrice, Placement

API_VERSION = "2023-01-01-preview"
"""From it on, values in a filter are compared with their case, and the primary region's meters can be asked for."""
CONNECT_S, REQUEST_S = 5.0, 20.0
MAX_BYTES = 4 * 1024 * 1024
MAX_PAGES = 10
"""One size in one region is a page; far more means that the question was not understood."""
MAX_WAIT_S = 3600.0


class _Item(TypedDict, total=False):
    currencyCode: str | None
    retailPrice: float | None
    unitOfMeasure: str | None
    armSkuName: str | None
    armRegionName: str | None
    type: str | None
    productName: str | None
    skuName: str | None
    meterName: str | None
    tierMinimumUnits: float | None


class _Page(TypedDict, total=False):
    Items: list[_Item]
    NextPageLink: str | None


class RetailPrices:
    """See ``port.PriceList``. ``url`` is the API's address; a next page elsewhere is not followed. For the loop's thread only."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._place = urlsplit(url)
        self._http = SimpleAsyncHTTPClient(force_instance=True, max_clients=2, max_body_size=MAX_BYTES)

    async def ask(self, placement: Placement, currency: str) -> Sequence[ListedPrice]:
        """All pages of the answer."""
        found: list[ListedPrice] = []
        url = f"{self._url}?{_question(placement, currency)}"
        for _ in range(MAX_PAGES):
            page = self._page(await self._fetch(url))
            found += [_listed(item) for item in page.get("Items", [])]
            following = page.get("NextPageLink")
            if not following:
                return found
            if not is_same_place(following, self._url):
                raise Unavailable(f"{self._place.hostname} names a next page elsewhere, which is not asked")
            url = following
        raise Unavailable(f"{self._place.hostname} gives more than {MAX_PAGES} pages of prices for {placement.text}")

    async def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    async def _fetch(self, url: str) -> HTTPResponse:
        try:
            answer = await self._http.fetch(
                url,
                raise_error=False,
                follow_redirects=False,
                connect_timeout=CONNECT_S,
                request_timeout=REQUEST_S,
                headers={"Accept": "application/json"},
            )
        except (OSError, HTTPInputError) as error:
            raise Unavailable(f"{self._place.hostname} cannot be asked for prices: {error}") from error
        if answer.code == 200:
            return answer
        message = f"{self._place.hostname} does not say its prices now (HTTP {answer.code})"
        wait_s = _wait_s(answer)
        if answer.code in (429, 503) and wait_s is not None:
            raise TooOften(message, wait_s)
        raise Unavailable(message)

    def _page(self, answer: HTTPResponse) -> _Page:
        try:
            return decode(_Page, answer.body, name="prices")
        except Invalid as error:
            raise Unavailable(f"{self._place.hostname} answers something else than prices ({error})") from error


def is_same_place(url: str, other: str) -> bool:
    """Whether two addresses are of the same scheme, host, port and path; the usual port may be named or not."""
    try:
        first, second = (_place(urlsplit(each)) for each in (url, other))
    except ValueError:
        return False
    return first == second


def _question(placement: Placement, currency: str) -> str:
    """Names hold no quotes (see ``core/price.py``), so nothing needs to be escaped in the filter."""
    filters = (
        "serviceName eq 'Virtual Machines'",
        f"armRegionName eq '{placement.region.lower()}'",
        f"armSkuName eq '{placement.size}'",
        "priceType eq 'Consumption'",
    )
    query = {"api-version": API_VERSION, "currencyCode": f"'{currency}'", "meterRegion": "'primary'", "$filter": " and ".join(filters)}
    return urlencode(query, safe="$'")


def _listed(item: _Item) -> ListedPrice:
    price = item.get("retailPrice")
    return ListedPrice(
        currency=item.get("currencyCode") or "",
        per_unit=price if price is not None else float("nan"),
        unit=item.get("unitOfMeasure") or "",
        size=item.get("armSkuName") or "",
        region=item.get("armRegionName") or "",
        type_=item.get("type") or "",
        product=item.get("productName") or "",
        sku=item.get("skuName") or "",
        meter=item.get("meterName") or "",
        min_units=item.get("tierMinimumUnits") or 0.0,
    )


def _place(url: SplitResult) -> tuple[str, str | None, int | None, str]:
    return url.scheme, url.hostname, url.port or {"https": 443, "http": 80}.get(url.scheme), url.path


def _wait_s(answer: HTTPResponse) -> float | None:
    """What ``Retry-After`` says in seconds, None where it says nothing of the kind."""
    told = answer.headers.get("Retry-After", "").strip()
    return min(max(float(told), 1.0), MAX_WAIT_S) if told.isascii() and told.isdigit() else None
