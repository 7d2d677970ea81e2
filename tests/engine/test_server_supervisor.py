"""The supervisor in this process with real worker processes whose model is a script."""

import time

import pytest
from letter_models import Engine, LetterTexts, letter_model, scripted_worker

from bilin_engine.protocol import (
    BlankSegment,
    Cancel,
    Cancelled,
    Chat,
    CountTokens,
    Done,
    EngineStatus,
    Failed,
    Fill,
    FillConstraints,
    Generate,
    InspectPrompt,
    LengthLimit,
    ListDevices,
    ListModels,
    LoadModel,
    LoadSettings,
    Message,
    Progress,
    Sampling,
    Started,
    TextDelta,
    TextSegment,
    UnloadModel,
)
from bilin_engine.server.worker_pool import WorkerPool

pytestmark = pytest.mark.e2e

HELLO = (Message("user", "你好"),)
BUSY = ("--reply", "a long answer " * 1000, "--gap", "0.02", "--layer", "0.02")


def load(model="letters", **settings):
    return lambda i: LoadModel(id=i, model=model, settings=LoadSettings(**settings))


def chat(*messages, model="letters", prefill="", **sampling):
    sampling = {"max_new_tokens": 100_000, **sampling}
    return lambda i: Chat(
        id=i,
        model=model,
        messages=messages or HELLO,
        prefill=prefill,
        sampling=Sampling(**sampling),
    )


def fill(*segments, blank=None, num_candidates=1, constraints=None, **sampling):
    return lambda i: Fill(
        id=i,
        model="letters",
        segments=segments,
        blank=blank,
        num_candidates=num_candidates,
        constraints=constraints or FillConstraints(),
        sampling=Sampling(**sampling),
    )


def text_of(deltas):
    return "".join(delta.text for delta in deltas)


@pytest.fixture(scope="module")
def loaded():
    """One engine for the tests that leave it as it was."""
    with Engine(scripted_worker("--reply", "你好，hello!")) as engine:
        assert isinstance(engine.ask(load()), Done)
        yield engine


@pytest.fixture(scope="module")
def echo():
    """An engine whose model repeats its prompt, then a number for each candidate."""
    with Engine(scripted_worker("--reply", "<{prompt}>{n}")) as engine:
        assert isinstance(engine.ask(load()), Done)
        yield engine


def test_answer_streams_as_the_text_of_its_result(loaded):
    request = loaded.send(chat())
    done = loaded.end(request)
    deltas = loaded.about(request, TextDelta)
    assert text_of(deltas) == done.result.text == "你好，hello!"
    assert sum(delta.num_tokens for delta in deltas) == done.result.stats.new_tokens == 9
    (started,) = loaded.about(request, Started)
    assert started.prompt_tokens == done.result.stats.prompt_tokens
    assert started.seed == done.result.stats.seed
    assert loaded.supervisor.status.state == "ready"


def test_given_seed_is_kept_and_a_missing_one_is_drawn(loaded):
    assert loaded.ask(chat(seed=7)).result.stats.seed == 7
    drawn = {loaded.ask(chat()).result.stats.seed for _ in range(3)}
    assert len(drawn) == 3


def test_loading_tells_its_progress_and_states(loaded):
    states = [e.state for e in loaded.seen if isinstance(e, EngineStatus)]
    assert states[0] == "loading"
    assert "ready" in states
    fractions = [e.fraction for e in loaded.seen if isinstance(e, Progress)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_stop_text_ends_the_answer_exactly_before_it(loaded):
    result = loaded.ask(chat(stop_texts=("，h",))).result
    assert (result.text, result.finish_reason) == ("你好", "stop_text")
    assert loaded.ask(chat()).result.text == "你好，hello!"


def test_prefill_is_the_beginning_the_model_goes_on_from(loaded):
    begun = InspectPrompt(id=901, model="letters", messages=HELLO, prefill="我是")
    loaded.supervisor.submit(begun)
    view = loaded.end(901).result
    assert [token.text for token in view.tokens[-3:]] == ["sop", "我", "是"]
    request = loaded.send(chat(prefill="我是"))
    assert loaded.end(request).result.text == "你好，hello!"
    (started,) = loaded.about(request, Started)
    assert started.prompt_tokens == len(view.tokens)


def test_generate_continues_a_text_without_blank(echo):
    request = Generate(id=900, model="letters", segments=(TextSegment("Once upon"),))
    echo.supervisor.submit(request)
    assert echo.end(900).result.text == "<Once upon>0"


def test_each_fill_is_seen_by_the_next(echo):
    result = echo.ask(
        fill(TextSegment("一"), BlankSegment("short"), TextSegment("二"), BlankSegment("short"))
    ).result
    first, second = (blank.candidates[0].text for blank in result.blanks)
    assert first == "<一二>0"
    assert second == f"<一{first}二>0"
    assert result.text == f"一{first}二{second}"


def test_blanks_are_filled_short_ones_first_and_told_in_the_text_s_order(echo):
    request = echo.send(fill(BlankSegment("long"), TextSegment("好"), BlankSegment("short")))
    result = echo.end(request).result
    assert [blank.kind for blank in result.blanks] == ["long", "short"]
    told = [delta.blank for delta in echo.about(request, TextDelta)]
    assert told.index(1) < told.index(0)


def test_one_blank_can_be_filled_alone(echo):
    result = echo.ask(
        fill(
            TextSegment("甲"),
            BlankSegment("short"),
            TextSegment("乙"),
            BlankSegment("long"),
            blank=1,
        )
    ).result
    assert [blank.index for blank in result.blanks] == [1]
    assert result.text == "甲[MASK]乙<甲乙>0"


def test_candidates_stream_side_by_side(echo):
    request = echo.send(fill(TextSegment("好"), BlankSegment("short"), num_candidates=3))
    result = echo.end(request).result
    deltas = echo.about(request, TextDelta)
    for number in range(3):
        told = text_of([d for d in deltas if d.candidate == number])
        assert told == f"<好>{number}"
    assert {c.text for c in result.blanks[0].candidates} == {"<好>0", "<好>1", "<好>2"}


def test_a_candidate_counts_up_to_its_stop_text_and_the_others_go_on():
    """By all that was drawn, the one that rambled on behind its stop text would be the last."""
    replies = "a.bcdefgh" + "i" * 200 + "|aaaa|aaa"
    with Engine(scripted_worker("--reply", replies, "--gap", "0.005")) as engine:
        engine.ask(load())
        blanks = (BlankSegment("short"), TextSegment("好"), BlankSegment("short"))
        request = engine.send(fill(*blanks, num_candidates=3, stop_texts=(".",)))
        result = engine.end(request).result
        for blank in result.blanks:
            found = [(c.text, c.logprob, c.num_tokens) for c in blank.candidates]
            assert found == [("a", -1.0, 2), ("aaa", -1.5, 3), ("aaaa", -2.0, 4)]
        assert result.stats.new_tokens < 100  # the first was told to end
        assert result.text == "a好a"
        (started,) = engine.about(request, Started)
        assert result.stats.seed == started.seed


def test_what_a_stop_text_ended_stands_without_it_in_the_next_prompt():
    with Engine(scripted_worker("--reply", "<{prompt}>.more")) as engine:
        engine.ask(load())
        asked = fill(BlankSegment("short"), TextSegment("二"), BlankSegment("short"),
                     stop_texts=(".m",))  # fmt: skip
        result = engine.ask(asked).result
        assert result.text == "<二>二<<二>二>"


def test_every_blank_is_drawn_with_the_seed_that_is_told(monkeypatch):
    seeds = []
    generate = WorkerPool.generate

    def spy(pool, task, request, on_tokens):
        seeds.append(request.sampling.seed)
        return generate(pool, task, request, on_tokens)

    monkeypatch.setattr(WorkerPool, "generate", spy)
    with Engine(scripted_worker("--reply", "x")) as engine:
        engine.ask(load())
        result = engine.ask(fill(BlankSegment("short"), BlankSegment("short"))).result
    assert seeds == [result.stats.seed] * 2


def test_candidates_that_break_a_constraint_come_last_and_are_marked(loaded):
    limit = FillConstraints(length=LengthLimit(3, "characters"))
    (candidate,) = (
        loaded.ask(fill(TextSegment("好"), BlankSegment("short"), constraints=limit))
        .result.blanks[0]
        .candidates
    )
    assert candidate.breaks == "has 9 characters, more than 3"


def test_a_candidate_that_says_nothing_comes_behind_those_that_say_something():
    """By its score, that of no tokens, it would be the first."""
    cases = (
        (FillConstraints(), ["a", "4", "55", ""]),
        (FillConstraints(digits_only=True), ["4", "55", "a", ""]),
        (FillConstraints(length=LengthLimit(1, "characters")), ["a", "4", "", "55"]),
    )
    with Engine(scripted_worker("--reply", "|a|4|55")) as engine:
        engine.ask(load())
        for constraints, texts in cases:
            asked = fill(BlankSegment("short"), num_candidates=4, constraints=constraints)
            result = engine.ask(asked).result
            assert [candidate.text for candidate in result.blanks[0].candidates] == texts
            assert result.text == texts[0]


def test_choices_are_ranked_by_their_score(loaded):
    choices = FillConstraints(choices=("three", "to", "four"))
    blank = loaded.ask(fill(BlankSegment("short"), constraints=choices)).result.blanks[0]
    # The script scores a choice by its length.
    assert [c.text for c in blank.candidates] == ["to", "four", "three"]
    assert [c.logprob for c in blank.candidates] == [-1.0, -2.0, -2.5]


@pytest.mark.parametrize(
    ("request_of", "sentence"),
    [
        (fill(TextSegment("no blank")), "no blank to fill"),
        (fill(BlankSegment("short"), blank=3), "no blank 3"),
        (fill(BlankSegment("short"), num_candidates=99), "99 candidates"),
        (fill(BlankSegment("short"), constraints=FillConstraints(choices=(" ",))), "is empty"),
        (
            fill(
                BlankSegment("short"),
                constraints=FillConstraints(length=LengthLimit(0, "words")),
            ),
            "length of 0 words",
        ),
        (chat(Message("assistant", "hi")), "must end with the user's message"),
        (chat(model="other"), '"other" is not loaded; "letters" is'),
        (lambda i: CountTokens(id=i, model="nope", messages=HELLO), 'no model "nope"'),
    ],
)
def test_what_cannot_be_is_said_and_the_engine_goes_on(loaded, request_of, sentence):
    failed = loaded.ask(request_of)
    assert isinstance(failed, Failed)
    assert sentence in failed.message
    assert loaded.ask(chat()).result.text == "你好，hello!"


def test_request_ids_must_be_new_and_positive(loaded):
    loaded.supervisor.submit(ListModels(0))
    assert "ids count from 1" in loaded.end(0).message


def test_count_and_view_agree_with_what_is_sent(loaded):
    messages = (Message("user", "你好"), Message("assistant", "好"), Message("user", "谁？"))
    counted = loaded.ask(lambda i: CountTokens(id=i, model="letters", messages=messages)).result
    view = loaded.ask(lambda i: InspectPrompt(id=i, model="letters", messages=messages)).result
    request = loaded.send(chat(*messages))
    loaded.end(request)
    (started,) = loaded.about(request, Started)
    assert counted.total == started.prompt_tokens == len(view.tokens)
    assert len(counted.per_message) == 3
    assert view.prefix_len == counted.total - 1  # everything but sop
    assert [token.text for token in view.tokens if token.is_special] == ["[gMASK]", "sop"]


def test_view_of_a_fill_shows_the_masks_and_their_positions(loaded):
    segments = (TextSegment("a"), BlankSegment("short"), TextSegment("b"))
    view = loaded.ask(lambda i: InspectPrompt(id=i, model="letters", segments=segments)).result
    assert [token.text for token in view.tokens] == ["a", "[MASK]", "b", "</s>", "sop"]
    assert [token.position for token in view.tokens] == [0, 1, 2, 3, 1]


def test_chat_that_has_outgrown_the_model_drops_its_oldest_messages_and_says_so():
    with Engine(texts=LetterTexts(letter_model(context=200))) as engine:
        engine.ask(load(context=200))
        turns = [Message(role, f"{n}" * 20) for n in range(4) for role in ("user", "assistant")]
        messages = (*turns, Message("user", "and now?"))
        counted = engine.ask(lambda i: CountTokens(id=i, model="letters", messages=messages))
        request = engine.send(chat(*messages))
        assert isinstance(engine.end(request), Done)
        (started,) = engine.about(request, Started)
        assert started.dropped_messages[0] == 0
        assert counted.result.dropped_messages == started.dropped_messages
        assert started.prompt_tokens < 200
        failed = engine.ask(chat(Message("user", "x" * 300)))
        assert failed.code == "context_overflow"


def test_counts_and_views_are_of_the_context_the_model_is_loaded_with():
    turns = [Message(role, f"{n}" * 20) for n in range(4) for role in ("user", "assistant")]
    messages = (*turns, Message("user", "and now?"))
    count = lambda i: CountTokens(id=i, model="letters", messages=messages)  # noqa: E731
    view = lambda i: InspectPrompt(id=i, model="letters", messages=messages)  # noqa: E731
    with Engine(texts=LetterTexts(letter_model(context=2048))) as engine:
        before = engine.ask(count).result
        assert (before.context_length, before.dropped_messages) == (2048, ())
        engine.ask(load(context=200))
        counted, seen = engine.ask(count).result, engine.ask(view).result
        request = engine.send(chat(*messages))
        assert isinstance(engine.end(request), Done)
        (started,) = engine.about(request, Started)
        assert counted.context_length == seen.context_length == started.context_length == 200
        assert counted.dropped_messages == started.dropped_messages != ()
        assert len(seen.tokens) == started.prompt_tokens


def test_devices_end_with_the_cpu_and_its_memory(loaded):
    devices = loaded.ask(ListDevices).result.devices
    assert devices[-1].name == "cpu"
    assert 0 < devices[-1].free_bytes <= devices[-1].total_bytes


def test_control_lane_answers_while_a_model_loads_and_while_it_answers(tmp_path):
    go = tmp_path / "go"
    with Engine(scripted_worker(*BUSY, "--load-go", str(go))) as engine:
        loading = engine.send(load())
        engine.state("loading")
        for ask in (ListModels, ListDevices):
            assert isinstance(engine.ask(ask), Done)
        counted = engine.ask(lambda i: CountTokens(id=i, model="letters", messages=HELLO))
        assert isinstance(counted, Done)
        assert not [e for e in engine.seen if isinstance(e, Done) and e.id == loading]
        go.touch()
        engine.end(loading)
        answering = engine.send(chat())
        engine.until(lambda e: isinstance(e, TextDelta))
        for ask in (ListModels, ListDevices):
            assert isinstance(engine.ask(ask), Done)
        assert not [e for e in engine.seen if isinstance(e, Done) and e.id == answering]
        engine.ask(lambda i: Cancel(i, answering))
        assert isinstance(engine.end(answering), Cancelled)


def test_requests_wait_in_order_and_one_that_waits_is_cancelled_at_once(tmp_path):
    go = tmp_path / "go"
    with Engine(scripted_worker("--reply", "abcdef", "--go", str(go))) as engine:
        engine.ask(load())
        first, second, third = (engine.send(chat()) for _ in range(3))
        engine.until(lambda e: isinstance(e, TextDelta) and e.id == first)
        engine.ask(lambda i: Cancel(i, second))
        assert isinstance(engine.end(second), Cancelled)
        assert not [e for e in engine.seen if isinstance(e, Done) and e.id == first]
        go.touch()
        assert engine.end(third).result.text == "abcdef"
        assert engine.end(first).result.text == "abcdef"
        order = [e.id for e in engine.seen if isinstance(e, Started)]
        assert order == [first, third]


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_cancel_is_obeyed_between_layers(phase):
    """Long before the 300 of the phase are over, whichever it is; the model stays."""
    slow = ("--layer", "0.2", "--prefill" if phase == "prefill" else "--gap", "60")
    with Engine(scripted_worker("--reply", "ab", *slow), cancel_s=20.0) as engine:
        engine.ask(load())
        request = engine.send(chat())
        engine.until(lambda e: isinstance(e, Started))
        time.sleep(0.3)  # inside the second layer
        engine.ask(lambda i: Cancel(i, request))
        assert isinstance(engine.end(request, timeout_s=15.0), Cancelled)
        assert engine.supervisor.status.state == "ready"


def test_cancel_of_nothing_is_answered(loaded):
    assert isinstance(loaded.ask(lambda i: Cancel(i, 0)), Done)
    assert isinstance(loaded.ask(lambda i: Cancel(i, 99_999)), Done)


def test_cancelled_load_leaves_no_model_and_no_process():
    with Engine(scripted_worker("--load-s", "30")) as engine:
        request = engine.send(load())
        engine.until(lambda e: isinstance(e, Progress))
        engine.ask(lambda i: Cancel(i, request))
        assert isinstance(engine.end(request), Cancelled)
        assert engine.supervisor.status.state == "empty"
        assert isinstance(engine.ask(UnloadModel), Done)


def test_model_that_cannot_be_loaded_costs_only_the_load():
    with Engine(scripted_worker("--load-fails", "weights.bin is cut short")) as engine:
        failed = engine.ask(load())
        assert (failed.code, failed.message) == ("model_broken", "weights.bin is cut short")
        assert engine.state("fault").reason == "weights.bin is cut short"
        assert isinstance(engine.ask(ListModels), Done)


def test_problem_the_library_knows_is_said_before_any_process_starts():
    texts = LetterTexts(letter_model(problem="config.json is missing"))
    with Engine(scripted_worker(), texts=texts) as engine:
        failed = engine.ask(load())
        assert (failed.code, failed.message) == ("model_broken", "config.json is missing")


def test_loading_another_model_replaces_the_first():
    with Engine() as engine:
        engine.ask(load("letters"))
        engine.ask(load("other"))
        assert isinstance(engine.ask(chat(model="other")), Done)
        assert engine.ask(chat(model="letters")).code == "not_loaded"
        engine.ask(UnloadModel)
        assert engine.supervisor.status.state == "empty"
        assert engine.ask(chat(model="other")).code == "not_loaded"


def test_idle_model_is_unloaded_and_comes_back_when_asked():
    with Engine(idle_unload_s=0.2) as engine:
        engine.ask(load())
        engine.state("empty")
        request = engine.send(chat())
        assert engine.end(request).result.text == "你好，hello!"


def test_a_cancel_while_an_idle_model_comes_back_does_not_forget_it(tmp_path):
    go = tmp_path / "go"
    go.touch()
    with Engine(scripted_worker("--load-go", str(go)), idle_unload_s=0.2) as engine:
        engine.ask(load())
        engine.state("empty")
        go.unlink()
        request = engine.send(chat())
        engine.state("loading")
        assert isinstance(engine.ask(lambda i: Cancel(i, request)), Done)
        assert isinstance(engine.end(request), Cancelled)
        go.touch()
        assert isinstance(engine.ask(chat()), Done)


def test_close_ends_open_requests_and_refuses_new_ones():
    engine = Engine(scripted_worker(*BUSY))
    engine.ask(load())
    answering, waiting = engine.send(chat()), engine.send(chat())
    engine.until(lambda e: isinstance(e, TextDelta))
    engine.supervisor.close()
    assert isinstance(engine.end(answering), Cancelled)
    assert isinstance(engine.end(waiting), Cancelled)
    assert not [e for e in engine.seen if isinstance(e, EngineStatus) and e.state == "fault"]
    assert "is stopping" in engine.ask(ListModels).message


def test_stray_prints_of_a_worker_reach_the_log_and_not_the_stream(capfd):
    with Engine(scripted_worker("--stray")) as engine:
        engine.ask(load())
        assert engine.ask(chat()).result.text == "你好，hello!"
    told = capfd.readouterr().err
    for line in ("a stray line\n", "a stray line below Python\n", "a stray line from C\n"):
        assert line in told
