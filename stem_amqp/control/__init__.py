"""Commands to the workers of an application's namespace, and what they answer.

``stem.control`` has the commands for async code, ``producer.control`` of ``stem.blocking()`` for code
without an event loop, and ``stem-amqp control`` for the command line. Each command is for all workers,
or for those of some queues (``queues=``) or names (``workers=``, globs), waits for the answers until a
deadline (``timeout=``), and returns them with a list of those who did not answer.
"""

from stem_amqp.control.control import Control
from stem_amqp.control.gathered import Answer, Answers, Unanswered
from stem_amqp.control.history import Recorded
from stem_amqp.control.keywords import CommandKeywords, LastingKeywords, RevokeManyKeywords
from stem_amqp.control.revoke import revoke, revoke_matching, revoke_one

__all__ = [
    "Answer",
    "Answers",
    "CommandKeywords",
    "Control",
    "LastingKeywords",
    "Recorded",
    "RevokeManyKeywords",
    "Unanswered",
    "revoke",
    "revoke_matching",
    "revoke_one",
]
