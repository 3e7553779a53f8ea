"""The names of directives in the metric of commands."""

from __future__ import annotations

from stem_amqp.directives.model import Directive, Kind


def label(directive: Directive) -> str:
    """Return the command's name for the metric; only known kinds have one.

    Args:
        directive: the directive, which may be unsigned.
    """
    if directive.kind not in set(Kind):
        return "other"
    return "resume" if directive.kind == Kind.PAUSE and directive.withdrawn else directive.kind
