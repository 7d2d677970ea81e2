import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PySide6.QtCore import QTranslator

from bilin_app.theme.resources import ui_folder

ROOT = Path(__file__).parents[2]
TS = ui_folder() / "translations" / "bilin_zh_CN.ts"
QM = TS.with_suffix(".qm")


def entries(path):
    """(context, source, comment) -> (translation, is unfinished)."""
    result = {}
    for context in ElementTree.parse(path).getroot().findall("context"):
        name = context.findtext("name")
        for message in context.findall("message"):
            translation = message.find("translation")
            assert translation is not None
            key = (name, message.findtext("source"), message.findtext("comment") or "")
            result[key] = (translation.text or "", translation.get("type", ""))
    return result


def tool(name, *arguments):
    done = subprocess.run(
        [str(Path(sys.executable).parent / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def from_sources(tmp_path_factory):
    """The entries that lupdate finds in the app's sources now."""
    path = tmp_path_factory.mktemp("translations") / "now.ts"
    sources = sorted((ROOT / "app" / "bilin_app").rglob("*.py"))
    tool(
        "pyside6-lupdate", "-no-obsolete", "-source-language", "en_US",
        "-target-language", "zh_CN", *sources, "-ts", path,
    )  # fmt: skip
    return entries(path)


def test_every_text_is_translated_and_no_entry_is_unused(from_sources):
    stored = entries(TS)
    assert sorted(set(from_sources) - set(stored)) == []
    assert sorted(set(stored) - set(from_sources)) == []


def test_no_entry_is_unfinished_or_empty():
    bad = [key for key, (text, kind) in entries(TS).items() if kind or not text.strip()]
    assert bad == []


def test_placeholders_are_kept():
    import re

    places = re.compile(r"\{[a-z0-9_]*\}")
    for key, (text, _kind) in entries(TS).items():
        assert sorted(places.findall(text)) == sorted(places.findall(key[1])), key


def test_one_thing_has_one_word():
    """加载, 模型库 (the hub), 比邻, 无标题, and … as the texts of the window have it."""
    others = ("载入", "模型站", "Bilin", "未命名", "……")
    told = {text for text, _ in entries(TS).values()}
    assert [text for text in told if any(other in text for other in others)] == []
    hubs = {key[1] for key, (text, _) in entries(TS).items() if "模型库" in text}
    assert [source for source in hubs if "hub" not in source] == []


def test_the_compiled_file_is_that_of_the_source(tmp_path):
    fresh = tmp_path / "fresh.qm"
    tool("pyside6-lrelease", "-silent", TS, "-qm", fresh)
    assert fresh.read_bytes() == QM.read_bytes()


def test_the_compiled_file_speaks_chinese():
    translator = QTranslator()
    assert translator.load("bilin_zh_CN", str(QM.parent))
    assert translator.translate("Rail", "Chat") == "对话"
    assert translator.translate("Rail", "Settings") == "设置"
