"""The document, its steps and what is offered for its blanks: against a simple model of it."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bilin_app.controllers.editor_session import EditorSession
from bilin_app.text.document import (
    BLANK_MARK,
    MASK_TEXTS,
    Document,
    Edit,
    common_ends,
    count_characters,
    count_units,
    ends_at_caret,
    fitted,
    from_units,
    parse_slice,
    plain_slice,
    to_units,
    word_end,
)
from bilin_app.text.document_file import BlankFill, Snapshot, decode_document, encode_document
from bilin_engine.protocol import Candidate, FillConstraints

TEXT = st.text(st.sampled_from("ab 空。\n🏛é"), max_size=6)


def session_of(text: str) -> EditorSession:
    return EditorSession(Snapshot("", parse_slice(text, Document())))


def view_of(session, blank_id):
    view = session.view(blank_id)
    assert view is not None
    return view


def offer(session, blank_id, *texts):
    session.begin_stream(blank_id)
    session.end_stream(blank_id, [Candidate(text=t, logprob=-1.0, num_tokens=1) for t in texts])


class AnySteps(RuleBasedStateMachine):
    """A list of characters and tokens beside the session; one list a step, for undo and redo."""

    def __init__(self):
        super().__init__()
        self.session = session_of("")
        self.session.edited.connect(self._check_edit)
        self.simple: list[str] = []
        self.past: list[list[str]] = []
        self.future: list[list[str]] = []
        self.mirror = Document()

    def _check_edit(self, edit: Edit, _is_ahead):
        self.mirror.apply(edit)

    def _step(self, new: list[str], *, always: bool = False):
        self.session._typing = None  # every typing a step of its own, as after a pause
        if always or new != self.simple:
            self.past.append(self.simple)
            self.future = []
            self.simple = new

    def _place(self, share: float) -> int:
        """A position that parts no surrogate pair."""
        return round(share * len(self.simple))

    def _units(self, place: int) -> int:
        return sum(2 if len(c) == 1 and c > "\uffff" else 1 for c in self.simple[:place])

    def _blank(self, share: float) -> tuple[int, int] | None:
        """(blank id, its place in the simple list)"""
        places = [i for i, c in enumerate(self.simple) if len(c) > 1]
        if not places:
            return None
        index = min(int(share * len(places)), len(places) - 1)
        return self.session.document.blanks[index][1].id, places[index]

    @rule(a=st.floats(0, 1), b=st.floats(0, 1), text=TEXT)
    def type_text(self, a, b, text):
        start, end = sorted((self._place(a), self._place(b)))
        self.session.type_text(self._units(start), self._units(end), text)
        self._step([*self.simple[:start], *text, *self.simple[end:]])

    @rule(a=st.floats(0, 1), text=TEXT, token=st.sampled_from(sorted(MASK_TEXTS.values())))
    def paste(self, a, text, token):
        at = self._place(a)
        self.session.paste(self._units(at), self._units(at), text + token + text)
        self._step([*self.simple[:at], *text, token, *text, *self.simple[at:]])

    @rule(a=st.floats(0, 1), b=st.floats(0, 1), kind=st.sampled_from(["short", "long"]))
    def make_blank(self, a, b, kind):
        start, end = sorted((self._place(a), self._place(b)))
        self.session.make_blank(self._units(start), self._units(end), kind)
        new = [*self.simple[:start], MASK_TEXTS[kind], *self.simple[end:]]
        self._step(new, always=True)  # another blank, even in a blank's place

    @rule(share=st.floats(0, 1), texts=st.lists(TEXT, min_size=1, max_size=3, unique=True))
    def fill(self, share, texts):
        if (found := self._blank(share)) is not None:
            offer(self.session, found[0], *texts)

    @rule(share=st.floats(0, 1), text=TEXT)
    def stream(self, share, text):
        if (found := self._blank(share)) is not None:
            self.session.begin_stream(found[0])
            self.session.append_stream(found[0], text)

    @rule(share=st.floats(0, 1), index=st.integers(-1, 2))
    def choose(self, share, index):
        if (found := self._blank(share)) is not None:
            self.session.choose(found[0], index)

    @rule(share=st.floats(0, 1))
    def accept(self, share):
        if (found := self._blank(share)) is not None:
            text = from_units(self.session.shown_text(found[0]))
            if self.session.accept(found[0]):
                at = found[1]
                self._step([*self.simple[:at], *text, *self.simple[at + 1 :]])

    @rule(share=st.floats(0, 1))
    def accept_word(self, share):
        if (found := self._blank(share)) is None:
            return
        blank_id, at = found
        shown = self.session.shown_text(blank_id)
        end = word_end(shown)
        is_last = not shown[end:].strip()
        if self.session.accept_word(blank_id):
            word = from_units(shown if is_last else shown[:end])
            rest = [] if is_last else [self.simple[at]]
            self._step([*self.simple[:at], *word, *rest, *self.simple[at + 1 :]])

    @rule(share=st.floats(0, 1))
    def restore_original(self, share):
        if (found := self._blank(share)) is not None:
            original = view_of(self.session, found[0]).original
            self.session.restore_original(found[0])
            self._step([*self.simple[: found[1]], *original, *self.simple[found[1] + 1 :]])

    @rule(share=st.floats(0, 1), kind=st.sampled_from(sorted(MASK_TEXTS)))
    def set_kind(self, share, kind):
        if (found := self._blank(share)) is not None:
            self.session.set_kind(found[0], kind)
            self._step([*self.simple[: found[1]], MASK_TEXTS[kind], *self.simple[found[1] + 1 :]])

    @rule(a=st.floats(0, 1), b=st.floats(0, 1), c=st.floats(0, 1))
    def move(self, a, b, c):
        start, end = sorted((self._place(a), self._place(b)))
        to = self._place(c)
        first, last, target = self._units(start), self._units(end), self._units(to)
        part = self.simple[start:end]
        num_steps = self.session.stack.index()
        at = self.session.move(first, last, target)
        if to < start:
            new = [*self.simple[:to], *part, *self.simple[to:start], *self.simple[end:]]
        elif to > end:
            new = [*self.simple[:start], *self.simple[end:to], *part, *self.simple[to:]]
        else:
            new = self.simple
        # Two blanks of a kind change places though the text stays the same.
        self._step(new, always=self.session.stack.index() > num_steps)
        assert self.session.document.slice(at, at + last - first).plain_text == "".join(part)

    @rule(a=TEXT, token=st.sampled_from(sorted(MASK_TEXTS.values())), b=TEXT, offered=TEXT)
    def restore_an_earlier_state(self, a, token, b, offered):
        content = parse_slice(a + token + b, self.session.document)
        [(_, blank)] = content.blanks
        candidates = (Candidate(text=offered, logprob=-1.0, num_tokens=1),)
        self.session.replace_all(content, {blank.id: BlankFill(candidates, 0)})
        assert self.session.fill(blank.id).candidates == candidates
        self._step([*a, token, *b], always=True)

    @precondition(lambda self: self.past)
    @rule()
    def undo(self):
        self.session.undo()
        self.future.append(self.simple)
        self.simple = self.past.pop()

    @precondition(lambda self: self.future)
    @rule()
    def redo(self):
        self.session.redo()
        self.past.append(self.simple)
        self.simple = self.future.pop()

    @invariant()
    def text_is_that_of_the_simple_model(self):
        document = self.session.document
        assert document.plain_text == "".join(self.simple)
        assert self.mirror.content == document.content
        assert sum(length for length, _ in document.content.origins) == len(document)
        assert self.session.stack.canUndo() == bool(self.past)

    @invariant()
    def a_saved_document_comes_back(self):
        saved = self.session.snapshot("t")
        back = decode_document(encode_document(saved))
        assert back.content == saved.content

    @invariant()
    def ids_are_unique(self):
        ids = [blank.id for _, blank in self.session.document.blanks]
        assert len(ids) == len(set(ids))


AnySteps.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestAnySteps = AnySteps.TestCase


def test_what_is_typed_together_is_one_step():
    session = session_of("")
    for index, letter in enumerate("拿破仑"):
        session.type_text(index, index, letter)
    session.type_text(2, 3, "")
    assert session.document.plain_text == "拿破"
    session.undo()
    assert session.document.plain_text == ""
    session.redo()
    assert session.document.plain_text == "拿破"


KEYS = st.one_of(
    st.sampled_from(["left", "right", "backspace", "backspace", "delete"]),
    st.sampled_from("a空。\n"),
)


@given(st.lists(KEYS, max_size=40))
def test_undo_and_redo_of_joined_keys_go_through_states_that_were(keys):
    session = session_of("ab[MASK]c")
    [(_, blank)] = session.document.blanks
    offer(session, blank.id, "x")
    document, at = session.document, len(session.document)
    text = document.text
    states = [document.content]
    was_removed = False
    for key in keys:
        low, high, new = at, at, ""
        if key in ("left", "right"):
            at = max(0, at - 1) if key == "left" else min(len(text), at + 1)
            continue
        if key == "backspace":
            low = max(0, at - 1)
        elif key == "delete":
            high = min(len(text), at + 1)
        else:
            new = key
        was_removed = was_removed or BLANK_MARK in text[low:high]
        text = text[:low] + new + text[high:]
        at = low + len(new)
        session.type_text(low, high, new)
        assert document.text == text
        states.append(document.content)
    while session.stack.canUndo():
        session.undo()
        assert document.content in states
    assert document.content == states[0]
    assert session.fill(blank.id).candidates[0].text == "x"
    assert session.fill(blank.id).chosen == (-1 if was_removed else 0)
    while session.stack.canRedo():
        session.redo()
        assert document.content in states
    assert document.text == text


def test_what_is_moved_keeps_its_blanks_and_what_is_offered_for_them():
    session = session_of("甲乙[MASK]丙丁")
    [(_, blank)] = session.document.blanks
    offer(session, blank.id, "春")
    assert session.move(1, 3, 5) == 3
    assert session.document.plain_text == "甲丙丁乙[MASK]"
    assert session.move(3, 5, 0) == 0
    assert session.document.plain_text == "乙[MASK]甲丙丁"
    assert session.shown_text(blank.id) == "春"
    session.undo()
    session.undo()
    assert session.document.plain_text == "甲乙[MASK]丙丁"
    assert view_of(session, blank.id).state == "offered"


def test_a_new_blank_takes_over_nothing_of_one_that_was_deleted():
    session = session_of("a[MASK]b")
    [(_, blank)] = session.document.blanks
    offer(session, blank.id, "x")
    session.type_text(1, 2, "")
    new = session.make_blank(0, 0, "short")
    assert new != blank.id
    assert view_of(session, new).candidates == ()


def test_a_blank_remembers_the_selection_and_gives_it_back():
    session = session_of("为纪念拿破仑而建")
    blank_id = session.make_blank(3, 6, "short")
    assert session.document.plain_text == "为纪念[MASK]而建"
    assert view_of(session, blank_id).original == "拿破仑"
    session.restore_original(blank_id)
    assert session.document.plain_text == "为纪念拿破仑而建"
    session.undo()
    session.undo()
    assert session.document.plain_text == "为纪念拿破仑而建"


def test_a_fill_lands_at_its_blank_wherever_edits_have_moved_it():
    session = session_of("甲[MASK]乙")
    [(_, blank)] = session.document.blanks
    session.begin_stream(blank.id)
    session.append_stream(blank.id, "胜")
    session.type_text(0, 0, "很长的开头\n")
    session.append_stream(blank.id, "利")
    session.type_text(len(session.document), len(session.document), "结尾")
    assert session.shown_text(blank.id) == "胜利"
    assert session.document.plain_text == "很长的开头\n甲[MASK]乙结尾"  # outside until accepted
    session.end_stream(blank.id, [Candidate(text="胜利", logprob=-1.0, num_tokens=2)])
    session.accept(blank.id)
    assert session.document.plain_text == "很长的开头\n甲胜利乙结尾"
    session.undo()
    assert session.document.plain_text == "很长的开头\n甲[MASK]乙结尾"
    assert view_of(session, blank.id).state == "open"
    assert session.fill(blank.id).candidates[0].text == "胜利"


def test_a_fill_of_a_blank_that_is_deleted_is_dropped():
    session = session_of("甲[MASK]乙")
    [(_, blank)] = session.document.blanks
    session.begin_stream(blank.id)
    session.type_text(1, 2, "")
    session.append_stream(blank.id, "胜")
    session.end_stream(blank.id, [Candidate(text="胜", logprob=-1.0, num_tokens=1)])
    assert session.document.plain_text == "甲乙"
    assert session.view(blank.id) is None
    session.undo()
    assert view_of(session, blank.id).state == "open"


def test_origins_tell_mine_the_models_and_edited():
    session = session_of("甲[MASK]丙")
    [(_, blank)] = session.document.blanks
    offer(session, blank.id, "一二三。四五六")
    session.accept(blank.id)
    assert session.document.content.origins == ((1, "mine"), (7, "model"), (1, "mine"))
    session.type_text(3, 3, "x")  # inside the model's first sentence
    assert session.document.content.origins == (
        (1, "mine"), (5, "edited"), (3, "model"), (1, "mine"),
    )  # fmt: skip
    session.undo()
    assert session.document.content.origins == ((1, "mine"), (7, "model"), (1, "mine"))
    session.type_text(8, 8, "x")  # at its edge: mine
    assert session.document.content.origins == ((1, "mine"), (7, "model"), (2, "mine"))


def test_a_blank_pasted_into_the_models_text_stays_mine_and_comes_back_from_a_file():
    session = session_of("[MASK]")
    [(_, blank)] = session.document.blanks
    offer(session, blank.id, "一二")
    session.accept(blank.id)
    session.paste(1, 1, "甲[MASK]")
    content = session.document.content
    assert content.origins == ((2, "edited"), (1, "mine"), (1, "edited"))
    assert decode_document(encode_document(session.snapshot("t"))).content == content


def test_words_are_accepted_one_by_one_and_given_back_together_with_the_rest():
    session = session_of("by [MASK].")
    [(_, blank)] = session.document.blanks
    offer(session, blank.id, "Stanford University", "MIT")
    session.accept_word(blank.id)
    assert session.document.plain_text == "by Stanford[MASK]."
    assert session.shown_text(blank.id) == " University"
    session.undo()
    assert session.document.plain_text == "by [MASK]."
    assert [c.text for c in session.fill(blank.id).candidates] == ["Stanford University", "MIT"]
    session.redo()
    session.accept_word(blank.id)
    assert session.document.plain_text == "by Stanford University."


@pytest.mark.parametrize(
    "text",
    [
        "3.14 meters",
        "2024-05-01",
        "10:30",
        "10,000",
        "state-of-the-art",
        "使用 Python 编程",
        "GPT-4 和 e.g. x",
    ],
)
def test_what_is_accepted_word_by_word_is_what_is_accepted_at_once(text):
    wholly, by_words = session_of("of [MASK]so"), session_of("of [MASK]so")
    [(_, blank)] = by_words.document.blanks
    for session in (wholly, by_words):
        offer(session, blank.id, text)
    wholly.accept(blank.id)
    while by_words.accept_word(blank.id):
        pass
    assert by_words.document.plain_text == wholly.document.plain_text


def test_a_fill_that_brings_nothing_takes_nothing_away():
    session = session_of("The sky is [MASK].")
    [(_, blank)] = session.document.blanks
    offer(session, blank.id, "blue", "grey")
    session.choose(blank.id, 1)
    before = session.snapshot("t")
    session.begin_stream(blank.id)
    assert view_of(session, blank.id).state == "waiting"
    assert view_of(session, blank.id).candidates == ()
    assert session.shown_text(blank.id) == ""
    assert session.snapshot("t") == before  # what is saved meanwhile: a kill loses nothing
    session.end_stream(blank.id)
    assert session.snapshot("t") == before
    assert session.shown_text(blank.id) == "grey"
    session.begin_stream(blank.id)
    session.append_stream(blank.id, "red")
    session.end_stream(blank.id)
    assert [c.text for c in session.fill(blank.id).candidates] == ["red"]


def test_constraints_stay_with_their_blank_and_its_next_fill():
    session = session_of("[MASK]")
    [(_, blank)] = session.document.blanks
    session.set_constraints(blank.id, FillConstraints(digits_only=True))
    offer(session, blank.id, "12")
    assert view_of(session, blank.id).constraints == FillConstraints(digits_only=True)


@pytest.mark.parametrize(
    ("text", "before", "after", "expected"),
    [
        (" Stanford ", " ", " ", "Stanford"),
        ("Stanford", "t", "(", " Stanford ("[:-2]),
        ("Stanford", "(", ")", "Stanford"),
        ("拿破仑", "念", "而", "拿破仑"),
        ("Paris", "在", "的", "Paris"),
        ("x", "", ".", "x"),
    ],
)
def test_a_fill_takes_its_spaces_from_the_text(text, before, after, expected):
    assert fitted(text, before, after).rstrip(" ") == expected.rstrip(" ")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Stanford University", "Stanford"),
        (" University.", " University."),
        ("拿破仑胜利", "拿"),
        ("利，而建", "利，"),
        ("1807年", "1807"),
        ("🏛🏛", "🏛"),
        ("  ", "  "),
    ],
)
def test_a_word_ends_where_one_would_say_so(text, word):
    units = to_units(text)
    assert from_units(units[: word_end(units)]) == word


def test_characters_are_counted_as_a_person_counts():
    assert count_characters(to_units("拿 破\n仑🏛é")) == 5


@given(st.text(st.sampled_from("ab空é🏛𠮷"), max_size=12), st.integers(0, 14))
def test_units_are_counted_as_one_would_count_them_one_by_one(text, num_characters):
    assert count_units(to_units(text), num_characters) == len(to_units(text[:num_characters]))


@given(TEXT, TEXT, TEXT)
def test_what_comes_or_goes_before_the_caret_is_found_there(before, changed, after):
    before, changed, after = map(to_units, (before, changed, after))
    short, long = before + after, before + changed + after
    ends = len(before), len(after)
    assert ends_at_caret(short, long, len(before + changed)) == ends
    assert ends_at_caret(long, short, len(before)) == ends
    for caret in (-1, len(long) + 1):  # of another paragraph
        assert ends_at_caret(short, long, caret) == common_ends(short, long)


@pytest.mark.parametrize("text", ["空" * 500_000, "空🏛" * 250_000], ids=["plain", "emoji"])
def test_the_units_of_a_long_text_are_not_looked_at_one_by_one(text):
    num_looks = 0

    class Looked(str):
        def __getitem__(self, key):
            nonlocal num_looks
            num_looks += 1
            return super().__getitem__(key)

    units = to_units(text)
    assert count_units(Looked(units), 500_000) == len(units)
    assert num_looks <= 1


def test_what_no_document_may_hold_is_taken_out():
    assert plain_slice("a\r\nb\u2029c\ufffcd\0").text == "a\nb\ncd"
    assert plain_slice("10\xa0000").text == "10\xa0000"
