"""The shape of a composition, stored for those who look at it later: its tasks and how they follow each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson

from stem_amqp.composition.step import CallStep, ForkStep, Step, Steps
from stem_amqp.results.base import ResultBackend

VERSION = 1
MOST_BRANCHES = 100
"""Members of a group that are stored one by one; of a larger group their tasks are counted."""
LARGEST = 256 * 1024
"""Bytes of a shape; a larger one is stored without the members of its groups."""


def shape_key(composition: str) -> str:
    """Return the key under which the shape of a composition is stored.

    Args:
        composition: the id of the composition.
    """
    return f"composition:{composition}"


def shape_of(steps: Steps) -> bytes:
    """Return the shape of a composition as JSON.

    ``{"v": 1, "steps": […]}``. A call is ``{"t": task}``, with ``"ok"`` and ``"err"`` if it has links of its
    own. A group is ``{"n": size, "f": policy}``, with ``"g"``, a list of chains, or ``"of"``, the number of
    members by the task that they end with. What a member waits for is ``{"n": number, "f": policy, "after": […]}``
    with indexes of other members, and ids of tasks.

    Args:
        steps: the steps.
    """
    text = _written(steps, MOST_BRANCHES)
    return text if len(text) <= LARGEST else _written(steps, 0)


async def store_shape(
    backend: ResultBackend, composition: str, steps: Steps, *, ttl: float
) -> None:
    """Store the shape of a composition, if the backend keeps keys.

    Args:
        backend: the result backend.
        composition: the id of the composition.
        steps: its steps.
        ttl: seconds for which it is stored.

    Raises:
        BackendUnavailableError: it may not be stored.
    """
    if not backend.keeps_keys:
        return
    await backend.swap_key(
        shape_key(composition), composition, ttl=ttl, expected=None, value=shape_of(steps)
    )


def _written(steps: Steps, most: int) -> bytes:
    return orjson.dumps({"v": VERSION, "steps": [_shape(step, most) for step in steps]})


def _shape(step: Step, most: int) -> Mapping[str, Any]:
    if isinstance(step, CallStep):
        links = {
            name: [_shape(one, most) for one in own]
            for name, own in (("ok", step.on_success), ("err", step.on_failure))
            if own
        }
        return {"t": step.task, **links}
    if step.of or step.on:
        after = [*step.of, *step.on]
        return {"n": len(after), "f": step.policy, "after": after}
    size = len(step.branches)
    shape: dict[str, Any] = {"n": size, "f": step.policy}
    if size <= most:
        shape["g"] = [[_shape(one, most) for one in branch] for branch in step.branches]
    else:
        shape["of"] = Counter(_name(branch[-1]) for branch in step.branches)
    return shape


def _name(step: Step) -> str:
    return "group" if isinstance(step, ForkStep) else step.task
