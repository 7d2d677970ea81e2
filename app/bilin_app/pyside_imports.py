"""What PySide6 does at every import, and Bilin has no use for."""

import contextlib


def leave_sources_alone() -> None:
    """Has PySide6 no longer read the source of every module that is imported.

    WORKAROUND: PySide6 (6.8 to 6.11) looks in each for its own name, for `__feature__` switches,
    and `linecache` keeps what it read: 6 MB, and about a twentieth of the time of a start. A module
    that it knows nothing of has the switches off, as all of ours have.
    """
    with contextlib.suppress(ImportError, AttributeError):
        import PySide6.QtCore  # noqa: F401 - brings the next one along
        import shibokensupport.feature as feature  # type: ignore[import-not-found]

        if callable(feature.feature_imported):
            feature.feature_imported = lambda _module: None
