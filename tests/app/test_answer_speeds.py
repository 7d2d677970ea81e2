import os
import threading

import pytest

from bilin_app.controllers.answer_speeds import AnswerSpeeds, Speed
from bilin_app.controllers.engine_views import ModelView
from bilin_app.controllers.views import AnswerFacts
from bilin_app.storage.model_notes import ModelNotes

MODEL = ModelView("m", "m", "m")


def facts(prompt_tokens, first_s, new_tokens, rate):
    return AnswerFacts(MODEL, prompt_tokens, new_tokens, first_s, rate, 1, "stop")


def learn(speeds, facts):
    """An answer whose whole prompt was encoded."""
    speeds.learn(facts, facts.prompt_tokens)


def test_nothing_is_said_before_it_was_measured():
    assert AnswerSpeeds(ModelNotes()).of("m") == Speed(0.0, 0.0)


def test_rates_are_learned_from_a_finished_answer_and_kept(tmp_path):
    notes = ModelNotes(tmp_path / "models.json")
    learn(AnswerSpeeds(notes), facts(500, 2.0, 101, 20.0))
    notes.close()
    speed = AnswerSpeeds(ModelNotes(tmp_path / "models.json")).of("m")
    assert speed.prefill_tok_s == pytest.approx(250.0)
    assert speed.decode_tok_s == pytest.approx(20.0)


def test_notes_wait_for_no_disk_and_the_newest_is_written_at_the_close(tmp_path, monkeypatch):
    disk, threads = threading.Event(), []
    synchronize = os.fsync

    def wait_for_disk(descriptor):
        threads.append(threading.current_thread())
        disk.wait(60)
        synchronize(descriptor)

    monkeypatch.setattr(os, "fsync", wait_for_disk)
    notes = ModelNotes(tmp_path / "models.json")
    for context in range(1, 100):  # steps of a slider
        notes.change("m", context=context)
    disk.set()
    notes.close()
    assert ModelNotes(tmp_path / "models.json").get("m").context == 99
    assert threading.current_thread() not in threads
    assert len(threads) <= 2


def test_long_answers_weigh_more_and_the_newest_most():
    speeds = AnswerSpeeds(ModelNotes())
    learn(speeds, facts(1000, 10.0, 101, 10.0))
    learn(speeds, facts(10, 1.0, 11, 1.0))
    assert 70.0 < speeds.of("m").prefill_tok_s < 100.0
    assert 4.0 < speeds.of("m").decode_tok_s < 10.0
    for _ in range(20):
        learn(speeds, facts(1000, 1.0, 101, 50.0))
    assert speeds.of("m").prefill_tok_s == pytest.approx(1000.0, rel=0.05)
    assert speeds.of("m").decode_tok_s == pytest.approx(50.0, rel=0.05)


def test_a_few_words_say_nothing_of_the_rate():
    speeds = AnswerSpeeds(ModelNotes())
    learn(speeds, facts(100, 1.0, 3, 900.0))
    assert speeds.of("m") == Speed(100.0, 0.0)


def test_a_prompt_that_was_there_already_says_nothing_of_how_fast_it_is_read():
    """2000 tokens in 0.3 s were believed, and the next long prompt was due "any moment"."""
    speeds = AnswerSpeeds(ModelNotes())
    learn(speeds, facts(1500, 50.0, 101, 10.0))
    for _ in range(20):
        speeds.learn(facts(2000, 0.3, 101, 10.0), encoded_tokens=1)
    assert speeds.of("m").prefill_tok_s == pytest.approx(30.0)
    speeds.learn(facts(2040, 1.2, 101, 10.0), encoded_tokens=40)
    assert speeds.of("m").prefill_tok_s == pytest.approx(30.0, rel=0.05)
