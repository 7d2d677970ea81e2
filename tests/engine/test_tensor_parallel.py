"""The same model on one rank, on several and split by layers: the same numbers, the same tokens."""

import logging
import threading

import pytest
import tiny_causal
import torch
from ranked_models import on_one, on_ranks, split_in_two
from tiny_glm import tiny_config, write_tiny_model

from bilin_engine.checkpoints.model_folder import write_model_folder
from bilin_engine.config import QuantizationConfig, QuantizationScheme
from bilin_engine.errors import BadRequestError, WorkerDiedError
from bilin_engine.generation.generate import generate
from bilin_engine.generation.request import GenerationRequest, PromptLayout
from bilin_engine.protocol import Sampling
from bilin_engine.runners.base import PrefillRow, StoppedError
from bilin_engine.runners.load import load_runner
from bilin_engine.runners.tensor_parallel import RankGroup

# float32. Ranks sum a row-parallel product in parts instead of in one: of k terms near 1 the order
# of summation moves the sum by about sqrt(k) * 2**-24 (k = 32768: 1e-5), four such sums and the
# head follow each other, and log-probs reach 30. Measured: 2e-6 (k = 96) to 2e-5 (k = 32768).
TOLERANCE = 1e-4
NUM_TOKENS = 32
NUM_DECODED = 4


def write_model(folder, bits, group_size):
    """Row-parallel k is four groups, so that group boundaries lie on rank boundaries of 2 and 4.

    Beyond 128 the group size is the down projection's alone, as in GLM-130B's own shards.
    """
    if bits == 16:
        write_tiny_model(folder, tiny_config(dtype="float16"))
        return
    wide = isinstance(group_size, int) and group_size > 128
    hidden = 64 if wide or group_size == "row" else 4 * group_size
    config = tiny_config(
        num_layers=2,
        num_attention_heads=4,
        hidden_size=32 if wide else hidden,
        inner_hidden_size=4 * group_size if isinstance(group_size, int) else 96,
    )
    down = QuantizationScheme(bits, group_size, (r"re:.*dense_4h_to_h$",))
    others = QuantizationScheme(bits, "row" if wide else group_size)
    quantization = QuantizationConfig((down, others) if wide else (others,))
    write_tiny_model(folder, config, quantization=quantization)


PRECISIONS = [
    (16, None),
    (8, "row"),
    (8, 32),
    (4, 32),
    (4, 64),
    (4, 128),
    (4, "row"),
    (4, 1536),
    (4, 3072),
    (4, 4096),
    (4, 8192),
]
logger = logging.getLogger(__name__)
NAMES = [f"{bits}-{group}" for bits, group in PRECISIONS]


def token_ids(count=NUM_TOKENS):
    return [(7 * i * i + 3 * i + 5) % 96 for i in range(count)]


def teacher_forced(runner):
    """Log-probs of a [gMASK] and of a [MASK] layout, the last ones by decode."""
    out = []
    ids = token_ids()
    for positions in (list(range(NUM_TOKENS)), [*range(19), *[4] * (NUM_TOKENS - 19)]):
        first = NUM_TOKENS - NUM_DECODED
        row = PrefillRow(0, ids[:first], positions[:first], 19)
        out.append(runner.prefill([row], "all")[0])
        out += [
            runner.decode([0], [token], [position])
            for token, position in zip(ids[first:], positions[first:], strict=True)
        ]
    return torch.cat(out).log_softmax(-1)


def assert_equal(found, expected, excluded):
    """Within tolerance, and the same greedy token wherever the margin says that there is one."""
    assert (found - expected).abs().max() <= TOLERANCE
    top = expected.topk(2, dim=-1).values
    is_clear = top[:, 0] - top[:, 1] > 2 * TOLERANCE
    assert torch.equal(found.argmax(-1)[is_clear], expected.argmax(-1)[is_clear])
    excluded.append((~is_clear).float().mean().item())


def check(folder, ways, expected):
    excluded = []
    for way in ways:
        if way == "split":
            placement = split_in_two(2 if "16" not in folder.name else 3)
            found = on_one(folder, teacher_forced, placement=placement)
        else:
            world_size, collective = way
            found = on_ranks(folder, world_size, collective, teacher_forced)
        assert_equal(found, expected, excluded)
    share = sum(excluded) / len(excluded)
    logger.info("%s: greedy not compared at %.2f %% of positions", folder.name, 100 * share)
    assert share < 0.02, f"{share:.2%} of the positions have no clear greedy token"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder and single-rank log-probs by precision, made when first asked for."""
    made = {}

    def make(bits, group_size):
        if (bits, group_size) not in made:
            folder = tmp_path_factory.mktemp("tp") / f"model-{bits}-{group_size}"
            write_model(folder, bits, group_size)
            made[bits, group_size] = folder, on_one(folder, teacher_forced)
        return made[bits, group_size]

    return make


@pytest.mark.parametrize(("bits", "group_size"), PRECISIONS, ids=NAMES)
def test_ranks_and_stages_give_the_logprobs_of_one(models, bits, group_size):
    folder, expected = models(bits, group_size)
    check(folder, [(2 if bits == 4 else 4, "shared_memory"), "split"], expected)


@pytest.mark.parametrize("bits", [4, 8])
def test_groups_that_lie_on_two_ranks_give_the_logprobs_of_one(tmp_path, bits):
    """As GLM-4-9B's of 128 do on two: 192 columns are three groups of 64."""
    config = tiny_config(
        num_layers=2, num_attention_heads=4, hidden_size=128, inner_hidden_size=192
    )
    folder = tmp_path / f"cut-{bits}"
    write_tiny_model(folder, config, quantization=QuantizationConfig.uniform(bits, 64))
    expected = on_one(folder, teacher_forced)
    check(folder, [(2, "shared_memory"), (4, "shared_memory")], expected)


@pytest.mark.parametrize(("bits", "group_size"), [(16, None), (4, 32), (4, 1536)])
def test_gloo_gives_the_logprobs_of_one(models, bits, group_size):
    folder, expected = models(bits, group_size)
    check(folder, [(4, "gloo")], expected)


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "group_size"), PRECISIONS, ids=NAMES)
def test_every_degree_on_every_collective(models, bits, group_size):
    folder, expected = models(bits, group_size)
    check(folder, [(n, c) for n in (2, 4) for c in ("gloo", "shared_memory")], expected)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tp") / "model"
    config = tiny_config(inner_hidden_size=128)
    write_tiny_model(path, config, quantization=QuantizationConfig.uniform(4, 32), head_scale=0.4)
    return path


def generated(runner):
    prompt = PromptLayout(tuple(token_ids(12)), tuple(range(12)), 11, None, None)
    results = []
    for changes in (
        {"temperature": 1.0},
        {"temperature": 0.0},
        {"temperature": 0.0, "num_beams": 3},
    ):
        sampling = Sampling(**{"max_new_tokens": 8, "seed": 5, "top_p": 1.0, **changes})
        request = GenerationRequest(prompt, sampling, frozenset(), num_candidates=3)
        found = generate(runner, request, lambda *_: None, lambda: False)
        results.append([c.token_ids for c in found.candidates])
    choices = ((1, 2, 3), (4, 5), (6,))
    request = GenerationRequest(prompt, Sampling(seed=0), frozenset(), forced_choices=choices)
    scored = generate(runner, request, lambda *_: None, lambda: False)
    results.append([(c.token_ids, round(c.score, 3)) for c in scored.candidates])
    return results


def test_candidates_beams_and_scores_are_those_of_one_rank(folder):
    """Everything that copies slots, truncates them and appends to them, on all ranks alike."""
    expected = on_one(folder, generated)
    assert on_ranks(folder, 2, "shared_memory", generated) == expected
    assert on_one(folder, generated, placement=split_in_two(3)) == expected


def test_refused_rows_leave_the_ranks_in_step(folder):
    def work(runner):
        with pytest.raises(ValueError, match="slot 9 is not one of"):
            runner.prefill([PrefillRow(9, [1], [0], 0)])
        with pytest.raises(ValueError, match="cannot be cut"):
            runner.truncate(0, 5)
        return runner.prefill([PrefillRow(0, [1, 2], [0, 1], 1)])[0]

    alone = on_one(folder, lambda r: r.prefill([PrefillRow(0, [1, 2], [0, 1], 1)])[0])
    assert (on_ranks(folder, 2, "shared_memory", work) - alone).abs().max() < TOLERANCE


@pytest.mark.parametrize("wish_after", [1, 2, 3])
def test_a_stop_is_told_to_all_ranks_at_the_same_layer(folder, wish_after):
    polls = 0

    def should_stop():
        nonlocal polls
        polls += 1
        return polls >= wish_after

    def work(runner):
        row = PrefillRow(0, token_ids(8), list(range(8)), 7)
        with pytest.raises(StoppedError):
            runner.prefill([row], should_stop=should_stop)
        assert runner.length(0) == 0
        runner.prefill([row], should_stop=lambda: False)  # all ranks take part again
        return runner.length(0)

    assert on_ranks(folder, 2, "shared_memory", work) == 8
    assert polls == wish_after  # rank 0 alone was asked


def test_ranks_hold_their_parts_alone(folder):
    whole = on_one(folder, lambda runner: runner.memory_bytes()["cpu"])
    half = on_ranks(folder, 2, "shared_memory", lambda runner: runner.memory_bytes()["cpu"])
    assert half == whole / 2


def test_stages_hold_their_layers_alone(folder):
    one = on_one(folder, lambda r: r.memory_bytes(), placement=split_in_two(3, first=1, head=1))
    two = on_one(folder, lambda r: r.memory_bytes(), placement=split_in_two(3, first=2, head=1))
    layer = two["cpu:0"] - one["cpu:0"]
    assert one["cpu:0"] == layer
    assert one["cpu:1"] - two["cpu:1"] == layer
    whole = on_one(folder, lambda r: r.memory_bytes()["cpu"])
    assert sum(one.values()) == sum(two.values()) == whole


def test_a_rank_that_fails_alone_breaks_the_group_and_says_so(folder, monkeypatch):
    started = threading.Event()

    def work(runner):
        def broken(*_arguments):
            started.set()
            raise MemoryError("no room")

        monkeypatch.setattr(runner._inner, "decode", broken)
        runner.prefill([PrefillRow(0, [1, 2], [0, 1], 1)])
        with pytest.raises(MemoryError):
            runner.decode([0], [1], [2])
        assert runner.is_broken
        with pytest.raises(WorkerDiedError, match="no longer agree; load it again"):
            runner.decode([0], [1], [2])
        runner._is_broken = False  # the other rank still waits in its pass: let it finish
        monkeypatch.undo()
        runner._inner.decode([0], [1], [2])
        return started.is_set()

    assert on_ranks(folder, 2, "shared_memory", work)


@pytest.mark.parametrize(("world_size", "possible"), [(3, "1, 2, 4$"), (8, "1, 2, 4$")])
def test_a_degree_that_does_not_divide_is_refused(tmp_path, folder, world_size, possible):
    with pytest.raises(BadRequestError, match=f"possible: {possible}"):
        load_runner(folder, group=RankGroup(tmp_path, 0, world_size), num_threads=1)


def test_a_placement_that_leaves_layers_out_is_refused(folder):
    with pytest.raises(ValueError, match="2 layers placed"):
        load_runner(folder, placement=split_in_two(2), num_threads=1)


@pytest.mark.parametrize("case", ["glm4", "llama", "qwen2"])
def test_causal_families_run_on_ranks_and_stages_too(tmp_path, case):
    config = tiny_causal.tiny_config(case)
    weights = tiny_causal.random_weights(config)
    write_model_folder(tmp_path / "model", config, weights.items())

    def logprobs(runner):
        row = PrefillRow(0, tiny_causal.PROMPT, list(range(8)), 0)
        rows = [runner.prefill([row], "all")[0], runner.decode([0], [30], [8])]
        return torch.cat(rows).log_softmax(-1)

    expected = on_one(tmp_path / "model", logprobs)
    ranks = on_ranks(tmp_path / "model", 2, "shared_memory", logprobs)
    split = on_one(tmp_path / "model", logprobs, placement=split_in_two(2))
    assert (ranks - expected).abs().max() <= TOLERANCE
    assert (split - expected).abs().max() <= TOLERANCE
