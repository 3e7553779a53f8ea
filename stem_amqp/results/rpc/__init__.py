"""Results sent back to the producer as messages."""
