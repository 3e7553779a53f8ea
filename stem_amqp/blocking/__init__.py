"""The blocking producer: enqueue from Django, Flask, scripts and the REPL.

Applications use `producer`, which returns `handle` and `results`. A `session` is a thread with an event
loop and connections, one for each process. A forked child can abandon its `loop`; `process` registers the
hooks for forks and for the interpreter's exit. `portal` runs coroutines of an application in another thread.
"""
