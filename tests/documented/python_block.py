"""Blocks of Python, run in the page's namespace, with `await` at any place."""

import ast
import inspect
import re

from sybil.evaluators.python import pad

FILE_NAME = re.compile(r"# ((?:\w+/)*\w+\.py)\n")

WITH_SCRIPTS = {"views.py"}
"""Files that a separate program runs, see `page.script`, and the packages whose files it runs."""


def run_python(example):
    """Run a block; a block that begins with a file's name is written to that file."""
    page = example.namespace["page"]
    page.rabbitmq_url = example.namespace["rabbitmq_url"]
    named = FILE_NAME.match(example.parsed)
    if named:
        page.write(named[1], str(example.parsed))
        elsewhere = named[1] in WITH_SCRIPTS or "/" in named[1]
        if page.shell is not None or elsewhere:  # a separate program runs it
            compile(example.parsed, named[1], "exec")
            return
        page.forget(named[1])
    code = compile(
        pad(example.parsed, example.line + example.parsed.line_offset),
        example.path,
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    if code.co_flags & inspect.CO_COROUTINE:
        page.await_(eval(code, page.namespace))
    else:
        exec(code, page.namespace)


def compile_only(example):
    """Check the syntax of another framework's code, which is not installed here."""
    framework = example.region.lexemes["arguments"].split()[1]
    compile(example.parsed, example.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if framework not in example.parsed:
        return f"nothing in this block is {framework}'s"
    return None
