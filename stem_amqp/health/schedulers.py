"""Whether a scheduler runs, and whether the schedules tick."""

from __future__ import annotations

from stem_amqp.app import Stem
from stem_amqp.errors import BackendError
from stem_amqp.health.report import Finding
from stem_amqp.health.ticks import problems
from stem_amqp.text import count
from stem_amqp.transport.base import Transport


async def check_schedulers(app: Stem, transport: Transport) -> Finding | None:
    """Check that a scheduler runs, and that it publishes ticks; None without schedules in code and file and schedulers.

    Args:
        app: the application.
        transport: connected.

    Raises:
        ConfigurationError: a schedule cannot be used.
        BrokerError: the broker does not answer, or refuses access.
    """
    number = len(app.blueprint.schedules)
    name = app.names.schedules
    status = (await transport.status([name]))[name]
    if status is None:  # a missing queue is a finding of the check of the topology
        return None
    if not number and not status.consumers:
        return None
    schedules = count(number, "schedule") if number else "stored schedules"
    found = []
    if not status.consumers:
        found.append(
            f"no scheduler runs: the ticks of {schedules} are not enqueued\n"
            "  Start one: stem-amqp scheduler APP, or stem-amqp worker APP --scheduler"
        )
    try:
        found += await problems(app, transport, schedulers=status.consumers)
    except BackendError as error:
        found.append(f"the store of schedules is not checked: {error}")
    if found:
        return Finding("\n".join(found), warning=True)
    return Finding(f"{schedules}, {count(status.consumers, 'scheduler')}, of which one leads")
