"""Enqueue calls as messages.

`producer` enqueues one call or many, unique calls included, inside of the middleware. `composer` writes
the message of a call, with its queue, its delay and its signature.
"""
