"""Sets Bilin up in this checkout and starts it. Standard library only.

`python3 packaging/launch.py` sets up what is missing and starts the app; `launch.py prepare` only
sets up; `launch.py test [lint|type|test|gpu|full]` sets up what tests need and runs them (default:
lint, type and test). `launch.py --help` tells the rest.

This file can be read by old Pythons, so that they can say what is wrong; the rest is in
command_line.py.
"""

import os
import shutil
import subprocess
import sys

OLDEST, NEWEST = (3, 11), (3, 13)


def use_fitting_python():  # noqa: ANN201 -- old Pythons read this
    """Goes on in a Python between OLDEST and NEWEST, or ends with a sentence."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        for folder in os.get_exec_path():
            other = shutil.which("python3.%d" % minor, path=folder)  # noqa: UP031 -- old Pythons
            if other and _runs(other):
                os.execv(other, [other] + sys.argv)  # noqa: RUF005 -- old Pythons read this
    sys.exit(
        "✗ Bilin 需要 Python 3.11 到 3.13，这里是 {0}.{1}\n"
        "  Bilin needs Python 3.11 to 3.13; this is {0}.{1}\n"
        "  → Install one beside it, in any of these ways, and start again:\n"
        "  → sudo apt-get install python3.11 python3.11-venv    (Ubuntu 22.04)\n"
        "  → uv python install 3.12\n"
        "  → conda create -n bilin python=3.12 && conda activate bilin".format(
            *sys.version_info[:2]
        )
    )


def _runs(python):  # noqa: ANN001, ANN202 -- old Pythons read this
    """Whether it is a Python: pyenv's shim of a version that is not chosen only says so."""
    return subprocess.call([python, "-c", "pass"], stderr=subprocess.DEVNULL) == 0


if __name__ == "__main__":
    use_fitting_python()
    from pathlib import Path

    # With PYTHONSAFEPATH Python does not look beside this file by itself.
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from command_line import main

    sys.exit(main(sys.argv[1:]))
