"""The topology as its file says it: a checked model, and what a queue inherits."""

from __future__ import annotations

import fnmatch
import re
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, PrivateAttr, StrictStr, model_validator

from stem_amqp.topology import check, extra_check, policy_check
from stem_amqp.topology.extra_spec import ExtraQueueSpec
from stem_amqp.topology.mistake import refusal
from stem_amqp.topology.policy_spec import PolicyDefinition, PolicySpec
from stem_amqp.topology.specs import (
    BackoffSpec,
    BindingSpec,
    DeadLetterSpec,
    ExchangeSpec,
    NativeRetrySpec,
    QueueSpec,
    RetrySpec,
    RouteSpec,
    Spec,
)
from stem_amqp.topology.values import (
    LogicalName,
    NamespaceName,
    RetryName,
    Version,
    empty,
    empty_list,
)

__all__ = [
    "BackoffSpec",
    "BindingSpec",
    "DeadLetterSpec",
    "ExchangeSpec",
    "ExtraQueueSpec",
    "NativeRetrySpec",
    "PolicyDefinition",
    "PolicySpec",
    "QueueSpec",
    "RetrySpec",
    "RouteSpec",
    "Topology",
]

_S = TypeVar("_S", bound=Spec)


def _over(base: _S, own: _S) -> _S:
    """Lay what a spec sets itself over what it inherits, key by key."""
    values: dict[str, Any] = {}
    for name in own.model_fields_set:
        value, inherited = getattr(own, name), getattr(base, name)
        if isinstance(value, Spec) and isinstance(inherited, Spec):
            value = _over(inherited, value)
        values[name] = value
    return base.model_copy(update=values)


class Topology(Spec):
    """A topology file, version 1. A queue inherits from ``defaults`` what it does not set."""

    version: Version = Field(description="Version of the file format: 1.")
    extends: StrictStr | None = Field(
        default=None,
        description="Another topology file, relative to this one, over which this one is laid key"
        " by key; lists are replaced. It may have the version.",
    )
    namespace: NamespaceName | None = Field(
        default=None,
        description="Prefix of every name on the broker: one per environment. STEM_NAMESPACE"
        " wins. Default: stem.",
    )
    settings: Literal["arguments", "policies"] = Field(
        default="arguments",
        description="Where the settings of queues go that RabbitMQ can change at run time: into"
        " their arguments, which stay as they are, or into policies, which can be changed.",
    )
    defaults: Annotated[QueueSpec, BeforeValidator(empty)] = Field(
        default=QueueSpec(),
        description="What every queue inherits, also those that only tasks name.",
    )
    retries: Annotated[
        dict[RetryName, Annotated[RetrySpec, BeforeValidator(empty)]], BeforeValidator(empty)
    ] = Field(
        default={},
        description="Retry policies by name: retry: gentle stands for the keys under gentle.",
    )
    queues: Annotated[
        dict[LogicalName, Annotated[QueueSpec, BeforeValidator(empty)]], BeforeValidator(empty)
    ] = Field(default={}, description="Logical queues by name.")
    extra_queues: Annotated[
        dict[str, Annotated[ExtraQueueSpec, BeforeValidator(empty)]], BeforeValidator(empty)
    ] = Field(
        default={},
        description="Queues of your own that hold no tasks, for taps and audit, by their full"
        " name; {namespace} is replaced in it.",
    )
    exchanges: Annotated[
        dict[str, Annotated[ExchangeSpec, BeforeValidator(empty)]], BeforeValidator(empty)
    ] = Field(
        default={},
        description="Exchanges of your own by their full name; {namespace} is replaced in it.",
    )
    bindings: Annotated[tuple[BindingSpec, ...], BeforeValidator(empty_list)] = Field(
        default=(), description="Bindings of your own."
    )
    policies: Annotated[dict[str, PolicySpec], BeforeValidator(empty)] = Field(
        default={},
        description="Policies of your own by their name; {namespace} is replaced in it.",
    )
    operator_policies: Annotated[dict[str, PolicySpec], BeforeValidator(empty)] = Field(
        default={},
        description="Operator policies by their name: limits that users' policies and arguments"
        " cannot exceed; {namespace} is replaced in it.",
    )
    routes: Annotated[tuple[RouteSpec, ...], BeforeValidator(empty_list)] = Field(
        default=(), description="Task names to queues; the first match wins."
    )

    _defaults: QueueSpec = PrivateAttr(default_factory=QueueSpec)
    _merged: dict[str, QueueSpec] = PrivateAttr(default_factory=dict)
    _patterns: list[tuple[re.Pattern[str], str]] = PrivateAttr(default_factory=list)

    @classmethod
    def default(cls) -> Self:
        """Return the topology without a file: the defaults, and the queues that tasks name."""
        return cls(version=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._defaults = _over(QueueSpec(), self._resolved(self.defaults))
        self._merged = {
            name: _over(self._defaults, self._resolved(spec)) for name, spec in self.queues.items()
        }
        self._patterns = [
            (re.compile(fnmatch.translate(route.match)), route.queue) for route in self.routes
        ]
        mistakes = [
            *check.mistakes(self),
            *extra_check.mistakes(self),
            *policy_check.mistakes(self),
        ]
        if mistakes:
            raise refusal("topology", mistakes)
        return self

    def _resolved(self, spec: QueueSpec) -> QueueSpec:
        """Put a named retry policy's keys in the place of its name."""
        if not isinstance(spec.retry, str):
            return spec
        # `check` refuses a name that is not there
        return spec.model_copy(update={"retry": self.retries.get(spec.retry, RetrySpec())})

    @property
    def declared(self) -> tuple[str, ...]:
        """The logical queues that the file names, in its order."""
        return tuple(self.queues)

    def queue(self, name: str) -> QueueSpec:
        """Return a logical queue with what it inherits; the defaults, if the file has none such."""
        return self._merged.get(name, self._defaults)

    def retry(self, name: str) -> RetrySpec | None:
        """Return a named retry policy with what it inherits from the defaults, or None."""
        spec = self.retries.get(name)
        inherited = self._defaults.retry_spec
        return spec if spec is None or inherited is None else _over(inherited, spec)

    def route(self, task: str) -> str | None:
        """Return the logical queue that the routes give a task, or None."""
        return next((queue for pattern, queue in self._patterns if pattern.match(task)), None)
