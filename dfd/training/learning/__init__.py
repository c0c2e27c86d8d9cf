"""How a run learns: its losses, what its optimizer moves, where its weights begin, and when it has diverged."""
