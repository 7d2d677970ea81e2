"""The process that holds a model: torch lives here, text does not."""
