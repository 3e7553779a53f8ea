"""``stem-amqp tasks``: the tasks of an application.

``--json`` prints an object: ``tasks``, objects with ``name``, ``queue``, ``arguments``, ``max_retries``, ``retry``
(base, factor, max, jitter; or the name of a tenacity strategy), ``rate_limit``,
``concurrency_limit``, ``limits`` (all that apply, also named ones and the queue's), ``breaker``, ``time_limit``,
``soft_time_limit``, ``expires`` and ``result_ttl`` (seconds), ``priority``, ``ignore_result``,
``description``, ``tags``, ``idempotent``, ``attributes``. The values include those of the topology and
the settings.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.text import Text

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.output import NOTHING, note, show, show_json, table
from stem_amqp.durations import format_seconds
from stem_amqp.errors import ConfigurationError
from stem_amqp.retry import DEFAULT_POLICY, RetryPolicy
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.tasks.options import DEFAULT_MAX_RETRIES
from stem_amqp.worker.gates.limits.plan import plan_of

app = opt.command_app()


@app.command("tasks", epilog=EPILOG)
def tasks_command(
    *,
    target: opt.AppArgument,
    as_json: opt.Json = False,
    topology: opt.TopologyFile = None,
) -> None:
    """List the tasks of an application, with the values from topology and settings."""
    stem = load(target, opt.Overrides(topology=topology))
    tasks = [_described(stem, task) for task in sorted(stem.registry, key=lambda task: task.name)]
    if as_json:
        show_json({"tasks": [{**task, "retry": _retry(task["retry"])} for task in tasks]})
        return
    if not tasks:
        note(f"{target} has no tasks: import the modules that define them in its module")
        return
    lines = table("task", "queue", "retries", "limits", "about", whole=("task", "queue"))
    for task in tasks:
        lines.add_row(
            task["name"], task["queue"], _retries(task), _limits(task) or NOTHING, _about(task)
        )
    show(lines)


def _described(stem: Stem, task: TaskDefinition) -> dict[str, Any]:
    options = task.options
    queue = options.queue or stem.topology.route(task.name) or stem.settings.default_queue
    spec = stem.topology.queue(queue)
    plan = plan_of(task, queue, stem.topology)
    retries = next(
        (n for n in (options.max_retries, spec.max_retries) if n is not None), DEFAULT_MAX_RETRIES
    )
    return {
        "name": task.name,
        "queue": queue,
        "arguments": str(task.arguments),
        "max_retries": retries,
        "retry": options.retry or spec.policy or DEFAULT_POLICY,
        "rate_limit": str(options.rate_limit) if options.rate_limit else None,
        "concurrency_limit": str(options.concurrency_limit) if options.concurrency_limit else None,
        "limits": [] if plan is None else [str(one) for one in (*plan.shared, *plan.own)],
        "breaker": None if options.breaker is None else str(options.breaker),
        "time_limit": options.time_limit,
        "soft_time_limit": options.soft_time_limit,
        "expires": options.expires,
        "result_ttl": options.result_ttl or stem.settings.result_ttl,
        "priority": options.priority,
        "ignore_result": options.ignore_result,
        "description": task.description,
        "tags": list(options.tags),
        "idempotent": options.idempotent,
        "attributes": dict(options.attributes),
    }


def _retry(policy: RetryPolicy) -> dict[str, float] | str:
    try:
        return policy.short_form()
    except ConfigurationError:
        return str(policy)


def _retries(task: dict[str, Any]) -> str:
    count = task["max_retries"]
    return f"{count}: {task['retry']}" if count else "none"


def _limits(task: dict[str, Any]) -> str:
    words = [
        *task["limits"],
        _worded(task["time_limit"], "time limit {}"),
        _worded(task["soft_time_limit"], "soft {}"),
        _worded(task["expires"], "expires after {}"),
        None if task["priority"] is None else f"priority {task['priority']}",
        None if task["breaker"] is None else f"breaker: {task['breaker']}",
    ]
    return _joined(words)


def _worded(value: float | None, text: str) -> str | None:
    return None if value is None else text.format(format_seconds(value))


def _about(task: dict[str, Any]) -> Text:
    text = Text(task["description"])
    words = ["idempotent" if task["idempotent"] else None, *(f"#{tag}" for tag in task["tags"])]
    traits = " ".join(word for word in words if word)
    if traits:
        text.append((" " if text else "") + traits, style="dim")
    return text


def _joined(words: Iterable[str | None]) -> str:
    return ", ".join(word for word in words if word)
