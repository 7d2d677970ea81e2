"""Terms as SQLite's FTS5 really matches them."""

import os
import re
import sqlite3
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bilin_app.text import search_terms
from bilin_app.text.pinyin import find_reading, reading_pattern, readings
from bilin_app.text.search_terms import fold, highlights, index_terms, match_expression, snippet
from bilin_app.text.simplified import simplify
from bilin_app.text.titles import MAX_TITLE_COLUMNS, file_name_of, title_from


def matches(text: str, query: str) -> bool:
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE f USING fts5(body, content='')")
        connection.execute("INSERT INTO f (rowid, body) VALUES (1, ?)", [index_terms(text)])
        expression = match_expression(query)
        return bool(expression) and bool(
            connection.execute("SELECT 1 FROM f WHERE f MATCH ?", [expression]).fetchone()
        )
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("text", "query", "expected"),
    [
        ("冬天，中国哪座城市最适合避寒？", "避寒", True),
        ("冬天，中国哪座城市最适合避寒？", "寒避", False),
        ("冬天，中国哪座城市最适合避寒？", "冬", True),
        ("冬天，中国哪座城市最适合避寒？", "寒", True),
        ("冬天，中国哪座城市最适合避寒？", "城市 冬天", True),
        ("冬天，中国哪座城市最适合避寒？", "冬天中国", False),
        ("用Python写量子计算", "python 量子", True),
        ("用Python写量子计算", "pyth", True),
        ("用Python写量子计算", "ython", False),
        ("The Marlin kernel", "marlin kern", True),
        ("The Marlin kernel", "mar kernel", False),
        ("ＡＢＣ全角", "abc", True),
        ("naïve café", "cafe", True),
        ("snake_case_name", "case", True),
        ("C++ and \"quotes\" OR NEAR(", '"quotes" NEAR(', True),
        ("𠮷野家", "𠮷野", True),
        ("한국어 검색", "검색", True),
        ("ひらがなとカタカナ", "カタ", True),
        ("anything", "!!! ***", False),
        ("anything", "", False),
    ],
)  # fmt: skip
def test_search(text, query, expected):
    assert matches(text, query) is expected


@given(st.text(alphabet='量子力学ab c，。_-"*(', min_size=1, max_size=12), st.data())
def test_every_cjk_part_of_a_text_finds_it(text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    part = "".join(c for c in text[start:end] if c in "量子力学")
    if part and part in text:
        assert matches(text, part)


@given(st.text(max_size=30))
def test_no_query_is_a_syntax_error(query):
    matches("x", query)


@given(st.text(max_size=60), st.text(max_size=6))
def test_highlights_lie_in_the_text_in_order(text, query):
    last = -1
    for start, end in highlights(text, query):
        assert last < start < end <= len(text)
        last = end
    shown, inside = snippet(text, query, 20)
    assert all(0 <= start < end <= len(shown) for start, end in inside)


def test_snippet_shows_the_first_hit_with_its_place():
    shown, [hit] = snippet("前" * 100 + "量子\n计算" + "后" * 100, "量子", 20)
    assert shown.startswith("…")
    assert shown.endswith("…")
    assert shown[hit[0] : hit[1]] == "量子"


def test_the_snippet_of_a_long_text_is_cut_from_around_the_hit(monkeypatch):
    """Folding each character by itself takes a second for half a million."""
    folded: list[int] = []
    monkeypatch.setattr(
        search_terms, "_fold", lambda text, fold=search_terms._fold: folded.append(1) or fold(text)
    )
    shown, [hit] = snippet("风，" * 200_000 + "凱旋門\n甲" + "。" * 1000, "凯旋门")
    assert shown[hit[0] : hit[1]] == "凱旋門"
    assert shown.startswith("…")
    assert shown.endswith("…")
    assert len(folded) < 10_000


WORDS = st.sampled_from(
    ["ab", "AB", "catab", "凯旋", "凱旋門", "，", "。", " ", "\n", "ﬁn", "e\u0301", "☃"]
)


@given(st.lists(WORDS, max_size=40).map("".join), st.sampled_from(["ab", "旋门", "fi", "é", "x"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_folded_in_pieces_is_the_same_as_at_once(monkeypatch, text, query):
    monkeypatch.setattr(search_terms, "PIECE", 1000)
    at_once = fold(text), snippet(text, query, 20)
    monkeypatch.setattr(search_terms, "PIECE", 2)
    assert (fold(text), snippet(text, query, 20)) == at_once
    assert at_once[0] == search_terms._fold(text)
    first = highlights(re.sub(r"\s+", " ", text).strip(), query)[:1]
    shown, inside = at_once[1]
    assert bool(first) == bool(inside)
    assert [shown[start:end] for start, end in inside[:1]] == [
        re.sub(r"\s+", " ", text).strip()[start:end] for start, end in first
    ]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("你好", "你好"),
        ("\n\n## **Marlin** kernel: how?\nmore", "Marlin kernel: how?"),
        ("冬天，中国哪座城市最适合避寒？请列出三个。", "冬天，中国哪座城市最适合避寒？"),
        ("Explain how the Marlin kernel packs weights", "Explain how the Marlin kernel packs…"),
        ("```\n***\n", ""),
        ("？", "？"),
        ("。。。", "。。。"),
        ("👍🏽\nyes", "yes"),
        ("***\n\u200b\n👨\u200d👩\u200d👧\n……", "👨\u200d👩\u200d👧"),
        ("x" * 100, "x" * (MAX_TITLE_COLUMNS - 1) + "…"),
        ("Hi. What can you do?", "Hi. What can you do?"),
        ("> - 用`ls -l`和**三个**参数", "用ls -l和三个参数"),
        ("`.bashrc` 和 `user_id`", ".bashrc 和 user_id"),
        ("```python\nprint(1)\n```", "print(1)"),
    ],
)  # fmt: skip
def test_titles(text, title):
    assert title_from(text) == title


@pytest.mark.parametrize(
    "text",
    [
        "3*4等于多少？",
        "长*宽*高怎么算",
        "2**10 是多少",
        "-5℃ 能结冰吗",
        "user_id 和 user_name 有什么区别",
        "解释 my_var_name 和 __init__.py",
        "*args 和 **kwargs 是什么",
        "*.py和*.txt的区别",
        "src/**/a 和 b/**/c",
        "~/.bashrc 怎么写",
        "#include 报错",
    ],
)
def test_a_title_keeps_signs_that_are_no_markup(text):
    assert title_from(text) == text


@pytest.mark.timeout(10)  # it is on the way of a message that is sent
@pytest.mark.parametrize("piece", ["**a ", "`", "# ", " ", "**", "- ", "`a"])
def test_the_title_of_a_long_line_of_marks_is_found_at_once(piece):
    title_from(piece * 100_000 + "x")


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Lakes: deep/wide?", "Lakes deep wide"),
        ("a\tb…", "a b"),
        ("..", "bilin"),
        ("湖" * 100, "湖" * 80),
    ],
)
def test_a_title_as_a_file_s_name(title, name):
    assert file_name_of(title) == name


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("臺灣的冬天與後裏", "台湾"),
        ("台湾的冬天", "臺灣"),
        ("繁體中文的記憶體", "繁体 记忆"),
        ("看著窗外", "看着"),
        ("乾淨的桌子", "干净"),
    ],
)
def test_simplified_and_traditional_find_each_other(text, query):
    assert matches(text, query)
    assert highlights(text, query)


def test_folding_a_script_is_once_for_all_and_keeps_the_length():
    text = "乾坤 臺灣 後 髮發 著 薴 abc ①"
    once = simplify(text)
    assert simplify(once) == once
    assert len(once) == len(text)


READ = readings("重庆 Python 三亚避寒")


@pytest.mark.parametrize(
    ("query", "span"),
    [
        ("cq", (0, 2)),
        ("zhongqing", (0, 2)),
        ("chongq", (0, 2)),
        ("SYBH", (10, 14)),
        ("sanya", (10, 12)),
        ("sanyabh", (10, 14)),
        ("pyth", (3, 7)),
        ("anya", None),  # from inside a syllable
        ("qs", None),  # not beside each other
        ("s", None),
        ("三亚", None),
        ("san ya", None),
    ],
)
def test_a_title_is_found_by_its_pinyin(query, span):
    pattern = reading_pattern(query)
    assert (pattern and find_reading(pattern, READ)) == span


def test_a_latin_title_has_no_readings_and_imports_no_pinyin():
    code = (
        "import sys; from bilin_app.text.pinyin import readings; assert readings('Marlin') == '';"
    )
    code += "assert 'pypinyin' not in sys.modules; assert readings('三亚') == 'san|ya'"
    path = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})


@given(st.text("三亚重abz| ,", max_size=12), st.text("sanyazhongcb", min_size=2, max_size=24))
def test_what_pinyin_finds_lies_in_the_title(title, query):
    pattern = reading_pattern(query)
    assert pattern is not None
    span = find_reading(pattern, readings(title))
    assert span is None or 0 <= span[0] < span[1] <= len(title)
