"""``stem-amqp keys``: generate keys, and list the configured ones.

``--json`` prints, for ``list``, a list of objects with ``id``, ``algorithm``, ``active`` and
``abilities``. Only ``generate`` prints a secret; its output is a key file.
"""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime
from typing import Annotated

import typer

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.output import NOTHING, note, show, show_json, table
from stem_amqp.errors import ConfigurationError
from stem_amqp.signing.key_file import make_key
from stem_amqp.signing.keys import ID, Algorithm
from stem_amqp.signing.source import seal_from

SECRET_BYTES = 32

app = opt.command_app("Generate keys for signing and encryption, and list the configured ones.")


@app.command("generate", epilog=EPILOG)
def generate_command(
    *,
    algorithm: Annotated[
        Algorithm, typer.Option(help="hmac-sha256, ed25519, or aes-256-gcm to encrypt.")
    ] = Algorithm.HMAC_SHA256,
    key_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="The key's id; default: today's date.")
    ] = None,
) -> None:
    """Print a key file with one new key.

    For ed25519 it is the producers' key; the public key for workers, which only verify, is in its
    comment. Write it to a file that only you can read: umask 077; stem-amqp keys generate > keys.yaml
    """
    name = key_id or f"{datetime.now(UTC):%Y-%m-%d}"
    if not ID.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is not a valid id of a key: use at most 64 letters, digits, '.', '_' and '-'"
        )
    typer.echo("\n".join(["keys:", *_entry(algorithm, name)]))
    note(
        "Add the key to every process that verifies before you activate it where messages are signed."
    )


def _entry(algorithm: Algorithm, key_id: str) -> list[str]:
    secret = os.urandom(SECRET_BYTES)
    head = [f"  - id: {key_id}", f"    algorithm: {algorithm.value}"]
    if algorithm is not Algorithm.ED25519:
        make_key(algorithm, key_id, active=True, secret=secret)
        return [*head, f"    secret: {_text(secret)}", "    active: true"]
    key = make_key(algorithm, key_id, active=True, private=secret)
    public = f"public: {_text(getattr(key, 'public_bytes'))}"  # noqa: B009 - of an optional module
    workers = [*head, f"    {public}"]
    return [
        *head,
        f"    private: {_text(secret)}",
        f"    {public}",
        "    active: true",
        "# For the workers, which verify only:",
        "# keys:",
        *(f"# {line}" for line in workers),
    ]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@app.command("list", epilog=EPILOG)
def list_command(*, application: opt.AppOption = None, as_json: opt.Json = False) -> None:
    """List the configured keys, without their secrets.

    It fails if a worker or a producer with these settings would fail.
    """
    stem = load(application, opt.Overrides())
    ring = stem.keys
    seal = seal_from(stem.settings, ring)
    keys = () if ring is None else ring.current.keys
    if as_json:
        names = ("id", "algorithm", "active", "abilities")
        show_json([{name: getattr(key, name) for name in names} for key in keys])
        return
    if seal is None:
        note("no keys are configured: set STEM_KEYS_FILE, or STEM_SIGNING_KEY")
        return
    lines = table("id", "algorithm", "active", "abilities", whole=("id",))
    for key in keys:
        lines.add_row(key.id, key.algorithm.value, "yes" if key.active else NOTHING, key.abilities)
    show(lines)
    _explain(stem, required=seal.required)


def _explain(stem: Stem, *, required: bool) -> None:
    note("workers reject unsigned messages" if required else "workers accept unsigned messages")
    if stem.settings.encrypt:
        note("producers encrypt")
