"""Django: a task is enqueued when its transaction is committed, and not if it is rolled back.

Needs `pip install 'stem-amqp[django]'`, and a RabbitMQ on localhost or the one of STEM_BROKER_URL. The
project is one file here, with its database in memory; usually tasks are in an app's `tasks.py`.
"""

import asyncio
import threading

import django
from django.conf import settings
from django.db import connection, models, transaction

from stem_amqp.integrations.django import DjangoStem, enqueue_on_commit

MEMORY = {"ENGINE": "django.db.backends.sqlite3", "NAME": "file:shop?mode=memory&cache=shared"}
settings.configure(DATABASES={"default": MEMORY}, INSTALLED_APPS=["stem_amqp.integrations.django"])
django.setup()
stem = DjangoStem()
done = threading.Event()


class Order(models.Model):  # type: ignore[misc] # noqa: DJ008 - Django has no types
    """A row of the database."""

    customer = models.CharField(max_length=20)
    Meta = type("Meta", (), {"app_label": "shop"})


@stem.task("orders.greet", queue="orders")
def greet(order_id: int) -> None:
    """Read the committed row."""
    print("the task sees the order of", Order.objects.get(pk=order_id).customer)
    done.set()


def checkout(customer: str, *, paid: bool) -> None:
    """Create an order and enqueue its task, like a view."""
    with transaction.atomic():
        order = Order.objects.create(customer=customer)
        enqueue_on_commit(greet, order.pk)
        print(f"{customer}: not committed yet, and not enqueued")
        if not paid:
            raise ValueError("not paid")


def views() -> None:
    """Create the table, and call the view twice."""
    with connection.schema_editor() as editor:
        editor.create_model(Order)
    try:
        checkout("bob", paid=False)
    except ValueError as error:
        print("rolled back:", error)
    checkout("ada", paid=True)
    done.wait(20)


async def main() -> None:
    """Run a worker, and the views in a separate thread."""
    async with stem, stem.worker().running():
        await asyncio.to_thread(views)


if __name__ == "__main__":
    asyncio.run(main())

# Output:
# bob: not committed yet, and not enqueued
# rolled back: not paid
# ada: not committed yet, and not enqueued
# the task sees the order of ada
