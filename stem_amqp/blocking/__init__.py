"""The blocking producer: enqueue from Django, Flask, scripts and the REPL.

`producer` is what its users hold, `handle` and `results` what they get. A `session` is the thread with
its event loop and connections, one for each process; `loop` can be left behind at a fork, and `process`
sees to forks and to the interpreter's exit.
"""
