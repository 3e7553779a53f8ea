"""Rules for equal calls that come close together: debounced and throttled tasks.

`debounce` delays a call and lets the last one win, `throttle` enqueues so many in a period; `choice` says
which calls are equal. A unique task (`stem_amqp.tasks.unique`) is the third such rule. A call has at
most one of them: `rule` decides which.
"""
