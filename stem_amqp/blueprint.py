"""The blueprint of an application: one frozen description that everything is made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from typing_extensions import Unpack

from stem_amqp.clock import Clock
from stem_amqp.context.middleware import Middleware, Stack
from stem_amqp.errors import ConfigurationError
from stem_amqp.observability import Exporter, Telemetry, application_telemetry
from stem_amqp.schedules import DefinedSchedules, Schedule, joined
from stem_amqp.settings import Settings
from stem_amqp.signals import Signals
from stem_amqp.signing.keyring import KeyRing
from stem_amqp.signing.source import KeySource
from stem_amqp.tasks.call import Call
from stem_amqp.tasks.definition import Registry, TaskDefinition
from stem_amqp.tasks.dependencies import Factory
from stem_amqp.tasks.keywords import CallKeywords
from stem_amqp.tasks.option_values import by_name, json_object
from stem_amqp.tasks.options import CallOptions, check_name
from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.entities import Entities
from stem_amqp.topology.file import load_topology
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names
from stem_amqp.topology.spec.mistake import did_you_mean


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Blueprint:
    """The settings, topology, tasks, signals, middleware and keys of an application.

    A blueprint is frozen: `replace` returns another one. Both share the tasks, the listeners of signals,
    the middleware, the exporters, the overrides and the schedules; an application may add to these at any
    time.

    Args:
        settings: the settings.
        given_topology: the topology as the application gives it.
        registry: the tasks.
        signals: the signals, switched on and off as the settings say.
        middleware: the middleware of runs and publishes.
        telemetry: the exporters, and what is reported to them.
        overrides: replacements of dependencies, for tests.
        defined_schedules: the schedules that code defines.
        key_source: reads the keys that the settings name.
        clock: the clock of an in-memory broker; None: the system's.

    Attributes:
        topology: the given topology; with a queue for rejected messages, where there are keys.
        names: the names on the broker, in the settings' namespace.
    """

    settings: Settings
    given_topology: Topology
    registry: Registry
    signals: Signals
    middleware: Stack
    telemetry: Telemetry
    overrides: dict[Factory, Factory]
    defined_schedules: DefinedSchedules
    key_source: KeySource
    clock: Clock | None = None
    topology: Topology = field(init=False)
    names: Names = field(init=False)

    def __post_init__(self) -> None:
        given = self.given_topology
        topology = given.with_rejected() if self.settings.refuses else given
        object.__setattr__(self, "topology", topology)
        object.__setattr__(self, "names", Names(self.settings.namespace))

    @classmethod
    def build(
        cls,
        settings: Settings,
        *,
        topology: Topology | Path | str | None = None,
        registry: Registry | None = None,
        middleware: Iterable[Middleware] = (),
        exporters: Iterable[Exporter] = (),
        clock: Clock | None = None,
    ) -> Self:
        """Make a blueprint from settings.

        Args:
            settings: the settings.
            topology: the topology, or the path of its YAML file; None: the file that the settings name.
            registry: the tasks; None: no tasks yet.
            middleware: the middleware of runs and publishes, the outermost first.
            exporters: the exporters of reports.
            clock: the clock of an in-memory broker; None: the system's.

        Raises:
            ConfigurationError: the topology file, the name of a signal, a middleware or an exporter cannot
                be used.
        """
        settings, given = _with_topology(settings, topology)
        if given is None:
            given = _from_settings(settings)
            settings = _in_namespace_of(settings, given)
        stack = Stack()
        for one in middleware:
            stack.add(one)
        telemetry = application_telemetry(exporters)
        return cls(
            settings=settings,
            given_topology=given,
            registry=Registry() if registry is None else registry,
            signals=_switched(Signals(), settings),
            middleware=stack,
            telemetry=telemetry,
            overrides={},
            defined_schedules=DefinedSchedules(),
            key_source=KeySource(settings),
            clock=clock,
        )

    def replace(
        self,
        *,
        topology: Topology | Path | str | None = None,
        clock: Clock | None = None,
        **settings: Any,
    ) -> Self:
        """Return a blueprint with other settings; names, topology, keys and signals are derived again.

        Args:
            topology: another topology, or the path of its YAML file; None: the same one.
            clock: another clock for an in-memory broker; None: the same one.
            **settings: fields of `Settings`; the others keep their values.

        Raises:
            ConfigurationError: a setting or the topology file cannot be used.
        """
        _check_names(settings)
        new = self.settings.replace(**settings) if settings else self.settings
        new, given = _with_topology(new, topology)
        same_signals = (
            new.signals_enabled == self.settings.signals_enabled
            and new.enabled_signals == self.settings.enabled_signals
        )
        return dataclasses.replace(
            self,
            settings=new,
            given_topology=self.given_topology if given is None else given,
            signals=self.signals if same_signals else _switched(self.signals, new),
            # a ring that is kept also keeps the keys that were reloaded
            key_source=self.key_source if self.key_source.serves(new) else KeySource(new),
            clock=self.clock if clock is None else clock,
        )

    @property
    def keys(self) -> KeyRing | None:
        """The keys that the settings name; None if they name no keys.

        Raises:
            ConfigurationError: the keys cannot be used.
        """
        return self.key_source.ring

    @property
    def queues(self) -> tuple[str, ...]:
        """The logical queues: those of the topology, those that tasks and schedules name, and the default one."""
        declared, default = self.topology.declared, self.settings.default_queue
        named = [task.options.queue for task in self.registry if task.options.queue]
        routed = [self.queue_of(task) for task in self.registry if not task.options.queue]
        of_file = [spec.options.get("queue") for spec in self.topology.schedules.values()]
        scheduled = [one.options.queue for one in self.defined_schedules] + of_file
        alone = [] if self.registry or declared else [default]
        named += [queue for queue in scheduled if isinstance(queue, str)]
        return tuple(dict.fromkeys([*declared, *named, *routed, *alone]))

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """The schedules by name, of code and of the topology file, each checked against its task.

        Raises:
            ConfigurationError: two have one name, a task is unknown, or its arguments do not fit.
        """
        of_file = [spec.schedule(name) for name, spec in self.topology.schedules.items()]
        return joined(self.defined_schedules, of_file, self.registry)

    @property
    def time_limits(self) -> tuple[tuple[str, str, float], ...]:
        """The tasks that have a time limit: their names, their queues, and the limit in seconds."""
        return tuple(
            (task.name, self.queue_of(task), task.options.time_limit)
            for task in self.registry
            if task.options.time_limit is not None
        )

    @property
    def entities(self) -> Entities:
        """The exchanges, queues, bindings and policies that the application needs on the broker."""
        return compile_topology(self.topology, self.names, self.queues)

    def prepare(
        self, task: str, args: Mapping[str, Any] | None = None, **options: Unpack[CallKeywords]
    ) -> Call:
        """Make a call by name; see `Stem.prepare`."""
        definition = self.registry.get(check_name("task", task))
        packed = by_name(args)
        if definition is not None:
            packed = definition.arguments.pack_named(packed)
        else:
            json_object("args", packed)
        return Call(
            task=task, args=packed, options=CallOptions.build(options), definition=definition
        )

    def queue_of(self, task: TaskDefinition) -> str:
        """Return the logical queue of a task: its own, by a route, or the default one.

        Args:
            task: the task.
        """
        return task.options.queue or self.queue_named(task.name)

    def queue_named(self, task: str) -> str:
        """Return the logical queue of a task without a queue of its own: by a route, or the default one.

        Args:
            task: the task's name.
        """
        return self.topology.route(task) or self.settings.default_queue


def _check_names(settings: Iterable[str]) -> None:
    for name in settings:
        if name not in Settings.model_fields:
            close = did_you_mean(name, Settings.model_fields)
            raise ConfigurationError(f"there is no setting {name}{close}")


def _with_topology(
    settings: Settings, topology: Topology | Path | str | None
) -> tuple[Settings, Topology | None]:
    """Return the settings, with the namespace of a given topology unless they set one, and the topology."""
    if topology is None:
        return settings, None
    if isinstance(topology, (str, Path)):
        settings = settings.replace(topology=Path(topology))
        topology = load_topology(topology)
    return _in_namespace_of(settings, topology), topology


def _from_settings(settings: Settings) -> Topology:
    return Topology.default() if settings.topology is None else load_topology(settings.topology)


def _in_namespace_of(settings: Settings, topology: Topology) -> Settings:
    if "namespace" in settings.model_fields_set or not topology.namespace:
        return settings
    return settings.replace(namespace=topology.namespace)


def _switched(signals: Signals, settings: Settings) -> Signals:
    return signals.configured(
        enabled=settings.signals_enabled, enabled_signals=settings.enabled_signals
    )
