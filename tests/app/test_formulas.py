"""Formulas: which text is one, that pictures stand for their source, that bombs stay text."""

import sys
from textwrap import indent

import pytest
from PySide6.QtGui import QTextCursor

from bilin_app.pages.chat import formulas as formulas_module
from bilin_app.pages.chat.formulas import Formulas, formulas, is_drawable
from bilin_app.pages.chat.markdown import _parser
from bilin_app.pages.chat.message_body import plain_text
from bilin_app.theme.theme import Look, start_theme

pytestmark = pytest.mark.gui


def found(source):
    return [
        (child.content.strip(), bool(child.hidden))
        for token in _parser().parse(source)
        for child in token.children or ()
        if child.type == "formula"
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (r"so \(a_1 * b_2\) is", [("a_1 * b_2", False)]),
        (r"$x$ and $$y$$", [("x", False), ("y", True)]),
        ("$$\na = b\n= c\n$$", [("a = b\n= c", True)]),
        ("\\[\nx\n\\]\n", [("x", True)]),
        ("- item\n\n  $$\n  z\n  $$", [("z", True)]),
        ("from $5 to $10, or $5-$10", []),
        (r"\$x\$ and `$x$`", []),
        ("$$ never closed", []),
        ("```\n$$x$$\n```", []),
    ],
)
def test_what_is_a_formula(source, expected):
    assert found(source) == expected


@pytest.fixture
def themed(qapp):
    start_theme(qapp, Look("light", "en"))


def test_a_formula_becomes_a_picture_and_is_copied_as_its_source(body):
    source = r"Before \(\frac{a}{b}\) after"
    body.set_text(source, is_complete=True)
    assert body.document().toPlainText() == source
    formulas().wait()
    assert body.document().toPlainText() == "Before \ufffc after"
    assert plain_text(body.document(), 0, body.document().characterCount()) == source


def test_a_formula_that_streams_in_is_drawn_once_closed(body):
    for piece in ("It is $$", "x", "^2$", "$ then", " more."):
        body.append(piece)
        formulas().wait()
    body.finish()
    assert "\ufffc" in body.document().toPlainText()
    cursor = QTextCursor(body.document())
    cursor.movePosition(QTextCursor.MoveOperation.End)
    assert plain_text(body.document(), 0, cursor.position()) == "It is $$x^2$$ then more."


def picture(latex):
    key = formulas().key(latex, is_display=False)
    formulas().get(key)
    formulas().wait()
    return formulas().get(key)


@pytest.mark.usefixtures("themed")
def test_chinese_in_a_formula_is_drawn_with_its_own_letters():
    """The font for mathematics has none of them: each was the same box."""
    for one, other in (
        (r"\text{速度}", r"\text{时间}"),
        ("S_{阴影}", "S_{三角}"),
        ("a，b", "a：b"),
    ):
        first, second = picture(one), picture(other)
        assert first is not None
        assert second is not None
        assert first.image != second.image
    assert picture(r"\frac{\text{路程}}{\text{时间}}") is not None
    assert picture("中^2") is not None


@pytest.mark.usefixtures("themed")
@pytest.mark.parametrize("latex", [r"\text{😀}", r"\text{한} = 1", r"\left（x\right）"])
def test_a_formula_with_a_letter_that_no_font_has_stays_its_source(latex):
    assert picture(latex) is None
    assert picture("x") is not None


def test_a_formula_with_a_letter_beyond_the_first_plane_becomes_a_picture(body):
    """Such a letter is two of Qt's."""
    body.set_text("so $𝑥^2$ and $y$.", is_complete=True)
    formulas().wait()
    assert body.document().toPlainText() == "so \ufffc and \ufffc."


@pytest.mark.parametrize(
    "latex",
    ["", "x" * 3000, "{" * 50 + "}" * 50, "x" + "^x" * 40, "x" + "^{x" * 40 + "}" * 40],
)
def test_a_bomb_is_not_even_tried(latex):
    assert not is_drawable(latex)


def scripted(qapp, tmp_path, each, *, first=""):
    """Drawing by a process that runs `first`, and `each` with every `latex` before its picture."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import json, sys, time\n"
        f"{first}\n"
        "for line in sys.stdin:\n"
        "    latex = json.loads(line)['latex']\n"
        f"{indent(each, '    ')}\n"
        '    svg = \'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 -8 9 10"/>\'\n'
        "    print(json.dumps({'svg': svg, 'ascent': 8, 'descent': 2}), flush=True)\n"
    )
    start_theme(qapp, Look("light", "en"))
    return Formulas(qapp, (sys.executable, str(script)))


def test_a_process_that_hangs_or_dies_costs_its_formula_only(qapp, tmp_path, monkeypatch):
    each = "if latex == 'hang': time.sleep(100)\nif latex == 'die': sys.exit(1)"
    drawing = scripted(qapp, tmp_path, each)
    monkeypatch.setattr(formulas_module, "START_MS", 4000)
    keys = [drawing.key(latex, is_display=False) for latex in ("hang", "die", "fine")]
    assert [drawing.get(key) for key in keys] == [None, None, None]
    drawing.wait()
    results = [drawing.get(key) for key in keys]
    drawing.close()
    assert results[:2] == [None, None]
    assert results[2] is not None
    assert (results[2].ascent, results[2].descent) == (8.0, 2.0)


def test_only_the_first_formula_waits_for_the_process_to_start(qapp, tmp_path, monkeypatch):
    each = "if latex == 'hang': time.sleep(100)"
    drawing = scripted(qapp, tmp_path, each, first="time.sleep(1.5)")
    monkeypatch.setattr(formulas_module, "LIMIT_MS", 1000)
    keys = [drawing.key(latex, is_display=False) for latex in ("x", "hang", "y")]
    for key in keys:
        drawing.get(key)
    drawing.wait()
    results = [drawing.get(key) is not None for key in keys]
    drawing.close()
    assert results == [True, False, True]


def test_a_formula_that_is_drawn_late_leaves_what_streams_below_it(body):
    """Its source is longer than its picture: all below it moves, the open paragraph too."""
    written = ("$$x^2 + y^2 = z^2$$\n\n", "The next para", "graph goes on", " and on.")
    for number, piece in enumerate(written):
        body.append(piece)
        if number == 1:
            formulas().wait()
            assert "\ufffc" in body.document().toPlainText()
    body.finish()
    assert body.document().toPlainText().count("\ufffc") == 1
    end = body.document().characterCount() - 1
    assert plain_text(body.document(), 0, end).split() == "".join(written).split()
