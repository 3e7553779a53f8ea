"""Messages on the wire: task messages, their headers, and commands to workers."""
