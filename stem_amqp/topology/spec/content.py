"""The keys of a topology file, and inheritance of queues and retry policies; without cross-checks."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, PrivateAttr, StrictStr, model_validator

from stem_amqp.topology.spec.base import Spec
from stem_amqp.topology.spec.extra_queues import ExtraQueueSpec
from stem_amqp.topology.spec.limits import LimitName, LimitSpec
from stem_amqp.topology.spec.policies import PolicySpec
from stem_amqp.topology.spec.queues import QueueSpec, RejectedSpec, RetrySpec
from stem_amqp.topology.spec.routing import BindingSpec, ExchangeSpec, RouteSpec
from stem_amqp.topology.spec.schedules import ScheduleName, ScheduleSpec
from stem_amqp.topology.spec.values import (
    LogicalName,
    NamespaceName,
    RetryName,
    Version,
    empty,
    empty_list,
)

_S = TypeVar("_S", bound=Spec)


def _over(base: _S, own: _S) -> _S:
    """Merge the keys that a spec sets over those that it inherits."""
    values: dict[str, Any] = {}
    for name in own.model_fields_set:
        value, inherited = getattr(own, name), getattr(base, name)
        if isinstance(value, Spec) and isinstance(inherited, Spec):
            value = _over(inherited, value)
        values[name] = value
    return base.model_copy(update=values)


class Content(Spec):
    """The keys of a topology file. A queue inherits unset keys from ``defaults``.

    `stem_amqp.topology.model.Topology` adds the checks across keys.
    """

    version: Version = Field(description="Version of the file format: 1.")
    extends: StrictStr | None = Field(
        default=None,
        description="Another topology file, relative to this one. This file is merged over it key by"
        " key; lists are replaced. The version may be in the other file.",
    )
    namespace: NamespaceName | None = Field(
        default=None,
        description="Prefix of every name on the broker: one per environment. STEM_NAMESPACE"
        " takes precedence. Default: stem.",
    )
    settings: Literal["arguments", "policies"] = Field(
        default="arguments",
        description="Where queue settings that RabbitMQ can change at run time are stored: in arguments,"
        " which cannot be changed later, or in policies, which can.",
    )
    defaults: Annotated[QueueSpec, BeforeValidator(empty)] = Field(
        default=QueueSpec(),
        description="The keys that every queue inherits, also queues that only tasks name.",
    )
    retries: Annotated[
        dict[RetryName, Annotated[RetrySpec, BeforeValidator(empty)]], BeforeValidator(empty)
    ] = Field(
        default={},
        description="Retry policies by name: retry: gentle refers to the keys under gentle.",
    )
    limits: Annotated[dict[LimitName, LimitSpec], BeforeValidator(empty)] = Field(
        default={},
        description="Limits by name, which tasks and queues share: limits: [stripe] refers to the keys under"
        " stripe.",
    )
    queues: Annotated[
        dict[LogicalName, Annotated[QueueSpec, BeforeValidator(empty)]], BeforeValidator(empty)
    ] = Field(default={}, description="Logical queues by name.")
    rejected: Annotated[RejectedSpec | None, BeforeValidator(empty)] = Field(
        default=None,
        description="The queue {namespace}.dead.rejected, for messages without a valid signature."
        " If there are keys to verify with, it is also declared without this section.",
    )
    extra_queues: Annotated[
        dict[str, Annotated[ExtraQueueSpec, BeforeValidator(empty)]], BeforeValidator(empty)
    ] = Field(
        default={},
        description="Custom queues that hold no tasks, for taps and audit, by their full name;"
        " {namespace} is replaced in it.",
    )
    exchanges: Annotated[
        dict[str, Annotated[ExchangeSpec, BeforeValidator(empty)]], BeforeValidator(empty)
    ] = Field(
        default={},
        description="Custom exchanges by their full name; {namespace} is replaced in it.",
    )
    bindings: Annotated[tuple[BindingSpec, ...], BeforeValidator(empty_list)] = Field(
        default=(), description="Custom bindings."
    )
    policies: Annotated[dict[str, PolicySpec], BeforeValidator(empty)] = Field(
        default={},
        description="Custom policies by their name; {namespace} is replaced in it.",
    )
    operator_policies: Annotated[dict[str, PolicySpec], BeforeValidator(empty)] = Field(
        default={},
        description="Operator policies by their name: limits that users' policies and arguments"
        " cannot exceed; {namespace} is replaced in it.",
    )
    schedules: Annotated[dict[ScheduleName, ScheduleSpec], BeforeValidator(empty)] = Field(
        default={},
        description="Schedules by name: which task is enqueued when, by `stem-amqp scheduler`.",
    )
    routes: Annotated[tuple[RouteSpec, ...], BeforeValidator(empty_list)] = Field(
        default=(), description="Task names to queues; the first match wins."
    )

    _defaults: QueueSpec = PrivateAttr(default_factory=QueueSpec)
    _merged: dict[str, QueueSpec] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _inherit(self) -> Self:
        self._defaults = _over(QueueSpec(), self._resolved(self.defaults))
        self._merged = {
            name: _over(self._defaults, self._resolved(spec)) for name, spec in self.queues.items()
        }
        return self

    def _resolved(self, spec: QueueSpec) -> QueueSpec:
        """Replace the name of a retry policy by its keys."""
        if not isinstance(spec.retry, str):
            return spec
        # `topology.check` refuses an unknown name
        return spec.model_copy(update={"retry": self.retries.get(spec.retry, RetrySpec())})

    @property
    def declared(self) -> tuple[str, ...]:
        """The logical queues that the file names, in its order."""
        return tuple(self.queues)

    def queue(self, name: str) -> QueueSpec:
        """Return a logical queue with its inherited keys; the defaults if the file does not name it."""
        return self._merged.get(name, self._defaults)

    def retry(self, name: str) -> RetrySpec | None:
        """Return a named retry policy with the keys inherited from the defaults, or None."""
        spec = self.retries.get(name)
        inherited = self._defaults.retry_spec
        return spec if spec is None or inherited is None else _over(inherited, spec)
