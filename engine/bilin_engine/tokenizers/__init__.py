"""Text <-> ids. Never torch."""
