"""The contract of a store of directives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from stem_amqp.directives.document import Document

Change = Callable[[Document], Document]
"""Returns the changed document; it may be called more than once, and raises to change nothing."""


class Store(ABC):
    """Stores the document of a namespace.

    Attributes:
        name: the kind of store, such as ``rabbitmq``, which every directive names.
    """

    name: str

    @abstractmethod
    async def read(self) -> Document:
        """Return the document; an empty one if nothing is stored.

        Raises:
            BrokerError: the broker does not answer, or the user may not read the queue.
            BackendError: the result backend does not answer.
            DecodeError: what is stored is no document that this release can read.
        """

    @abstractmethod
    async def change(self, change: Change) -> Document:
        """Change the document, and return it as it is stored then.

        No change of another process is lost.

        Args:
            change: returns the changed document.

        Raises:
            BrokerError: the broker does not answer, or refuses the change.
            BackendError: the result backend does not answer.
            DecodeError: as for `read`; nothing is changed.
        """
