"""Exchanges and blanks written from facts known to be true, in varied phrasings."""
