"""Errors of PostgreSQL, explained with a remedy."""

from __future__ import annotations

import socket
import ssl

import asyncpg

from stem_amqp.errors import BackendUnavailableError, ConfigurationError, StemError
from stem_amqp.results.postgres.address import PostgresAddress

GRANTS = (
    "GRANT SELECT ON stem_schema TO {role};",
    (
        "GRANT SELECT, INSERT, UPDATE, DELETE"
        " ON stem_tasks, stem_groups, stem_group_members, stem_group_expansions, stem_keys TO {role};"
    ),
)
"""The rights that a role needs if another role owns the tables."""

_OUTAGES: tuple[type[BaseException], ...] = (
    OSError,  # also TimeoutError
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.UndefinedTableError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.DuplicatePreparedStatementError,
    asyncpg.InvalidSQLStatementNameError,
)
"""Errors of the server, the network or its administration."""

_LOSSES: tuple[type[BaseException], ...] = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.ReadOnlySQLTransactionError,  # the primary is another server now
)

_SETUP: tuple[type[BaseException], ...] = (
    asyncpg.ClientConfigurationError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidSchemaNameError,
)
"""Permanent errors: the URL or the rights must be changed."""


def is_outage(error: BaseException) -> bool:
    """Return whether an error is the server's, and not caused by the stored values."""
    return isinstance(error, _OUTAGES) and not isinstance(error, asyncpg.DataError)


def is_loss(error: BaseException | None) -> bool:
    """Return whether an error means that the connection is lost, and not that the server is slow."""
    return isinstance(error, _LOSSES) and not isinstance(
        error, TimeoutError | asyncpg.DataError | asyncpg.QueryCanceledError
    )


def unavailable(address: PostgresAddress, error: BaseException) -> BackendUnavailableError:
    """Return the error to raise when the server fails."""
    return BackendUnavailableError(_text(address, error))


def not_opened(address: PostgresAddress, error: BaseException) -> StemError:
    """Return the error to raise when the backend cannot be opened."""
    if isinstance(error, _SETUP):
        return ConfigurationError(_text(address, error))
    return unavailable(address, error)


def _text(address: PostgresAddress, error: BaseException) -> str:
    problem, remedy = _explained(address, error)
    return f"the result store {address.place} {problem}.\n  {remedy}"


def _explained(address: PostgresAddress, error: BaseException) -> tuple[str, str]:
    text = _said(error)
    if address.speaks_tls and isinstance(error, _CLOSED):
        # The driver, or TLS itself during a write, swallows the alert with the reason
        again = "It is opened again automatically. If it is closed each time:\n  "
        return f"closed the connection: {text}", again + _SET_CERTIFICATE
    for words, problem, remedy in _ABOUT_TLS:
        if words in text:
            return problem.format(said=text), remedy
    for kind, problem, remedy in _EXPLANATIONS:
        if isinstance(error, kind):
            said = _said(error)
            return problem.format(said=said), remedy.format(place=address.place)
    return f"failed: {_said(error)}", "See the server's log."


def _said(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300].rstrip(".")


_SET_CERTIFICATE = (
    "Set STEM_BACKEND_TLS_CERT and STEM_BACKEND_TLS_KEY to a client certificate that is valid and\n"
    "  signed by the server's ssl_ca_file: 'stem-amqp health' shows when it expires."
)
_CLOSED = (ConnectionResetError, BrokenPipeError, asyncpg.ConnectionDoesNotExistError)
_ABOUT_TLS = (
    ("client certificate", "requires a client certificate: {said}", _SET_CERTIFICATE),
    ("certificate authentication failed", "refused the client certificate: {said}", (
        "Its common name must be that of the user in STEM_BACKEND_URL, or pg_ident.conf maps it."
    )),
    ("rejected SSL upgrade", "does not speak TLS", (
        "Set ssl = on in its postgresql.conf, or remove STEM_BACKEND_TLS_… and sslmode."
    )),
)  # fmt: skip
"""Explanations by words of the message, for errors whose class says too little."""

_EXPLANATIONS: tuple[
    tuple[type[BaseException] | tuple[type[BaseException], ...], str, str], ...
] = (
    (
        asyncpg.InvalidPasswordError,
        "refused the password: {said}",
        "Correct user and password in STEM_BACKEND_URL=postgresql://user:password@host/database.",
    ),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "refused the login: {said}",
        "Correct the user in STEM_BACKEND_URL, or let the server's pg_hba.conf admit it from here.",
    ),
    (
        asyncpg.InvalidCatalogNameError,
        "does not exist: {said}",
        "Create it ('createdb NAME'), or correct the database's name in STEM_BACKEND_URL.",
    ),
    (
        (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError),
        "cannot be used with the rights of this role: {said}",
        "Let the role create its tables: GRANT CREATE, USAGE ON SCHEMA public TO <role>;\n"
        "  or let an owner create them, and grant their use:\n"
        "    python -m stem_amqp.results.postgres.schema | psql <database as owner>\n    "
        + "\n    ".join(GRANTS).format(role="<role>"),
    ),
    (
        asyncpg.ClientConfigurationError,
        "cannot be used: {said}",
        "Correct STEM_BACKEND_URL=postgresql://user:password@host:5432/database.",
    ),
    (
        asyncpg.TooManyConnectionsError,
        "accepts no more connections: {said}",
        (
            "Lower pool_size in STEM_BACKEND_URL, raise the server's max_connections, or put a"
            " pgbouncer in front."
        ),
    ),
    (
        asyncpg.ReadOnlySQLTransactionError,
        "is read-only: {said}",
        (
            "It is a standby. Name the primary in STEM_BACKEND_URL, or add"
            " ?target_session_attrs=read-write."
        ),
    ),
    (
        asyncpg.UndefinedTableError,
        "has lost its tables: {said}",
        "Restart this process: it creates them. Find out what dropped them.",
    ),
    (
        (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError),
        "mixes up prepared statements: {said}",
        "Behind a pgbouncer with pool_mode=transaction add ?pooler=transaction to STEM_BACKEND_URL.",
    ),
    (
        asyncpg.DiskFullError,
        "has no space left: {said}",
        "Free some space on the server's disk.",
    ),
    (
        ssl.SSLCertVerificationError,
        "presents a certificate that is not trusted: {said}",
        "Set STEM_BACKEND_TLS_CA to its authority, and write the host as the certificate does.",
    ),
    (ssl.SSLError, "ended the TLS session: {said}", _SET_CERTIFICATE),
    (
        socket.gaierror,
        "cannot be found: {said}",
        "Correct the host in STEM_BACKEND_URL, or check the name service.",
    ),
    (
        ConnectionRefusedError,
        "refuses the connection",
        "Is the server running, and listening at that host and port? 'pg_isready -d {place}' checks it.",
    ),
    (
        TimeoutError,
        "does not answer in time",
        "Look at the server's load and locks (pg_stat_activity), and at the network to it.",
    ),
    (
        (asyncpg.CannotConnectNowError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError),
        "is starting or stopping: {said}",
        "It is used again automatically as soon as it is up.",
    ),
    (
        (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError),
        "lost the connection: {said}",
        "It is opened again automatically. See the server's log for why it was lost.",
    ),
)
"""The first entry whose class matches applies."""
