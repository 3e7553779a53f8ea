"""The base of the sections of a topology file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """Base of the sections: immutable, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
