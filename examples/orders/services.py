"""The world outside, played: what mail servers, banks and tax offices do to everybody now and then."""

import asyncio
import time
from collections import Counter
from decimal import Decimal

GREYLISTED = "greylisted@example.org"  # its server turns each stranger away, twice
DECLINED = "card-declined"
BUSY = "B-1013"  # the invoice for which the tax office has no time at first
STUCK = "plane 3"  # the movement of the stock that fails when it is first tried

_calls: Counter[str] = Counter()


class MailRefused(Exception):
    pass


class CardDeclined(Exception):
    pass


class OfficeBusy(Exception):
    pass


class ShelfStuck(Exception):
    pass


async def send_mail(to: str, subject: str) -> None:
    await asyncio.sleep(0.005)
    _calls[to] += 1
    if to == GREYLISTED and _calls[to] <= 2:
        raise MailRefused(f"450 greylisted: {subject}")


def charge(card: str, amount: Decimal, key: str) -> str:
    """Charge a card; the bank knows a repeated charge by its key."""
    time.sleep(0.005)
    if card == DECLINED:
        raise CardDeclined(f"{amount} € declined")
    return f"charge-{key[-12:]}"


def register_invoice(number: str) -> None:
    _calls[number] += 1
    if number == BUSY and _calls[number] == 1:
        raise OfficeBusy("all our lines are busy")


def index_product(sku: str) -> None:
    time.sleep(0.004)
    _calls[sku] += 1


def resize_photo(sku: str) -> None:
    time.sleep(0.03)
    _calls[sku] += 1


def move_stock(product: str, number: int) -> None:
    time.sleep(0.03)
    movement = f"{product} {number}"
    _calls[movement] += 1
    if movement == STUCK and _calls[movement] == 1:
        raise ShelfStuck(f"the shelf of the {product} is stuck")
