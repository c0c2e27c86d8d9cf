"""Self-blended fakes: a real face blended with an altered view of itself."""
