"""Commands in the documentation: they exist, and so do their options."""

import re
import shlex
from importlib import import_module

import typer

from stem_amqp.cli.root import COMMANDS

NOT_RUN = {
    "make": "CI runs its targets as stages of their own",
    "pip": "CI installs what it tests",
    "docker": "not everywhere there; compose.yaml is for people",
    "python": "run by the pages that open a shell",
    "uvicorn": "tests/integration/test_web_shop.py starts it",
    "curl": "of the shell",
    "rabbitmqctl": "an administrator's, on the broker's host",
    "mermaidx": "another project's, which draws Mermaid",
    "rabbitmq-diagnostics": "an administrator's, on the broker's host",
    "redis-cli": "an administrator's",
    "promtool": "tests/unit/test_monitoring_examples.py runs it",
    "createuser": "an administrator's",
    "createdb": "an administrator's",
    "psql": "an administrator's",
    "celery": "another framework's",
    "dramatiq": "another framework's",
    "taskiq": "another framework's",
    "opentelemetry-instrument": "tests/unit/observability/test_tracing_automatic.py runs it",
    "node": "takes the screenshots, by hand",
    "cp": "of the shell",
    "cd": "of the shell",
    "export": "of the shell",
    "sleep": "of the shell",
    "umask": "of the shell",
    "kill": "of the shell",
}
"""Every other program that a page may name, and why its lines are only parsed."""
OPERATORS = {"&&", "||", "|", ";", "&"}
REDIRECTIONS = {">", ">>", "<", "2>"}
ASSIGNMENT = re.compile(r"[A-Z_]+=.*")


def commands_of(line):
    """Return the commands of a line of shell, each as a list of words.

    Raises:
        ValueError: a quotation mark is missing.
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    commands, words = [], iter(lexer)
    command = []
    for word in words:
        if word in OPERATORS:
            commands.append(command)
            command = []
        elif word in REDIRECTIONS:
            next(words)
        elif command or not ASSIGNMENT.fullmatch(word):
            command.append(word)
    return [command for command in [*commands, command] if command]


def check(line):
    """Return the error in a line of shell, or None."""
    for program, *words in commands_of(line):
        if program == "stem-amqp":
            wrong = wrong_use(words)
            if wrong:
                return f"{line}: {wrong}"
        elif program not in NOT_RUN:
            return f"{line}: {program!r} is none of {', '.join(NOT_RUN)}; see tests/documented"
    return None


def wrong_use(words, *, whole=True):
    """Return the error in the words after ``stem-amqp``, or None.

    In a sentence, where they are not ``whole``, arguments may be missing.
    """
    if not words or words[0] in {"--help", "--version", "COMMAND"}:
        return None
    name, *words = words
    if name not in COMMANDS:
        return f"there is no command {name}"
    command = typer.main.get_command(import_module(f"stem_amqp.cli.{name}").app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words[0]]
        name, *words = words
    if getattr(command, "commands", None) and words:
        return f"{name} has no command {' '.join(words[:1])!r}"
    return None if hasattr(command, "commands") else wrong_words(command, name, words, whole)


def wrong_words(command, name, words, whole):
    """Return the error in the words of one command, or None."""
    context = command.make_context(name, [], resilient_parsing=True)
    context.resilient_parsing = False
    try:
        given, left, _ = command.make_parser(context).parse_args(
            [word for word in words if word != "--debug"]
        )
    except Exception as error:  # noqa: BLE001 - typer keeps its classes of errors to itself
        return str(error)
    if left:
        return f"too many words: {' '.join(left)}"
    for one in command.params:
        needed = whole and one.param_type_name == "argument" and one.required
        if needed and not given.get(one.name):
            return f"{one.metavar or one.name} is missing"
    return None
