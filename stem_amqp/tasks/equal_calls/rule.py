"""The one rule for equal calls that a call has: unique, debounced or throttled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from stem_amqp.durations import format_seconds
from stem_amqp.errors import ConfigurationError
from stem_amqp.tasks import option_values as option
from stem_amqp.tasks.equal_calls.debounce import Debounce
from stem_amqp.tasks.equal_calls.throttle import Throttle
from stem_amqp.tasks.unique import Unique

Rule: TypeAlias = Unique | Debounce | Throttle

_KINDS: Mapping[str, type[Rule]] = {"unique": Unique, "debounce": Debounce, "throttle": Throttle}
_WORDS = {"unique": "unique", "debounce": "debounced", "throttle": "throttled"}


def read_rules(values: dict[str, Any], what: str) -> None:
    """Read the options with rules and with keys of equal calls, in place.

    Args:
        values: option name to value, never None.
        what: ``task`` or ``call``; for a call False stays, since it turns off its task's rule.

    Raises:
        ConfigurationError: a value is not valid, or there are several rules.
    """
    off = False if what == "call" else None
    for name, kind in _KINDS.items():
        if name in values:
            values[name] = kind.parse(values[name]) or off
        key = f"{name}_key"
        if key in values:
            option.text(key, values[key], "'order-42'")
            if values.get(name) is False:
                raise ConfigurationError(f"a call with {name}=False cannot have a {key}")
    given = [name for name in _KINDS if values.get(name) or f"{name}_key" in values]
    if len(given) > 1:
        raise _several(f"a {what} takes", given)
    if values.get("debounce"):
        _check_delay("a debounced call", values.get("delay"), values.get("eta"))


def rule_of(task: str, own: Any, of_task: Any) -> Rule | None:
    """Return the rule of a call: its own, else its task's.

    Args:
        task: the task's name.
        own: the options of the call, a `CallOptions`, which is made of these rules.
        of_task: the options of the task, a `TaskOptions`; None if the producer does not have its code.

    Raises:
        ConfigurationError: there are several rules, or the call has an option that contradicts its rule.
    """
    rules: dict[str, Rule] = {}
    for name in _KINDS:
        rule = getattr(own, name)
        if rule is None and of_task is not None:
            rule = getattr(of_task, name)
        if rule is None and name == "unique" and own.unique_key is not None:
            rule = Unique(until="finished")
        if rule:
            rules[name] = rule
        elif getattr(own, f"{name}_key") is not None:
            raise ConfigurationError(
                f"{name}_key says which calls of task {task} are equal, but they are not {_WORDS[name]}:"
                f" pass {name}, too"
            )
    if len(rules) > 1:
        raise _several(f"a call of task {task} takes", list(rules))
    rule = next(iter(rules.values()), None)
    if isinstance(rule, Debounce):
        _check_debounced(task, rule, own, of_task)
    return rule


def _check_debounced(task: str, rule: Debounce, own: Any, of_task: Any) -> None:
    _check_delay(f"a call of task {task}, which is debounced,", own.delay, own.eta)
    expires = own.expires
    if expires is None and of_task is not None:
        expires = of_task.expires
    if isinstance(expires, float | int) and expires <= rule.seconds:
        raise ConfigurationError(
            f"a call of task {task} expires after {format_seconds(expires)}, but as a debounced one it"
            f" starts after {format_seconds(rule.seconds)}: let it expire later"
        )


def _check_delay(subject: str, delay: object, eta: object) -> None:
    if delay is None and eta is None:
        return
    name = "an eta" if delay is None else "a delay"
    raise ConfigurationError(
        f"{subject} cannot have {name}: its wait is its delay.\n  Leave it out, or pass debounce=False"
    )


def _several(subject: str, names: list[str]) -> ConfigurationError:
    *first, last = (_WORDS[name] for name in names)
    off = " or ".join(f"{name}=False" for name in names)
    return ConfigurationError(
        f"{subject} one rule for equal calls, and would be {', '.join(first)} and {last}.\n"
        f"  Leave one out; a call turns off its task's with {off}"
    )
