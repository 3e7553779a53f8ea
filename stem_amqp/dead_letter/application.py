"""What the dead letters need of an application: its parts and its open connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from stem_amqp.blueprint import Blueprint
from stem_amqp.connected import Connected
from stem_amqp.settings import Settings
from stem_amqp.tasks.definition import Registry
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names


class Application(Protocol):
    """A `Stem` that is connected, or a `ConnectedApplication`."""

    @property
    def blueprint(self) -> Blueprint:
        """The description of the application."""
        ...

    @property
    def connected(self) -> Connected:
        """Its open connections."""
        ...

    @property
    def settings(self) -> Settings:
        """Its settings."""
        ...

    @property
    def topology(self) -> Topology:
        """Its topology."""
        ...

    @property
    def names(self) -> Names:
        """The names on the broker."""
        ...

    @property
    def registry(self) -> Registry:
        """Its tasks by name."""
        ...

    @property
    def queues(self) -> tuple[str, ...]:
        """Its logical queues."""
        ...


@dataclass(frozen=True, slots=True)
class ConnectedApplication:
    """An application with connections that are not those of its `Stem`, as in a blocking producer.

    Args:
        blueprint: the description of the application.
        connected: open connections.
    """

    blueprint: Blueprint
    connected: Connected

    @property
    def settings(self) -> Settings:
        """Its settings."""
        return self.blueprint.settings

    @property
    def topology(self) -> Topology:
        """Its topology."""
        return self.blueprint.topology

    @property
    def names(self) -> Names:
        """The names on the broker."""
        return self.blueprint.names

    @property
    def registry(self) -> Registry:
        """Its tasks by name."""
        return self.blueprint.registry

    @property
    def queues(self) -> tuple[str, ...]:
        """Its logical queues."""
        return self.blueprint.queues
