"""Rendering: shards that are whole or the earlier ones, and that say what they were made from."""

import lzma
from pathlib import Path

import pytest

from bilin_engine.pretrain.mixture import Mixture
from bilin_engine.pretrain.prepare import (
    MIX_FILE,
    PackSettings,
    RenderSettings,
    pack_corpus,
    render,
)
from bilin_engine.pretrain.shards import SampleStore

TOKENIZER = Path(__file__).parents[2] / "resources" / "models" / "bilin-mini" / "tokenizer.model"
pytestmark = pytest.mark.expects_log  # packing tells of every corpus that is absent
FEW = RenderSettings(num_templates=20, num_texts=10)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A packed folder without dialogues."""
    corpus = tmp_path_factory.mktemp("corpus")
    for name, line in {
        "hsk_sentences_audio.zh": "今天的天气很好，我们去公园走一走吧。",
        "bible_web.en": "In the morning they went up the hill and sat down.",
        "cc_cedict.zh": "天气",
        "cc_cedict.en": "weather",
        "wordnet_3_0_glosses.en": "go: move away",
    }.items():
        (corpus / f"{name}.txt.xz").write_bytes(lzma.compress(f"{line}\n".encode() * 2000))
    pack_corpus(corpus, corpus / "packed", [], PackSettings(tokenizer=TOKENIZER))
    return corpus / "packed"


def samples_of(store):
    return [store[index] for index in range(len(store))]


def test_a_render_that_breaks_off_leaves_the_earlier_shards(packed, tmp_path, monkeypatch):
    render(packed, tmp_path, FEW)
    earlier = samples_of(SampleStore.open(tmp_path))

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Mixture, "texts", dies)  # the templates are written by then
    with pytest.raises(KeyboardInterrupt):
        render(packed, tmp_path, RenderSettings(num_templates=30, num_texts=10, seed=2))
    assert (tmp_path / MIX_FILE).exists()
    assert samples_of(SampleStore.open(tmp_path)) == earlier


def test_a_run_keeps_the_samples_that_it_has_open(packed, tmp_path):
    render(packed, tmp_path, FEW)
    opened = SampleStore.open(tmp_path)
    before = samples_of(opened)
    render(packed, tmp_path, RenderSettings(num_templates=30, num_texts=10, seed=2))
    assert samples_of(opened) == before
    assert len(SampleStore.open(tmp_path)) == 40
    assert not (tmp_path / "new").exists()
