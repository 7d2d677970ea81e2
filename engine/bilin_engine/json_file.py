"""The JSON files of a model folder, and a sentence where they are not what they should be."""

import json
from pathlib import Path
from typing import Any

from bilin_engine.errors import ModelBrokenError


def read_json_object(path: Path, max_bytes: int, *, called: str = "JSON file") -> dict[str, Any]:
    """The object in `path`. `called` says in the sentence what a longer file is not.

    Raises ModelBrokenError: missing, unreadable, longer than `max_bytes`, not JSON, or no object.
    """
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise ModelBrokenError(
                f"{path}: {size} bytes is no {called}; at most {max_bytes} bytes are read"
            )
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelBrokenError(f"{path} is missing: {path.parent} is not a model folder") from error
    except OSError as error:
        raise ModelBrokenError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits
        raise ModelBrokenError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelBrokenError(f"{path} does not hold a JSON object")
    return content
