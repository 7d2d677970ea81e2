"""The column that messages, composer and greeting stand in, in px."""

COLUMN_WIDTH = 720
MARGIN = 24  # at its sides, at least
