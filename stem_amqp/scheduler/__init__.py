"""The scheduler: publishes the ticks of schedules ahead of time.

Any number of processes run one; `leadership` chooses the one that publishes, `decide` says what it publishes, and
`term` does it. `managed` changes schedules at run time.
"""
