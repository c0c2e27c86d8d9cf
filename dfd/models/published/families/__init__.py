"""One module per family of published detectors: facts, the network, and where each of its tensors comes from."""
