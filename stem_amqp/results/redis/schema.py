"""The version of a namespace's keys in Redis: ``<namespace>:schema``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from stem_amqp.errors import ConfigurationError
from stem_amqp.results.redis.client import RedisClient, Script

Migration: TypeAlias = Callable[[RedisClient, str], Awaitable[None]]
"""Migrates the keys of a namespace to the next version. Several processes may run it at once."""


async def _begin(_client: RedisClient, _namespace: str) -> None:
    """Create version 1: its keys are created with the first records."""


MIGRATIONS: tuple[Migration, ...] = (_begin,)
"""The migration from each version to the next: the first creates version 1 in an empty namespace."""

_RAISE = Script(r"""
local found = tonumber(redis.call('GET', KEYS[1]) or '0')
if found and found < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
""")


async def migrate(
    client: RedisClient, namespace: str, migrations: Sequence[Migration] = MIGRATIONS
) -> None:
    """Migrate a namespace to the current version.

    Args:
        client: the connections.
        namespace: the prefix of every key.
        migrations: the migrations from an empty namespace to the current version.

    Raises:
        ConfigurationError: the namespace is newer than this stem-amqp, or belongs to another program.
    """
    key, newest = f"{namespace}:schema", len(migrations)
    found = await client.call("GET", key)
    if found is not None and not found.isdigit():
        raise ConfigurationError(
            f"the key {key} in {client.address} belongs to another program.\n"
            "  Give stem-amqp a STEM_NAMESPACE or a database number of its own."
        )
    version = int(found or 0)
    if version > newest:
        raise ConfigurationError(
            f"the results under {namespace}: in {client.address} have schema version {version},"
            f" this stem-amqp knows {newest}.\n"
            "  Upgrade stem-amqp here, or give this version a namespace or a database number of"
            " its own."
        )
    for step in migrations[version:]:
        await step(client, namespace)
    if version < newest:
        await client.run(_RAISE, [key], [newest])
