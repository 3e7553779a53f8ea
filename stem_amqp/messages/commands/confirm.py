"""The command that asks whether a directive is obeyed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from stem_amqp.messages.commands.order import Order


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirm(Order):
    """Answer once a directive is obeyed, which was sent before.

    Args:
        directive: the nonce of the directive.
    """

    NAME: ClassVar[str] = "confirm"
    recorded: ClassVar[bool] = False

    directive: Annotated[str, Field(min_length=1, max_length=64)]
