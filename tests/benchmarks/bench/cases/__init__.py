"""The cases by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.cases import delayed, drain, enqueue, latency, memory, startup, storm

if TYPE_CHECKING:
    from bench.cases.base import Case

_MODULES = (enqueue, drain, latency, storm, delayed, startup, memory)
CASES: dict[str, Case] = {case.name: case for module in _MODULES for case in module.CASES}
