"""The topology: from the YAML file to exchanges, queues and bindings. Pure, no broker needed."""
