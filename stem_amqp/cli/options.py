"""Options shared by several commands, and the settings that they override."""

from __future__ import annotations

import math
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
_UNSET = "; in a script, look whether its variable is set"


def command_app(about: str | None = None) -> typer.Typer:
    """Return the Typer application of a module's commands.

    Args:
        about: the help of the group, if the module has several commands.
    """
    return typer.Typer(
        help=about,
        add_completion=False,
        no_args_is_help=about is not None,
        # In markdown mode paragraphs are wrapped at the terminal's width
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _reader(read: Callable[[str], T], name: str) -> Callable[[str], T]:
    """Turn a `ConfigurationError` of a parser into a usage error."""

    def parse(text: str) -> T:
        try:
            return read(text)
        except ConfigurationError as error:
            raise typer.BadParameter(str(error)) from None

    parse.__name__ = name
    return parse


def _parse_time(text: str) -> float:
    """Parse a date with a time, or a duration before now; return seconds since the epoch."""
    try:
        when = datetime.fromisoformat(text.strip().replace(" UTC", "+00:00"))
    except ValueError:
        try:
            at = time.time() - seconds(text)
        except ConfigurationError:
            raise ConfigurationError(
                f"{text!r} is not a valid time: write how long ago, such as 30m, 1h, 7d, or a date"
                " with a time, such as 2030-01-31T08:00:00+01:00 (without a zone: UTC)"
            ) from None
    else:
        at = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return round(at, 3)  # the precision of the command for the next page


def _parse_wait(text: str) -> float:
    return math.inf if text.strip() == FOREVER else seconds(text)


def _parse_id(text: str) -> str:
    if not text.strip():
        raise ConfigurationError(f"an id cannot be empty{_UNSET}")
    return text


def _parse_composition(text: str) -> str:
    if not text.partition(".")[0].strip():
        raise ConfigurationError(
            f"{text!r:.60} is not the id of a composition, nor of a task of one{_UNSET}"
        )
    return text


def _parse_filter(text: str) -> str:
    if not text.strip(", "):
        raise ConfigurationError(f"a filter cannot be empty: leave it out to select all{_UNSET}")
    return text


FOREVER = "forever"
duration = _reader(seconds, "duration")
wait = _reader(_parse_wait, "duration")
time_of = _reader(_parse_time, "time")
rate = _reader(Rate.parse, "rate")
task_id = _reader(_parse_id, "id")
composition_id = _reader(_parse_composition, "id")
not_empty = _reader(_parse_filter, "text")

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
TaskId = Annotated[
    str,
    typer.Argument(metavar="ID", parser=task_id, help="The task's id, or a prefix of it."),
]
WaitTimeout = Annotated[
    float | None,
    typer.Option("--timeout", parser=duration, metavar="DURATION", help="Wait at most this long."),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(metavar="PORT", min=0, max=65535, help="Serve metrics to Prometheus; 0: do not."),
]
HttpAddress = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Address of these ports; default: all IPv4 interfaces."),
]
WaitForBroker = Annotated[
    float | None,
    typer.Option(
        "--wait-for-broker",
        parser=wait,
        metavar="DURATION",
        help="How long to wait for a broker or backend that is not reachable yet: 5m, forever.",
        rich_help_panel=_PANEL,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Overrides:
    """Settings given on the command line; None means not given.

    Args:
        broker_url: the broker's URL, or several separated by commas.
        backend_url: the result backend's URL.
        namespace: the prefix of all names on the broker.
        topology: the path of the topology file.
        more: other settings by name.
    """

    broker_url: str | None = None
    backend_url: str | None = None
    namespace: str | None = None
    topology: Path | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def connection(self) -> dict[str, Any]:
        """Return the given settings that are arguments of `Stem`."""
        values: dict[str, Any] = {
            "broker_url": self.broker_url,
            "backend_url": self.backend_url,
            "namespace": self.namespace,
            "topology": self.topology,
        }
        return {name: value for name, value in values.items() if value is not None}

    def others(self) -> dict[str, Any]:
        """Return the other given settings."""
        return {name: value for name, value in self.more.items() if value is not None}


def split(values: Iterable[str] | None) -> list[str]:
    """Return the values of an option that may be repeated or separated by commas: ``-Q a,b -Q c``."""
    words = [word.strip() for value in values or () for word in value.split(",")]
    return list(dict.fromkeys(word for word in words if word))
