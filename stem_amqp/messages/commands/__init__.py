"""Commands to workers: the messages on the control exchange, one module for each kind.

A command of `stem_amqp.control` is an `Order`: it says who sent it, when, for which workers and until
when. `Directed` passes a directive on. `Revoke` and `Report` are older, and are for all workers. A worker ignores a command that it does
not know, and the fields that it does not know.
"""

from stem_amqp.messages.commands.answer import ANSWER, ANSWER_BYTES, Reply, answer_key
from stem_amqp.messages.commands.base import COMMAND_BYTES, Command
from stem_amqp.messages.commands.codec import decode
from stem_amqp.messages.commands.concurrency import (
    MOST_CONCURRENCY,
    ConcurrencyChange,
)
from stem_amqp.messages.commands.confirm import Confirm
from stem_amqp.messages.commands.directed import DIRECTIVE, Directed
from stem_amqp.messages.commands.log_level import LEVELS, checked_level
from stem_amqp.messages.commands.order import (
    COMMAND,
    ISSUER_BYTES,
    SKEW,
    Order,
    checked_issuer,
)
from stem_amqp.messages.commands.question import AskStatistics, Inspect, Ping
from stem_amqp.messages.commands.report import REPORT, Report
from stem_amqp.messages.commands.revoke import REASON_BYTES, REVOKE, Revoke
from stem_amqp.messages.commands.shutdown import ShutDown
from stem_amqp.messages.commands.signed import signed_part

__all__ = [
    "ANSWER",
    "ANSWER_BYTES",
    "COMMAND",
    "COMMAND_BYTES",
    "DIRECTIVE",
    "ISSUER_BYTES",
    "LEVELS",
    "MOST_CONCURRENCY",
    "REASON_BYTES",
    "REPORT",
    "REVOKE",
    "SKEW",
    "AskStatistics",
    "Command",
    "ConcurrencyChange",
    "Confirm",
    "Directed",
    "Inspect",
    "Order",
    "Ping",
    "Reply",
    "Report",
    "Revoke",
    "ShutDown",
    "answer_key",
    "checked_issuer",
    "checked_level",
    "decode",
    "signed_part",
]
