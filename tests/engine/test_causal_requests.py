"""Every request to a causal model whose vocabulary holds GLM's masks, as GLM-4's does."""

import shutil
from pathlib import Path

import pytest
from published_model import write_source
from tiny_causal import random_weights, tiny_config

from bilin_engine.checkpoints.huggingface import ImportSettings, import_folder
from bilin_engine.cli.session import RequestFailedError, Session
from bilin_engine.library import Library
from bilin_engine.protocol import (
    BlankSegment,
    ChatResult,
    Fill,
    FillResult,
    Generate,
    LoadSettings,
    Proofread,
    ProofreadResult,
    Sampling,
    Score,
    ScoreResult,
    TextSegment,
)
from bilin_engine.server.model_text import ModelTexts
from bilin_engine.server.supervisor import SupervisorSettings
from bilin_engine.server.worker_process import WorkerCommand
from bilin_engine.tokenizers.load import load_tokenizer

pytestmark = pytest.mark.e2e
TOKENIZER = Path(__file__).parents[1] / "data" / "templates"
BLANK = (TextSegment("The sky is "), BlankSegment("short"), TextSegment(" today."))
GREEDY = Sampling(temperature=0.0, max_new_tokens=6)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("causal")
    size = 448
    weights = random_weights(tiny_config("glm4", vocab_size=size))
    context = {"vocab_size": size, "max_position_embeddings": 512}
    source = write_source(folder / "source", "glm4", weights, **context)
    shutil.copyfile(TOKENIZER / "tokenizer.json", source / "tokenizer.json")
    (folder / "models").mkdir()
    import_folder(source, folder / "models" / "glm4", ImportSettings())
    settings = SupervisorSettings(WorkerCommand(nice=0, log_level="CRITICAL"))
    texts = ModelTexts(Library(folder / "models"))
    [model] = [model for model in texts.models() if not model.is_bundled]
    with Session(texts, settings) as session:
        session.load(model.id, LoadSettings(num_threads=1), tells_memory=False)
        yield session, model


def test_its_vocabulary_has_the_masks_and_it_fills_none_of_them(session):
    _, model = session
    specials = load_tokenizer(Path(model.path)).specials
    assert None not in (specials.mask, specials.gmask, specials.sop)
    assert model.blank_kinds == ()


def test_a_blank_is_filled_by_instruction(session):
    asked, model = session
    fill = lambda i: Fill(id=i, model=model.id, segments=BLANK, sampling=GREEDY)  # noqa: E731
    result = asked.ask(fill, FillResult)
    assert result.way == "instruction"
    assert result.blanks[0].candidates[0].num_tokens > 0


def test_a_text_is_scored_behind_another(session):
    asked, model = session
    score = lambda i: Score(  # noqa: E731
        id=i, model=model.id, segments=(TextSegment("The sky is"),), text=" blue"
    )
    result = asked.ask(score, ScoreResult)
    assert result.logprob == pytest.approx(sum(token.logprob for token in result.tokens))
    assert result.logprob < 0


def test_a_text_is_continued_and_proofreading_says_what_it_needs(session):
    asked, model = session
    continued = lambda i: Generate(  # noqa: E731
        id=i, model=model.id, segments=(TextSegment("The sky is"),), sampling=GREEDY
    )
    assert asked.ask(continued, ChatResult).stats.new_tokens > 0
    read = lambda i: Proofread(id=i, model=model.id, text="a b", spans=((0, 3),))  # noqa: E731
    with pytest.raises(RequestFailedError, match="sees only what stands before a word"):
        asked.ask(read, ProofreadResult)
