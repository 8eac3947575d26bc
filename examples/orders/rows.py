"""The lines of an orders file: each becomes a row that can be stored, or a problem that can be shown."""

import csv
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, ValidationError

from examples.orders.models import Problem
from examples.orders.shops import Shop


def _address(value: str) -> str:
    name, _, host = value.partition("@")
    if not name or "@" in host or "." not in host:
        raise ValueError("Input should be an e-mail address")
    return value


class Row(BaseModel):
    number: Annotated[str, Field(min_length=1)]
    shop: Shop
    placed_at: AwareDatetime
    email: Annotated[str, AfterValidator(_address)]
    product: str
    quantity: Annotated[int, Field(gt=0)]
    price: Annotated[Decimal, Field(gt=0, decimal_places=2)]
    card: str


def read(path: Path) -> tuple[list[Row], list[Problem]]:
    rows: dict[tuple[Shop, str], Row] = {}
    problems: list[Problem] = []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        for fields in reader:
            try:
                row = Row.model_validate(fields)
            except ValidationError as error:
                problems.append(Problem(line=reader.line_num, reason=_reason(error)))
                continue
            if (row.shop, row.number) in rows:
                problems.append(Problem(line=reader.line_num, reason=f"number {row.number!r}: Input came before"))
            else:
                rows[row.shop, row.number] = row
    return list(rows.values()), problems


def _reason(error: ValidationError) -> str:
    faults = ((fault["loc"][0], fault["input"], fault["msg"].removeprefix("Value error, ")) for fault in error.errors())
    return "; ".join(f"{name} {value!r}: {message}" for name, value, message in faults)
