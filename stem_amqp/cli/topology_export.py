"""``stem-amqp topology export``: the topology in the formats of other tools."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stem_amqp.assembly import entities_of
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.output import note, show_warning
from stem_amqp.cli.written import Output, write
from stem_amqp.errors import ConfigurationError
from stem_amqp.topology.definitions import definitions_text
from stem_amqp.topology.entities import Entities
from stem_amqp.topology.kubernetes import Target, manifests_text
from stem_amqp.topology.terraform import terraform_text, unsayable

app = opt.command_app()


class Format(StrEnum):
    """What the topology can be written as."""

    DEFINITIONS = "definitions"
    KUBERNETES = "kubernetes"
    TERRAFORM = "terraform"


@app.command("export", epilog=EPILOG)
def export_command(
    *,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="The topology file; default: STEM_TOPOLOGY."),
    ] = None,
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            "-f",
            help="definitions: RabbitMQ's definitions.json. kubernetes: manifests of the messaging"
            " topology operator. terraform: a .tf.json file for the provider cyrilgdn/rabbitmq.",
        ),
    ],
    output: Output = None,
    virtual_host: Annotated[
        str | None,
        typer.Option(
            "--vhost",
            metavar="NAME",
            help="The virtual host; default: /. definitions: written into the file, for rabbitmqctl"
            " import_definitions; without it, the file fits any one, as the management UI wants it.",
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="kubernetes: the RabbitmqCluster; required."),
    ] = None,
    cluster_namespace: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="kubernetes: the cluster's Kubernetes namespace. Default: that of the manifests.",
        ),
    ] = None,
    application: opt.AppOption = None,
    namespace: opt.Namespace = None,
) -> None:
    """Write the topology for another tool to declare. No broker is needed.

    With --app the queues that its tasks name are written too.
    """
    if virtual_host == "":
        raise ConfigurationError(
            "the virtual host's name is empty\n  Write --vhost / for the default one."
        )
    overrides = opt.Overrides(namespace=namespace, topology=file)
    entities = entities_of(load(application, overrides))
    if form is Format.KUBERNETES:
        if not cluster:
            raise ConfigurationError(
                "the manifests must say which RabbitMQ cluster they are for\n"
                "  Name the RabbitmqCluster: --cluster NAME."
            )
        target = Target(
            cluster=cluster,
            cluster_namespace=cluster_namespace,
            virtual_host=virtual_host or "/",
        )
        text = manifests_text(entities, target)
    elif form is Format.TERRAFORM:
        for line in unsayable(entities):
            show_warning(f"{line}\n  The provider keeps it so; declare it by another way.")
        text = terraform_text(entities, virtual_host or "/")
    else:
        text = definitions_text(entities, virtual_host)
    write(text, output)
    note(_counts(entities))


def _counts(entities: Entities) -> str:
    return (
        f"{len(entities.exchanges)} exchanges, {len(entities.queues)} queues,"
        f" {len(entities.bindings)} bindings, {len(entities.policies)} policies"
    )
