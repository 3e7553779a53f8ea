"""Publishes the answers to commands."""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stem_amqp.errors import BrokerError, BrokerRefusedError
from stem_amqp.messages.commands import ANSWER, ANSWER_BYTES, Reply, answer_key
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport
from stem_amqp.transport.publication import Publication
from stem_amqp.worker.report.quota import Quota

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

log = logging.getLogger("stem_amqp.worker")

ANSWERS, PERIOD = 200, 10.0
"""The maximum number of answers in a number of seconds, since any client may send many commands."""


class Answers:
    """Publishes a worker's answers to the reply queues of commands.

    Args:
        transport: publishes them.
        names: the names on the broker; a reply queue must be a control queue of the namespace, so that a
            command can name no other queue.
        worker: the worker's name.
    """

    def __init__(self, transport: Transport, names: Names, worker: str) -> None:
        self._transport = transport
        self._names = names
        self._worker = worker
        self._prefix = f"{names.control}.ask-"
        self._quota = Quota(ANSWERS, PERIOD)
        self._host, self._pid = socket.gethostname(), os.getpid()

    async def publish(
        self,
        reply_to: str | None,
        nonce: str,
        *,
        value: DataclassInstance | None = None,
        error: str | None = None,
    ) -> None:
        """Publish an answer, within the limit; it may be lost.

        Args:
            reply_to: the reply queue; None or one without the prefix is ignored.
            nonce: the nonce of the command.
            value: the result; None without one.
            error: why the command was not carried out; None if it was.
        """
        if reply_to is None or not reply_to.startswith(self._prefix) or not self._quota.take():
            return
        body = self._body(nonce, {} if value is None else asdict(value), error)
        try:
            await self._transport.publish(self._publication("", reply_to, body, nonce))
        except BrokerRefusedError as refused:
            log.debug("no answer to %s: %s", reply_to, refused)
            key = answer_key(reply_to)
            self._transport.send(self._publication(self._names.events, key, body, nonce))
        except BrokerError as failure:
            # The client no longer waits for it
            log.debug("the answer to %s was not delivered: %s", reply_to, failure)

    def _body(self, nonce: str, value: dict[str, Any], error: str | None) -> bytes:
        reply = Reply(
            nonce=nonce,
            worker=self._worker,
            host=self._host,
            pid=self._pid,
            error=error,
            value=value,
        )
        body = reply.encode()
        if len(body) <= ANSWER_BYTES:
            return body
        return self._body(nonce, {}, f"the answer would have more than {ANSWER_BYTES} bytes")

    def _publication(self, exchange: str, key: str, body: bytes, nonce: str) -> Publication:
        return Publication(
            exchange=exchange,
            routing_key=key,
            body=body,
            type=ANSWER,
            correlation_id=nonce,
            app_id=self._names.namespace,
        )
