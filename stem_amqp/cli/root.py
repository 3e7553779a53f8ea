"""The root command: finds the other ones, and turns errors into messages and exit codes."""

from __future__ import annotations

import difflib
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from stem_amqp.cli.exit_codes import EPILOG, ExitCode, code_of
from stem_amqp.errors import StemError

COMMANDS = {
    "worker": "Consume queues and run their tasks.",
    "enqueue": "Enqueue a task by its name.",
    "result": "Show what became of a task.",
    "results": "List or count tasks by state, name, queue, metadata and time.",
    "tasks": "List the tasks of an application.",
    "queues": "Show what waits where: ready, running, delayed, dead.",
    "dlq": "List, show, replay or purge dead letters.",
    "topology": "Check, declare, show, draw, export or import the topology.",
    "keys": "Make keys for signing and encryption, and list those that are set.",
    "health": "Check broker, topology, consumers and backend; for deploy pipelines.",
    "dev": "Run a worker on a throw-away RabbitMQ; it starts again when code changes.",
    "demo": "Run the demo of the repository.",
}
"""Each command and what it does; its module in this package has its name."""
_DEBUG = "--debug"


class LazyGroup(TyperGroup):
    """A group that imports a command's module when the command runs."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {
            name: TyperCommand(name, help=summary) for name, summary in COMMANDS.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the real command for the first argument."""
        name = args[0] if args else ""
        if name and name not in self.commands and not name.startswith("-"):
            close = difflib.get_close_matches(name, self.commands, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            ctx.fail(f"There is no command {name}.{hint}")
        found, command, rest = super().resolve_command(ctx, args)
        if command is not None and command.name in COMMANDS:
            module = import_module(f"stem_amqp.cli.{command.name}")
            command = typer.main.get_command(module.app)
        return found, command, rest


root = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)


def _version(wanted: bool) -> None:
    if wanted:
        from stem_amqp import __version__  # noqa: PLC0415 - costs nothing unless it is asked for

        typer.echo(f"stem-amqp {__version__}")
        raise typer.Exit


@root.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option(_DEBUG, help="Show the traceback of an error; may stand anywhere.")
    ] = False,
) -> None:
    """Tasks on RabbitMQ: run workers, enqueue, look, replay."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with its code.

    Args:
        arguments: the command line without the program's name; default: that of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = _DEBUG in given
    command = typer.main.get_command(root)
    try:
        command(args=[word for word in given if word != _DEBUG], prog_name="stem-amqp")
    except StemError as error:
        if debug:
            traceback.print_exc()
        _report(error)
        sys.exit(code_of(error))
    except Exception:  # noqa: BLE001 - the last one to see it
        traceback.print_exc()
        typer.echo("This is a bug in stem-amqp: please report it with the traceback.", err=True)
        sys.exit(ExitCode.BUG)
    sys.exit(ExitCode.OK)


def _report(error: StemError) -> None:
    from stem_amqp.cli.output import show_error  # noqa: PLC0415 - rich is not needed for success

    show_error(str(error) or type(error).__name__)
