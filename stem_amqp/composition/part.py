"""A part of a composition, and the checks of what parts are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stem_amqp.composition.application import Composes
from stem_amqp.composition.step import Steps
from stem_amqp.errors import ConfigurationError


class Part:
    """A part of a composition: its steps, and the application that enqueues it.

    Args:
        steps: the steps in order.
        app: the application; None for an empty group.
    """

    __slots__ = ("_app", "_steps")

    def __init__(self, steps: Steps, app: Composes | None) -> None:
        self._steps = steps
        self._app = app

    @property
    def steps(self) -> Steps:
        """The steps in order."""
        return self._steps

    @property
    def app(self) -> Composes | None:
        """The application that enqueues it; None for an empty group."""
        return self._app


def check_part(part: Any) -> Part:
    """Return a part of a composition, or say what it should be.

    Raises:
        ConfigurationError: the object is not one.
    """
    if isinstance(part, Part):
        return part
    hint = ""
    if hasattr(part, "prepare"):
        hint = f"\n  Write {getattr(part, 'name', 'task')}.s(…)."
    raise ConfigurationError(
        f"a composition is made of links such as task.s(…), chains and groups, and not of"
        f" {part!r:.80}{hint}"
    )


def common_app(parts: Sequence[Part]) -> Composes | None:
    """Return the application of parts; None if none has one.

    Raises:
        ConfigurationError: they belong to several applications.
    """
    apps = {id(part.app): part.app for part in parts if part.app is not None}
    if len(apps) > 1:
        raise ConfigurationError(
            "the tasks of a composition belong to one application, and these belong to several:"
            f" {', '.join(map(repr, apps.values()))}.\n"
            "  For a task of another program, write a link by its name: stem.link('name', …)."
        )
    return next(iter(apps.values()), None)
