"""The editor page: documents at the left, the text, and the blank in hand at the right."""
