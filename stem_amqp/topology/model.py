"""A checked topology: every name that it refers to exists, and its settings are consistent."""

from __future__ import annotations

import fnmatch
import re
from typing import Self

from pydantic import PrivateAttr, model_validator

from stem_amqp.topology.check import breakers as breaker_check
from stem_amqp.topology.check import extra_queues as extra_check
from stem_amqp.topology.check import limits as limit_check
from stem_amqp.topology.check import policies as policy_check
from stem_amqp.topology.check import queues as check
from stem_amqp.topology.spec.content import Content
from stem_amqp.topology.spec.mistake import refusal
from stem_amqp.topology.spec.queues import RejectedSpec


class Topology(Content):
    """A topology file, version 1. A queue inherits unset keys from ``defaults``."""

    _patterns: list[tuple[re.Pattern[str], str]] = PrivateAttr(default_factory=list)

    @classmethod
    def default(cls) -> Self:
        """Return the topology without a file: the defaults, and the queues that tasks name."""
        return cls(version=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._patterns = [
            (re.compile(fnmatch.translate(route.match)), route.queue) for route in self.routes
        ]
        mistakes = [
            *check.mistakes(self),
            *limit_check.mistakes(self),
            *extra_check.mistakes(self),
            *policy_check.mistakes(self),
            *breaker_check.mistakes(self),
        ]
        if mistakes:
            raise refusal("topology", mistakes)
        return self

    def with_rejected(self) -> Self:
        """Return the topology with a queue for rejected messages, from its file or the defaults."""
        if self.rejected is not None:
            return self
        return self.model_copy(update={"rejected": RejectedSpec()})

    def route(self, task: str) -> str | None:
        """Return the logical queue of a task by the routes, or None."""
        return next((queue for pattern, queue in self._patterns if pattern.match(task)), None)
