"""Writes app/bilin_app/text/simplified.txt from OpenCC's table of characters.

    python packaging/write_simplified.py PATH/TO/TSCharacters.txt

The table is OpenCC's data/dictionary/TSCharacters.txt (https://github.com/BYVoid/OpenCC,
Apache-2.0; also inside its packages). Searching wants one simplified form per character, so of
several candidates the first that differs is taken, and chains are followed to their end.
"""

import sys
from pathlib import Path

TARGET = Path(__file__).parents[1] / "app" / "bilin_app" / "text" / "simplified.txt"
PAIRS_A_LINE = 40
# Forms that OpenCC leaves to its table of words, or counts as variants.
MORE = {"著": "着", "妳": "你"}
HEAD = """\
# Pairs of a traditional character and the simplified one that search takes for it.
# From OpenCC's TSCharacters.txt (https://github.com/BYVoid/OpenCC), Apache License 2.0.
# Written by packaging/write_simplified.py; not to be edited by hand.
"""


def main(source: Path) -> None:
    """Writes TARGET."""
    table = dict(MORE)
    for line in source.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            traditional, candidates = line.split("\t")
            others = [c for c in candidates.split() if c != traditional]
            if others:
                table.setdefault(traditional, others[0])
    for traditional in table:
        while table[traditional] in table:
            table[traditional] = table[table[traditional]]
    pairs = [traditional + simplified for traditional, simplified in sorted(table.items())]
    lines = [
        "".join(pairs[at : at + PAIRS_A_LINE]) + "\n" for at in range(0, len(pairs), PAIRS_A_LINE)
    ]
    TARGET.write_text(HEAD + "".join(lines), encoding="utf-8")
    print(f"{len(pairs)} pairs, {TARGET.stat().st_size} bytes in {TARGET}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
