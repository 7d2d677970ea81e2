"""Conversations in SQLite and settings in TOML. Knows neither widgets nor the engine."""
