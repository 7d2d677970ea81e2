"""Answers of workers that say what a test gives them: where a text begins and where it is cut."""

import runpy
import shutil
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import msgspec
import pytest
from letter_models import letter_model
from letter_tokenizer import FIRST_SPECIAL, LetterTokenizer

from bilin_engine.chat_format import load_chat_format
from bilin_engine.protocol import (
    BatchPrompt,
    BlankSegment,
    Chat,
    Fill,
    FillConstraints,
    FinishReason,
    GenerateBatch,
    GenerationStats,
    Message,
    Sampling,
    Score,
    TextDelta,
    TextSegment,
    WorkerCandidate,
    WorkerGenerate,
    WorkerGenerated,
    WorkerTokens,
)
from bilin_engine.server.answers import Answering, LoadedModel
from bilin_engine.server.batch_answers import answer_batch
from bilin_engine.server.model_text import ModelText
from bilin_engine.server.tasks import Task
from bilin_engine.server.worker_pool import WorkerPool
from bilin_engine.tokenizers.huggingface import HuggingFaceTokenizer

DATA = Path(__file__).parents[1] / "data" / "templates"
TEMPLATES = runpy.run_path(str(DATA / "templates.py"))["TEMPLATES"]
TOKENIZER = HuggingFaceTokenizer(DATA / "tokenizer.json", eos_token="<|endoftext|>")
TOWER = TOKENIZER.encode("🗼")  # a token a byte
QUESTION = Message("user", "hi")


@dataclass
class SayingPool:
    """Workers that say the same ids to whatever is asked."""

    says: list[int]
    reason: FinishReason = "stop"

    def next_id(self):
        return 1

    def generate(self, task, request, on_tokens):
        del task
        count = len(self.says)
        for token_id in self.says:
            on_tokens(WorkerTokens(id=1, candidates=(0,), token_ids=(token_id,), logprobs=(-1.0,)))
        stats = GenerationStats(
            prompt_tokens=len(request.token_ids), new_tokens=count, time_to_first_token_s=0.0,
            prefill_s=0.0, decode_s=0.0, seed=1,
        )  # fmt: skip
        candidate = WorkerCandidate(
            token_ids=tuple(self.says),
            logprobs=(-1.0,) * count,
            score=-1.0 * count,
            finish_reason=self.reason,
        )
        return WorkerGenerated(id=1, candidates=(candidate,), stats=stats)

    def generate_batch(self, task, batch, on_tokens):
        return [
            self.generate(
                task,
                request,
                lambda tokens, row=row: on_tokens(
                    msgspec.structs.replace(tokens, candidates=(row,))
                ),
            )
            for row, request in enumerate(batch.requests)
        ]


def loaded(folder, pool, family="glm-4-0414") -> LoadedModel:
    shutil.copyfile(DATA / "tokenizer_config.json", folder / "tokenizer_config.json")
    (folder / "chat_template.jinja").write_text(TEMPLATES[family], encoding="utf-8")
    info = msgspec.structs.replace(letter_model(), blank_kinds=())
    text = ModelText(info, TOKENIZER, load_chat_format("template", folder))
    return LoadedModel(text, cast(WorkerPool, pool), 512, TOKENIZER.vocab_size)


def chat(folder, pool, *, prefill="", stop_texts=(), family="glm-4-0414"):
    """The result and the text that was told before it."""
    sampling = Sampling(stop_texts=stop_texts)
    request = Chat(id=7, model="letters", messages=(QUESTION,), prefill=prefill, sampling=sampling)
    told = []
    result = Answering(loaded(folder, pool, family), Task(request), told.append).chat(request)
    return result, "".join(e.text for e in told if isinstance(e, TextDelta))


def test_the_line_break_of_the_turn_is_no_part_of_the_answer(tmp_path):
    """Else the next prompt holds it twice, and a stop text of a line break stops everything."""
    pool = SayingPool(TOKENIZER.encode("\nHello\n\nyou"))
    result, told = chat(tmp_path, pool)
    assert result.text == told == "Hello\n\nyou"
    assert chat(tmp_path, pool, stop_texts=("\n",))[0].text == "Hello"
    assert chat(tmp_path, pool, prefill="So")[0].text == "\nHello\n\nyou"  # goes on in mid-text
    assert chat(tmp_path, pool, family="qwen2")[0].text == "\nHello\n\nyou"


@pytest.mark.parametrize("reason", ["length", "context"])
def test_a_character_that_the_length_cuts_is_left_out(tmp_path, reason):
    result, told = chat(tmp_path, SayingPool([*TOKENIZER.encode("Paris "), *TOWER[:2]], reason))
    assert result.text == told == "Paris "
    assert result.finish_reason == reason
    assert chat(tmp_path, SayingPool([*TOWER], reason))[0].text == "🗼"


def test_a_character_that_the_model_breaks_is_shown(tmp_path):
    result, told = chat(tmp_path, SayingPool([*TOKENIZER.encode("Paris "), *TOWER[:2]]))
    assert result.text == told == "Paris \ufffd"


def test_a_fill_and_a_batch_leave_a_cut_character_out(tmp_path):
    pool = SayingPool([*TOKENIZER.encode("blue"), *TOWER[:3]], "length")
    model = loaded(tmp_path, pool)
    segments = (TextSegment("The sky is "), BlankSegment("short"))
    fill = Fill(id=7, model="letters", segments=segments)
    told = []
    result = Answering(model, Task(fill), told.append).fill(fill)
    assert result.blanks[0].candidates[0].text == "blue"
    assert "".join(e.text for e in told if isinstance(e, TextDelta)) == "blue"
    batch = GenerateBatch(id=7, model="letters", prompts=(BatchPrompt(segments=segments[:1]),) * 2)
    told = []
    found = answer_batch(model, Task(batch), batch, told.append).results
    assert [one.text for one in found] == ["blue", "blue"]
    assert [e.text for e in told if isinstance(e, TextDelta)][-1] == "e"


@dataclass
class KeepingPool(SayingPool):
    """Keeps what was asked of it."""

    asked: list[WorkerGenerate] = field(default_factory=list)

    def generate(self, task, request, on_tokens):
        self.asked.append(request)
        return super().generate(task, request, on_tokens)


def test_a_closing_tag_may_be_written_where_only_digits_are_asked_for(tmp_path):
    """Banned, it cannot come, and every fill would be one that broke off."""
    pool = KeepingPool(TOKENIZER.encode("1807</fill>"))
    model = loaded(tmp_path, pool)
    segments = (TextSegment("It was built in "), BlankSegment("short"))
    rule = FillConstraints(digits_only=True)
    fill = Fill(id=7, model="letters", segments=segments, constraints=rule)
    result = Answering(model, Task(fill), lambda _event: None).fill(fill)
    assert result.way == "instruction"
    assert [(c.text, c.breaks) for c in result.blanks[0].candidates] == [("1807", "")]
    assert not set(pool.asked[0].banned_ids).intersection(TOKENIZER.encode("</fill>"))
    pool.says = TOKENIZER.encode("in 1807</fill>")
    result = Answering(model, Task(fill), lambda _event: None).fill(fill)
    assert result.blanks[0].candidates[0].breaks


class BeamPool(SayingPool):
    """Two beams: one that ends by itself, and a far likelier one that goes on in the next line."""

    def generate(self, task, request, on_tokens):
        found = super().generate(task, request, on_tokens)
        beams = [
            WorkerCandidate(
                token_ids=tuple(map(ord, text)),
                logprobs=(logprob,) * len(text),
                score=score,
                finish_reason="stop",
            )
            for text, logprob, score in (("zz", -3.5, -0.14), ("y\nz", -0.45, -0.12))
        ]
        return msgspec.structs.replace(found, candidates=tuple(beams))


def test_beams_of_which_a_stop_text_cut_one_are_compared_by_what_is_left():
    text = ModelText(letter_model(), LetterTokenizer(), None)
    model = LoadedModel(text, cast(WorkerPool, BeamPool([])), 512, FIRST_SPECIAL + 6)
    segments = (TextSegment("a"), BlankSegment("short"))
    sampling = Sampling(num_beams=2, stop_texts=("\n",))
    fill = Fill(id=7, model="letters", segments=segments, sampling=sampling)
    result = Answering(model, Task(fill), lambda _event: None).fill(fill)
    assert [c.text for c in result.blanks[0].candidates] == ["y", "zz"]


class ScoringPool(KeepingPool):
    """Scores what it is asked to."""

    def generate(self, task, request, on_tokens):
        del on_tokens  # nobody reads it
        self.says = list(request.forced_choices[0])
        return super().generate(task, request, lambda _tokens: None)


class ChoosingPool(SayingPool):
    """Finds each choice as likely as any."""

    def generate(self, task, request, on_tokens):
        found = super().generate(task, request, on_tokens)
        candidates = tuple(
            WorkerCandidate(
                token_ids=ids, logprobs=(-1.0,) * len(ids), score=-1.0, finish_reason="stop"
            )
            for ids in request.forced_choices
        )
        return msgspec.structs.replace(found, candidates=candidates)


class FoldingTokenizer(LetterTokenizer):
    """As icetk: what is typed at full width is read at half width."""

    def encode(self, text):
        return super().encode(unicodedata.normalize("NFKC", text))


@pytest.mark.parametrize("choices", [("好！", "不行！"), (" 好！", "不行！", "好!")])
def test_a_choice_is_written_as_it_was_asked_for(choices):
    text = ModelText(letter_model(), FoldingTokenizer(), None)
    model = LoadedModel(text, cast(WorkerPool, ChoosingPool([])), 512, FIRST_SPECIAL + 6)
    segments = (TextSegment("a"), BlankSegment("short"))
    rule = FillConstraints(choices=choices)
    fill = Fill(id=7, model="letters", segments=segments, constraints=rule)
    result = Answering(model, Task(fill), lambda _event: None).fill(fill)
    found = [(c.text, c.breaks) for c in result.blanks[0].candidates]
    assert found == [("好！", ""), ("不行！", "")]
    assert result.text == "a好！"


class PrefixedTokenizer(HuggingFaceTokenizer):
    """As SentencePiece's: a text of its own begins with a space."""

    def encode(self, text):
        return super().encode(" " + text) if text else []

    def encode_after(self, text):
        return super().encode(text)


@pytest.mark.parametrize(
    ("given", "scored"), [("Hello wor", "ld"), ("The sky is", " blue"), ("", "a")]
)
def test_what_is_scored_goes_on_from_what_is_given(given, scored):
    """A segment of its own would begin with a space that the text does not have."""
    tokenizer = PrefixedTokenizer(DATA / "tokenizer.json", eos_token="<|endoftext|>")
    text = ModelText(msgspec.structs.replace(letter_model(), blank_kinds=()), tokenizer, None)
    pool = ScoringPool([])
    model = LoadedModel(text, cast(WorkerPool, pool), 512, TOKENIZER.vocab_size)
    segments = (TextSegment(given),) if given else ()
    score = Score(id=7, model="letters", segments=segments, text=scored)
    Answering(model, Task(score), lambda _event: None).score(score)
    [request] = pool.asked
    [choice] = request.forced_choices
    whole = [*request.token_ids, *choice] if given else choice
    assert b"".join(map(TOKENIZER.token_bytes, whole)).decode() == " " + given + scored
