"""Where the files of resources/ui lie: in a checkout or in an installed package."""

from functools import cache
from pathlib import Path


@cache
def ui_folder() -> Path:
    """The folder with fonts/, icons/ and translations/.

    Raises FileNotFoundError if the installation lacks it.
    """
    package = Path(__file__).resolve().parent.parent
    installed = package / "_ui"
    checkout = package.parent.parent / "resources" / "ui"
    for folder in (installed, checkout):
        if (folder / "fonts").is_dir():
            return folder
    raise FileNotFoundError(
        f"the interface's files are missing: neither {installed} nor {checkout} has a folder "
        "`fonts`; install Bilin again"
    )
