"""Limits in a topology file: named ones under ``limits``, and those of a queue."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    StrictInt,
    StrictStr,
    Tag,
    model_validator,
)

from stem_amqp.durations import Rate
from stem_amqp.errors import ConfigurationError
from stem_amqp.settings import NAME, NAME_LIMIT
from stem_amqp.tasks.limit import MOST_AT_ONCE, Limit
from stem_amqp.topology.spec.base import Spec
from stem_amqp.topology.spec.mistake import shown, wrong
from stem_amqp.topology.spec.values import count


def _rate(text: str) -> str:
    try:
        Rate.parse(text)
    except ConfigurationError:
        raise wrong(
            f"{shown(text)} is not a valid rate",
            "Write an integer, a slash and s, m, h or d, such as 10/s or 600/m.",
        ) from None
    return text


def _path(text: object) -> str:
    if not isinstance(text, str):
        raise wrong(
            f"must be a path, not {shown(text)}",
            'Write one path, such as "args.tenant_id" or "meta.tenant".',
        )
    try:
        Limit("1/s", by=text)
    except ConfigurationError as error:
        problem, _, remedy = str(error).partition("\n")
        raise wrong(problem, remedy.strip()) from None
    return text


def _limit_name(name: str) -> str:
    if not NAME.fullmatch(name) or len(name) > NAME_LIMIT:
        raise wrong(
            f"{shown(name)} is not a valid name of a limit",
            "Use dotted words of letters, digits, '_' and '-', such as stripe.",
        )
    return name


def _rate_or_name(text: str) -> str:
    return _rate(text) if "/" in text else _limit_name(text)


RateText = Annotated[
    StrictStr,
    AfterValidator(_rate),
    Field(json_schema_extra={"pattern": "^[1-9][0-9]{0,14}/(s|m|h|d)$", "examples": ["10/s"]}),
]
LimitName = Annotated[StrictStr, AfterValidator(_limit_name)]


class LimitSpec(Spec):
    """The most starts of tasks in a period, and the most runs at once."""

    rate: RateText | None = Field(
        default=None, description="The most starts, evenly spread: 10/s, 600/m, 5/h or 1/d."
    )
    concurrency: (
        Annotated[
            StrictInt,
            count(1, MOST_AT_ONCE, "Pause the queue or the task to run none."),
            Field(json_schema_extra={"minimum": 1, "maximum": MOST_AT_ONCE}),
        ]
        | None
    ) = Field(default=None, description="The most runs at the same time, over all workers.")
    by: Annotated[StrictStr, BeforeValidator(_path)] | None = Field(
        default=None,
        description="Counts separately for each value of an argument (args.tenant_id) or of the metadata"
        " (meta.tenant). Default: one limit for all calls.",
    )
    per: Literal["namespace", "worker"] = Field(
        default="namespace",
        description="namespace: over all workers; worker: in each worker process, for a rate only.",
    )
    on_store_failure: Literal["closed", "open"] = Field(
        default="closed",
        description="While the store of the limits is away: closed lets the tasks wait in the broker, open runs"
        " them without this limit.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.rate is None and self.concurrency is None:
            raise wrong(
                "has neither a rate nor a concurrency",
                "Write for example rate: 10/s or concurrency: 5.",
            )
        if self.per == "worker" and self.concurrency is not None:
            raise wrong(
                "a limit per worker has a rate only",
                "Remove per: worker, or set the concurrency of the queue, which is per worker.",
            )
        return self

    def limit(self) -> Limit:
        """Return the limit that these keys describe."""
        return Limit(
            self.rate,
            concurrency=self.concurrency,
            by=self.by,
            per=self.per,
            on_store_failure=self.on_store_failure,
        )


def _kind(value: object) -> str:
    # the brackets distinguish these tags from keys of the file, see `explain.place_of`
    return "[name]" if isinstance(value, str) else "[mapping]"


def _keys(value: object) -> object:
    if not isinstance(value, (dict, LimitSpec)):
        raise wrong(
            f"must be the name of a limit, a rate or a mapping, not {shown(value)}",
            "Write for example stripe, 10/s or {concurrency: 5}.",
        )
    return value


QueueLimit = Annotated[
    Annotated[StrictStr, AfterValidator(_rate_or_name), Tag("[name]")]
    | Annotated[LimitSpec, BeforeValidator(_keys), Tag("[mapping]")],
    Discriminator(_kind),
]
"""A limit of a queue: the name of one under ``limits``, a rate, or its keys."""
