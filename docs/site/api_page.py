"""The reference of the public names, from their docstrings."""

import inspect
import re
from importlib import import_module
from typing import Any, is_typeddict

import stem_amqp

CHAPTERS = {
    "The application": ["Stem", "Task", "Call", "RetryPolicy", "Limit", "Unique", "Settings"],
    "Without an event loop": ["BlockingProducer", "BlockingHandle"],
    "Inside a running task": ["TaskContext", "Retry", "Snooze", "Reject"],
    "Dependencies": ["Depends", "Shared", "CallArgument", "Provided"],
    "Results": ["TaskHandle", "TaskRecord", "TaskState", "Progress", "Reason"],
    "Composition": [
        *(
            "Link",
            "Partial",
            "Chain",
            "Group",
            "chain",
            "group",
            "chord",
            "ChainHandle",
            "GroupHandle",
        ),
        *("GroupResults", "FailedMember", "FailedTask"),
    ],
    "Signals": ["Event"],
}
"""The chapters in reading order; every other public name is added automatically."""
MODULES = {
    "Options of tasks and calls": (
        "stem_amqp.tasks.keywords",
        ["TaskKeywords", "CallKeywords"],
    ),
    "Workers in your own process": ("stem_amqp.worker.runner", ["Worker"]),
    "Dead letters": ("stem_amqp.dead_letter", ["DeadLetters", "Selection"]),
    "Django": ("stem_amqp.integrations.django", ["DjangoStem", "enqueue_on_commit"]),
    "FastAPI": (
        "stem_amqp.integrations.fastapi",
        ["lifespan", "stem_of", "readiness", "RequestIds"],
    ),
    "Sentry": ("stem_amqp.integrations.sentry", ["StemIntegration"]),
    "Request ids": ("stem_amqp.integrations.request_id", ["CarryRequestId", "request_id"]),
    "Logging": (
        "stem_amqp.integrations.logs",
        ["TaskFilter", "KeyValueFormatter", "JsonFormatter", "add_task_fields"],
    ),
    "Control": (
        "stem_amqp.control",
        [
            "Control",
            "CommandKeywords",
            "LastingKeywords",
            "RevokeManyKeywords",
            "Recorded",
            "Answers",
            "Answer",
            "Unanswered",
            "revoke",
        ],
    ),
    "The in-memory broker": ("stem_amqp.transport.memory", ["ManualClock"]),
    "A result backend of one's own": (
        "stem_amqp.results.base",
        ["ResultBackend"],
    ),
    "How it is made": ("stem_amqp.results.factory", ["BackendParts", "register"]),
}
"""Public names that are not in the package's top level, by module."""
INTERNAL = {
    "Stem": [
        *("blueprint", "connected", "enqueue_call", "keys", "names", "prepare", "queues"),
        *("registry", "registry_type", "stand_in", "swap", "topology", "worker_parts"),
    ],
}
"""Members for other modules, not for applications."""
WITH_BASES = {"Stem", "Task", "Link", "Chain", "Group", "GroupHandle"}
"""Classes of which members stand in base classes that are not public."""
BARE = {"Settings"}
"""Names whose members have a separate page."""


def page() -> str:
    """Return the public names, by chapter."""
    placed = {name for names in CHAPTERS.values() for name in names}
    errors = [name for name in stem_amqp.__all__ if _is_error(name) and name not in placed]
    others = [name for name in stem_amqp.__all__ if name not in placed and name not in errors]
    chapters = {**CHAPTERS, "Errors": errors}
    if others:
        chapters["More"] = others
    lines: list[str] = []
    for title, names in chapters.items():
        lines += _chapter(title, "stem_amqp", names)
    for title, (module, names) in MODULES.items():
        lines += _chapter(title, module, names)
    return "\n".join(lines)


def _is_error(name: str) -> bool:
    value = getattr(stem_amqp, name)
    return isinstance(value, type) and issubclass(value, BaseException)


def _chapter(title: str, module: str, names: list[str]) -> list[str]:
    lines = [f"## {title}", ""]
    if module != "stem_amqp":
        lines += [f"In `{module}`.", ""]
    for name in names:
        value = getattr(import_module(module), name)
        if is_typeddict(value):
            lines += _keywords(name, value)
        else:
            lines += ["```{eval-rst}", *_directive(module, name, value), "```", ""]
    return lines


def _keywords(name: str, kind: Any) -> list[str]:
    """Return the table of a TypedDict whose docstring has a line per key."""
    first, *rest = inspect.cleandoc(kind.__doc__).split("\n\n")
    pairs = re.findall(r"^([\w, ]+): (.*(?:\n +.*)*)", "\n\n".join(rest), re.MULTILINE)
    rows = [
        f"| {', '.join(f'`{key}`' for key in keys.split(', '))} | {' '.join(text.split())} |"
        for keys, text in pairs
    ]
    missing = set(kind.__annotations__) - {key for keys, _ in pairs for key in keys.split(", ")}
    if missing:
        raise ValueError(f"the docstring of {name} does not say what these are: {sorted(missing)}")
    return [
        f"### {name}",
        "",
        first.replace("``", "`"),
        "",
        "| option | meaning |",
        "|---|---|",
        *rows,
        "",
    ]


def _directive(module: str, name: str, value: Any) -> list[str]:
    if not callable(value):
        return [f".. autodata:: {module}.{name}", "   :no-value:"]
    if not isinstance(value, type):
        return [f".. autofunction:: {module}.{name}"]
    if issubclass(value, BaseException):
        return [f".. autoexception:: {module}.{name}", "   :show-inheritance:"]
    lines = [f".. autoclass:: {module}.{name}"]
    if name in INTERNAL:
        lines.append(f"   :exclude-members: {', '.join(INTERNAL[name])}")
    if name in WITH_BASES:
        lines.append("   :inherited-members:")
    return lines if name in BARE else [*lines, "   :members:"]
