"""Resolve queue names of the command line: logical names, or broker names as RabbitMQ shows them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from stem_amqp.app import Stem
from stem_amqp.errors import BrokerError, ConfigurationError
from stem_amqp.management import Management
from stem_amqp.topology.names import collides
from stem_amqp.topology.spec.mistake import did_you_mean
from stem_amqp.transport.base import Transport

_VERSION = re.compile(r"\.v\d+\Z")
_DLQ = ".dlq"
_NAME_IT = (
    "Specify the application (stem-amqp queues shop:stem), a topology file (--topology), or the"
    " queues (-Q orders,emails)."
)


def logical_queue(app: Stem, name: str) -> str:
    """Return the logical queue of a name.

    Args:
        app: the application, for its namespace.
        name: ``orders``, or a broker name such as ``stem.orders`` and ``stem.orders.dlq``.
    """
    if name in app.queues:
        return name
    plain = _VERSION.sub("", name).removesuffix(_DLQ)
    return plain.removeprefix(f"{app.names.namespace}.") or name


def logical_queues(app: Stem, names: Iterable[str]) -> list[str]:
    """Return the logical queues of names, without duplicates."""
    return list(dict.fromkeys(logical_queue(app, name) for name in names))


async def queues_on_broker(app: Stem, management: Management) -> list[str]:
    """Return the logical queues of a namespace, read from the management API.

    Args:
        app: the application, for its namespace.
        management: the management API.

    Raises:
        ConfigurationError: the API cannot be used, so the queues must be named; or there are none.
    """
    namespace = app.names.namespace
    try:
        found = await management.listing("queues", "", "name")
    except BrokerError as error:
        problem = str(error).partition("\n")[0]
        raise ConfigurationError(
            "the queues are not known: without an application, the management API lists them, but"
            f" {problem}\n  {_NAME_IT}"
        ) from None
    names = {str(queue["name"]) for queue in found}
    queues = _logical_names(names, namespace)
    if not queues:
        others = sorted(
            {name.removesuffix(".unroutable") for name in names if name.endswith(".unroutable")}
        )
        hint = (
            f"Its namespaces are: {', '.join(others[:8])} (--namespace)."
            if others
            else "It has no namespace at all."
        )
        raise ConfigurationError(
            f"the broker's virtual host {management.virtual_host!r} has no queue of the namespace"
            f" {namespace!r}\n  {hint}"
        )
    return queues


def _logical_names(names: set[str], namespace: str) -> list[str]:
    """Return the logical queues of broker names: those with a dead-letter queue."""
    prefix = f"{namespace}."
    bare = {_VERSION.sub("", name) for name in names}
    plain = sorted(name.removeprefix(prefix) for name in bare if name.startswith(prefix))
    return [name for name in plain if not collides(name) and f"{prefix}{name}{_DLQ}" in bare]


async def check_on_broker(app: Stem, transport: Transport, queues: list[str]) -> None:
    """Refuse queues that neither the application nor the broker has.

    Args:
        app: the application.
        transport: connected.
        queues: the given logical queues.

    Raises:
        ConfigurationError: one of them does not exist.
    """
    unsure = [queue for queue in queues if queue not in app.queues]
    names = {queue: app.names.works(queue, 1).values() for queue in unsure}
    status = await transport.status([name for works in names.values() for name in works])
    for queue, works in names.items():
        if all(status[name] is None for name in works):
            raise ConfigurationError(
                f"there is no queue {queue!r} in the namespace {app.names.namespace!r}"
                f"{did_you_mean(queue, app.queues)}\n"
                "  Check its name, --namespace, and the virtual host of STEM_BROKER_URL; list the queues:"
                " stem-amqp queues"
            )
