"""The configuration of an application: settings, topology, tasks, middleware and keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import Unpack

from stem_amqp.blueprint import Blueprint
from stem_amqp.context.context import TaskContext
from stem_amqp.context.middleware import Middleware
from stem_amqp.observability import Exporter
from stem_amqp.settings import Settings
from stem_amqp.signals import Signals
from stem_amqp.signing.keyring import KeyChange, KeyRing
from stem_amqp.tasks.call import Call
from stem_amqp.tasks.definition import Registry
from stem_amqp.tasks.dependencies import Factory, check_factory, name_of
from stem_amqp.tasks.keywords import CallKeywords
from stem_amqp.temporary import Temporary
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names


class Configured:
    """Gives access to the parts of an application's blueprint; see `stem_amqp.Stem`.

    Args:
        blueprint: the application's blueprint.
    """

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint

    @property
    def blueprint(self) -> Blueprint:
        """The frozen description of the application; `reconfigure` replaces it."""
        return self._blueprint

    @property
    def settings(self) -> Settings:
        """The settings; `reconfigure` changes them."""
        return self._blueprint.settings

    @property
    def topology(self) -> Topology:
        """The topology; with a queue for rejected messages if there are keys."""
        return self._blueprint.topology

    @property
    def names(self) -> Names:
        """The names on the broker, in the settings' namespace."""
        return self._blueprint.names

    @property
    def registry(self) -> Registry:
        """The tasks by name."""
        return self._blueprint.registry

    @property
    def signals(self) -> Signals:
        """The signals, to connect listeners to: ``@stem.signals.task_failed.connect()``."""
        return self._blueprint.signals

    @property
    def queues(self) -> tuple[str, ...]:
        """The logical queues: those of the topology, those that tasks name, and the default one."""
        return self._blueprint.queues

    @property
    def keys(self) -> KeyRing | None:
        """The keys that the settings name; None if they name no keys.

        Raises:
            ConfigurationError: the keys cannot be used.
        """
        return self._blueprint.keys

    def reload_keys(self) -> KeyChange | None:
        """Read the key file, or the variables, again; running workers and producers use the new keys.

        Returns:
            The keys that were added and removed; None if there are no keys.

        Raises:
            ConfigurationError: the new keys cannot be used; the old ones stay in use.
        """
        return None if self.keys is None else self.keys.reload()

    def add_middleware(self, middleware: Middleware) -> None:
        """Add a middleware around every run and publish from now on, inside of the present ones.

        Args:
            middleware: an object of a class of your own that inherits from `Middleware`.

        Raises:
            ConfigurationError: it is not a middleware, or overrides nothing.
        """
        self._blueprint.middleware.add(middleware)

    def add_exporter(self, exporter: Exporter) -> None:
        """Add an exporter, which receives every report of producers and workers from now on.

        Args:
            exporter: an object of a class of your own that inherits from
                `stem_amqp.observability.Exporter`, or one that stem-amqp brings.

        Raises:
            ConfigurationError: it is not an exporter.
        """
        self._blueprint.telemetry.add(exporter)

    def override(self, original: Factory, replacement: Factory) -> Temporary:
        """Replace a dependency from now on, until the end of a block, in this process: for tests.

        ``with stem.override(open_session, lambda: fake):`` It applies to dependencies that are opened
        inside of the block, by workers, by plain calls, and by other dependencies.

        Args:
            original: the factory as it stands in ``Depends(…)`` or ``Shared(…)``.
            replacement: the factory to call instead. It may be async where the original is not, and
                has dependencies of its own.

        Returns:
            A context manager; the replacement ends with the block, or by `Temporary.end`.

        Raises:
            TaskDefinitionError: the replacement cannot be called.
        """
        check_factory(f"the replacement of {name_of(original)}", replacement, TaskContext)
        overrides = self._blueprint.overrides
        before = overrides.get(original)
        overrides[original] = replacement

        def restore() -> None:
            if before is None:
                overrides.pop(original, None)
            else:
                overrides[original] = before

        return Temporary(restore)

    def prepare(
        self, task: str, args: Mapping[str, Any] | None = None, **options: Unpack[CallKeywords]
    ) -> Call:
        """Make a call by name for `enqueue_many`; the task's code need not be here.

        Args:
            task: the task's name.
            args: its arguments by name, JSON values. They are checked if the task is known here.
            **options: see `stem_amqp.tasks.keywords.CallKeywords`.

        Raises:
            ConfigurationError: the name or an option cannot be used.
            ArgumentsError: the task is known here, and the arguments do not fit it.
        """
        return self._blueprint.prepare(task, args, **options)
