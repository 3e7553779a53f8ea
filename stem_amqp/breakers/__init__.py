"""Breakers: pause a queue or a task while too many of its runs fail, and try one run before it goes on.

The circuit breaker of M. Nygard, "Release It!" (2nd edition, 2018, chapter 5), with its three states.
This package is pure: what a breaker allows, which runs open it, and the state that workers share.
"""
