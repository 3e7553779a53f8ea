"""The rehearsal: an application with faults, and the tools that a team has on its screens."""
