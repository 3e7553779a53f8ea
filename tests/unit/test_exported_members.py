"""The public names: what applications import, and from which module."""

import ast
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

import stem_amqp

ROOT = Path(__file__).parents[2]

PUBLIC = [
    "ArgumentsError",
    "BackendError",
    "Batch",
    "BatchContext",
    "BatchFailed",
    "BatchSummary",
    "BlockingHandle",
    "BlockingProducer",
    "Breaker",
    "BrokerError",
    "Call",
    "CallArgument",
    "Chain",
    "ChainHandle",
    "ConfigurationError",
    "Debounce",
    "Depends",
    "DuplicateTaskError",
    "EnqueueManyError",
    "Event",
    "FailedMember",
    "FailedTask",
    "Group",
    "GroupHandle",
    "GroupResults",
    "Limit",
    "Link",
    "Middleware",
    "Misfire",
    "OutgoingTask",
    "Partial",
    "Progress",
    "Provided",
    "PublishError",
    "Reason",
    "Reject",
    "ResultError",
    "ResultTimeoutError",
    "Retry",
    "RetryPolicy",
    "Schedule",
    "Settings",
    "Shared",
    "Snooze",
    "SoftTimeLimitError",
    "Stem",
    "StemError",
    "Task",
    "TaskContext",
    "TaskFailedError",
    "TaskHandle",
    "TaskRecord",
    "TaskState",
    "Throttle",
    "TimeLimitError",
    "TopologyError",
    "Unique",
    "chain",
    "chord",
    "graph",
    "group",
]
"""The names of ``stem_amqp``: removing or renaming one breaks applications."""
MODULES = {
    "stem_amqp.testing": [
        "EnqueuedTask",
        "ManualClock",
        "MemoryWorker",
        "StemMemory",
        "TaskOutcome",
        "in_memory",
    ],
    "stem_amqp.dead_letter": [
        "ALL",
        "UNKNOWN",
        "Application",
        "CompositionReplay",
        "ConnectedApplication",
        "DeadLetter",
        "DeadLetters",
        "ReplayReport",
        "Selection",
        "replay_composition",
    ],
    "stem_amqp.control": [
        "Answer",
        "Answers",
        "CommandKeywords",
        "Control",
        "LastingKeywords",
        "Recorded",
        "RevokeManyKeywords",
        "Unanswered",
        "revoke",
        "revoke_matching",
        "revoke_one",
    ],
    "stem_amqp.schedules": [
        "LONGEST_INTERVAL",
        "MOST_MISSED",
        "SHORTEST_INTERVAL",
        "At",
        "Cron",
        "DefinedSchedules",
        "DefinesSchedules",
        "DefinitionKeywords",
        "Every",
        "Misfire",
        "Schedule",
        "Tick",
        "Timing",
        "aware",
        "build_schedule",
        "check_line",
        "check_schedule_name",
        "check_zone",
        "fitted",
        "from_document",
        "joined",
        "latest_ticks",
        "misfire_of",
        "missed_ticks",
        "next_ticks",
        "tick_id",
        "ticks",
        "to_document",
        "zone_of",
    ],
    "stem_amqp.integrations.django": ["DjangoStem", "enqueue_on_commit"],
    "stem_amqp.integrations.fastapi": [
        "RequestIds",
        "StemDependency",
        "lifespan",
        "readiness",
        "stem_of",
    ],
    "stem_amqp.integrations.logs": [
        "FIELDS",
        "JsonFormatter",
        "KeyValueFormatter",
        "TaskFilter",
        "add_task_fields",
    ],
    "stem_amqp.integrations.request_id": ["CarryRequestId", "request_id"],
}
"""The public names of modules that applications import directly."""
LAZY = ["stem_amqp", "stem_amqp.testing"]


def for_type_checkers(module) -> dict[str, str]:
    """Return what a module imports for type checkers: each name with its module."""
    tree = ast.parse(Path(module.__file__).read_text())
    return {
        alias.name: node.module
        for guard in tree.body
        if isinstance(guard, ast.If) and ast.unparse(guard.test) == "TYPE_CHECKING"
        for node in guard.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_the_public_names():
    """The list is complete, and each name can be imported."""
    assert stem_amqp.__all__ == PUBLIC
    assert [name for name in PUBLIC if not hasattr(stem_amqp, name)] == []


@pytest.mark.parametrize("name", MODULES)
def test_the_public_names_of_modules(name):
    """The list is complete, and each name can be imported."""
    module = import_module(name)
    assert module.__all__ == MODULES[name]
    assert [member for member in module.__all__ if not hasattr(module, member)] == []


@pytest.mark.parametrize("name", LAZY)
def test_type_checkers_see_what_is_imported_on_first_use(name):
    """The list of names, their modules and the imports for type checkers agree."""
    module = import_module(name)
    homes = {member: f"stem_amqp.{home}" for member, home in module._HOMES.items()}
    assert homes == for_type_checkers(module)
    assert sorted(homes) == sorted(module.__all__)


@pytest.mark.parametrize("name", LAZY)
def test_an_unknown_name_is_an_attribute_error(name):
    """`hasattr` and `from … import` rely on this."""
    with pytest.raises(AttributeError, match="no attribute 'Missing'"):
        _ = import_module(name).Missing


def test_a_public_class_says_that_it_is_of_this_package():
    """Its `__module__` is where it can be imported, so that the name in a traceback works."""
    classes = [
        getattr(stem_amqp, name) for name in PUBLIC if name not in {"CallArgument", "Provided"}
    ]
    wrong = [
        kind
        for kind in classes
        if isinstance(kind, type)
        and getattr(import_module(kind.__module__), kind.__name__, None) is not kind
    ]
    assert wrong == []


def test_the_reference_has_every_public_name(monkeypatch):
    """It names no others, and all names of the modules that it shows can be imported."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "site"))
    reference = import_module("api_page")
    monkeypatch.delitem(sys.modules, "api_page")
    placed = {name for names in reference.CHAPTERS.values() for name in names}
    assert placed <= set(PUBLIC)
    for module, names in reference.MODULES.values():
        assert [name for name in names if not hasattr(import_module(module), name)] == []
        assert set(names) <= set(MODULES.get(module, names))
    text = reference.page()
    assert [
        name for name in PUBLIC if not re.search(rf":: stem_amqp\.{name}$", text, re.MULTILINE)
    ] == []
