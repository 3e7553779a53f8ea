"""Commands to a running worker: received, verified, and passed to what carries them out.

`orders` carries out the commands of operators, with one module for each kind, and `answers` answers them.
`steering` is the part that a worker uses; `listener` receives and verifies the commands of the control
exchange, and `topology_watch` keeps the queue of commands and the topology in place.
"""
