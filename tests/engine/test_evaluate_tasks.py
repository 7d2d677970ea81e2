"""GLM-130B's task files: what is asked of the model for each, and what is made of its answers."""

import json
import math
from pathlib import Path

import pytest
from evaluated_models import ScriptedModel
from glm130b_reference import Reference
from letter_tokenizer import LetterTokenizer
from tiny_glm import tiny_config, write_tiny_model

from bilin_engine.config import SpecialIds
from bilin_engine.errors import BadRequestError
from bilin_engine.evaluate.model import RunnerModel
from bilin_engine.evaluate.scoring import TextWindow, context_prompt, run_task, text_windows
from bilin_engine.evaluate.tasks import TaskConfig, read_choices, read_task, task_files
from bilin_engine.runners.load import load_runner

LETTERS = LetterTokenizer()
MASK, GMASK, SOP = (LETTERS.vocab_size + offset for offset in (-5, -4, -2))


class SmallTokenizer(LetterTokenizer):
    """Letters in the 96 ids of tests/helpers/tiny_glm."""

    vocab_size = 96
    specials = SpecialIds(eos=90, mask=91, gmask=92, smask=93, sop=94, eop=95)

    def encode(self, text):
        return [ord(letter) % 80 for letter in text]

    def token_text(self, token_id):
        return chr(token_id + 32)

    def is_special(self, token_id):
        return token_id >= 90


def ids(text: str) -> tuple[int, ...]:
    return tuple(LETTERS.encode(text))


def task(**values) -> TaskConfig:
    return TaskConfig(**{"name": "t", "type": "mul", "path": "", **values})


def write_lines(path: Path, lines: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    return path


CHOICE_LINE = {"inputs_pretokenized": "sky is", "choices_pretokenized": ["red", "blu"], "label": 1}


# --- Configuration -------------------------------------------------------------------------------


def test_a_task_of_the_reference_is_read(tmp_path):
    path = tmp_path / "glue_cola.yaml"
    path.write_text(
        "name: 'glue_cola'  # Task Name\ntype: 'mul'\npath: 'bloom/glue_cola'\n"
        'file-pattern:\n  validation: "**/validation.jsonl"\nmicro-batch-size: 30\n'
    )
    read = read_task(path)
    assert (read.name, read.type, read.path) == ("glue_cola", "mul", "bloom/glue_cola")
    assert read.file_pattern == {"validation": "**/validation.jsonl"}
    assert not read.use_task_mask
    assert read.max_seq_length == 2048
    assert read.shown_metrics == ("Accuracy",)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("name: [", "is not valid YAML"),
        ("- a", "holds no task"),
        ("name: x\ntype: mul", "missing required field `path`"),
        ("name: x\ntype: qa\npath: p", "Invalid enum value 'qa'"),
        ("name: x\ntype: mul\npath: p\nnum-shots: 5", "unknown field `num_shots`"),
        ("name: x\ntype: mul\npath: p\nmax_seq_length: long", "Expected `int`, got `str`"),
        ("name: x\ntype: gen\npath: p\nmodule: tasks.lambada.task.LAMBADA", "LAMBADA is Python of"),
        ("name: x\ntype: mul\npath: p\nunidirectional: true", "unidirectional needs use_task_mask"),
        ("name: x\ntype: mul\npath: p\nmetrics: [BLEU]", "metrics BLEU are not known for type mul"),
        ("name: x\ntype: mul\npath: p\nuse_multitask_encoding: true", "is not supported"),
    ],
)
def test_a_wrong_task_is_refused_with_file_and_reason(tmp_path, content, sentence):
    path = tmp_path / "t.yaml"
    path.write_text(content)
    with pytest.raises(BadRequestError, match=f"t.yaml.*{sentence}"):
        read_task(path)


def test_files_are_found_by_group_and_a_group_without_any_is_named(tmp_path):
    for name in ("p/two/val.jsonl", "p/one/val.jsonl", "p/one/test.jsonl"):
        write_lines(tmp_path / name, [CHOICE_LINE])
    config = task(path="p", file_pattern={"validation": "**/val.jsonl", "test": "**/test.jsonl"})
    found = task_files(config, tmp_path)
    assert [str(p.relative_to(tmp_path)) for p in found["validation"]] == [
        "p/one/val.jsonl",
        "p/two/val.jsonl",
    ]
    with pytest.raises(BadRequestError, match=r"no file \*\*/dev.jsonl below .*is the data path"):
        task_files(task(path="p", file_pattern={"dev": "**/dev.jsonl"}), tmp_path)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "line 2: "),
        ("[]", "line 2: an object is needed"),
        ('{"inputs": [1], "choices": [[1], [2]], "label": 2}', "label 2 is no index of 2 choices"),
        ('{"inputs": [1], "choices": [[1], []], "label": 0}', "choices holds an empty entry"),
        ('{"inputs": "a", "choices": [[1]], "label": 0}', r"inputs \(ids\) or inputs_pretokenized"),
        ('{"inputs": [1], "choices_pretokenized": "ab", "label": 0}', r"choices \(lists of ids\)"),
        (
            '{"inputs": [2000000], "inputs_pretokenized": "a", "choices": [[1]], "label": 0}',
            "token id 2000000 is not in this model's vocabulary of 1114118",
        ),
        ('{"inputs": [1], "choices": [[1], [-1]], "label": 0}', "token id -1 is not in this"),
    ],
)
def test_a_wrong_data_line_is_named(tmp_path, line, sentence):
    path = write_lines(tmp_path / "d.jsonl", [CHOICE_LINE])
    path.write_text(path.read_text() + "\n" + line)
    with pytest.raises(BadRequestError, match=f"d.jsonl, line 2: .*{sentence.split(': ')[-1]}"):
        read_choices(path, LETTERS)


def test_lines_may_hold_ids_or_text(tmp_path):
    by_ids = {"inputs": list(ids("sky is")), "choices": [list(ids("red")), list(ids("blu"))]}
    path = write_lines(tmp_path / "d.jsonl", [CHOICE_LINE, {**by_ids, "label": 1}])
    assert len(set(read_choices(path, LETTERS))) == 1


def test_task_files_need_a_model_that_fills_blanks(tmp_path):
    """GLM-4's vocabulary holds the masks; the model sees what comes before only."""
    model = ScriptedModel()
    model.fills_blanks = False
    with pytest.raises(BadRequestError, match="need a model that fills blanks by mask"):
        run_task(model, task(), tmp_path, lambda _fraction: None)


# --- Multiple choice -----------------------------------------------------------------------------


def test_a_mask_is_put_at_the_contexts_end_and_blocks_stay_at_its_position():
    prompt = context_prompt(task(), ids("abc"), LETTERS.specials, window=100, room=2)
    assert prompt.token_ids == (*ids("abc"), MASK, SOP)
    assert prompt.position_ids == (0, 1, 2, 3, 3)
    assert prompt.output_position == 3
    assert prompt.prefix_len == 4


def test_with_gmask_blocks_count_up_from_the_contexts_length():
    prompt = context_prompt(task(use_task_mask=True), ids("abc"), LETTERS.specials, 100, 2)
    assert prompt.token_ids == (*ids("abc"), GMASK, SOP)
    assert prompt.position_ids == (0, 1, 2, 3, 4)
    assert prompt.output_position is None


def test_a_mask_in_the_context_is_the_one_filled():
    context = (*ids("a"), MASK, *ids("bc"))
    prompt = context_prompt(task(), context, LETTERS.specials, window=100, room=2)
    assert prompt.token_ids == (*context, SOP)
    assert prompt.position_ids == (0, 1, 2, 3, 1)


def test_a_long_context_is_cut_from_the_left():
    prompt = context_prompt(task(), ids("abcdefghij"), LETTERS.specials, window=10, room=3)
    assert prompt.token_ids == (*ids("fghij"), MASK, SOP)
    with pytest.raises(BadRequestError, match="answers of 8 tokens leave no room in 10 tokens"):
        context_prompt(task(), ids("abc"), LETTERS.specials, window=10, room=8)


def test_the_most_probable_choice_is_the_prediction(tmp_path):
    lines = [CHOICE_LINE, {**CHOICE_LINE, "label": 0}, CHOICE_LINE]
    write_lines(tmp_path / "a/val.jsonl", lines)
    write_lines(tmp_path / "b/val.jsonl", [CHOICE_LINE])
    model = ScriptedModel(score=lambda choice: 0.0 if choice == ids("blu") else -1.0)
    result = run_task(model, task(metrics=["Accuracy", "F1_mul"]), tmp_path, lambda _: None)
    assert [file.metrics["Accuracy"] for file in result.files] == [pytest.approx(200 / 3), 100.0]
    assert result.files[0].metrics["F1_mul"] == result.files[0].metrics["Accuracy"]
    summary = result.summary()["all"]["Accuracy"]
    assert (summary["max"], summary["average"]) == (100.0, 75.0)
    assert [item.predicted for item in result.files[0].items] == ["1", "1", "1"]
    assert model.scored[0] == [ids("red"), ids("blu")]


def test_of_equal_choices_the_first_is_taken_and_no_length_counts(tmp_path):
    write_lines(tmp_path / "val.jsonl", [CHOICE_LINE])
    model = ScriptedModel(score=lambda _: -1.0)
    result = run_task(model, task(), tmp_path, lambda _: None)
    assert result.files[0].items[0].predicted == "0"


def test_choices_of_one_token_take_one_place(tmp_path):
    line = {"inputs_pretokenized": "abcdefgh", "choices_pretokenized": ["A", "B"], "label": 0}
    write_lines(tmp_path / "val.jsonl", [line])
    model = ScriptedModel(max_length=8)
    result = run_task(model, task(), tmp_path, lambda _: None)
    assert model.prompts[0].token_ids == (*ids("defgh"), MASK, SOP)
    assert result.notes == ("run with 8 tokens, what the model holds, not 2048",)


class PackedReference(Reference):
    """The reference's packing: context, then one block a choice that sees no other block."""

    def __init__(self, *args, context, blocks, **options):
        super().__init__(*args, **options)
        self.context, self.blocks = context, blocks

    def mask(self, length, prompt_length):
        del prompt_length
        block_of = [-1] * self.context
        for number, size in enumerate(self.blocks):
            block_of += [number] * size
        return [
            [
                j < self.context or (i >= self.context and block_of[i] == block_of[j] and j <= i)
                for j in range(length)
            ]
            for i in range(length)
        ]


@pytest.mark.parametrize("use_task_mask", [False, True])
def test_choices_scored_alone_get_the_packed_references_scores(tmp_path, use_task_mask):
    config = tiny_config()
    weights = write_tiny_model(tmp_path / "tiny", config)
    runner = load_runner(tmp_path / "tiny", dtype="float32", num_slots=2, num_threads=1)
    model = RunnerModel("tiny", runner, SmallTokenizer(), None)
    context, choices = (5, 17, 33, 2), [(7, 8, 9), (40,), (11, 12)]
    config_task = task(use_task_mask=use_task_mask)
    prompt = context_prompt(config_task, context, model.tokenizer.specials, 64, 6)
    scores = model.score(prompt, choices)
    runner.close()

    packed = [*context, 92 if use_task_mask else 91]
    division = len(packed)
    positions = list(range(division))
    for choice in choices:
        packed += [94, *choice[:-1]]
        last = division if use_task_mask else division - 1
        positions += [last + (i if use_task_mask else 0) for i in range(len(choice))]
    reference = PackedReference(
        weights,
        num_layers=config.num_layers,
        num_heads=config.num_attention_heads,
        context=division,
        blocks=[len(choice) for choice in choices],
    )
    logprobs = reference.logprobs(packed, positions, 0)
    first = division
    for choice, score in zip(choices, scores, strict=True):
        expected = sum(float(logprobs[first + i, token]) for i, token in enumerate(choice))
        assert score == pytest.approx(expected, abs=1e-4)  # float32 sums of a few terms
        first += len(choice)


# --- Generation ----------------------------------------------------------------------------------


def test_generation_is_scored_against_the_best_target(tmp_path):
    lines = [
        {"inputs_pretokenized": "who?", "targets_pretokenized": ["the red house", "Bob"]},
        {"inputs_pretokenized": "when?", "targets_pretokenized": ["1889"]},
    ]
    write_lines(tmp_path / "val.jsonl", lines)
    model = ScriptedModel(reply="Red house.")
    result = run_task(model, task(type="gen"), tmp_path, lambda _: None)
    assert result.files[0].metrics == {"EM": 50.0, "F1": 50.0}
    assert model.prompts[0].token_ids == (*ids("who?"), MASK, SOP)
    assert model.samplings[0].temperature == 0.0
    assert model.samplings[0].max_new_tokens == 128


def test_beam_search_of_a_task_is_deterministic_with_its_parameters(tmp_path):
    write_lines(tmp_path / "v.jsonl", [{"inputs_pretokenized": "a", "targets_pretokenized": ["b"]}])
    model = ScriptedModel()
    beams = task(type="gen", sampling_strategy="BeamSearchStrategy", num_beams=2, min_gen_length=1)
    run_task(model, beams, tmp_path, lambda _: None)
    (sampling,) = model.samplings
    assert (sampling.num_beams, sampling.length_penalty) == (2, 1.0)
    assert (sampling.no_repeat_ngram_size, sampling.min_new_tokens) == (3, 1)
    assert sampling.deterministic_beams


def test_a_unidirectional_prompt_puts_the_mask_first_and_is_causal():
    config = task(type="gen", use_task_mask=True, unidirectional=True)
    prompt = context_prompt(config, ids("abc"), LETTERS.specials, window=100, room=5)
    assert prompt.token_ids == (GMASK, SOP, *ids("abc"))
    assert prompt.position_ids == (0, 1, 2, 3, 4)
    assert prompt.prefix_len == 1  # the mask alone: it sees itself either way
    assert prompt.output_position is None


# --- Language model ------------------------------------------------------------------------------


def test_windows_of_a_text_cover_every_token_once():
    config = task(type="lm", generation_length=4)
    # A window of 11 holds the mask and 10 tokens, of which later ones predict 4.
    assert list(text_windows(config, 9, 11)) == [TextWindow(0, 0, 9)]
    assert list(text_windows(config, 10, 11)) == [TextWindow(0, 0, 10)]
    assert list(text_windows(config, 21, 11)) == [
        TextWindow(0, 0, 10),
        TextWindow(4, 10, 14),
        TextWindow(8, 14, 18),
        TextWindow(12, 18, 21),
    ]
    with pytest.raises(BadRequestError, match="generation_length 4 does not fit a window of 4"):
        list(text_windows(config, 9, 4))


def test_perplexity_counts_words_of_the_raw_text(tmp_path):
    (tmp_path / "test.txt").write_text("ab cd ef gh")
    model = ScriptedModel(max_length=9)
    config = task(type="lm", generation_length=4, file_pattern="*.txt", use_task_mask=True)
    result = run_task(model, config, tmp_path, lambda _: None)
    assert result.files[0].metrics == {"PPL": pytest.approx(math.exp(11 / 4))}
    assert result.files[0].num_samples == 2
    text = ids("ab cd ef gh")
    first, second = model.prompts
    assert first.token_ids == (GMASK, SOP)
    assert second.token_ids == (*text[4:8], GMASK, SOP)
    assert second.prefix_len == 5
    assert second.position_ids == tuple(range(6))
    assert model.scored == [[text[:8]], [text[8:]]]


def test_data_elsewhere_is_named_by_its_whole_path(tmp_path):
    (tmp_path / "test.txt").write_text("ab cd")
    config = task(type="lm", path=str(tmp_path), file_pattern="*.txt", use_task_mask=True)
    result = run_task(ScriptedModel(), config, tmp_path / "data", lambda _: None)
    assert result.files[0].path == str(tmp_path / "test.txt")


def test_a_bad_perplexity_is_capped(tmp_path):
    (tmp_path / "test.txt").write_text("a" * 60)
    config = task(type="lm", file_pattern="*.txt", use_task_mask=True)
    result = run_task(ScriptedModel(), config, tmp_path, lambda _: None)
    assert result.files[0].metrics["PPL"] == math.exp(20)


def test_long_windows_are_scored_in_pieces_that_sum_to_the_whole(tmp_path, monkeypatch):
    write_tiny_model(tmp_path / "tiny")
    runner = load_runner(tmp_path / "tiny", dtype="float32", num_slots=1, num_threads=1)
    model = RunnerModel("tiny", runner, SmallTokenizer(), None)
    line = {"text": list(range(43)), "text_pretokenized": "x", "meta": {"pile_set_name": "en"}}
    write_lines(tmp_path / "lines.jsonl", [line])
    config = task(
        type="lm",
        module="tasks.language-modeling.pile.Pile",
        generation_length=30,
        use_task_mask=True,
        file_pattern="lines.jsonl",
    )
    found = []
    for pieces in (512, 7):
        monkeypatch.setattr("bilin_engine.evaluate.scoring.SCORED_AT_ONCE", pieces)
        result = run_task(model, config, tmp_path, lambda _: None)
        found.append(result.files[0].metrics["BPB en"])
    runner.close()
    assert found[0] > 0
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_the_pile_is_scored_in_bits_per_byte_by_set(tmp_path):
    lines = [
        {"text": [1, 2], "text_pretokenized": "天", "meta": {"pile_set_name": "zh"}},
        {"text": [], "text_pretokenized": "", "meta": {"pile_set_name": "zh"}},
        {"text": [1, 2, 3, 4], "text_pretokenized": "abcd", "meta": {"pile_set_name": "en"}},
    ]
    write_lines(tmp_path / "test_tokenized.jsonl", lines)
    config = task(
        type="lm",
        module="tasks.language-modeling.pile.Pile",
        use_task_mask=True,
        file_pattern={"test": "**/test_tokenized.jsonl"},
    )
    model = ScriptedModel(score=lambda choice: -len(choice) * math.log(2))
    result = run_task(model, config, tmp_path, lambda _: None)
    assert result.files[0].metrics == {
        "BPB zh": pytest.approx(2 / 3),
        "BPB en": pytest.approx(1.0),
    }
