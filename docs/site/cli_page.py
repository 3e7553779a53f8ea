"""The reference of the command line, from its commands."""

import inspect
from collections.abc import Iterator
from enum import Enum
from importlib import import_module
from typing import Any

import typer

import stem_amqp.cli
from stem_amqp.cli.root import COMMANDS, root

PROGRAM = "stem-amqp"


def page() -> str:
    """Return every command with its arguments and options, and the exit codes."""
    lines = ["## Every command", "", *_options(typer.main.get_command(root))]
    for name in COMMANDS:
        module = import_module(f"stem_amqp.cli.{name}")
        lines += _command(f"{PROGRAM} {name}", typer.main.get_command(module.app), level=2)
    codes = [line.split(maxsplit=1) for line in _table_of_codes()]
    lines += ["## Exit codes", "", "| code | meaning |", "|--:|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in codes]
    return "\n".join([*lines, ""])


def _command(path: str, command: Any, level: int) -> Iterator[str]:
    yield from (f"{'#' * level} {path}", "", *_help(command), "")
    children = getattr(command, "commands", None)
    if children:
        for name, child in children.items():
            yield from _command(f"{path} {name}", child, level + 1)
        return
    yield from ("```text", _usage(path, command), "```", "")
    yield from _options(command)


def _help(command: Any) -> list[str]:
    text = inspect.cleandoc(command.help or "").replace("\f", "").replace("\b\n", "")
    return text.replace("``", "`").splitlines()


def _usage(path: str, command: Any) -> str:
    words = [path]
    for one in command.params:
        if one.param_type_name == "argument":
            name = (one.metavar or one.name).upper() + ("…" if one.nargs == -1 else "")
            words.append(name if one.required else f"[{name}]")
    return " ".join([*words, "[OPTIONS]"])


def _options(command: Any) -> Iterator[str]:
    shown = [one for one in command.params if not getattr(one, "hidden", False)]
    if not shown:
        return
    yield from ("| argument or option | default | meaning |", "|---|---|---|")
    for one in shown:
        yield f"| {_name(one)} | {_default(one)} | {_cell(one.help or '')} |"
    yield ""


def _name(one: Any) -> str:
    if one.param_type_name == "argument":
        return f"`{(one.metavar or one.name).upper()}`"
    names = ", ".join(f"`{name}`" for name in [*one.opts, *one.secondary_opts])
    if one.is_flag:
        return names
    return f"{names} *{_cell(one.metavar or _kind(one.type_descriptor.annotation))}*"


def _kind(annotation: Any) -> str:
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(str(choice.value) for choice in annotation)
    return str(getattr(annotation, "__name__", annotation))


def _default(one: Any) -> str:
    if one.required:
        return "required"
    value = getattr(one.default, "value", one.default)
    if value is None or value in (False, ()) or callable(value):
        return ""
    return f"`{value}`"


def _cell(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


def _table_of_codes() -> list[str]:
    lines = (stem_amqp.cli.__doc__ or "").splitlines()
    rules = [number for number, line in enumerate(lines) if line.startswith("===")]
    return lines[rules[1] + 1 : rules[2]]
