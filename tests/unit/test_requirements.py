"""Every imported package is a requirement of the core or of the extra of that module."""

import ast
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import stem_amqp

PACKAGE = Path(stem_amqp.__file__).parent
PROJECT = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
EXTRAS = {
    "cli.supervision.reload": {"dev"},
    "cli.supervision.serve": {"uvloop"},
    "integrations.django": {"django"},
    "integrations.fastapi": {"fastapi"},
    "integrations.sentry": {"sentry"},
    "integrations.opentelemetry": {"otel"},
    "observability.tracing": {"otel"},
    "observability.queues": {"prometheus"},
    "observability.metrics.meter": {"otel"},
    "observability.metrics.page": {"prometheus"},
    "observability.metrics.prometheus": {"prometheus"},
    "observability.metrics.shared": {"prometheus"},
    "limits.postgres": {"postgres"},
    "results.factory": {"postgres"},
    "schedule_store.postgres": {"postgres"},
    "results.postgres": {"postgres"},
    "results.redis": {"redis"},
    "servers": {"testing"},
    "servers.postgres": {"testing", "postgres"},
    "servers.redis": {"testing", "redis"},
    "signing": {"signing"},
    "testing": {"testing"},
    "tls.certificates": {"tls"},
}
"""The extras whose packages a module may import, by the beginning of the module's name."""
INNER_PARTS = {"aio-pika", "aiormq", "pamqp"}
"""Libraries whose internals are used or overridden, so that a new major release can break us."""
OTHER_NAMES = {
    "opentelemetry": "opentelemetry-api",
    "opentelemetry.semconv": "opentelemetry-semantic-conventions",
    "opentelemetry.instrumentation": "opentelemetry-instrumentation",
    "yaml": "pyyaml",
}
"""Packages whose import name differs from their distribution name; several share a namespace."""
DATA = {"tzdata"}
"""Packages of data that the standard library looks for: `zoneinfo`, where the system has no time zones."""
CALLERS = {("integrations.opentelemetry", "opentelemetry-instrumentation")}
"""Modules that only another package imports, and that package."""


def requirements(extra=None):
    """Return the requirements of the core, or of one extra, by name."""
    lines = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    wanted = [Requirement(line) for line in lines]
    return {canonicalize_name(one.name): one for one in wanted}


def distribution(name):
    """Return the name of the distribution that an imported module is part of."""
    parts = name.split(".")
    starts = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    found = next((OTHER_NAMES[start] for start in starts if start in OTHER_NAMES), parts[0])
    return canonicalize_name(found)


def third_party_imports():
    """Yield each module of the package together with each package that it imports.

    `_typeshed` exists for type checkers alone.
    """
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        module = ".".join(part for part in parts if part != "__init__")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            else:
                continue
            for name in names:
                top = name.split(".")[0]
                if top not in sys.stdlib_module_names | {"stem_amqp", "_typeshed"}:
                    yield module, distribution(name)


def allowed_extras(module):
    """Return the extras of the longest matching beginning of a module's name."""
    fitting = [start for start in EXTRAS if module.startswith(start)]
    return EXTRAS[max(fitting, key=len)] if fitting else set()


def test_every_import_is_asked_for():
    """A transitive requirement may disappear with any release."""
    missing = [
        f"{module} imports {name}"
        for module, name in third_party_imports()
        if (module, name) not in CALLERS
        and not any(name in requirements(one) for one in (None, *allowed_extras(module)))
    ]
    assert missing == []


def test_nothing_is_asked_for_that_no_module_imports():
    """Each requirement makes every installation larger."""
    imported = {name for _, name in third_party_imports()}
    extras = PROJECT["optional-dependencies"]
    asked = {name for one in (None, *extras) for name in requirements(one)}
    assert asked - imported == DATA


@pytest.mark.parametrize("extra", [None, *PROJECT["optional-dependencies"]])
def test_every_requirement_has_a_floor(extra):
    """`make floors` tests exactly these releases, so each requirement needs one."""
    floors = {
        name: [one for one in wanted.specifier if one.operator == ">="]
        for name, wanted in requirements(extra).items()
    }
    assert [name for name, found in floors.items() if len(found) != 1] == []


@pytest.mark.parametrize("name", sorted(INNER_PARTS))
def test_a_library_whose_inner_parts_are_used_has_a_ceiling(name):
    """Its next major release is allowed only after it was tested."""
    assert [one.version for one in requirements()[name].specifier if one.operator == "<"]


def test_users_import_nothing_of_the_dependency_library():
    """The signature of a task uses names of stem-amqp only, so that the library can change."""
    pages = [PACKAGE.parent / "README.md", *(PACKAGE.parent / "docs").rglob("*.md")]
    assert [page.name for page in pages if "uncalled_for" in page.read_text()] == []
    assert {"CallArgument", "Depends", "Provided", "Shared"} <= set(stem_amqp.__all__)
