"""Limits for the size of files, functions and folders, so that readers find things by name."""

import ast
from collections import Counter
from pathlib import Path

import stem_amqp

PACKAGE = Path(stem_amqp.__file__).parent
FILE_LINES = 350
FUNCTION_LINES = 55
"""Lines without the docstring."""
ROOT_MODULES = 24
SAME_PREFIX = 3

FILES = sorted(PACKAGE.rglob("*.py"))


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return a function's lines without its docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


def place(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_files_have_one_subject():
    """A file that is too long has several subjects."""
    longer = {place(path) for path in FILES if len(path.read_text().splitlines()) > FILE_LINES}
    assert longer == set()


def test_functions_are_short():
    """A longer function has steps that can be named."""
    longer = {
        f"{place(path)}:{node.name}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and length(node) > FUNCTION_LINES
    }
    assert longer == set()


def test_the_root_has_few_modules():
    """Modules that belong together are in a package."""
    assert len(list(PACKAGE.glob("*.py"))) <= ROOT_MODULES


def test_a_family_of_files_has_a_room():
    """Files whose names begin with the same word form a package."""
    families = Counter(
        (place(path.parent), path.stem.split("_")[0])
        for path in FILES
        if "_" in path.stem.strip("_")
    )
    assert [family for family, count in families.items() if count > SAME_PREFIX] == []
