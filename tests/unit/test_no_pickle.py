"""Input from outside cannot name code to run: no pickle, no marshal, no unsafe YAML."""

import ast
from pathlib import Path

import stem_amqp

PACKAGE = Path(stem_amqp.__file__).parent
DANGEROUS = {
    "pickle",
    "cPickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "jsonpickle",
}
SAFE_YAML = {"SafeLoader", "CSafeLoader", "safe_load", "compose"}


def trees():
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE), ast.parse(path.read_text())


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_no_module_imports_what_runs_code_from_data():
    """Permission to publish a message must not allow to run anything but tasks."""
    wrong = [
        f"{path}: {name}"
        for path, tree in trees()
        for name in imported(tree)
        if name.split(".")[0] in DANGEROUS
    ]
    assert wrong == []


def test_no_module_evaluates_text():
    """The built-in functions that run text are not used either."""
    wrong = [
        f"{path}:{node.lineno}"
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"eval", "exec", "compile"}
    ]
    assert wrong == []


def test_yaml_is_read_with_the_safe_loader():
    """The other loaders make objects of any class."""
    wrong = [
        f"{path}:{node.lineno} {node.attr}"
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "yaml"
        and ("oader" in node.attr or "load" in node.attr)
        and node.attr not in SAFE_YAML
    ]
    assert wrong == []
