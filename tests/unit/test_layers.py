"""The layers of the package: a module imports only from its own layer and from those above it in the list.

The list is in the docstring of `stem_amqp`. Every import counts: at run time, inside functions, for type
checkers, and by a text that names a module.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import stem_amqp

PACKAGE = Path(stem_amqp.__file__).parent
LAYERS = tuple(
    frozenset(re.findall(r"`(\w+)`", line))
    for line in re.findall(
        r"^\d+\. (.*?)(?=^\d+\. |^$)", stem_amqp.__doc__ or "", re.MULTILINE | re.DOTALL
    )
)
"""The layers that the package's docstring lists."""

COMPUTED = {
    "": "a public name is imported from its module when it is first used; test_exported_members.py",
    "cli.root": "a command is imported when it is used",
    "isolated": "the worker says in which modules its tasks are",
    "locate": "the application is given as a text",
    "testing": "a public name is imported from its module when it is first used",
}
"""Modules that import a module by a computed name, and why."""
PROGRAMS = {
    ("worker.isolation.child", "isolated"): "a child process is a program: its entrance imports the"
    " application, which imports the worker that starts it",
}
"""Modules that start another module as a program, and why that is not an import."""


def _modules() -> dict[str, Path]:
    """Return the package's modules by name, without ``stem_amqp.``; ``""`` is the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = _modules()


@cache
def trees() -> dict[str, ast.Module]:
    """Return the syntax trees of all modules; parsed by the tests, not by each process that collects them."""
    return {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def layer(module: str) -> int | None:
    """Return the number of a module's layer; the package itself is in the last one."""
    if not module:
        return len(LAYERS) - 1
    top = module.split(".", maxsplit=1)[0]
    return next((number for number, names in enumerate(LAYERS) if top in names), None)


def _typing_only(tree: ast.AST) -> set[ast.AST]:
    """Return the nodes that only type checkers see."""
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }


@cache
def imported(name: str, *, by_type_checkers: bool = True) -> tuple[str, ...]:
    """Return the full name of everything that a module imports, at any place."""
    hidden = set() if by_type_checkers else _typing_only(trees()[name])
    found: list[str] = []
    for node in ast.walk(trees()[name]):
        if node in hidden:
            continue
        if isinstance(node, ast.ImportFrom):
            found += (f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
    return tuple(found)


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield the string literals of a module, except names of loggers."""
    loggers = {
        id(argument)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("getLogger")
        for argument in node.args
    }
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and id(node) not in loggers:
            yield text


def named(text: str) -> str | None:
    """Return the module that a text names, alone or after ``python -m``."""
    found = re.search(r"(?:^|-m )stem_amqp\.([\w.]+)$", text)
    return found[1] if found is not None and found[1] in MODULES else None


def within(full: str) -> str:
    """Return the module that holds a full name."""
    name = full.removeprefix("stem_amqp").removeprefix(".")
    while name not in MODULES:
        name = name.rpartition(".")[0]
    return name


@cache
def arrows() -> dict[str, set[str]]:
    """Return which modules each module imports."""
    found: dict[str, set[str]] = {}
    for name, tree in trees().items():
        others = {within(full) for full in imported(name) if full.split(".")[0] == "stem_amqp"}
        others |= {other for text in texts(tree) if (other := named(text)) is not None}
        found[name] = {other for other in others - {name} if (name, other) not in PROGRAMS}
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one node (Tarjan)."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        numbers[node] = lowest[node] = len(numbers)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in numbers:
                visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in stack:
                lowest[node] = min(lowest[node], numbers[other])
        if lowest[node] == numbers[node]:
            component = stack[stack.index(node) :]
            del stack[-len(component) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in graph:
        if node not in numbers:
            visit(node)
    return found


def test_every_module_has_a_layer_and_every_layer_has_modules():
    """The list in the package's docstring names each module and package of the root once."""
    listed = [name for names in LAYERS for name in names]
    assert sorted(listed) == sorted({name.split(".")[0] for name in MODULES if name})


def test_the_path_of_a_message_names_modules():
    """The package's docstring names the module of each step."""
    path = re.search(r"^    app -> .*?\n\n", stem_amqp.__doc__ or "", re.MULTILINE | re.DOTALL)
    assert path is not None
    steps = re.findall(r"\b[a-z][\w.]*", path[0])
    assert len(steps) > 5
    assert [step for step in steps if step not in MODULES] == []


def test_imports_are_absolute():
    """This test would not see a relative import."""
    assert [name for name in trees() for full in imported(name) if full[0] == "."] == []


def test_a_module_imports_only_from_its_own_layer_or_those_above_it_in_the_list():
    """Imports have one direction, including those for type checkers."""
    wrong = [
        f"{name} imports {other or 'stem_amqp'}"
        for name, others in arrows().items()
        for other in others
        if (layer(other) or 0) > (layer(name) or 0)
    ]
    assert wrong == []


def test_no_modules_import_each_other():
    """There are no import cycles, including imports for type checkers."""
    assert circles(arrows()) == []


def test_circles_are_found():
    """The graph has two cycles, and a chain that is not a cycle."""
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"e"}, "e": {"f"}, "f": {"d", "a"}}
    assert circles(graph) == [["b", "c"], ["d", "e", "f"]]


def test_which_modules_import_by_a_computed_name():
    """Their text does not show what they import; each listed module does so."""
    computing = {
        name
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and re.fullmatch(r"(importlib\.)?import_module|__import__", ast.unparse(node.func))
        and not isinstance(node.args[0], ast.Constant)
    }
    assert computing == set(COMPUTED)


def test_each_program_that_is_listed_is_started():
    """Each listed program is named in its starter's text."""
    started = {
        (name, named(text)) for name, _ in PROGRAMS for text in texts(trees()[name]) if named(text)
    }
    assert set(PROGRAMS) <= started


def test_the_vocabulary_and_the_topology_know_no_client_library():
    """The pure layers can be imported and tested without aio-pika."""
    wrong = [
        f"{name} imports {full}"
        for name in trees()
        if (layer(name) or 0) <= 1
        for full in imported(name)
        if full.split(".")[0] in {"aio_pika", "aiormq", "pamqp"}
    ]
    assert wrong == []


CLIENT_LIBRARIES = {
    # declare, probe, delete, purge, and the testing kit: its public API
    "aio_pika": {
        "transport.amqp.client", "transport.amqp.connection", "transport.amqp.declare",
        "transport.amqp.link", "transport.amqp.probe", "testing.cleanup", "servers.rabbitmq.handshake",
    },
    # the fast path for frequent frames, and the meaning of their errors
    "aiormq": {
        "transport.amqp.client", "transport.amqp.failures", "transport.amqp.port",
        "transport.amqp.publisher", "transport.amqp.session", "transport.amqp.wire",
    },
    # frames
    "pamqp": {
        "transport.amqp.browser", "transport.amqp.confirms", "transport.amqp.content",
        "transport.amqp.port", "transport.amqp.properties", "transport.amqp.session", "transport.amqp.settler",
        "transport.amqp.wire",
    },
}  # fmt: skip


def users(*libraries: str) -> set[str]:
    """Return the modules that import a library at run time."""
    return {
        name
        for name in trees()
        for full in imported(name, by_type_checkers=False)
        if full.split(".")[0] in libraries
    }


def test_which_modules_know_which_part_of_the_client_library():
    """Few modules use the layers below aio-pika, and each listed module needs them."""
    assert {library: users(library) for library in CLIENT_LIBRARIES} == CLIENT_LIBRARIES


def test_only_the_redis_backend_knows_its_client_library():
    """Applications with another result backend do not need to install it."""
    wrong = [
        name
        for name in users("redis", "hiredis")
        if not name.startswith(("results.redis", "servers.redis"))
    ]
    assert wrong == []


def test_only_the_tools_for_tests_know_pytest():
    """Applications in production have no pytest."""
    known = users("pytest", "pytest_asyncio", "_pytest")
    assert [name for name in known if not name.startswith("testing")] == []


def faces() -> set[str]:
    """Return the packages whose `__init__` exports names."""
    return {
        name
        for name, path in MODULES.items()
        if name
        and path.name == "__init__.py"
        and any(ast.unparse(node).startswith("__all__ = ") for node in trees()[name].body)
    }


OPEN = {
    "observability": "its rooms are imported one by one, since each needs another library",
    "testing": "its names are imported when they are first used",
    "transport.memory": "the testing kit is made of the broker's own parts",
}
"""Packages that export names for applications and whose modules other modules import, and why."""


def test_a_package_that_exports_names_is_imported_through_them():
    """Their files can be renamed without changes elsewhere."""
    rooms = faces() - OPEN.keys()
    wrong = [
        f"{name} imports {full}"
        for name in MODULES
        for full in imported(name)
        for room in rooms
        if full.startswith(f"stem_amqp.{room}.")
        and full.count(".") > room.count(".") + 2
        and not f"{name}.".startswith(f"{room}.")
    ]
    assert wrong == []
