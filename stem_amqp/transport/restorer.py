"""The contract of a restorer, which restores deleted entities for an unroutable message."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from stem_amqp.errors import UnroutableError

if TYPE_CHECKING:
    from stem_amqp.transport.publication import Publication


class Restorer(ABC):
    """Restores entities that were deleted on the broker."""

    @abstractmethod
    async def restore(self, publication: Publication, error: UnroutableError) -> None:
        """Restore the entities that a message needs; then the message is published once more.

        Args:
            publication: the message.
            error: the error of the first publish.

        Raises:
            UnroutableError: they cannot be restored.
        """

    @abstractmethod
    def unroutable_after_restore(
        self, publication: Publication, error: UnroutableError
    ) -> UnroutableError:
        """Return the error for a message that is still unroutable after `restore`.

        Args:
            publication: the message.
            error: the error of the second publish.
        """

    @abstractmethod
    async def check(self) -> None:
        """Check the topology, and restore missing entities.

        Raises:
            StemError: it could not be checked or declared.
        """

    async def publish_again(
        self,
        publication: Publication,
        error: UnroutableError,
        publish: Callable[[], Awaitable[None]],
        *,
        deadline: float,
    ) -> None:
        """Restore the entities that a message needs, and publish it once more; called by transports.

        Args:
            publication: the message.
            error: the error of the first publish.
            publish: publishes it within the deadline.
            deadline: the deadline on the event loop's clock.

        Raises:
            UnroutableError: it matches no queue.
            PublishError: as `publish` does.
        """
        if not publication.exchange:
            raise error  # the default exchange is not part of a topology
        try:
            async with asyncio.timeout_at(deadline):
                await self.restore(publication, error)
        except TimeoutError:
            raise error from None
        try:
            await publish()
        except UnroutableError as again:
            raise self.unroutable_after_restore(publication, again) from again
