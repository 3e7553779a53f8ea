"""The command line ``stem-amqp``, one module per command.

The module of a command, and the framework with it, is imported only when the command runs: ``--help``
and shell completion need neither. Results go to standard output, everything else to standard error.

=====  ===================================================================================
code   meaning
=====  ===================================================================================
0      success, the answer is yes
1      success, but the answer is no: unhealthy, the task failed, mistakes in a file
2      usage or configuration: an option, a setting, a URL, the application, arguments
3      the broker or the result backend cannot be reached
4      timeout: the result did not arrive, or the broker did not confirm
5      refused by the broker: credentials, permission, another topology, no queue for a message
6      no worker has answered a command of ``stem-amqp control``
70     a bug in stem-amqp; the traceback is shown
74     the output cannot be written: the disk is full
130    interrupted with Ctrl-C
141    the reader of the output has exited, as after ``| head``
=====  ===================================================================================
"""

from stem_amqp.cli.root import main

__all__ = ["main"]
