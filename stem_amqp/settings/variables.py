"""Find ``STEM_`` variables that are not settings, such as misspelt ones."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping

from stem_amqp.settings.settings import PREFIX, Settings

_FOREIGN = frozenset(
    {
        "STEM_TEST_BROKER_URL",
        "STEM_TEST_FUZZ",
        "STEM_TEST_INSTALL",
        "STEM_TEST_POSTGRES_URL",
        "STEM_TEST_REDIS_URL",
    }
)
"""Variables with the prefix that belong to the test tools."""


def misspelt_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """Return a line for each ``STEM_`` variable that no setting reads.

    Args:
        environment: the variables; default: the process's environment.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    lines = []
    for name in sorted(os.environ if environment is None else environment):
        if name.startswith(PREFIX) and name not in known and name not in _FOREIGN:
            close = difflib.get_close_matches(name, known, n=1)
            lines.append(
                f"{name} is not a setting" + (f"; did you mean {close[0]}?" if close else "")
            )
    return lines
