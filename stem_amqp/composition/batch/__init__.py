"""Batches: open groups, to which members are added while others run.

`members` has what a batch does on given connections, `reading` what is stored about it, `opened` the object for
asynchronous code, and `blocking` that for code without an event loop.
"""
