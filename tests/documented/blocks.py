"""Every code block of the documentation, and the handling of its language."""

import configparser
import json
import tomllib
from pathlib import Path

import yaml
from sybil import Sybil
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, FencedCodeBlockLexer

from documented.console import run_console, run_script
from documented.page import close_page, open_page
from documented.python_block import compile_only, run_python
from stem_amqp.topology.file.load import load_topology

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/*.md", "docs/**/*.md", "topology/README.md", "examples/*/*.md")


def read_yaml(example):
    """Load a topology file as `STEM_TOPOLOGY` does; other YAML only has to be valid."""
    text = str(example.parsed)
    content = yaml.safe_load(text)
    if set(content) & {"keys", "services", "livenessProbe"}:
        return
    if not set(content) & {"version", "extends"}:  # a part of a file
        text = f"version: 1\n{text}"
    load_topology(example.namespace["page"].write("block.yaml", text))


def read_json(example):
    """Parse JSON."""
    json.loads(example.parsed)


def read_toml(example):
    """Parse TOML."""
    tomllib.loads(example.parsed)


def read_ini(example):
    """Parse the format of systemd's units and of rabbitmq.conf."""
    configparser.ConfigParser(strict=False, allow_no_value=True).read_string(
        example.parsed if example.parsed.lstrip().startswith("[") else f"[top]\n{example.parsed}"
    )


def nothing(example):
    """Leave a block alone, for the reason that is noted with its language."""


LANGUAGES = {
    "python": run_python,
    "python celery": compile_only,
    "python dramatiq": compile_only,
    "python taskiq": compile_only,
    "console": run_console,
    "sh": run_script,
    "yaml": read_yaml,
    "json": read_json,
    "toml": read_toml,
    "ini": read_ini,
    # The site renders it, and the build of the site fails on an error.
    "mermaid": nothing,
    # tests/integration/test_postgres.py runs similar statements, in a database with the tables.
    "sql": nothing,
    # advanced.config: tests/faults/conftest.py starts nodes with it.
    "erlang": nothing,
    # The output of a program or a log; a page that runs its commands compares it in `console`.
    "text": nothing,
}
LEXERS = (
    FencedCodeBlockLexer(r".*", mapping={"language": "arguments", "source": "source"}),
    DirectiveInHTMLCommentLexer(directive="invisible-code-block", arguments=".+"),
)


def unknown(example):
    """Fail, so that no block of an unknown language is skipped."""
    language = example.region.lexemes["arguments"]
    return f"the language {language!r} is none of {', '.join(LANGUAGES)}"


def parse(document):
    """Yield the blocks of a page."""
    for lexer in LEXERS:
        for region in lexer(document):
            region.parsed = region.lexemes["source"]
            region.evaluator = LANGUAGES.get(region.lexemes["arguments"].strip(), unknown)
            yield region


sybil = Sybil(
    parsers=[parse],
    path=str(ROOT),
    patterns=PAGES,
    setup=open_page,
    teardown=close_page,
    fixtures=["rabbitmq_url"],
)
