"""``stem-amqp schedules``: which task is enqueued when, one module for each command."""

from stem_amqp.cli.schedules import listed, steering, upcoming  # noqa: F401 - they add their commands
from stem_amqp.cli.schedules.group import app

__all__ = ["app"]
