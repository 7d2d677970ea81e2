"""Bold and strikethrough in texts without spaces, and in all others as CommonMark has it."""

import pytest
from PySide6.QtCore import QObject

from bilin_app.pages.chat.document import MessageDocument
from bilin_app.theme.fonts import BOLD
from bilin_app.theme.theme import Look, start_theme

pytestmark = pytest.mark.gui


def shown(text):
    """A message's letters, those set bold or struck out in brackets."""
    owner = QObject()
    document = MessageDocument(owner)
    document.set_text(text, is_complete=True)
    result = ""
    block = document.qt.begin()
    while block.isValid():
        fragments = block.begin()
        while not fragments.atEnd():
            fragment = fragments.fragment()
            letters = fragment.charFormat()
            is_marked = letters.fontWeight() == BOLD or letters.fontStrikeOut()
            result += f"[{fragment.text()}]" if is_marked else fragment.text()
            fragments += 1
        block = block.next()
    return result.replace("][", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**第一步：**打开文件。", "[第一步：]打开文件。"),
        ("用**`pip`**安装", "用[pip]安装"),
        ("~~删除。~~后面", "[删除。]后面"),
        ("**“甲”**和**“乙”**", "[“甲”]和[“乙”]"),
        ("**优点：**速度快**缺点**占", "[优点：]速度快[缺点]占"),
        ("读**《红楼梦》**吧", "读[《红楼梦》]吧"),
        ("**Python（3.11）**是语言", "[Python（3.11）]是语言"),
        ("他说**“你好”**就走了", "他说[“你好”]就走了"),
        ("***很重要！***的事", "[很重要！]的事"),
        ("**日本語。**です", "[日本語。]です"),
        # As CommonMark says
        ("**English.** text", "[English.] text"),
        ("**a.**b", "**a.**b"),
        ("a **b", "a **b"),
        ("5*（3+2）*2", "5*（3+2）*2"),
        ("2**10是多少", "2**10是多少"),
    ],
)
def test_marks_are_told_from_letters(qapp, text, expected):
    start_theme(qapp, Look("light", "zh"))
    assert shown(text) == expected
