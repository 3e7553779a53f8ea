"""The dead letters of a queue: list, replay and purge them.

`letters` is the public class; `letter` decodes one message, `selection` filters, `browse` reads the
dead-letter queue, `replay` publishes letters to their work queue again,
`composition` those of one composition. `application` is what it needs of an application.
"""

from stem_amqp.dead_letter.application import Application, ConnectedApplication
from stem_amqp.dead_letter.composition import CompositionReplay, replay_composition
from stem_amqp.dead_letter.letter import DeadLetter
from stem_amqp.dead_letter.letters import DeadLetters
from stem_amqp.dead_letter.replay import ReplayReport
from stem_amqp.dead_letter.selection import ALL, Selection
from stem_amqp.messages.death import UNKNOWN

__all__ = [
    "ALL",
    "UNKNOWN",
    "Application",
    "CompositionReplay",
    "ConnectedApplication",
    "DeadLetter",
    "DeadLetters",
    "ReplayReport",
    "Selection",
    "replay_composition",
]
