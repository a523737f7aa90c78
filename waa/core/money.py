"""Money in words; the page's script counts on in the same ones."""

SIGNS = {"USD": "$", "EUR": "€", "GBP": "£"}
"""Others are told by their three letters."""
SMALL = 0.01
"""Less than that, and more than nothing, is told as such."""


def sign_of(currency: str) -> str:
    """What stands before an amount."""
    return SIGNS.get(currency, f"{currency} ")


def money(amount: float, currency: str) -> str:
    """An amount in whole cents; less than one is not nothing."""
    return f"< {sign_of(currency)}{SMALL:.2f}" if 0 < amount < SMALL else f"{sign_of(currency)}{amount:,.2f}"


def rate(per_hour: float, currency: str) -> str:
    """An hour's price, with up to five digits after the point: prices of small machines differ there."""
    digits = f"{per_hour:,.5f}".rstrip("0")
    whole, _, rest = digits.partition(".")
    return f"{sign_of(currency)}{whole}.{rest:0<2}/h"


def fine(amount: float, currency: str) -> str:
    """An amount of which many make a whole, such as the cost of a task: three digits that count."""
    if amount <= 0 or amount >= 1:
        return money(amount, currency)
    decimals = 3 if amount >= 0.1 else 4
    return f"{sign_of(currency)}{amount:.{decimals}f}" if amount >= 0.0001 else f"< {sign_of(currency)}0.0001"
