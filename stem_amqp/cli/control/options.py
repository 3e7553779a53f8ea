"""Options that every command of ``stem-amqp control`` has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import typer

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.load import load
from stem_amqp.cli.queue_names import logical_queues
from stem_amqp.cli.session import refuse_memory
from stem_amqp.control import CommandKeywords
from stem_amqp.settings import Provision

_WHO = "Targets"

Queues = Annotated[
    list[str] | None,
    typer.Option(
        "--queue",
        "-Q",
        metavar="NAMES",
        help="Only workers of these queues: a,b; may be repeated.",
        rich_help_panel=_WHO,
    ),
]
Workers = Annotated[
    list[str] | None,
    typer.Option(
        "--worker",
        "-w",
        metavar="GLOB",
        help="Only workers with such a name: 'web-*'; may be repeated.",
        rich_help_panel=_WHO,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        parser=opt.duration,
        metavar="DURATION",
        help="Wait at most this long for answers; default: a second more than the interval of"
        " heartbeats.",
        rich_help_panel=_WHO,
    ),
]
Issuer = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="NAME",
        help="Who sends the command, for logs and the history; default: STEM_ISSUER, else"
        " user@host.",
    ),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """The options of a command as they were given.

    Args:
        queues: the queues, logical names or names on the broker.
        workers: globs of names of workers.
        timeout: seconds to wait for answers.
        issuer: who sends it.
        application: the application as ``module:attribute``.
        overrides: settings of the command line.
    """

    queues: list[str] | None = None
    workers: list[str] | None = None
    timeout: float | None = None
    issuer: str | None = None
    application: str | None
    overrides: opt.Overrides

    def load(self) -> Stem:
        """Return the application; nothing will be declared.

        Raises:
            ConfigurationError: it does not exist, a setting is invalid, or its broker is in memory.
        """
        more = {**self.overrides.more, "provision": Provision.NONE}
        stem = load(self.application, replace(self.overrides, more=more))
        refuse_memory(stem)
        return stem

    def keywords(self, stem: Stem) -> CommandKeywords:
        """Return the options for `stem_amqp.control.Control`.

        Args:
            stem: the application, for the names of queues.
        """
        keywords: CommandKeywords = {
            "queues": logical_queues(stem, opt.split(self.queues)),
            "workers": opt.split(self.workers),
        }
        if self.timeout is not None:
            keywords["timeout"] = self.timeout
        if self.issuer is not None:
            keywords["issuer"] = self.issuer
        return keywords
