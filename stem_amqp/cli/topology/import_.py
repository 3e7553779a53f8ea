"""``stem-amqp topology import``: write the topology file of an existing installation."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.output import note, show_warning
from stem_amqp.cli.written import Output, write
from stem_amqp.errors import ConfigurationError
from stem_amqp.management import Management
from stem_amqp.text import UnreadableFileError, count, read_text
from stem_amqp.topology.adopt import Existing, adopt, adopted_text, existing_of, read_definitions

app = opt.command_app()


DefinitionsFile = Annotated[
    Path | None,
    typer.Argument(metavar="DEFINITIONS", help="A definitions file that RabbitMQ exported."),
]
ManagementUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Read a running broker by its management API, such as"
        " http://user:password@host:15672. Others can see it in the process list;"
        " --management - uses STEM_MANAGEMENT_URL.",
    ),
]
VirtualHost = Annotated[
    str | None,
    typer.Option(
        "--vhost",
        metavar="NAME",
        help="The virtual host. Default: that of the broker URL, or the file's only one.",
    ),
]


@app.command("import", epilog=EPILOG)
def import_command(
    *,
    definitions: DefinitionsFile = None,
    management: ManagementUrl = None,
    virtual_host: VirtualHost = None,
    output: Output = None,
    namespace: opt.Namespace = None,
) -> None:
    """Write the topology file of an existing installation.

    It contains the namespace's queues, exchanges and bindings. What a topology file cannot express is
    added as a comment. Nothing on the broker is changed.
    """
    if (definitions is None) == (management is None):
        raise ConfigurationError(
            "either a definitions file or --management is required\n"
            "  Write: stem-amqp topology import definitions.json; or --management URL."
        )
    stem = load(None, opt.Overrides(namespace=namespace))
    if management is not None:
        settings = stem.settings
        if management != "-":
            settings = settings.replace(management_url=management)
        api = Management.of(settings)
        if virtual_host is not None:
            api = dataclasses.replace(api, virtual_host=virtual_host)
        existing = existing_of(api.fetch_definitions())
        source = f"the virtual host {api.virtual_host} of {api.url}"
    else:
        assert definitions is not None  # noqa: S101 - for type checkers
        existing = read_definitions(_read(definitions), virtual_host, str(definitions))
        source = definitions.name
    adopted = adopt(existing, stem.names)
    if not adopted.queues:
        show_warning(_nothing(existing, stem.names.namespace))
    # On standard output the remarks are in the file itself
    for remark in adopted.remarks if output is not None else ():
        show_warning(remark)
    write(adopted_text(adopted, source), output)
    note(
        f"{count(adopted.queues, 'queue')} in the namespace {stem.names.namespace},"
        f" {count(len(adopted.remarks), 'remark')}"
    )


def _read(file: Path) -> str:
    try:
        return read_text(file)
    except UnreadableFileError as error:
        raise ConfigurationError(
            f"the definitions file {file} cannot be read: {error}\n"
            "  Check its path and permissions."
        ) from None


def _nothing(existing: Existing, namespace: str) -> str:
    """Return a warning that the namespace is empty, with the names of other ones."""
    names = {exchange.name for exchange in existing.entities.exchanges}
    others = sorted(
        word
        for word in (name.removesuffix(".tasks") for name in names if name.endswith(".tasks"))
        if f"{word}.dead" in names and f"{word}.deliver" in names
    )
    if others:
        remedy = f"Namespaces of stem-amqp: {', '.join(others)}; select one with --namespace."
    else:
        remedy = "There are no exchanges of stem-amqp: check --vhost and --namespace."
    return f"the namespace {namespace} has no queue of stem-amqp\n  {remedy}"
