"""The jobs of the shops. A task is a function of a context and a payload; the payload's type is checked twice:
when the job is enqueued, and when it runs.
"""

import datetime as dt
from decimal import Decimal

from pydantic import BaseModel

from examples.orders import services
from examples.orders.models import Invoice, Order
from jobforge_sa import AsyncContext, Context, Delays, JobForge

forge = JobForge()
soon = Delays(dt.timedelta(seconds=0.2), dt.timedelta(seconds=0.4))


class InvoiceFor(BaseModel):
    order_id: int


class Confirmation(BaseModel):
    email: str
    number: str


class Charge(BaseModel):
    card: str
    amount: Decimal


class Product(BaseModel):
    sku: str


class Movement(BaseModel):
    product: str
    number: int


class Day(BaseModel):
    date: dt.date


@forge.task(queue="demo-billing", retry=soon)
def write_invoice(ctx: Context, payload: InvoiceFor) -> None:
    """What `ctx.session` writes is committed together with the end of the job: exactly once."""
    order = ctx.session.get_one(Order, payload.order_id)
    ctx.session.add(Invoice(order_id=order.id, total=order.total, job_id=ctx.job.id))
    ctx.session.flush()
    services.register_invoice(order.number)  # where this fails, the invoice is rolled back


@forge.task(queue="demo-billing", retry=soon, max_attempts=2)
def charge_card(ctx: Context, payload: Charge) -> str:
    """The world outside hears of a job at least once. The key lets it know a repeat; the result is kept."""
    return services.charge(payload.card, payload.amount, key=str(ctx.job.id))


@forge.task(queue="demo-mail", retry=soon)
async def confirm_by_mail(ctx: AsyncContext, payload: Confirmation) -> None:
    await services.send_mail(payload.email, f"Your order {payload.number}")
    ctx.log.debug("sent, at attempt %s", ctx.job.attempt)


@forge.task(queue="demo-mail")
async def mail_summary(ctx: AsyncContext, payload: Day) -> None:
    await services.send_mail(f"{ctx.job.tenant_id}@example.com", f"Your orders of {payload.date}")


@forge.task(queue="demo-billing")
def find_order(ctx: Context, payload: InvoiceFor) -> bool:
    """The session is bound to the job's shop: an order of another one is not there."""
    return ctx.session.get(Order, payload.order_id) is not None


@forge.task(queue="demo-search", priority=10)
def reindex_product(_: Context, payload: Product) -> None:
    services.index_product(payload.sku)


@forge.task(queue="demo-photos")
def resize_photo(_: Context, payload: Product) -> None:
    services.resize_photo(payload.sku)


@forge.task(queue="demo-courier")
async def call_courier(ctx: AsyncContext, payload: InvoiceFor) -> None:
    ctx.log.debug("the courier fetches order %s", payload.order_id)


@forge.task(queue="demo-stock", retry=soon, ordering_key=lambda movement: movement.product)
def move_stock(_: Context, payload: Movement) -> None:
    """One at a time for each product, in their order: the next one waits for the retry of one that failed."""
    services.move_stock(payload.product, payload.number)
