"""Write orders.csv: the orders of one day, as four shops might send them, with the mistakes that people make.

python -m examples.orders.generate
"""

import csv
import datetime as dt
import random
from collections.abc import Iterator
from pathlib import Path

from examples.orders.services import BUSY, DECLINED, GREYLISTED
from examples.orders.shops import Shop

PRODUCTS = {
    Shop.BAKERY: {"rye bread": 480, "croissant": 160, "plum cake": 2450, "birthday cake": 3900},
    Shop.BOOKSHOP: {"atlas": 5900, "cookbook": 2800, "crime novel": 1490, "notebook": 650},
    Shop.FLORIST: {"tulips": 900, "roses": 2900, "orchid": 1850, "wreath": 4400},
    Shop.TOOLSHOP: {"hammer": 1990, "plane": 6400, "box of screws": 720, "spirit level": 2300},
}
PEOPLE = [
    "ada",
    "alan",
    "barbara",
    "dennis",
    "edsger",
    "frances",
    "grace",
    "joan",
    "ken",
    "margaret",
    "niklaus",
    "radia",
]
COLUMNS = ["number", "shop", "placed_at", "email", "product", "quantity", "price", "card"]
MISTAKES = {
    23: {"price": ""},
    58: {"email": "grace.example.com"},
    81: {"quantity": "-2"},
    97: {"placed_at": "yesterday"},
    119: {"shop": "butcher"},
    142: {"number": "B-1002", "shop": "bakery"},
    160: {"price": "12,50"},
    183: {"email": "ken@"},
    204: {"placed_at": "2026-02-30T10:15:00Z"},
    231: {"quantity": "0"},
    256: {"price": ""},
    277: {"number": "T-1009", "shop": "toolshop"},
    301: {"quantity": "two"},
    333: {"shop": ""},
    362: {"placed_at": "14/03/2026"},
    390: {"email": "joan@@example.org"},
}


def orders(count: int) -> Iterator[dict[str, object]]:
    dice = random.Random(2026)
    moment = dt.datetime(2026, 3, 14, 6, 30, tzinfo=dt.UTC)
    taken = dict.fromkeys(Shop, 1000)
    for _ in range(count):
        shop = dice.choice(list(Shop))
        product, cents = dice.choice(list(PRODUCTS[shop].items()))
        moment += dt.timedelta(seconds=dice.randrange(5, 220))
        taken[shop] += 1
        yield {
            "number": f"{shop[0].upper() if shop is not Shop.BOOKSHOP else 'K'}-{taken[shop]}",
            "shop": shop,
            "placed_at": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
            "email": f"{dice.choice(PEOPLE)}{dice.randrange(100)}@example.{dice.choice(['com', 'net', 'org'])}",
            "product": product,
            "quantity": dice.choice([1, 1, 1, 2, 2, 3, 6]),
            "price": f"{cents / 100:.2f}",
            "card": f"card-{dice.randrange(1000, 10000)}",
        }


def main() -> None:
    rows = list(orders(400))
    rows[67]["email"] = GREYLISTED
    rows[211]["card"] = DECLINED
    assert any(row["number"] == BUSY for row in rows)
    for line, mistake in MISTAKES.items():
        rows[line - 2] |= mistake  # line 1 is the header
    with (Path(__file__).parent / "orders.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
