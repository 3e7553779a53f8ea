"""Options that many commands have, and what they override."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from stem_amqp.durations import Rate, seconds
from stem_amqp.errors import ConfigurationError

T = TypeVar("T")
_PANEL = "Connection"


def command_app(about: str | None = None) -> typer.Typer:
    """Return what the commands of a module are registered with.

    Args:
        about: what the group is for, if the module has several commands.
    """
    return typer.Typer(
        help=about,
        add_completion=False,
        no_args_is_help=about is not None,
        # Paragraphs are filled to the terminal's width
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _reader(read: Callable[[str], T], name: str) -> Callable[[str], T]:
    """Make a usage error of what a reader does not accept."""

    def parse(text: str) -> T:
        try:
            return read(text)
        except ConfigurationError as error:
            raise typer.BadParameter(str(error)) from None

    parse.__name__ = name
    return parse


def _moment(text: str) -> float:
    """Read a time, or how long ago it was."""
    try:
        when = datetime.fromisoformat(text.strip().replace(" UTC", "+00:00"))
    except ValueError:
        try:
            at = time.time() - seconds(text)
        except ConfigurationError:
            raise ConfigurationError(
                f"{text!r} is no time: write how long ago, such as 30m, 1h, 7d, or a date with a"
                " time, such as 2030-01-31T08:00:00+01:00 (without a zone: UTC)"
            ) from None
    else:
        at = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return round(at, 3)  # as exact as it is written in the command for the next page


duration = _reader(seconds, "duration")
moment = _reader(_moment, "moment")
rate = _reader(Rate.parse, "rate")

AppArgument = Annotated[
    str, typer.Argument(metavar="APP", help="The application as module:attribute.")
]
OptionalApp = Annotated[
    str | None,
    typer.Argument(
        metavar="APP", help="The application as module:attribute; adds the queues of its tasks."
    ),
]
AppOption = Annotated[
    str | None,
    typer.Option(
        "--app",
        "-A",
        metavar="APP",
        help="The application as module:attribute: its settings, tasks and topology.",
    ),
]
BrokerUrl = Annotated[
    str | None,
    typer.Option(
        "--broker-url",
        metavar="URL",
        help="Instead of STEM_BROKER_URL. Others can see it in the process list.",
        rich_help_panel=_PANEL,
    ),
]
BackendUrl = Annotated[
    str | None,
    typer.Option(
        "--backend-url",
        metavar="URL",
        help="Instead of STEM_BACKEND_URL.",
        rich_help_panel=_PANEL,
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace", metavar="NAME", help="Instead of STEM_NAMESPACE.", rich_help_panel=_PANEL
    ),
]
TopologyFile = Annotated[
    Path | None,
    typer.Option(
        "--topology",
        metavar="FILE",
        help="The topology file, instead of STEM_TOPOLOGY.",
        rich_help_panel=_PANEL,
    ),
]
TopologyArgument = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="The topology file; default: STEM_TOPOLOGY."),
]
WaitTimeout = Annotated[
    float | None,
    typer.Option(
        "--timeout", parser=duration, metavar="DURATION", help="Wait, but so long at most."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, for programs.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Overrides:
    """Settings given on the command line; None means not given.

    Args:
        broker_url: the broker's URL, or several separated by commas.
        backend_url: the result backend's URL.
        namespace: the prefix of every name on the broker.
        topology: the path of the topology file.
        more: other settings by name.
    """

    broker_url: str | None = None
    backend_url: str | None = None
    namespace: str | None = None
    topology: Path | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def connection(self) -> dict[str, Any]:
        """Return what was given of what a `Stem` takes."""
        values: dict[str, Any] = {
            "broker_url": self.broker_url,
            "backend_url": self.backend_url,
            "namespace": self.namespace,
            "topology": self.topology,
        }
        return {name: value for name, value in values.items() if value is not None}

    def others(self) -> dict[str, Any]:
        """Return the other settings that were given."""
        return {name: value for name, value in self.more.items() if value is not None}


def split(values: Iterable[str] | None) -> list[str]:
    """Take apart what may be repeated or separated by commas: ``-Q a,b -Q c``."""
    words = [word.strip() for value in values or () for word in value.split(",")]
    return list(dict.fromkeys(word for word in words if word))
