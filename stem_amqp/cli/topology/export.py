"""``stem-amqp topology export``: the topology in the formats of other tools."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.output import note, show_warning
from stem_amqp.cli.topology.view import counts_of
from stem_amqp.cli.written import Output, form_of, write
from stem_amqp.errors import ConfigurationError
from stem_amqp.topology.export import (
    Target,
    definitions_text,
    manifests_text,
    terraform_text,
    unrepresentable,
)

app = opt.command_app()


class Format(StrEnum):
    """The export formats."""

    DEFINITIONS = "definitions"
    KUBERNETES = "kubernetes"
    TERRAFORM = "terraform"


_SUFFIXES = {
    ".tf.json": Format.TERRAFORM,
    ".json": Format.DEFINITIONS,
    ".yaml": Format.KUBERNETES,
    ".yml": Format.KUBERNETES,
}


Form = Annotated[
    Format | None,
    typer.Option(
        "--format",
        "-f",
        help="definitions: RabbitMQ's definitions.json. kubernetes: manifests of the messaging"
        " topology operator. terraform: a .tf.json file for the provider cyrilgdn/rabbitmq."
        " Default: by the suffix of OUT (.json, .yaml, .tf.json).",
    ),
]
VirtualHost = Annotated[
    str | None,
    typer.Option(
        "--vhost",
        metavar="NAME",
        help="The virtual host; default: /. definitions: written into the file, for rabbitmqctl"
        " import_definitions; without it, the file has no virtual host, for the management UI.",
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="kubernetes: the RabbitmqCluster; required."),
]
ClusterNamespace = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="kubernetes: the cluster's Kubernetes namespace. Default: that of the manifests.",
    ),
]


@app.command("export", epilog=EPILOG)
def export_command(
    *,
    file: opt.TopologyArgument = None,
    form: Form = None,
    output: Output = None,
    virtual_host: VirtualHost = None,
    cluster: Cluster = None,
    cluster_namespace: ClusterNamespace = None,
    application: opt.AppOption = None,
    namespace: opt.Namespace = None,
) -> None:
    """Write the topology for another tool that declares it. No broker is needed.

    With --app, the queues named by its tasks are included.
    """
    form = form_of(output, form, _SUFFIXES)
    if form is None:
        raise ConfigurationError(
            f"the format is missing\n  Set it: --format {', '.join(Format)}; or a file: --output"
            " definitions.json"
        )
    if virtual_host == "":
        raise ConfigurationError(
            "the virtual host's name is empty\n  Write --vhost / for the default one."
        )
    overrides = opt.Overrides(namespace=namespace, topology=file)
    entities = load(application, overrides).blueprint.entities
    if form is Format.KUBERNETES:
        text = manifests_text(entities, _target(cluster, cluster_namespace, virtual_host))
    elif form is Format.TERRAFORM:
        for line in unrepresentable(entities):
            show_warning(
                f"{line}\n  The Terraform provider cannot do it; declare it in another way."
            )
        text = terraform_text(entities, virtual_host or "/")
    else:
        text = definitions_text(entities, virtual_host)
    write(text, output)
    note(f"{counts_of(entities)}, {len(entities.policies)} policies")


def _target(cluster: str | None, cluster_namespace: str | None, virtual_host: str | None) -> Target:
    if not cluster:
        raise ConfigurationError(
            "the manifests need the name of the RabbitMQ cluster\n"
            "  Set the RabbitmqCluster: --cluster NAME."
        )
    return Target(
        cluster=cluster, cluster_namespace=cluster_namespace, virtual_host=virtual_host or "/"
    )
