"""Begin the nodes of a composition: create the groups, then publish the calls of their first links.

The producer begins the first node of a composition, and a worker the node that follows a task or a group.

`place` says where a node is; `calls` makes the call of a link; `start` lists the groups and calls of a node;
`plan` is what a group's record says about its continuation; `linker` carries it out. `ends` reports the
members of groups and goes on after the last one; `members` reads their results; `skips` stores the states of
links that never run.
"""
