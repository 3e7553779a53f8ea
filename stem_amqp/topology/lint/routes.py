"""Lint of routes: patterns that no task can match."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator

from stem_amqp.settings import NAME_LIMIT
from stem_amqp.topology.lint.warning import LintWarning
from stem_amqp.topology.model import Topology
from stem_amqp.topology.spec.mistake import did_you_mean, dotted

_ANY = "\ue000"
"""A placeholder for an unknown character, which only a wildcard matches."""
_SET = re.compile(r"\[[^\]]+\]")
_NO_NAME = re.compile(r"[^\w.*?-]|\.\.|^\.|\.$|[^\x00-\x7f]")
"""Text that no task name contains; character sets are removed first."""


def warnings(topology: Topology) -> Iterator[LintWarning]:
    """Yield the warnings about routes."""
    for index, route in enumerate(topology.routes):
        key = dotted(("routes", index))
        if route.queue not in topology.queues:
            close = did_you_mean(route.queue, topology.queues)
            yield LintWarning(
                key=f"{key}.queue",
                problem=f"the queue {route.queue} is not under queues{close}",
                remedy=f"Add '{route.queue}:' there, even without settings, so that it is declared"
                " before the first task is enqueued.",
            )
        if is_no_name(route.match):
            yield LintWarning(
                key=f"{key}.match",
                problem="no task name can match this",
                remedy="Names are dotted words of letters, digits, '_' and '-', at most"
                f" {NAME_LIMIT} characters: write for example orders.*.",
            )
        for earlier in topology.routes[:index]:
            if covers(earlier.match, route.match):
                yield LintWarning(
                    key=f"{key}.match",
                    problem=f"never reached: {earlier.match} precedes it and matches the same"
                    " tasks",
                    remedy="Put the narrower pattern first.",
                )
                break


def covers(wide: str, narrow: str) -> bool:
    """Return whether a pattern matches every name that another one matches.

    Args:
        wide: the pattern that may match more.
        narrow: the other one.
    """
    if wide == narrow:
        return True
    known = _SET.sub(_ANY, narrow).replace("?", _ANY)
    # no, one and several characters are the cases that a pattern can tell apart
    return all(fnmatch.fnmatchcase(known.replace("*", some), wide) for some in ("", _ANY, _ANY * 2))


def is_no_name(pattern: str) -> bool:
    """Return whether no task name can match a pattern."""
    plain = _SET.sub("a", pattern)
    return _NO_NAME.search(plain) is not None or len(plain.replace("*", "")) > NAME_LIMIT
