"""Errors of the broker, of the connection to it, and of publishing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stem_amqp.errors.base import StemError

if TYPE_CHECKING:
    from collections.abc import Sequence


class BrokerError(StemError):
    """The broker or the connection to it failed."""


class BrokerUnavailableError(BrokerError):
    """No connection to the broker could be opened."""


class BrokerRefusedError(BrokerError):
    """The broker refused: credentials, virtual host, permission or a limit."""


class ManagementError(BrokerError):
    """The management API does not answer, refuses the request, or does not know the entity."""


class ManagementUnavailableError(ManagementError):
    """The management API cannot be reached, or its certificate is not trusted."""


class TopologyMismatchError(BrokerError):
    """An entity on the broker differs from the topology in a setting that cannot be changed.

    Args:
        text: the message, with the remedy.
        argument: the argument that differs, if it is known.
        wanted: its value in the topology, in RabbitMQ's format.
        current: its value on the broker.
    """

    def __init__(
        self, text: str, *, argument: str = "", wanted: str = "", current: str = ""
    ) -> None:
        super().__init__(text)
        self.argument = argument
        self.wanted = wanted
        self.current = current


class TopologyMissingError(BrokerError):
    """An entity of the topology is not on the broker."""


class FeatureMissingError(BrokerError):
    """The topology requires a feature that this release of the broker lacks."""


class MigrationTimeoutError(BrokerError, TimeoutError):
    """A queue's migration made no progress in time; when started again, it continues where it stopped."""


class StaleDeliveryError(BrokerError):
    """The delivery's channel is closed; the broker delivers the message again."""


class PublishError(BrokerError):
    """The broker did not accept a message."""


class UnwritableError(PublishError):
    """The message cannot be encoded as AMQP; a retry would fail too."""


class UnroutableError(PublishError):
    """The message matches no queue: the exchange has no binding for its routing key.

    Args:
        text: the message.
        missing: the names of missing entities, if they are known.
    """

    def __init__(self, text: str, *, missing: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.missing = tuple(missing)

    def add_remedy(self, text: str) -> None:
        """Add a line with a remedy, or with what was done.

        Args:
            text: the line.
        """
        self.args = (f"{self.args[0]}\n  {text}",)


class PublishRefusedError(PublishError):
    """The broker answered with a nack: a full or unavailable queue."""


class PublishTimeoutError(PublishError):
    """No confirm arrived in time. The message may or may not be on the broker."""
