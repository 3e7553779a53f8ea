"""The settings of what a worker accepts."""

from __future__ import annotations

from pydantic import BaseModel, Field

from stem_amqp.messages.limits import DEEPEST, DEFAULT_LIMITS


class IncomingSettings(BaseModel):
    """How large and how deeply nested a message may be that a worker accepts."""

    incoming_body_size: int = Field(
        default=DEFAULT_LIMITS.body_size,
        ge=1024,
        le=512 * 1024 * 1024,
        description="Largest body that a worker accepts, in bytes; a larger one is dead-lettered.",
    )
    incoming_values: int = Field(
        default=DEFAULT_LIMITS.values,
        ge=1024,
        description="Most JSON values in a body that a worker accepts, counted by commas and brackets;"
        " a body with more is dead-lettered.",
    )
    incoming_nesting: int = Field(
        default=DEFAULT_LIMITS.nesting,
        ge=8,
        le=DEEPEST,
        description="Deepest nesting of a body that a worker accepts; a deeper one is dead-lettered.",
    )
    incoming_headers: int = Field(
        default=DEFAULT_LIMITS.headers,
        ge=100,
        description="Most AMQP headers that a worker accepts; a message with more is dead-lettered.",
    )
    incoming_options: int = Field(
        default=DEFAULT_LIMITS.options,
        ge=16,
        description="Most options in a body that a worker accepts; a body with more is dead-lettered.",
    )
