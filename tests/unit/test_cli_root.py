"""The root command: start-up, errors and exit codes."""

import os
import subprocess
import sys

import pytest
import typer
from cli_support import ROOT, command_line

from stem_amqp import errors
from stem_amqp.cli import root
from stem_amqp.cli.exit_codes import ExitCode, code_of


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Yield a command line in an empty directory."""
    with command_line(capsys, monkeypatch, tmp_path) as cli:
        yield cli


def test_help_lists_every_command(cli):
    """All commands can be found without the documentation."""
    ran = cli("--help")
    assert ran.code == 0
    assert all(name in ran.out for name in root.COMMANDS)


@pytest.mark.parametrize("name", root.COMMANDS)
def test_every_command_explains_itself_and_its_exit_codes(cli, name):
    """Each command has a module, a help text and the table of exit codes."""
    ran = cli(name, "--help")
    assert ran.code == 0
    assert f"stem-amqp {name}" in ran.out
    group = name in {"control", "dlq", "keys", "schedules", "topology"}
    assert ("COMMAND" in ran.out) is group
    assert ("Exit codes" in ran.out) is not group


def test_help_imports_nothing_of_the_framework():
    """Start-up is fast: help and completion import neither pydantic nor a client library."""
    code = (
        "import sys\n"
        "from stem_amqp.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'pydantic', 'aio_pika', 'tenacity', 'yaml', 'stem_amqp.app'} & set(sys.modules)\n"
        "print(*sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stderr.split() == []


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("stem-amqp wor", "worker"),
        ("stem-amqp dlq re", "replay"),
        ("stem-amqp worker --pro", "--processes"),
    ],
)
def test_the_shell_completes_commands_and_options(typed, offered):
    """Completion covers the commands of groups and their options too."""
    words = typed.split()
    done = subprocess.run(
        [sys.executable, "-m", "stem_amqp"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ
        | {
            "_STEM_AMQP_COMPLETE": "complete_bash",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(len(words) - 1),
        },
    )
    assert offered in done.stdout.split()


def test_an_unknown_command_is_answered_with_the_like_one(cli):
    """The error suggests the similar command."""
    ran = cli("wroker")
    assert ran.code == ExitCode.USAGE
    assert "Did you mean worker?" in ran.err


def test_the_version_is_the_packages(cli):
    """--version prints the installed version."""
    import stem_amqp

    assert cli("--version").out == f"stem-amqp {stem_amqp.__version__}\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.TaskFailedError("id", "failed"), ExitCode.NO),
        (errors.DeadLetterNotFoundError("none"), ExitCode.NO),
        (errors.ConfigurationError("typo"), ExitCode.USAGE),
        (errors.TopologyError("typo"), ExitCode.USAGE),
        (errors.ArgumentsError("typo"), ExitCode.USAGE),
        (errors.UnknownTaskError("typo"), ExitCode.USAGE),
        (errors.ResultUnavailableError("rpc"), ExitCode.USAGE),
        (errors.BrokerUnavailableError("down"), ExitCode.UNREACHABLE),
        (errors.BackendUnavailableError("down"), ExitCode.UNREACHABLE),
        (errors.ResultTimeoutError("slow"), ExitCode.TIMED_OUT),
        (errors.PublishTimeoutError("slow"), ExitCode.TIMED_OUT),
        (errors.BrokerRefusedError("no"), ExitCode.REFUSED),
        (errors.TopologyMismatchError("no"), ExitCode.REFUSED),
        (errors.TopologyMissingError("no"), ExitCode.REFUSED),
        (errors.UnroutableError("no"), ExitCode.REFUSED),
        (errors.StemError("other"), ExitCode.USAGE),
    ],
)
def test_every_error_has_its_exit_code(error, code):
    """A script can tell a typo from an unavailable broker."""
    assert code_of(error) is code


def failing_with(monkeypatch, error):
    """Return a command that fails."""

    def fail() -> None:
        raise error

    app = typer.Typer(add_completion=False)
    app.command("demo")(fail)
    monkeypatch.setattr("stem_amqp.cli.demo.app", app)


def test_an_error_is_a_message_with_its_remedy_and_no_traceback(cli, monkeypatch):
    """Brackets in it are not markup, and nothing is cut unless a terminal limits the width."""
    cli("demo", "--help")
    message = "the broker said [bold]no[/bold] " + "x" * 300 + "\n  Ask again."
    failing_with(monkeypatch, errors.BrokerRefusedError(message))
    ran = cli("demo")
    assert ran.code == ExitCode.REFUSED
    assert ran.err == f"error: {message}\n"
    assert ran.out == ""


def test_debug_shows_the_traceback_wherever_it_stands(cli, monkeypatch):
    """The traceback is printed only with --debug, which is accepted at any position."""
    cli("demo", "--help")
    failing_with(monkeypatch, errors.BrokerRefusedError("no"))
    ran = cli("demo", "--debug")
    assert ran.code == ExitCode.REFUSED
    assert "Traceback" in ran.err
    assert ran.err.endswith("error: no\n")


def test_a_bug_shows_itself_with_an_exit_code_of_its_own(cli, monkeypatch):
    """An unexpected error is neither hidden nor reported as an answer."""
    cli("demo", "--help")
    failing_with(monkeypatch, LookupError("a bug"))
    ran = cli("demo")
    assert ran.code == ExitCode.BUG
    assert "LookupError: a bug" in ran.err
    assert "please report" in ran.err


def test_ctrl_c_is_no_error(cli, monkeypatch):
    """An interrupted command prints no traceback."""
    cli("demo", "--help")
    failing_with(monkeypatch, KeyboardInterrupt())
    ran = cli("demo")
    assert ran.code == ExitCode.INTERRUPTED
    assert "Traceback" not in ran.err
