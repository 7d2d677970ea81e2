import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bilin_app.text.conversation_file import (
    FileConversation,
    FileMessage,
    read_conversations,
    to_json,
    to_markdown,
)

MESSAGES = st.builds(
    FileMessage, st.sampled_from(["user", "assistant"]), st.text(), st.floats(0, 1e10)
)


@given(st.builds(FileConversation, st.text(), st.lists(MESSAGES, min_size=1).map(tuple), st.text()))
def test_what_is_exported_is_read_back(conversation):
    assert read_conversations(to_json(conversation)) == [conversation]


def test_markdown_reads_as_it_was_said():
    conversation = FileConversation(
        "T", (FileMessage("user", "hi"), FileMessage("assistant", "**yes**\n")), "be\nbrief"
    )
    assert to_markdown(conversation, "You", "Bilin") == (
        "# T\n\n> be\n> brief\n\n## You\n\nhi\n\n## Bilin\n\n**yes**\n"
    )


def test_the_branch_that_chatgpt_shows_is_taken():
    def node(parent, role, *parts):
        return {
            "parent": parent,
            "message": {"author": {"role": role}, "create_time": 5, "content": {"parts": parts}},
        }

    exported = {
        "title": "From there",
        "create_time": 1.5,
        "current_node": "d",
        "mapping": {
            "root": {"parent": None, "message": None},
            "a": node("root", "system", ""),
            "b": node("a", "user", "question", {"image": 1}),
            "c": node("b", "assistant", "another version"),
            "tool": node("b", "tool", "x"),
            "d": node("tool", "assistant", "answer"),
        },
    }
    [found] = read_conversations(json.dumps([exported, {"mapping": 3}, 7]))
    assert found.title == "From there"
    assert [(m.role, m.text) for m in found.messages] == [
        ("user", "question"), ("assistant", "answer"),
    ]  # fmt: skip


def test_half_a_pair_of_surrogates_becomes_a_character_that_can_be_stored():
    attachment = {"name": "a\ud83d", "text": "b\udc00"}
    turn = {"role": "user", "text": "cut \ud83d", "attachments": [attachment]}
    ours = {"bilin_conversation": 1, "title": "t\ud83d", "messages": [turn]}
    node = {"message": {"author": {"role": "user"}, "content": {"parts": ["cut \ud83d"]}}}
    for content in (ours, [{"title": "t\ud83d", "current_node": "a", "mapping": {"a": node}}]):
        [found] = read_conversations(json.dumps(content))
        assert found.title == "t\ufffd"
        assert found.messages[0].text == "cut \ufffd"
        to_json(found).encode()


def test_a_loop_in_a_file_ends():
    entry = {"current_node": "a", "mapping": {"a": {"parent": "a", "message": None}}}
    assert read_conversations(json.dumps([entry])) == []


@pytest.mark.parametrize("text", ["", "[", "3", "{}", '{"bilin_conversation": 9}', "[" * 100_000])
def test_other_files_are_refused_with_a_reason(text):
    with pytest.raises(ValueError, match=r"no JSON|neither|not known"):
        read_conversations(text)


@given(st.text(' \n[],{}":1a', max_size=12).map(lambda text: f"[{text}"))
@example("[]")
@example(' [1, {"a": []}] ')
@example("[1 2]")
@example("[1,]")
@example("[] 1")
def test_an_array_is_refused_as_one_json_text_would_be(text):
    try:
        json.loads(text)
    except json.JSONDecodeError:  # how it says so differs between Pythons
        with pytest.raises(ValueError, match="this is no JSON: "):
            read_conversations(text)
    else:
        assert read_conversations(text) == []


def test_other_threads_wait_for_the_decoding_of_one_conversation_at_most(monkeypatch):
    sizes = []
    decode = json.JSONDecoder.raw_decode

    def measured(self, text, start=0):
        element, end = decode(self, text, start)
        sizes.append(end - start)
        return element, end

    monkeypatch.setattr(json.JSONDecoder, "raw_decode", measured)
    node = {"message": {"author": {"role": "user"}, "content": {"parts": ["hello"]}}}
    entry = {"title": "t", "current_node": "a", "mapping": {"a": node}}
    assert len(read_conversations(json.dumps([entry] * 50, indent=1))) == 50
    assert max(sizes) < 2 * len(json.dumps(entry, indent=2))
