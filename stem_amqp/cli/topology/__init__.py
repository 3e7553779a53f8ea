"""The commands of ``stem-amqp topology``."""

from stem_amqp.cli.topology.commands import app

__all__ = ["app"]
