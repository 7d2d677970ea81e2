"""How Bilin looks: colours, fonts, icons and the style sheet. Knows no page."""
