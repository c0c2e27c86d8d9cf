"""One video while it is scored: its windows, the batches they go through the network in, and when that may stop."""
