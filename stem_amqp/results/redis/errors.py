"""Errors of Redis, explained with a remedy."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from redis.exceptions import AuthenticationError, InvalidResponse, NoPermissionError, ResponseError

from stem_amqp.errors import BackendUnavailableError, ConfigurationError, StemError
from stem_amqp.results.redis.address import FORM, RedisAddress

_REPLIES = {
    "WRONGPASS": (
        "it refuses the user or the password",
        f"Correct them in STEM_BACKEND_URL={FORM}.",
    ),
    "NOAUTH": ("it requires a password", f"Set it in STEM_BACKEND_URL={FORM}."),
    "NOPERM": (
        "its user may not do this",
        "Grant it in Redis: ACL SETUSER <user> '~<namespace>:*' '&<namespace>:*' +@all -@dangerous",
    ),
    "OOM": (
        "its memory is full",
        "Raise Redis' maxmemory, or keep results for a shorter time (STEM_RESULT_TTL).",
    ),
    "READONLY": ("it is a replica", "Name the primary in STEM_BACKEND_URL."),
    "MISCONF": ("it cannot write to its disk", "Check Redis' log, and free space on its disk."),
    "LOADING": ("it is still loading its data", "Try again in a moment."),
    "BUSY": ("another client's script blocks it", "Find it with SLOWLOG, or end it: SCRIPT KILL."),
    "MASTERDOWN": ("it is a replica without its primary", "Name the primary in STEM_BACKEND_URL."),
    "MOVED": ("it is a node of a Redis Cluster", "Use a Redis that is not a cluster."),
    "CROSSSLOT": ("it is a node of a Redis Cluster", "Use a Redis that is not a cluster."),
    "CLUSTERDOWN": ("it is a node of a Redis Cluster", "Use a Redis that is not a cluster."),
}
"""The first word of Redis' error replies: the problem and the remedy."""
_FOR_EVER = frozenset({"WRONGPASS", "NOAUTH", "NOPERM", "MOVED", "CROSSSLOT", "CLUSTERDOWN"})
"""Permanent errors: waiting does not help."""
_SILENT = (
    "it does not answer in time",
    "Check that it runs, is not overloaded, and that no firewall drops the connection.",
)

_WANTS_CERTIFICATE = (
    "It may require a valid client certificate that its CA has signed: set\n"
    "  STEM_BACKEND_TLS_CERT and STEM_BACKEND_TLS_KEY. 'stem-amqp health' shows when it expires."
)


def unavailable(address: RedisAddress, error: BaseException) -> BackendUnavailableError:
    """Return the error to raise when a call fails for a reason outside the caller.

    Args:
        address: the server.
        error: the client library's error.
    """
    problem, remedy = _explained(error)
    if address.tls and problem == _SILENT[0]:
        remedy += "\n  A port without TLS does not answer rediss:// either."
    if address.tls and _was_reset(error):
        # The alert with the reason may be lost if it arrived during a write
        problem, remedy = "it closed the connection", _WANTS_CERTIFICATE
    return BackendUnavailableError(f"the result backend {address} failed: {problem}.\n  {remedy}")


def unopenable(address: RedisAddress, error: BaseException) -> StemError:
    """Return the error to raise when the first call fails: the URL itself may be wrong.

    Args:
        address: the server.
        error: the client library's error.
    """
    if (
        _reply(error) not in _FOR_EVER
        and not _is_another_protocol(error)
        and not _no_database(error)
    ):
        return unavailable(address, error)
    problem, remedy = _explained(error)
    return ConfigurationError(
        f"the result backend {address} cannot be used: {problem}.\n  {remedy}"
    )


def is_outage(error: BaseException) -> bool:
    """Return whether the server or the network caused an error, and not a bug of this client."""
    return not isinstance(error, ResponseError) or _reply(error) in _REPLIES


def _explained(error: BaseException) -> tuple[str, str]:
    reply = _reply(error)
    if reply in _REPLIES:
        return _REPLIES[reply]
    if _no_database(error):
        return ("it has no database of that number", "Correct the number after the host.")
    if _is_another_protocol(error):
        return (
            "the server there does not speak the Redis protocol",
            "Correct host and port (Redis' own is 6379); a port with TLS needs rediss://.",
        )
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not trusted ({cause.verify_message})",
                "Set STEM_BACKEND_TLS_CA to its authority, and write the host as the certificate does.",
            )
        if isinstance(cause, ssl.SSLError):
            return _tls_failure(cause)
        if isinstance(cause, socket.gaierror):
            return ("its host name is unknown", "Correct the host in STEM_BACKEND_URL, or the DNS.")
        if isinstance(cause, ConnectionRefusedError):
            return ("nothing listens there", "Start Redis, or correct host and port.")
    if any(isinstance(cause, TimeoutError) for cause in _chain(error)) or "imeout" in str(error):
        return _SILENT
    return (
        str(error).rstrip(".") or type(error).__name__,
        "Check that Redis runs at this address.",
    )


def _was_reset(error: BaseException) -> bool:
    gone = (ConnectionResetError, BrokenPipeError)
    return any(isinstance(cause, gone) for cause in _chain(error)) or "closed by server" in str(
        error
    )


def _tls_failure(error: ssl.SSLError) -> tuple[str, str]:
    said = error.reason or str(error)
    if "ALERT" in said or "CERT" in said:
        return (f"it ended the TLS session ({said})", _WANTS_CERTIFICATE)
    return (f"TLS fails ({said})", "Check that this port has TLS; otherwise write redis://.")


def _reply(error: BaseException) -> str:
    """Return the first word of Redis' error reply, which the library may have removed."""
    text = str(error)
    if isinstance(error, NoPermissionError):
        return "NOPERM"
    if isinstance(error, AuthenticationError):
        return "NOAUTH" if "uthentication required" in text else "WRONGPASS"
    names = {
        "BusyLoadingError": "LOADING",
        "ReadOnlyError": "READONLY",
        "OutOfMemoryError": "OOM",
        "ClusterDownError": "CLUSTERDOWN",
        "ClusterCrossSlotError": "CROSSSLOT",
        "MasterDownError": "MASTERDOWN",
        "MovedError": "MOVED",
    }
    return names.get(type(error).__name__) or text.partition(" ")[0]


def _is_another_protocol(error: BaseException) -> bool:
    return any(isinstance(cause, InvalidResponse) for cause in _chain(error))


def _no_database(error: BaseException) -> bool:
    return "DB index is out of range" in str(error) or "invalid DB index" in str(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
