"""The messages and records that follow a run; `worker.settle` publishes and stores them."""
