"""The command that revokes one task by its id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import BaseModel, BeforeValidator
from pydantic_core import PydanticCustomError
from typing_extensions import override

from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.commands.base import Command
from stem_amqp.messages.message import ID_BYTES, shortened

REASON_BYTES = 256
"""The largest size of a reason in bytes; a longer one is truncated."""
REVOKE = "stem.revoke"
"""AMQP ``type`` of `Revoke`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Revoke(Command):
    """Revoke a task: it is not run, or not run again.

    Args:
        task_id: the task's id.
        reason: the reason, for the log and the signals.
        terminate: also cancel a run in progress.
        directive: the nonce of the directive that says the same; workers that know directives obey that
            one instead. Workers of release 0.1.0 ignore it.
    """

    TYPE: ClassVar[str] = REVOKE
    NAME: ClassVar[str] = "revoke"

    task_id: str
    reason: str
    terminate: bool = False
    directive: str | None = None

    @override
    def log_line(self) -> str:
        if self.directive is not None:
            return ""
        return f"task {self.task_id!r} is revoked: {self.reason!r}"

    @override
    def encode(self) -> bytes:
        """Write the command.

        Raises:
            ConfigurationError: it is not a valid task id.
        """
        if not _is_id(self.task_id):
            raise ConfigurationError(
                f"{self.task_id!r:.60} is not a valid task id: use a string of 1 to {ID_BYTES} bytes"
            )
        fields = {
            "command": "revoke",
            "id": self.task_id,
            "reason": shortened(self.reason, REASON_BYTES),
            "terminate": self.terminate,
        }
        if self.directive is not None:
            fields["directive"] = self.directive
        return orjson.dumps(fields)


def _checked_id(value: Any) -> Any:
    if not _is_id(value):
        raise PydanticCustomError(
            "task_id", "a command must have a task id of 1 to {bytes} bytes", {"bytes": ID_BYTES}
        )
    return value


def _is_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value.encode(errors="replace")) <= ID_BYTES


class RevokeFields(BaseModel):
    """A revocation as it is read."""

    command: Literal["revoke"]
    id: Annotated[str, BeforeValidator(_checked_id)]
    reason: Any = None
    terminate: Any = None
    directive: Any = None

    def command_of(self) -> Revoke:
        """Return the command."""
        return Revoke(
            task_id=self.id,
            reason=shortened(str(self.reason or "revoked"), REASON_BYTES),
            terminate=self.terminate is True,
            directive=self.directive if isinstance(self.directive, str) else None,
        )
