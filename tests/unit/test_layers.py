"""The layers of the package: a module imports only from its own line or from those above it."""

import ast
from pathlib import Path

import stem_amqp

PACKAGE = Path(stem_amqp.__file__).parent

LAYERS = (
    {
        "errors", "durations", "clock", "states", "settings", "headers", "message", "commands",
        "retry", "delay", "signals", "signing", "tls", "certificates",
        "arguments", "unique", "options", "definition", "dependencies", "middleware",
    },
    {"topology"},
    {"transport", "management"},
    {"provision", "results", "producer"},
    {"worker"},
    {"app", "assembly", "task", "portal", "blocking"},
    {"dead_letter", "control", "health", "broker_definitions", "queue_report", "certificate_report"},
    {"cli", "testing", "integrations", "__main__"},
)  # fmt: skip


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def layer(module: str) -> int | None:
    top = module.split(".", maxsplit=1)[0]
    return next((number for number, names in enumerate(LAYERS) if top in names), None)


def runtime_imports(path: Path):
    """Yield what a module imports when it runs: not what only type checkers see."""
    tree = ast.parse(path.read_text())
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "stem_amqp":
                yield from (f"stem_amqp.{alias.name}" for alias in node.names)
            else:
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_every_module_has_a_layer():
    """A new top-level module is put into the map of layers."""
    assert [name for name, _ in modules() if name and layer(name) is None] == []


def test_a_module_imports_only_from_its_own_layer_or_those_above():
    """Imports run one way: from operations down to the vocabulary."""
    wrong = []
    for name, path in modules():
        if not name:
            continue
        for imported in runtime_imports(path):
            if not imported.startswith("stem_amqp."):
                continue
            target = layer(imported.removeprefix("stem_amqp."))
            own = layer(name)
            if target is not None and own is not None and target > own:
                wrong.append(f"{name} imports {imported}")
    assert wrong == []


def test_the_vocabulary_and_the_topology_know_no_client_library():
    """The pure layers can be imported and tested without aio-pika."""
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules()
        if name and (layer(name) or 0) <= 1
        for imported in runtime_imports(path)
        if imported.split(".")[0] in {"aio_pika", "aiormq", "pamqp"}
    ]
    assert wrong == []


def test_only_the_amqp_transport_knows_the_client_library():
    """aio-pika and aiormq are an affair of one package."""
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules()
        if not name.startswith(("transport.amqp", "testing"))
        for imported in runtime_imports(path)
        if imported.split(".")[0] in {"aio_pika", "aiormq", "pamqp"}
    ]
    assert wrong == []


def test_only_the_redis_backend_knows_its_client_library():
    """Who keeps results elsewhere does not need it."""
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules()
        if not name.startswith(("results.redis", "testing.redis_server"))
        for imported in runtime_imports(path)
        if imported.split(".")[0] in {"redis", "hiredis"}
    ]
    assert wrong == []


def test_only_the_tools_for_tests_know_pytest():
    """Whoever runs an application has no pytest."""
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules()
        if not name.startswith("testing")
        for imported in runtime_imports(path)
        if imported.split(".")[0] in {"pytest", "pytest_asyncio", "_pytest"}
    ]
    assert wrong == []
