"""Writes goldens.npz: log-probs of the published GLM-130B class (SwissArmyTransformer 0.2.12).

Run with the interpreter of an environment that holds it (see tests/helpers/swiss_army_glm.py):
    python tests/data/sat/make_goldens.py ENVIRONMENT/bin/python
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "helpers"))

from swiss_army_cases import SHAPES, ask_published_class


def main() -> None:
    found: dict[str, Any] = {}
    for name in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            for index, rows in enumerate(
                ask_published_class(Path(sys.argv[1]), name, Path(folder))
            ):
                found[f"{name} {index}"] = rows[::5]  # every fifth position: small, and telling
    np.savez_compressed(Path(__file__).parent / "goldens.npz", **found)


if __name__ == "__main__":
    main()
