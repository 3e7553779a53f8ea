"""The section ``breaker`` of a queue in a topology file."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from stem_amqp.breakers.breaker import (
    FAILURES,
    KEYS,
    MOST_RUNS,
    OF,
    PAUSE,
    WITHIN,
    Breaker,
    count_problem,
    duration_problem,
    failures_problem,
)
from stem_amqp.topology.spec.base import Spec
from stem_amqp.topology.spec.mistake import wrong
from stem_amqp.topology.spec.values import Wait


def _failures(value: object) -> object:
    problem, _, remedy = failures_problem(value).partition("\n  ")
    if problem:
        raise wrong(problem, remedy)
    return value


def _count(value: object) -> object:
    problem = count_problem(value)
    if problem:
        raise wrong(problem, "Write for example 20.")
    return value


def _length(value: float) -> float:
    problem = duration_problem(value)
    if problem:
        raise wrong(problem, "Write for example 30s or 5m.")
    return value


Failures = Annotated[
    int | str,
    BeforeValidator(_failures),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "string",
                    "pattern": r"^\s*\d{1,3}(\.\d+)? ?%\s*$",
                    "examples": ["50%", "80%"],
                },
                {"type": "integer", "minimum": 1},
            ]
        }
    ),
]
Runs = Annotated[
    int,
    BeforeValidator(_count),
    Field(json_schema_extra={"minimum": 1, "maximum": MOST_RUNS}),
]
Length = Annotated[Wait, AfterValidator(_length)]


class BreakerSpec(Spec):
    """Pause a queue everywhere while too many of its runs fail, then try one run."""

    failures: Failures = Field(
        default=FAILURES, description="The share of failures that opens it, or their number."
    )
    of: Runs = Field(default=OF, description="The number of runs that count, the latest ones.")
    within: Length = Field(
        default=WITHIN, description="The time within which these runs must have ended."
    )
    pause: Length = Field(
        default=PAUSE, description="The first pause; it doubles each time the run after it fails."
    )
    max_pause: Length | None = Field(
        default=None, description="The longest pause. Default: ten pauses, at most 1d."
    )

    def breaker(self) -> Breaker:
        """Return the breaker that these keys describe.

        Raises:
            ConfigurationError: they contradict each other; `stem_amqp.topology.check` refuses that.
        """
        values: dict[str, Any] = {name: getattr(self, name) for name in KEYS}
        return Breaker(**values)
