"""The JSON document: conditions, medians, and every raw sample."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.machine import Conditions
    from bench.samples import Row, Sample


def document(found: Conditions, rows: Sequence[Row], samples: Sequence[Sample], base: str) -> str:
    """Write it.

    Args:
        found: what it was measured on.
        rows: the medians.
        samples: what they are made of.
        base: the contender that ratios refer to.
    """
    whole = {
        "conditions": dataclasses.asdict(found),
        "base": base,
        "rows": [_row(row) for row in rows],
        "samples": [dataclasses.asdict(sample) for sample in samples],
    }
    return json.dumps(whole, indent=1) + "\n"


def _row(row: Row) -> dict[str, object]:
    return {
        "case": row.case.name,
        "title": row.case.title,
        "metric": dataclasses.asdict(row.metric),
        "size": row.size,
        "concurrency": row.case.concurrency,
        "processes": row.case.processes,
        "cells": [dataclasses.asdict(cell) for cell in row.cells],
    }
