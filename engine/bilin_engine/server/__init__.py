"""The supervisor process: protocol, library, tokenizers, workers' lives. Never torch."""
