"""The settings of what operators decide at run time."""

from __future__ import annotations

from pydantic import BaseModel, Field

from stem_amqp.settings.values import Seconds


class DirectiveSettings(BaseModel):
    """The settings of directives; `Settings` has them."""

    revocation_lifetime: Seconds = Field(
        default=30 * 86400.0,
        gt=0,
        le=365 * 86400.0,
        description="Time for which a revocation holds: longer than the longest delay in use.",
    )
