"""Directives: what operators decide at run time, stored so that it outlives every worker.

`model` defines one directive, `document` a set of them that can be merged in any order, `trust` signs
and verifies them, and `state` is what holds now, for a worker that asks before it runs a task.
"""
