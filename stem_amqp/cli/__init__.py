"""The command line: ``stem-amqp``, one module per command.

A command's module is imported when the command runs, and the framework with it: ``--help`` and the
shell's completion need neither. Results go to standard output, everything else to standard error.

=====  ===================================================================================
code   meaning
=====  ===================================================================================
0      it worked, and the answer is yes
1      it worked, and the answer is no: unhealthy, the task failed, mistakes in a file
2      usage or configuration: an option, a setting, a URL, the application, arguments
3      the broker or the result backend cannot be reached
4      it timed out: the result did not come, or the broker did not confirm
5      the broker refused: credentials, permission, another topology, no queue for a message
70     a bug in stem-amqp; the traceback is shown
130    interrupted with Ctrl-C
=====  ===================================================================================
"""

from stem_amqp.cli.root import main

__all__ = ["main"]
