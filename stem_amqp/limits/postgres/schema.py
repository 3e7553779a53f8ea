"""The tables and functions of limits in PostgreSQL; the first process that uses limits creates them.

They do not change the version of the result backend's schema: earlier releases do not use them.
``python -m stem_amqp.limits.postgres.schema`` prints them as SQL, for an owner to create by hand where the
application's role lacks the right.
"""

from __future__ import annotations

import sys

from stem_amqp.limits.postgres.functions import FUNCTIONS
from stem_amqp.results.postgres.extra import ExtraTables
from stem_amqp.results.postgres.pool import Connection

# UNLOGGED: a commit does not wait for the disk. After a crash of the server the tables are empty: limits begin
# anew, and leases are there again with their next renewal.
_TABLES = """
CREATE UNLOGGED TABLE IF NOT EXISTS stem_limits (
    namespace text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    arrival double precision NOT NULL,
    overflow double precision NOT NULL,
    interval double precision NOT NULL,
    queue double precision NOT NULL,
    spacing double precision NOT NULL,
    alive double precision NOT NULL,
    mean double precision NOT NULL,
    expires double precision NOT NULL,
    expires_minute bigint NOT NULL GENERATED ALWAYS AS (floor(expires / 60)::bigint) STORED,
    PRIMARY KEY (namespace, key)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX IF NOT EXISTS stem_limits_by_expiry ON stem_limits (namespace, expires_minute);
CREATE UNLOGGED TABLE IF NOT EXISTS stem_limit_starts (
    namespace text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    token text COLLATE "C" NOT NULL,
    at double precision NOT NULL,
    expires double precision NOT NULL,
    PRIMARY KEY (namespace, key, token)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX IF NOT EXISTS stem_limit_starts_by_expiry ON stem_limit_starts (namespace, expires);
CREATE UNLOGGED TABLE IF NOT EXISTS stem_limit_leases (
    namespace text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    token text COLLATE "C" NOT NULL,
    expires double precision NOT NULL,
    PRIMARY KEY (namespace, key, token)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX IF NOT EXISTS stem_limit_leases_by_expiry ON stem_limit_leases (namespace, expires);
"""

NAMES = ("stem_limits_ask_v1", "stem_limits_renew_v1", "stem_limits_release_v1")
_FOUND = """
SELECT count(DISTINCT proname) FROM pg_catalog.pg_proc
WHERE proname = ANY ($1::text[]) AND pg_catalog.pg_function_is_visible(oid)
"""


def schema_sql() -> str:
    """Return the SQL that creates the tables and functions."""
    return "\n".join([_TABLES, *FUNCTIONS])


async def _exist(connection: Connection) -> bool:
    return bool(await connection.fetchval(_FOUND, NAMES) == len(NAMES))


EXTRA = ExtraTables(
    what="the tables for limits across workers",
    names="stem_limits, stem_limit_starts and stem_limit_leases",
    module="stem_amqp.limits.postgres.schema",
    sql=schema_sql(),
    exist=_exist,
)


if __name__ == "__main__":
    sys.stdout.write(schema_sql())
