"""Text files that people give are read whole, or a sentence says what is wrong."""

import pytest
from letter_tokenizer import LetterTokenizer

from bilin_engine.errors import BadRequestError
from bilin_engine.evaluate.probe import read_probe
from bilin_engine.evaluate.proofread import read_planted
from bilin_engine.evaluate.tasks import read_pile_documents, read_task
from bilin_engine.pretrain.contamination import read_probe_questions
from bilin_engine.text_file import numbered_lines, read_text


def test_lines_keep_their_numbers_and_separators_that_json_allows(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"q": "a\u2028b\x85c"}\r\n\n  \n{"q": "d"}', encoding="utf-8", newline="")
    assert list(numbered_lines(path)) == [
        (f"{path}, line 1", '{"q": "a\u2028b\x85c"}'),
        (f"{path}, line 4", '{"q": "d"}'),
    ]
    assert read_probe_questions([path]) == ["a\u2028b\x85c", "d"]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = tmp_path / "notepad.jsonl"
    path.write_text('{"q": "a"}\n', encoding="utf-8-sig")
    assert read_text(path) == '{"q": "a"}\n'
    assert read_probe_questions([path]) == ["a"]


@pytest.mark.parametrize(
    "read",
    [
        read_text,
        read_probe,
        read_planted,
        lambda path: read_pile_documents(path, LetterTokenizer()),
        read_task,
        lambda path: read_probe_questions([path]),
    ],
    ids=["text", "probe", "planted", "pile", "task", "probe_questions"],
)
def test_another_encoding_is_told_with_its_byte(tmp_path, read):
    path = tmp_path / "gbk.jsonl"
    path.write_bytes('{"q": "你好"}'.encode("gb18030"))
    with pytest.raises(BadRequestError, match=r"gbk\.jsonl is no UTF-8 text: byte 7 is 0xc4"):
        read(path)
    with pytest.raises(BadRequestError, match="nowhere cannot be read: No such file"):
        read(tmp_path / "nowhere")


@pytest.mark.parametrize("line", ["[1]", '{"must": "x"}', '{"q": 3}'])
def test_a_line_that_asks_nothing_is_named(tmp_path, line):
    path = tmp_path / "p.jsonl"
    path.write_text(f'{{"text": "fine"}}\n{line}\n')
    with pytest.raises(BadRequestError, match=r"p\.jsonl, line 2: no question"):
        read_probe_questions([path])
