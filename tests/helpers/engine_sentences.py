"""Every string that the engine's, kernels' and app's sources make, with `{}` for each value."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = (
    ROOT / "engine" / "bilin_engine",
    ROOT / "kernels" / "bilin_kernels",
    ROOT / "app" / "bilin_app" / "text",
)
# The editor reads files, too; the client fails what cannot be sent.
ALONE = (
    ROOT / "app" / "bilin_app" / "controllers" / "document_files.py",
    ROOT / "app" / "bilin_app" / "engine_client" / "client.py",
)


def written_templates() -> set[str]:
    """As "the prompt has {} tokens"; strings joined by + or by standing side by side are one."""
    found: set[str] = set()
    for path in (*ALONE, *(path for folder in SOURCES for path in folder.rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            template = _template(node)
            if template:
                found.add(template)
    return found


def _template(node: ast.AST) -> str | None:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            parts = [_template(v) if isinstance(v, ast.Constant) else "{}" for v in values]
            return "".join(part or "" for part in parts)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            first, second = _template(left), _template(right)
            return None if first is None or second is None else first + second
    return None
