"""The group ``stem-amqp schedules``, and what its commands share."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import typer

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.errors import ConfigurationError
from stem_amqp.scheduler.operated import unknown
from stem_amqp.schedules import Schedule, check_zone, zone_of

app = opt.command_app("List schedules, and show when they tick.")


def _zone(text: str) -> str:
    try:
        return check_zone(text)
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from None


Zone = Annotated[
    str | None,
    typer.Option(
        "--tz",
        metavar="ZONE",
        parser=_zone,
        help="Show all times in this time zone; default: that of each cron line, UTC for the others.",
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME...", help="The schedules; default: all."),
]


def local_time(at: float, zone: str) -> str:
    """Format a time as the clock of a zone shows it: ``Mon 2027-03-01 09:00 CET``.

    Args:
        at: seconds since the epoch.
        zone: the zone's name.
    """
    when = datetime.fromtimestamp(at, zoneinfo.ZoneInfo(zone))
    seconds = f":{when:%S}" if when.second or when.microsecond else ""
    fraction = f".{when.microsecond // 1000:03d}" if when.microsecond else ""
    return f"{when:%a %Y-%m-%d %H:%M}{seconds}{fraction} {when:%Z}"


def shown_zone(schedule: Schedule, wanted: str | None) -> str:
    """Return the zone in which the times of a schedule are shown."""
    return wanted or zone_of(schedule)


def selected(stem: Stem, names: list[str] | None) -> Mapping[str, Schedule]:
    """Return the schedules of an application, in the order of their names.

    Args:
        stem: the application.
        names: their names; none: all.

    Raises:
        ConfigurationError: there is no schedule of a name, or one cannot be used.
    """
    found = stem.blueprint.schedules
    for name in names or ():
        if name not in found:
            raise unknown(name, found)
    return {name: found[name] for name in sorted(found) if not names or name in names}
