"""The root command: finds the subcommands, and turns errors into messages and exit codes."""

from __future__ import annotations

import difflib
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from stem_amqp.cli import streams
from stem_amqp.cli.exit_codes import EPILOG, ExitCode, code_of
from stem_amqp.errors import StemError
from stem_amqp.standard_streams import open_standard_streams

COMMANDS = {
    "worker": "Consume queues and run their tasks.",
    "scheduler": "Enqueue the tasks of schedules when they are due.",
    "enqueue": "Enqueue a task by its name.",
    "result": "Show the state and result of a task.",
    "results": "List or count tasks by state, name, queue, metadata and time.",
    "tree": "Show the links and groups of a composition, with their states.",
    "tasks": "List the tasks of an application.",
    "schedules": "List schedules, and show when they tick.",
    "queues": "Show the messages of each queue: ready, running, delayed, dead.",
    "limits": "Show the limits across workers: leases, waiting tasks, the next start.",
    "workers": "List the workers: queues, running tasks, event loop, memory.",
    "running": "List the tasks that run now, with their progress.",
    "events": "Follow what happens to tasks and workers.",
    "top": "Show queues, workers, failures and dead letters live.",
    "control": "Ask workers, pause, revoke, change limits, shut down; who did what.",
    "dlq": "List, show, replay or purge dead letters.",
    "topology": "Check, declare, show, draw, export or import the topology.",
    "keys": "Generate keys for signing and encryption, and list the configured ones.",
    "health": "Check broker, topology, consumers and backend; for deploy pipelines.",
    "exporter": "Serve the metrics of the queues for Prometheus.",
    "dev": "Run a worker on a temporary RabbitMQ; it restarts when code changes.",
    "demo": "Run the demo of the repository.",
}
"""The summary of each command; its module in this package has the same name."""
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
        bool, typer.Option(_DEBUG, help="Show the traceback of an error; at any position.")
    ] = False,
) -> None:
    """Tasks on RabbitMQ: run workers, enqueue, inspect, replay."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with its code.

    Args:
        arguments: the command line without the program's name; default: that of the process.
    """
    open_standard_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = _DEBUG in given
    streams.prepare()
    command = typer.main.get_command(root)
    try:
        command(args=[word for word in given if word != _DEBUG], prog_name="stem-amqp")
    except SystemExit as ended:
        # click exits with code 1, which has another meaning here
        if isinstance(ended.__context__, BrokenPipeError):
            _end_of_pipe()
        raise
    except StemError as error:
        if debug:
            traceback.print_exc()
        _report(error)
        sys.exit(code_of(error))
    except OSError as error:
        if not streams.is_full(error):
            _bug()
        streams.give_up()
        _write_to_stderr(f"the output cannot be written: {error.strerror}")
        sys.exit(ExitCode.OUTPUT)
    except Exception:  # noqa: BLE001 - the last one to see it
        _bug()
    sys.exit(ExitCode.OK)


def _end_of_pipe() -> NoReturn:
    """Exit as after a broken output pipe, unless another pipe is broken."""
    if not streams.reader_is_gone():
        _bug()
    streams.give_up()
    sys.exit(ExitCode.BROKEN_PIPE)


def _bug() -> NoReturn:
    traceback.print_exc()
    typer.echo("This is a bug in stem-amqp: please report it with the traceback.", err=True)
    sys.exit(ExitCode.BUG)


def _report(error: StemError) -> None:
    _write_to_stderr(str(error) or type(error).__name__)


def _write_to_stderr(text: str) -> None:
    from stem_amqp.cli.output import show_error  # noqa: PLC0415 - rich is not needed for success

    show_error(text)
