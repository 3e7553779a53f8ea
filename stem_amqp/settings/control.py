"""The settings of who steers workers."""

from __future__ import annotations

from pydantic import BaseModel, Field


class ControlSettings(BaseModel):
    """The settings of commands to workers; `Settings` has them."""

    issuer: str | None = Field(
        default=None,
        description="Who sends commands to workers, for their logs and the history; default: user@host.",
    )
