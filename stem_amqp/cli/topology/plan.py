"""Output of a plan as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from stem_amqp.cli.output import table
from stem_amqp.provision.change import describe_changes
from stem_amqp.provision.plan import Plan
from stem_amqp.provision.step import Step
from stem_amqp.text import count
from stem_amqp.topology.names import Names

_SIGNS = {"create": ("+", "green"), "change": ("~", "yellow"), "blocked": ("!", "red")}


def plan_view(plan: Plan, names: Names) -> RenderableType:
    """Return the steps, one per line, and a summary.

    Args:
        plan: the plan.
        names: the names in the namespace; the delay entities are summarized in one line.
    """
    parts: list[RenderableType] = []
    for what, steps in (
        ("create", plan.create),
        ("change", plan.change),
        ("blocked", plan.blocked),
    ):
        sign, style = _SIGNS[what]
        rows = table("", "kind", "name", whole=("kind",))
        rows.show_header = False
        shown, folded = _folded(steps, names)
        for step in shown:
            rows.add_row(Text(sign, style=style), step.kind, step.name)
            for line in describe_changes(step):
                rows.add_row("", "", f"  {line}")
            for line in step.remedy.splitlines():
                rows.add_row("", "", Text(f"  {line}", style="bold"))
        if folded:
            rows.add_row(Text(sign, style=style), "delays", _delays(folded))
        if rows.row_count:
            parts += [rows]
    if plan.undeclared:
        rows = table("", "kind", "name", "why", whole=("kind",))
        rows.show_header = False
        for step in plan.undeclared:
            rows.add_row(Text("?", style="dim"), step.kind, step.name, _contents(step))
        parts += [Text("undeclared:", style="dim"), rows]
    if plan.former_delays is not None:
        parts.append(Text(f"note: {plan.former_delays}", style="dim"))
    parts += [Text(f"note: {note}", style="dim") for note in plan.notes]
    parts.append(Text(summary(plan), style="bold"))
    return Group(*parts)


def summary(plan: Plan) -> str:
    """Return the plan in one line."""
    if plan.nothing_to_do:
        text = f"nothing to do: {plan.same} unchanged"
    else:
        text = (
            f"{len(plan.create)} to create, {len(plan.change)} to change,"
            f" {len(plan.blocked)} that cannot be changed in place, {plan.same} unchanged"
        )
    if plan.undeclared:
        text += f"; {len(plan.undeclared)} undeclared"
    return text


def plan_document(plan: Plan) -> dict[str, Any]:
    """Return the plan as JSON values."""
    return {
        "source": plan.source,
        "nothing_to_do": plan.nothing_to_do,
        "create": [_step(step) for step in plan.create],
        "change": [_step(step) for step in plan.change],
        "blocked": [_step(step) for step in plan.blocked],
        "undeclared": [_step(step) for step in plan.undeclared],
        "same": plan.same,
        "notes": list(plan.notes),
        "former_delays": plan.former_delays,
    }


def _step(step: Step) -> dict[str, Any]:
    document: dict[str, Any] = {"kind": step.kind, "name": step.name}
    if step.details:
        document["details"] = [
            {"key": one.key, "wanted": one.wanted, "current": one.current} for one in step.details
        ]
    if step.remedy:
        document["remedy"] = step.remedy
    return document


def _folded(steps: Iterable[Step], names: Names) -> tuple[list[Step], list[Step]]:
    """Separate the steps that create delay entities from all others."""
    prefix = f"{names.delay}."
    shown: list[Step] = []
    folded: list[Step] = []
    for step in steps:
        of_delays = step.name.startswith(prefix) and not step.details
        (folded if of_delays else shown).append(step)
    return shown, folded


def _delays(steps: list[Step]) -> str:
    kinds = [
        (word, sum(step.kind == kind for step in steps))
        for kind, word in (("exchange", "exchange"), ("queue", "queue"), ("binding", "binding"))
    ]
    return ", ".join(count(number, word) for word, number in kinds if number)


def _contents(step: Step) -> str:
    return ", ".join(f"{one.current} {one.key}" for one in step.details)
