"""Starts Python programs by a fork of a process that has imported stem-amqp already.

The tests start hundreds of workers, producers and commands. Each of these interpreters would take 0.6
CPU seconds to start and to import; a fork takes 0.02. The program runs in a process of its own, with
its own environment, folder, streams and signals, and can be killed like any other.
Tests whose subject is the start itself, the streams or the import start an interpreter.
"""

from forked_python.start import parent_of_programs, start_python

__all__ = ["parent_of_programs", "start_python"]
