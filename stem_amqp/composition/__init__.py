"""Composed tasks: chains, groups, and callbacks of groups.

`model` has the typed values that `Task.s` (`composable`), ``|``, and `chain`, `group` and `chord` (`build`) make
of `step`s; `follow` and `fit` check what can follow what. `compile` turns them into the nodes that messages
carry (`stem_amqp.messages.links`), `enqueue` begins them, and `shape` stores what they look like. `handle` and
`handles` wait for results; `ending` reads those of a group. `entrance` has the methods of a `Stem`.
"""
