"""The exit codes of commands, and their mapping from errors."""

from __future__ import annotations

from enum import IntEnum

from stem_amqp.errors import (
    BackendError,
    BrokerError,
    BrokerUnavailableError,
    DeadLetterNotFoundError,
    EnqueueManyError,
    ManagementUnavailableError,
    MigrationTimeoutError,
    PublishTimeoutError,
    ResultTimeoutError,
    ResultUnavailableError,
    StemError,
    TaskFailedError,
)


class ExitCode(IntEnum):
    """The exit codes; the table in `stem_amqp.cli` explains them."""

    OK = 0
    NO = 1
    USAGE = 2
    UNREACHABLE = 3
    TIMED_OUT = 4
    REFUSED = 5
    NO_WORKER = 6
    COMMANDED = 64
    """Of a supervised process that a command has stopped; its supervisor exits with 0."""
    BUG = 70
    OUTPUT = 74
    INTERRUPTED = 130
    BROKEN_PIPE = 141


EPILOG = (
    "Exit codes: 0 yes, 1 no (unhealthy, failed, mistakes), 2 usage or configuration,"
    " 3 broker or backend not reachable, 4 timed out, 5 refused by the broker."
)
"""The last line of every command's help."""

_BY_TYPE: tuple[tuple[type[StemError], ExitCode], ...] = (
    (TaskFailedError, ExitCode.NO),
    (DeadLetterNotFoundError, ExitCode.NO),
    (ResultTimeoutError, ExitCode.TIMED_OUT),
    (MigrationTimeoutError, ExitCode.TIMED_OUT),
    (PublishTimeoutError, ExitCode.TIMED_OUT),
    (BrokerUnavailableError, ExitCode.UNREACHABLE),
    (ManagementUnavailableError, ExitCode.UNREACHABLE),
    (BrokerError, ExitCode.REFUSED),
    (EnqueueManyError, ExitCode.REFUSED),
    (ResultUnavailableError, ExitCode.USAGE),
    (BackendError, ExitCode.UNREACHABLE),
)


def code_of(error: StemError) -> ExitCode:
    """Return the exit code for an error; the first matching type applies."""
    return next((code for kind, code in _BY_TYPE if isinstance(error, kind)), ExitCode.USAGE)
