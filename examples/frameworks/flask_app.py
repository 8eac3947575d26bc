"""Flask with Flask-SQLAlchemy, and the worker as a process of its own: a server that forks has no place for threads.

`gunicorn --preload examples.frameworks.flask_app:app`, and `jobforge worker examples.frameworks.flask_app:forge`
"""

import os

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from flask_sqlalchemy import SQLAlchemy
from pydantic import BaseModel
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from jobforge_sa import Context, JobForge, Jobs


class Base(DeclarativeBase): ...


app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["JOBFORGE_DATABASE_URL"]
db = SQLAlchemy(app, model_class=Base)
forge = JobForge(tenant="main")


class Order(Base):
    __tablename__ = "shop_orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    receipt: Mapped[str | None]


class Receipt(BaseModel):
    order_id: int


@forge.task()
def send_receipt(ctx: Context, payload: Receipt) -> None:
    order = ctx.session.get_one(Order, payload.order_id)
    order.receipt = f"for {order.email}, of {ctx.job.tenant_id}"


@app.post("/orders")
def create() -> ResponseReturnValue:
    order = Order(email=request.args["email"])
    db.session.add(order)
    db.session.flush()
    Jobs(db.session).enqueue(send_receipt, Receipt(order_id=order.id))
    db.session.commit()  # the order and its job, or neither
    return jsonify(order.id), 201
