"""Text without widgets: Markdown blocks, search terms, titles."""
