"""The command ``stem-amqp top``: a live display of queues, workers, failures and dead letters."""

from stem_amqp.cli.top.command import app

__all__ = ["app"]
