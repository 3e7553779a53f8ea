"""What follows a task of a composition: its next link, or the end of its branch of a group.

`worker.settle` calls `continuing` before it stores the state of a task that has ended. `taking` is the other
side: a continuation claims its group and reads the results before it runs.
"""
