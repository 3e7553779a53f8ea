"""``stem-amqp topology import``: a topology file from what a broker has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stem_amqp.broker_definitions import fetch_definitions
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.output import count, note, show_warning
from stem_amqp.cli.written import Output, write
from stem_amqp.errors import ConfigurationError
from stem_amqp.management import Management
from stem_amqp.topology.adopt import adopt
from stem_amqp.topology.adopted_file import adopted_text
from stem_amqp.topology.definitions_file import Standing, read_definitions, standing_of

app = opt.command_app()


@app.command("import", epilog=EPILOG)
def import_command(
    *,
    definitions: Annotated[
        Path | None,
        typer.Argument(metavar="DEFINITIONS", help="A definitions file that RabbitMQ exported."),
    ] = None,
    management: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Ask a running broker: its management API, such as"
            " http://user:password@host:15672. Others can see it in the process list;"
            " STEM_MANAGEMENT_URL does as well, with --management -.",
        ),
    ] = None,
    virtual_host: Annotated[
        str | None,
        typer.Option(
            "--vhost",
            metavar="NAME",
            help="The virtual host. Default: that of the broker URL, or the file's only one.",
        ),
    ] = None,
    output: Output = None,
    namespace: opt.Namespace = None,
) -> None:
    """Write the topology file of an installation that is there already.

    Takes over the namespace's queues, exchanges and bindings. What a file cannot say stands in it
    as a comment. Nothing on the broker is changed.
    """
    if (definitions is None) == (management is None):
        raise ConfigurationError(
            "one of a definitions file and --management must be given\n"
            "  Write: stem-amqp topology import definitions.json; or --management URL."
        )
    stem = load(None, opt.Overrides(namespace=namespace))
    if management is not None:
        settings = stem.settings
        if management != "-":
            settings = settings.replace(management_url=management)
        api = Management.of(settings)
        if virtual_host is not None:
            api = Management(
                url=api.url, user=api.user, password=api.password, virtual_host=virtual_host
            )
        standing = standing_of(fetch_definitions(api))
        source = f"the virtual host {api.virtual_host} of {api.url}"
    else:
        assert definitions is not None  # noqa: S101 - for type checkers
        standing = read_definitions(_read(definitions), virtual_host, str(definitions))
        source = definitions.name
    adopted = adopt(standing, stem.names)
    if not adopted.queues:
        show_warning(_nothing(standing, stem.names.namespace))
    # on standard output they are read in the file itself
    for remark in adopted.remarks if output is not None else ():
        show_warning(remark)
    write(adopted_text(adopted, source), output)
    note(
        f"{count(adopted.queues, 'queue')} in the namespace {stem.names.namespace},"
        f" {count(len(adopted.remarks), 'remark')}"
    )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f"the definitions file {file} cannot be read: {reason}\n"
            "  Check its path and permissions."
        ) from None


def _nothing(standing: Standing, namespace: str) -> str:
    """Say that the namespace is empty, and which others there are."""
    names = {exchange.name for exchange in standing.entities.exchanges}
    others = sorted(
        word
        for word in (name.removesuffix(".tasks") for name in names if name.endswith(".tasks"))
        if f"{word}.dead" in names and f"{word}.deliver" in names
    )
    if others:
        remedy = f"stem-amqp's own are in {', '.join(others)}: name one with --namespace."
    else:
        remedy = "None of stem-amqp's exchanges are here: check --vhost and --namespace."
    return f"the namespace {namespace} has no queue of stem-amqp's\n  {remedy}"
