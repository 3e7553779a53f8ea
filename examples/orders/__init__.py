"""A small shop: the application of ``stem-amqp demo``.

``stem-amqp worker examples.orders:stem -Q orders,emails`` runs its tasks.
"""

from examples.orders.tasks import send_email, stem, sync_order

__all__ = ["send_email", "stem", "sync_order"]
