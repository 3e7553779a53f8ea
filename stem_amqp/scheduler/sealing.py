"""Stored schedules with a signature: who may write to the store cannot make workers run tasks."""

from __future__ import annotations

import orjson

from stem_amqp.errors import ConfigurationError, SignatureError
from stem_amqp.schedule_store.base import ScheduleRecord
from stem_amqp.scheduler.definition import decode, encode
from stem_amqp.schedules import Schedule
from stem_amqp.settings import Signatures
from stem_amqp.signing.seal import Seal
from stem_amqp.signing.signer import Domain, sign, verify


class Sealing:
    """Signs and verifies schedules.

    Args:
        seal: the keys; None: nothing is signed, and everything is accepted.
    """

    def __init__(self, seal: Seal | None) -> None:
        self._seal = seal

    def sealed(self, schedule: Schedule) -> bytes:
        """Return a schedule as it is stored, signed if this process has a key.

        Raises:
            ConfigurationError: it cannot be stored, or the scheduler needs a signature and this process has no key.
        """
        text = encode(schedule)
        seal = self._seal
        if seal is None or (seal.ring.current.signing is None and not seal.signs_all):
            return text
        headers = sign(
            seal.ring,
            _signed(schedule.name, text),
            domain=Domain.SCHEDULE,
            namespace=seal.namespace,
        )
        return orjson.dumps({"schedule": text.decode(), "headers": headers})

    def opened(self, record: ScheduleRecord) -> Schedule:
        """Return a stored schedule, verified as the settings say.

        Args:
            record: a record with a definition.

        Raises:
            ConfigurationError: it cannot be read.
            SignatureError: it has no valid signature.
        """
        text, headers = _split(record)
        seal = self._seal
        if seal is not None and seal.level is not Signatures.BODIES:
            if headers:
                verify(
                    seal.ring,
                    _signed(record.name, text),
                    headers,
                    domain=Domain.SCHEDULE,
                    namespace=seal.namespace,
                )
            elif seal.signs_all:
                raise SignatureError(
                    f"the stored schedule {record.name} is not signed\n"
                    "  Add it again from a process with an active signing key"
                )
        return decode(record.name, text)


def _signed(name: str, text: bytes) -> bytes:
    return name.encode() + b"\n" + text


def _split(record: ScheduleRecord) -> tuple[bytes, dict[str, str]]:
    text = record.definition or b""
    try:
        data = orjson.loads(text)
        if isinstance(data, dict) and "headers" in data:
            return data["schedule"].encode(), dict(data["headers"])
    except (ValueError, TypeError, AttributeError, KeyError):
        raise ConfigurationError(f"the stored schedule {record.name} cannot be read") from None
    return text, {}
