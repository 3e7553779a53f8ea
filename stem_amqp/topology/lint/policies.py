"""Lint of policies: patterns that match unintended queues, and keys without effect."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from stem_amqp.durations import format_seconds
from stem_amqp.topology.entities import Policy
from stem_amqp.topology.lint.planned import Planned, Role
from stem_amqp.topology.lint.queues import HOLD, HOLD_SETTING
from stem_amqp.topology.lint.warning import LintWarning, summarized
from stem_amqp.topology.policies import fits_name, matches
from stem_amqp.topology.spec.mistake import Place, dotted

_LENGTHS = ("max-length", "max-length-bytes")
_NO_EFFECT: Mapping[str, frozenset[str]] = {
    "classic": frozenset(
        {
            "delivery-limit",
            "dead-letter-strategy",
            "target-group-size",
            "delayed-retry-type",
            "delayed-retry-min",
            "delayed-retry-max",
            "max-age",
            "stream-max-segment-size-bytes",
        }
    ),
    "quorum": frozenset({"max-age", "stream-max-segment-size-bytes"}),
    "stream": frozenset(
        {
            "message-ttl",
            "max-length",
            "overflow",
            "delivery-limit",
            "dead-letter-exchange",
            "dead-letter-routing-key",
            "dead-letter-strategy",
            "consumer-timeout",
            "delayed-retry-type",
            "delayed-retry-min",
            "delayed-retry-max",
        }
    ),
}
"""Keys that RabbitMQ accepts in a policy but that have no effect on a queue of the type."""


def warnings(planned: Planned) -> Iterator[LintWarning]:
    """Yield the warnings about ``policies`` and ``operator_policies``."""
    for place, policy in planned.written():
        fitting = planned.fitting(policy)
        yield from _nothing(planned, place, policy, fitting)
        yield from _too_wide(planned, place, policy, fitting)
        yield from _rivals(planned, place, policy, fitting)
        for roles, rule in _RULES:
            names = [name for name in fitting if planned.roles[name] in roles]
            if names:
                yield from rule(planned, place, policy, names)
        yield from _strategy(planned, place, policy, fitting)
        yield from _without_effect(planned, place, policy, fitting)


def _nothing(
    planned: Planned, place: Place, policy: Policy, fitting: list[str]
) -> Iterator[LintWarning]:
    passing = any(matches(policy, name, "quorum") for name in planned.passing())
    exchanges = {exchange.name for exchange in planned.entities.exchanges}
    exchanges |= {binding.source for binding in planned.entities.bindings}
    for_exchanges = policy.apply_to in {"exchanges", "all"}
    if fitting or passing or (for_exchanges and any(map(_found(policy), exchanges))):
        return
    what = "exchange" if policy.apply_to == "exchanges" else "queue"
    yield LintWarning(
        key=dotted((*place, "pattern")),
        problem=f"matches no {what} here: {policy.pattern}",
        remedy="Names on the broker begin with the namespace: write for example"
        r" '^{namespace}[.]orders$'. Name an external queue under extra_queues, with external: true.",
    )


def _found(policy: Policy) -> Callable[[str], bool]:
    return lambda name: fits_name(policy, name)


def _too_wide(
    planned: Planned, place: Place, policy: Policy, fitting: list[str]
) -> Iterator[LintWarning]:
    """Yield a warning about a pattern that is one queue's name and also matches names that contain it."""
    plain = re.sub(r"\\(.)|\[(.)\]", r"\1\2", policy.pattern.removeprefix("^").removesuffix("$"))
    prefix = f"{planned.names.namespace}."
    meant = next((name for name in (plain, prefix + plain) if name in fitting), None)
    others = [name for name in fitting if name != meant]
    if meant is not None and others:
        yield LintWarning(
            key=dotted((*place, "pattern")),
            problem=f"matches not only {meant} but also {summarized(others)}",
            remedy=r"Write ^ before and $ after the name, and [.] for a dot, which otherwise matches"
            " any character.",
        )


def _rivals(
    planned: Planned, place: Place, policy: Policy, fitting: list[str]
) -> Iterator[LintWarning]:
    for name in fitting:
        for rival in planned.rivals(policy, name):
            if (rival.priority, rival.name) < (policy.priority, policy.name):
                continue  # the warning is given at the other policy
            kind = "operator policy" if policy.operator else "policy"
            if rival.priority > policy.priority:
                problem = f"is not applied to {name}: {rival.name} has a higher priority"
            else:
                problem = f"matches {name}, as does {rival.name} with the same priority"
            yield LintWarning(
                key=dotted(place),
                problem=f"{problem}. RabbitMQ applies only one {kind} to a queue and ignores the"
                " others",
                remedy="Narrow one of the patterns, or put all settings into the policy that is"
                " applied.",
            )
            return


Rule = Callable[[Planned, Place, Policy, list[str]], Iterator[LintWarning]]


def _on_delays(
    planned: Planned, place: Place, policy: Policy, names: list[str]
) -> Iterator[LintWarning]:
    remedy = _apart(planned)
    for key in _LENGTHS:
        if key in policy.definition:
            yield LintWarning(
                key=dotted((*place, "definition", key)),
                problem=f"matches the delay queues ({summarized(names)}), which all queues share: once one is"
                " full, it refuses every retry, snooze and ETA of that length",
                remedy=remedy,
            )
    ttl = policy.definition.get("message-ttl")
    waits = {name: planned.queues[name].arguments["x-message-ttl"] for name in names}
    cut = [name for name, wait in waits.items() if ttl is not None and wait > ttl]
    if cut:
        shortest = min(waits[name] for name in cut) / 1000
        yield LintWarning(
            key=dotted((*place, "definition", "message-ttl")),
            problem=f"matches the delay queues ({summarized(cut)}), where the shorter TTL counts:"
            f" retries and ETAs of {format_seconds(shortest)} and more arrive too early",
            remedy=remedy,
        )


def _on_parking(
    planned: Planned, place: Place, policy: Policy, names: list[str]
) -> Iterator[LintWarning]:
    """Yield warnings about policies that lose messages of dead-letter and similar queues."""
    wanted = policy.definition
    ttl = wanted.get("message-ttl")
    losses = {
        "message-ttl": f"its messages are silently dropped after"
        f" {format_seconds((ttl or 0) / 1000)}",
        "delivery-limit": "browsing counts as a delivery: after that many RabbitMQ drops a message",
    }
    if wanted.get("overflow") == "drop-head":
        losses["overflow"] = "when it is full, its oldest message is silently lost"
    for key, loss in losses.items():
        if key in wanted:
            yield LintWarning(
                key=dotted((*place, "definition", key)),
                problem=f"matches {summarized(names)}, which keeps failed messages: {loss}",
                remedy=f"{_apart(planned)} The keys of dead_letter set how long and how much is kept.",
            )


def _on_work(
    planned: Planned, place: Place, policy: Policy, names: list[str]
) -> Iterator[LintWarning]:
    wanted = policy.definition
    for key in _LENGTHS:
        if key in wanted:
            yield LintWarning(
                key=dotted((*place, "definition", key)),
                problem=f"matches {summarized(names)}: a full queue also refuses retries and delayed tasks; they"
                f" wait for room in a holding queue, and RabbitMQ retries a refused one only after {HOLD}",
                remedy="Remove it and alert on the queue's length; or shorten that time for all queues,"
                f" with {HOLD_SETTING} (ms) in advanced.config.",
            )
    if "dead-letter-exchange" in wanted and planned.topology.settings == "arguments":
        yield LintWarning(
            key=dotted((*place, "definition", "dead-letter-exchange")),
            problem=f"has no effect on {summarized(names)}: the queue's argument takes precedence",
            remedy="Remove it: a work queue dead-letters to its own dead-letter queue. To observe"
            ' dead letters, bind a queue to "{namespace}.dead".',
        )


def _on_any_of_ours(
    planned: Planned, place: Place, policy: Policy, names: list[str]
) -> Iterator[LintWarning]:
    if "expires" in policy.definition:
        after = format_seconds(policy.definition["expires"] / 1000)
        yield LintWarning(
            key=dotted((*place, "definition", "expires")),
            problem=f"matches {summarized(names)}: RabbitMQ deletes a queue without consumers for {after}, with"
            " its messages, and dead-letters none of them",
            remedy=_apart(planned),
        )


_RULES: tuple[tuple[frozenset[Role], Rule], ...] = (
    (frozenset({"delay"}), _on_delays),
    (frozenset({"dead-letter", "unroutable"}), _on_parking),
    (frozenset({"work"}), _on_work),
    (frozenset({"work", "dead-letter", "unroutable", "delay"}), _on_any_of_ours),
)
"""The rules for queues of each role."""


def _apart(planned: Planned) -> str:
    names = planned.names
    return (
        f"Narrow the pattern so that it excludes {names.delay}.*, *.dlq and"
        f" {names.unroutable}: name the intended queues, or put before it"
        r" (?!{namespace}[.](zz-delay[.]|unroutable$|.*[.]dlq))."
    )


def _strategy(
    planned: Planned, place: Place, policy: Policy, fitting: list[str]
) -> Iterator[LintWarning]:
    """Yield warnings about at-least-once dead-lettering that RabbitMQ silently disables."""
    wanted = policy.definition
    key = "overflow" if "overflow" in wanted else "dead-letter-strategy"
    asks = wanted.get("dead-letter-strategy") == "at-least-once"
    if fitting:
        weak = [name for name in fitting if _weakened(planned, name, policy)]
        problem = f"{summarized(weak)} dead-letters at-most-once: " if weak else ""
    else:
        weak = [""] if asks and not _enough(wanted) else []
        problem = ""
    if weak:
        yield LintWarning(
            key=dotted((*place, "definition", key)),
            problem=f"{problem}RabbitMQ applies at-least-once only with overflow: reject-publish and a"
            " dead-letter exchange, and otherwise can silently lose dead letters",
            remedy="Write overflow: reject-publish into the same policy, with dead-letter-exchange.",
        )


def _enough(settings: Mapping[str, Any]) -> bool:
    return settings.get("overflow") == "reject-publish" and "dead-letter-exchange" in settings


def _weakened(planned: Planned, name: str, policy: Policy) -> bool:
    """Return whether a queue requests at-least-once and this policy prevents it."""
    named = {(one.name, one.operator) for one in planned.governing(name)}
    settings = planned.in_force(name)
    touched = {"overflow", "dead-letter-strategy"} & policy.definition.keys()
    return bool(
        touched
        and (policy.name, policy.operator) in named
        and planned.kind(name) == "quorum"
        and settings.get("x-dead-letter-strategy") == "at-least-once"
        and not _enough({key.removeprefix("x-"): value for key, value in settings.items()})
    )


def _without_effect(
    planned: Planned, place: Place, policy: Policy, fitting: list[str]
) -> Iterator[LintWarning]:
    kinds = {planned.kind(name) for name in fitting}
    for key in sorted(policy.definition):
        if kinds and all(key in _NO_EFFECT.get(kind, ()) for kind in kinds):
            yield LintWarning(
                key=dotted((*place, "definition", key)),
                problem=f"has no effect on a {' or '.join(sorted(kinds))} queue, such as {fitting[0]}",
                remedy="Remove it, or make the queue of another type.",
            )
