"""What a task needs beside its arguments: sessions, clients, pools, opened and closed around the work.

`declare` has what stands in a signature, `check` refuses at registration what could not be opened, and
`place` says what is known where a task runs. Opening, sharing and closing it there is
`stem_amqp.worker.resources`. Declarations, nesting and the cache of one call are uncalled-for's.
"""

from stem_amqp.dependencies.declare import Depends, Shared

__all__ = ["Depends", "Shared"]
