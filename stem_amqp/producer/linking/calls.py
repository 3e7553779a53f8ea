"""Make the call of a link."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from stem_amqp.clock import timestamp
from stem_amqp.messages.links import Chain, LinkNode, Links, Source
from stem_amqp.messages.message import REPEATED, REPLAYS, SINCE, new_id
from stem_amqp.producer.linking.place import Place
from stem_amqp.tasks.call import Call
from stem_amqp.tasks.definition import Registry, TaskDefinition
from stem_amqp.tasks.keywords import CallKeywords
from stem_amqp.tasks.options import CallOptions


@dataclass(frozen=True, slots=True)
class Value:
    """The result that a link takes.

    Args:
        json: a JSON value.
    """

    json: Any


Given = Value | Source | None
"""What a link takes: a result, the results of a group, or nothing, since it is the first one."""


class Calls:
    """Makes the calls of links.

    Args:
        registry: the tasks of the application.
        now: seconds since the epoch.
    """

    def __init__(self, registry: Registry, now: float) -> None:
        self._registry = registry
        self._now = now

    def call(
        self, node: LinkNode, place: Place, given: Given, then: Chain = (), *, claims: bool = False
    ) -> Call:
        """Return the call of a link.

        Args:
            node: the link.
            place: its place.
            given: what it takes.
            then: the rest of its chain.
            claims: whether it is the continuation of a group, which claims the group.

        Raises:
            ConfigurationError: an option of the link is invalid.
        """
        args, source = node.args, None
        if isinstance(given, Value) and node.piped is not None:
            args = {**args, node.piped: given.json}
        elif isinstance(given, Source) and (claims or node.piped is not None):
            source = replace(given, parameter=node.piped)
        return Call(
            task=node.task,
            args=args,
            options=self._options(node, place),
            definition=self._registry.get(node.task),
            group=place.group,
            links=Links(
                composition=place.composition,
                index=place.index,
                then=then,
                on_success=node.on_success,
                on_failure=node.on_failure,
                source=source,
                token=new_id() if claims else None,
                gates=place.gates,
                watched=node.watched,
            ),
            origin=place.origin,
        )

    def _options(self, node: LinkNode, place: Place) -> CallOptions:
        given: dict[str, Any] = {**node.options, "queue": node.queue, "task_id": place.id}
        if node.ignore_result:
            given["ignore_result"] = True
        options = CallOptions.build(cast("CallKeywords", given))
        definition = self._registry.get(node.task)
        if definition is not None and definition.options.has_rule:
            options = _without_rule(options, definition)
        if place.follows:
            options = replace(options, headers={**options.headers, **self._marks(options, place)})
        return options

    def _marks(self, options: CallOptions, place: Place) -> Mapping[str, Any]:
        """Return the headers of a message that may be published twice."""
        marks: dict[str, Any] = {REPEATED: True}
        if not options.delay:
            # The body has the time of the first task; the age of this one counts from now
            marks[SINCE] = timestamp(self._now)
        if place.replay:
            marks[REPLAYS] = place.replay
        return marks


def _without_rule(options: CallOptions, definition: TaskDefinition) -> CallOptions:
    """Return options without the task's rule for equal calls: each link of a composition runs."""
    of_task = definition.options
    return replace(
        options,
        unique=False if of_task.unique is not None else None,
        debounce=False if of_task.debounce is not None else None,
        throttle=False if of_task.throttle is not None else None,
    )
