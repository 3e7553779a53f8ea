"""The dead letters of a queue: look at them, replay them, purge them.

`letters` is the entrance; `letter` reads one message, `selection` chooses, `replay` gives another
life.
"""

from stem_amqp.dead_letter.letter import UNKNOWN, DeadLetter
from stem_amqp.dead_letter.letters import DeadLetters
from stem_amqp.dead_letter.replay import ReplayReport
from stem_amqp.dead_letter.selection import ALL, Selection

__all__ = ["ALL", "UNKNOWN", "DeadLetter", "DeadLetters", "ReplayReport", "Selection"]
