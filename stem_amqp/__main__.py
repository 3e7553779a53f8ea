"""``python -m stem_amqp``: the same as ``stem-amqp``."""

from stem_amqp.cli import main

if __name__ == "__main__":
    main()
