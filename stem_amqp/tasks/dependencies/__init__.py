"""Dependencies of tasks: sessions, clients and pools that are opened and closed around a run.

`declare` has `Depends` and `Shared`, `check` refuses dependencies that cannot be opened when a task is
defined, and `scope` describes where a task runs. `stem_amqp.worker.running.resources` opens, shares and closes
them in a worker. Nesting and the cache of one call come from the library uncalled-for; its names that
appear in signatures are re-exported here.
"""

from uncalled_for import CallArgument, Provided

from stem_amqp.tasks.dependencies.check import check_dependencies, check_factory, dependencies_of
from stem_amqp.tasks.dependencies.declare import Depends, Shared, name_of, opening
from stem_amqp.tasks.dependencies.scope import Factory, Scope, in_scope

__all__ = [
    "CallArgument",
    "Depends",
    "Factory",
    "Provided",
    "Scope",
    "Shared",
    "check_dependencies",
    "check_factory",
    "dependencies_of",
    "in_scope",
    "name_of",
    "opening",
]
