"""Commands to workers, as they travel on the control exchange."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from stem_amqp.errors import DecodeError


@dataclass(frozen=True, kw_only=True, slots=True)
class Revoke:
    """Do not run a task any more.

    Args:
        task_id: the task.
        reason: why, for the log and the signals.
        terminate: also cancel it where it runs.
    """

    task_id: str
    reason: str
    terminate: bool = False

    def encode(self) -> bytes:
        """Write the command."""
        return orjson.dumps(
            {
                "command": "revoke",
                "id": self.task_id,
                "reason": self.reason,
                "terminate": self.terminate,
            }
        )


def decode(body: bytes) -> Revoke:
    """Read a command.

    Raises:
        DecodeError: it is none that this version knows.
    """
    try:
        data = orjson.loads(body)
        if data["command"] != "revoke":
            raise DecodeError(f"unknown command {data['command']!r}", body)
        return Revoke(
            task_id=str(data["id"]),
            reason=str(data.get("reason") or "revoked"),
            terminate=bool(data.get("terminate")),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise DecodeError(f"this is no command: {error!r}", body) from error
