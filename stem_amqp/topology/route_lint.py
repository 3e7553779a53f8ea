"""What will be regretted about routes: those that no task takes."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator

from stem_amqp.settings import NAME_LIMIT
from stem_amqp.topology.caution import Caution
from stem_amqp.topology.mistake import did_you_mean, dotted
from stem_amqp.topology.model import Topology

_ANY = "\ue000"
"""Stands for a character of which nothing is known: only a wildcard matches it."""
_SET = re.compile(r"\[[^\]]+\]")
_NO_NAME = re.compile(r"[^\w.*?-]|\.\.|^\.|\.$|[^\x00-\x7f]")
"""What no task's name has in it; sets of characters are taken out before."""


def cautions(topology: Topology) -> Iterator[Caution]:
    """Yield what is probably not meant about the routes."""
    for index, route in enumerate(topology.routes):
        key = dotted(("routes", index))
        if route.queue not in topology.queues:
            close = did_you_mean(route.queue, topology.queues)
            yield Caution(
                key=f"{key}.queue",
                problem=f"the queue {route.queue} is not under queues{close}",
                remedy=f"Add '{route.queue}:' there, even with nothing behind it, so that it stands"
                " before the first task comes.",
            )
        if is_no_name(route.match):
            yield Caution(
                key=f"{key}.match",
                problem="no task's name can be like this",
                remedy="Names are dotted words of letters, digits, '_' and '-', at most"
                f" {NAME_LIMIT} characters: write such as orders.*.",
            )
        for earlier in topology.routes[:index]:
            if covers(earlier.match, route.match):
                yield Caution(
                    key=f"{key}.match",
                    problem=f"never reached: {earlier.match} stands before it and fits the same"
                    " tasks",
                    remedy="Put the narrower pattern first.",
                )
                break


def covers(wide: str, narrow: str) -> bool:
    """Say whether a pattern fits every name that another one fits.

    Args:
        wide: the pattern that may fit more.
        narrow: the other one.
    """
    if wide == narrow:
        return True
    known = _SET.sub(_ANY, narrow).replace("?", _ANY)
    # none, one or several characters: what differs between these is seen by every pattern
    return all(fnmatch.fnmatchcase(known.replace("*", some), wide) for some in ("", _ANY, _ANY * 2))


def is_no_name(pattern: str) -> bool:
    """Say whether no task's name can fit a pattern."""
    plain = _SET.sub("a", pattern)
    return _NO_NAME.search(plain) is not None or len(plain.replace("*", "")) > NAME_LIMIT
