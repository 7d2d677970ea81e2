"""What PySide6 does when it is imported and at every import after it, and Bilin has no use for."""

import builtins
import contextlib
from typing import Any

_STUB_GENERATOR = "shibokensupport/signature/lib/pyi_generator.py"


def import_pyside() -> None:
    """Imports PySide6 for the first time, without what costs a start a tenth of its time.

    WORKAROUND: PySide6 (6.8 to 6.11) compiles the generator of its `.pyi` files at every start,
    and looks into the source of every module that is imported for its own name, for `__feature__`
    switches; `linecache` keeps what it read: 6 MB. A module that it knows nothing of has the
    switches off, as all of ours have.
    """
    with contextlib.suppress(ImportError, AttributeError):
        builtins.compile = _compile_but_stub_generator
        try:
            import PySide6.QtCore  # noqa: F401 - brings the next one along
        finally:
            builtins.compile = _compile
        import shibokensupport.feature as feature  # type: ignore[import-not-found]

        if callable(feature.feature_imported):
            feature.feature_imported = lambda _module: None


_compile = builtins.compile


def _compile_but_stub_generator(source: Any, filename: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as compile's own
    if filename == _STUB_GENERATOR:
        source = b""
    return _compile(source, filename, *args, **options)
