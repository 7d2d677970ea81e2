"""Training: exact resume, spikes, batches in order, several processes as one."""

import csv
import dataclasses
import math
import os
import random
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from bilin_engine.config import SpecialIds
from bilin_engine.pretrain.average import average
from bilin_engine.pretrain.batches import plan_epoch
from bilin_engine.pretrain.model import GlmSize
from bilin_engine.pretrain.run_folder import (
    Progress,
    TrainSettings,
    lock_run,
    read_checkpoint,
    read_log_lines,
    weights_hash,
    write_log_lines,
)
from bilin_engine.pretrain.samples import COUNT_ON, IGNORED, Block, Sample
from bilin_engine.pretrain.schedule import (
    end_of_run,
    is_rounding,
    learning_rate,
    num_batches,
    share_done,
)
from bilin_engine.pretrain.shards import SampleStore, pack_samples, write_shards
from bilin_engine.pretrain.spike_guard import SpikeGuard, spike_margin
from bilin_engine.pretrain.train import Trainer, device_name

MINI = Path(__file__).parents[2] / "resources" / "models" / "bilin-mini"
SPECIALS = SpecialIds(eos=2, mask=56, gmask=57, smask=58, sop=60, eop=61)
SIZE = GlmSize(vocab_size=64, hidden_size=32, num_layers=2, num_heads=2, inner_size=64, context=64)


@pytest.fixture(autouse=True)
def one_thread():
    """Sums in one order: bit-exactness is about our state, not about torch's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_samples(count, seed=0):
    rng = random.Random(seed)
    samples = []
    for _ in range(count):
        prefix = [rng.randrange(3, 50) for _ in range(rng.randint(2, 12))]
        answer = tuple(reversed(prefix[-3:]))
        samples.append(Sample((*prefix, 57), (Block(answer, COUNT_ON, True),)))
    return samples


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    write_shards([pack_samples(make_samples(200)), pack_samples(make_samples(100, seed=1))], folder)
    return SampleStore.open(folder)


def settings(**changes):
    values = {
        "size": SIZE,
        "steps": 12,
        "warmup_steps": 3,
        "learning_rate": 3e-3,
        "tokens_per_batch": 128,
        "batches_per_step": 2,
        "first_batches_per_step": 2,
        "checkpoint_steps": 4,
        "precision": "fp32",
        "device": "cpu",
    }
    return TrainSettings(**{**values, **changes})


def logged(folder):
    with (folder / "log.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_store_gives_every_sample_back(store):
    samples = [*make_samples(200), *make_samples(100, seed=1)]
    assert len(store) == 300
    for index in (0, 1, 150, 199, 200, 299):
        assert store[index] == samples[index]
        assert store.lengths[index] == samples[index].length
        assert store.num_targets[index] == samples[index].num_targets


def test_an_epoch_has_every_sample_once_in_batches_within_their_size(store):
    plan = plan_epoch(store, seed=3, epoch=0, tokens_per_batch=128)
    again = plan_epoch(store, seed=3, epoch=0, tokens_per_batch=128)
    other = plan_epoch(store, seed=3, epoch=1, tokens_per_batch=128)
    assert sorted(np.concatenate(plan.batches).tolist()) == list(range(300))
    assert all(len(b) * store.lengths[b].max() <= 128 for b in plan.batches)
    assert all((a == b).all() for a, b in zip(plan.batches, again.batches, strict=True))
    assert [b.tolist() for b in plan.batches] != [b.tolist() for b in other.batches]


def test_training_learns(store, tmp_path):
    Trainer(tmp_path / "run", store, SPECIALS, settings(steps=60, learning_rate=1e-2)).run()
    losses = [float(row["loss"]) for row in logged(tmp_path / "run")]
    assert len(losses) == 60
    assert sum(losses[-5:]) / 5 < 0.8 * sum(losses[:5]) / 5


def test_bfloat16_computes_what_float32_does_and_leaves_the_weights_float32(
    store, tmp_path, request
):
    request.addfinalizer(AcceleratorState._reset_state)
    losses = {}
    for precision in ("fp32", "bf16"):
        AcceleratorState._reset_state()  # a process keeps its first precision
        changes = {"steps": 20, "learning_rate": 1e-2, "precision": precision}
        trainer = Trainer(
            tmp_path / precision, store, SPECIALS, settings(**changes, fake_quant_share=0.5)
        )
        trainer.run()
        losses[precision] = [float(row["loss"]) for row in logged(tmp_path / precision)]
        assert {p.dtype for p in trainer.plain_model.parameters()} == {torch.float32}
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)
    assert losses["bf16"] != losses["fp32"]


def test_a_stopped_run_goes_on_to_the_bit(store, tmp_path):
    whole = Trainer(tmp_path / "whole", store, SPECIALS, settings())
    whole.run()
    first = Trainer(tmp_path / "stopped", store, SPECIALS, settings())
    first.settings = settings(checkpoint_steps=1000)
    for _ in range(5):
        first._update()
    first.save()
    for _ in range(2):  # made and lost: the kill comes before the next checkpoint
        first._update()
    second = Trainer(tmp_path / "stopped", store, SPECIALS, settings())
    assert second.progress.step == 5
    second.run()
    a, b = (
        read_checkpoint(tmp_path / "whole").weights(),
        read_checkpoint(tmp_path / "stopped").weights(),
    )
    assert weights_hash(a) == weights_hash(b)
    rows = [
        [{key: row[key] for key in row if key != "seconds"} for row in logged(tmp_path / name)]
        for name in ("whole", "stopped")
    ]
    assert rows[0] == rows[1]


def test_a_kill_before_the_first_checkpoint_leaves_nothing_in_the_log(store, tmp_path):
    killed = Trainer(tmp_path / "run", store, SPECIALS, settings(steps=3))
    killed._update()
    killed._update()
    Trainer(tmp_path / "run", store, SPECIALS, settings(steps=3)).run()
    assert [row["step"] for row in logged(tmp_path / "run")] == ["1", "2", "3"]


def test_a_log_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_log_lines(tmp_path, ["step,loss\n", "1,2.5\n"])
    with pytest.raises(UnicodeEncodeError):
        write_log_lines(tmp_path, ["step,loss\n", "\ud800\n"])  # as good as a kill at that moment
    assert read_log_lines(tmp_path) == ["step,loss\n", "1,2.5\n"]


def test_a_kill_between_two_renames_leaves_a_checkpoint(store, tmp_path):
    run = tmp_path / "run"
    trainer = Trainer(run, store, SPECIALS, settings(steps=4))
    trainer.run()
    expected = weights_hash(read_checkpoint(run).weights())
    (run / "checkpoint").rename(run / "checkpoint.old")
    assert weights_hash(read_checkpoint(run).weights()) == expected
    assert Trainer(run, store, SPECIALS, settings(steps=4)).progress.step == 4


def test_other_settings_are_refused_by_name(store, tmp_path):
    Trainer(tmp_path / "run", store, SPECIALS, settings(steps=2)).run()
    with pytest.raises(ValueError, match="learning_rate"):
        Trainer(tmp_path / "run", store, SPECIALS, settings(steps=2, learning_rate=1.0))


def test_another_vocabulary_of_the_same_size_is_refused(store, tmp_path):
    """On resuming, as the beginning of a run, and in a mean; what a run does not say may be any."""
    first, second, old = (tmp_path / name for name in ("first", "second", "old"))
    ours, theirs = "1" * 64, "2" * 64
    Trainer(first, store, SPECIALS, settings(steps=1, vocabulary=ours)).run()
    Trainer(second, store, SPECIALS, settings(steps=1, vocabulary=theirs)).run()
    with pytest.raises(ValueError, match="vocabulary"):
        Trainer(first, store, SPECIALS, settings(steps=1, vocabulary=theirs))
    with pytest.raises(ValueError, match="sha256 222222222222 and 111111111111"):
        Trainer(tmp_path / "new", store, SPECIALS, settings(vocabulary=theirs), first)
    with pytest.raises(ValueError, match="different vocabularies"):
        average(first, second, tmp_path / "mean")
    with pytest.raises(ValueError, match="different vocabularies"):
        Trainer(tmp_path / "mini", store, SPECIALS, settings(vocabulary=ours), MINI)
    Trainer(old, store, SPECIALS, settings(steps=1)).run()
    Trainer(old, store, SPECIALS, settings(steps=1, vocabulary=ours))
    average(first, old, tmp_path / "mean")


def test_other_samples_and_another_size_are_refused(store, tmp_path):
    run = tmp_path / "run"
    Trainer(run, store, SPECIALS, settings(steps=1, samples="1" * 64)).run()
    with pytest.raises(ValueError, match="samples"):
        Trainer(run, store, SPECIALS, settings(steps=1, samples="2" * 64))
    deeper = dataclasses.replace(SIZE, num_layers=SIZE.num_layers + 1)  # more would stay random
    with pytest.raises(ValueError, match="of another size than"):
        Trainer(tmp_path / "new", store, SPECIALS, settings(size=deeper), run)


@pytest.mark.parametrize(
    ("group", "inner", "message"),
    [
        (64, 64, "64 does not divide hidden_size 32; use a divisor of 32,"),
        (32, 48, "32 does not divide inner_size 48; use a divisor of 16,"),
    ],
)
def test_groups_that_do_not_divide_are_refused_before_the_run(
    store, tmp_path, group, inner, message
):
    size = dataclasses.replace(SIZE, inner_size=inner)
    plan = settings(size=size, fake_quant_group=group, fake_quant_share=0.15, steps=1)
    with pytest.raises(ValueError, match=f"fake_quant_group {message}"):
        Trainer(tmp_path / "run", store, SPECIALS, plan)
    never = dataclasses.replace(plan, fake_quant_share=0.0)
    Trainer(tmp_path / "run", store, SPECIALS, never).run()


def test_the_card_s_device_is_all_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "NVIDIA H200")
    gpu = torch.device("cuda", 0)
    assert device_name(gpu, 1) == "NVIDIA H200"
    assert device_name(gpu, 8) == "8 × NVIDIA H200"
    assert device_name(torch.device("cpu"), 2).startswith("CPU, ")


@pytest.mark.expects_log
def test_a_planted_spike_is_rolled_back_and_its_batches_are_skipped(store, tmp_path):
    run = tmp_path / "run"
    trainer = Trainer(run, store, SPECIALS, settings(steps=16))
    trainer.guard.calm_steps = 4
    for _ in range(8):
        trainer._update()
    trainer.save()
    safe = weights_hash(read_checkpoint(run).weights())
    trainer._update()
    with torch.no_grad():
        trainer.plain_model.transformer.word_embeddings.weight.mul_(40.0)
    trainer._update()
    assert trainer.progress.num_spikes == 1
    assert trainer.progress.step == 8
    assert trainer.progress.cursor == 20  # ten updates of two batches were taken
    trainer.save()
    assert read_checkpoint(run).progress.device.startswith("CPU, ")  # not lost with the steps
    assert weights_hash(read_checkpoint(run).weights()) == safe
    trainer._update()
    assert trainer.progress.step == 9
    events = [row["event"] for row in logged(run) if row["event"]]
    assert events == ["spike at step 9: rolled back"]


def planted(store, run, loss):
    """A trainer at the checkpoint of step 8, from which every loss is `loss` higher than it was."""
    trainer = Trainer(run, store, SPECIALS, settings(steps=10))
    trainer.guard.calm_steps = 4
    for _ in range(8):
        trainer._update()
    trainer.save()
    trainer.model.register_forward_hook(
        lambda _model, arrays, sum_: sum_ + loss * (arrays[3] != IGNORED).sum()
    )
    return trainer


@pytest.mark.expects_log
def test_spikes_on_end_are_the_new_usual_and_training_goes_on(store, tmp_path):
    trainer = planted(store, tmp_path / "run", 30.0)
    trainer.run()
    assert trainer.progress.num_spikes == 3
    assert trainer.progress.step == 10
    events = [row["event"] for row in logged(tmp_path / "run") if row["event"]]
    assert events == ["spike at step 8: rolled back"] * 3 + [
        "3 spikes on end: the guard starts anew"
    ]


@pytest.mark.expects_log
def test_where_there_is_no_loss_at_all_training_ends_with_a_sentence(store, tmp_path):
    trainer = planted(store, tmp_path / "run", math.inf)
    with pytest.raises(ValueError, match=r"from step 8 on .* 3 times; .* --learning-rate below"):
        trainer.run()
    assert trainer.progress.cursor == 22  # three updates of two batches beyond the checkpoint


def test_the_margin_follows_the_batches_of_an_update(store, tmp_path):
    warm = settings(batches_per_step=4, first_batches_per_step=1, batch_warmup_steps=4)
    trainer = Trainer(tmp_path / "run", store, SPECIALS, warm)
    trainer._update()
    assert trainer.guard.margin == spike_margin(1)
    for _ in range(4):
        trainer._update()
    assert trainer.guard.margin == spike_margin(4)


def test_the_guard_knows_a_spike_from_noise():
    guard = SpikeGuard(calm_steps=20)
    rng = random.Random(1)
    for _ in range(200):
        assert not guard.is_spike(2.0 + rng.uniform(-0.3, 0.3))
    before = guard.state()
    assert guard.is_spike(4.5)
    assert guard.is_spike(float("nan"))
    assert guard.state() == before
    assert not guard.is_spike(2.4)


def mixed_losses(num_batches, seed):
    """Updates in which one batch in twenty is running text among answers known by heart."""
    rng = random.Random(seed)
    while True:
        kinds = [
            4.2 if rng.random() < 1 / 20 else rng.uniform(0.2, 0.5) for _ in range(num_batches)
        ]
        yield sum(kinds) / num_batches


@pytest.mark.parametrize("num_batches", [1, 2, 4, 16, 64])
def test_the_margin_lets_rare_kinds_of_batches_pass_and_no_spike(num_batches):
    for seed in range(5):
        guard = SpikeGuard(margin=spike_margin(num_batches))
        losses = mixed_losses(num_batches, seed)
        assert not any(guard.is_spike(next(losses)) for _ in range(1500))
        assert guard.is_spike(9.0)


def test_the_margin_is_small_for_large_updates_only():
    assert spike_margin(2) == 4.0
    assert spike_margin(1000) == 0.5
    guard, losses = SpikeGuard(margin=0.5), mixed_losses(2, 0)
    assert any(guard.is_spike(next(losses)) for _ in range(1500))


def test_the_guard_waits_until_it_has_seen_enough():
    guard = SpikeGuard(calm_steps=20)
    assert not guard.is_spike(9.0)
    assert not guard.is_spike(30.0)


def test_learning_rate_and_batches_follow_their_schedules():
    plan = settings(steps=100, warmup_steps=10, learning_rate=1.0, final_learning_rate_share=0.1)
    rates = [learning_rate(Progress(step=step), plan) for step in (0, 10, 55, 100)]
    assert rates == pytest.approx([0.1, 1.0, 0.55, 0.1])
    growing = settings(first_batches_per_step=2, batches_per_step=10, batch_warmup_steps=8)
    assert [num_batches(step, growing) for step in (0, 4, 8, 20)] == [2, 6, 10, 10]


def test_a_run_of_fixed_time_follows_the_clock():
    plan = settings(schedule_seconds=100.0, warmup_steps=2, fake_quant_share=0.15)
    late = Progress(step=5, seconds=5086.0, scheduled=86.0)  # begun with a run of 5000 seconds
    assert share_done(late, plan) == pytest.approx(0.86)
    assert is_rounding(late, plan)
    assert not is_rounding(Progress(step=5, scheduled=84.0), plan)
    assert learning_rate(Progress(step=5, scheduled=100.0), plan) == pytest.approx(3e-3 * 0.05)


def test_a_fixed_end_holds_whatever_a_run_was_stopped_for(store, tmp_path, monkeypatch):
    plan = settings(schedule_seconds=1000.0, ends_at=5000.0, steps=3, checkpoint_steps=1)
    monkeypatch.setattr("bilin_engine.pretrain.train.time.time", lambda: 4250.0)
    begun = Trainer(tmp_path / "run", store, SPECIALS, plan).run()
    assert 250 <= begun.scheduled < 260
    monkeypatch.setattr("bilin_engine.pretrain.train.time.time", lambda: 4900.0)
    resumed = Trainer(tmp_path / "run", store, SPECIALS, plan)
    resumed.settings = settings(schedule_seconds=1000.0, ends_at=5000.0, steps=4)
    assert 900 <= resumed.run().scheduled < 910
    monkeypatch.setattr("bilin_engine.pretrain.train.time.time", lambda: 5000.0)
    over = Trainer(tmp_path / "run", store, SPECIALS, plan)
    over.settings = settings(schedule_seconds=1000.0, ends_at=5000.0, steps=9)
    assert over.run().step == 4


def test_a_run_ends_at_the_next_such_time_unless_that_was_the_last_one():
    evening = datetime(2026, 11, 28, 23, 0)
    assert end_of_run(evening, 0, 50, 7000) == datetime(2026, 11, 29, 0, 50)
    assert end_of_run(evening, 8, 0, 14 * 3600) == datetime(2026, 11, 29, 8, 0)
    assert end_of_run(evening, 22, 50, 7000) == datetime(2026, 11, 28, 22, 50)  # over since minutes
    after_midnight = datetime(2026, 11, 29, 0, 10)
    assert end_of_run(after_midnight, 23, 59, 7000) == datetime(2026, 11, 28, 23, 59)


def test_rounding_is_off_unless_asked_for():
    assert not is_rounding(Progress(step=12), settings(fake_quant_share=0.0))


@pytest.mark.slow
def test_batches_made_ahead_are_the_same(store, tmp_path):
    Trainer(tmp_path / "inline", store, SPECIALS, settings()).run()
    Trainer(tmp_path / "ahead", store, SPECIALS, settings(loader_processes=2)).run()
    inline, ahead = (read_checkpoint(tmp_path / name).weights() for name in ("inline", "ahead"))
    assert weights_hash(inline) == weights_hash(ahead)


_KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_pretrain_train import SPECIALS, settings
from bilin_engine.pretrain.run_folder import lock_run
from bilin_engine.pretrain.shards import SampleStore
from bilin_engine.pretrain.train import Trainer
with lock_run(Path(sys.argv[3])):
    store = SampleStore.open(Path(sys.argv[2]))
    trainer = Trainer(Path(sys.argv[3]), store, SPECIALS, settings(loader_processes=2))
    trainer._update()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere loader processes inherit no lock")
def test_after_a_kill_nothing_holds_the_run(store, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-c", _KILLED, str(Path(__file__).parent), str(store.folder), run]
    assert subprocess.run(command, check=False, timeout=50).returncode == -signal.SIGKILL
    until = time.monotonic() + 30  # the kernel kills the loader processes in its own time
    while True:
        try:
            with lock_run(run):
                break
        except ValueError:
            assert time.monotonic() < until, "the loader processes outlived the kill"
            time.sleep(0.02)


def test_the_mean_of_two_points_is_a_run_that_says_so_and_goes_on(store, tmp_path):
    first, second, mean = (tmp_path / name for name in ("first", "second", "mean"))
    Trainer(first, store, SPECIALS, settings()).run()
    Trainer(second, store, SPECIALS, settings(seed=2), init_from=first).run()
    average(second, first, mean)
    one, other, found = (read_checkpoint(f).weights() for f in (first, second, mean))
    assert all(torch.equal(found[n], (other[n] + one[n]) / 2) for n in found)
    *before, last = logged(mean)
    assert before == logged(second)
    event = f"mean with weights {weights_hash(one)[:16]}, step 12, {before[11]['loss_tokens']} loss"
    assert last["event"].startswith(event)
    assert last["loss_tokens"] == before[-1]["loss_tokens"]
    trainer = Trainer(mean, store, SPECIALS, settings(seed=2))
    assert weights_hash(trainer.plain_model.state_dict()) == weights_hash(found)
    with pytest.raises(ValueError, match="exists already"):
        average(second, first, mean)


def test_a_new_run_goes_on_from_another_s_weights_and_log(store, tmp_path):
    first = Trainer(tmp_path / "first", store, SPECIALS, settings(steps=4))
    first.run()
    second = Trainer(
        tmp_path / "second", store, SPECIALS, settings(steps=3, seed=9), tmp_path / "first"
    )
    second.save()
    begun = read_checkpoint(tmp_path / "second")
    ended = read_checkpoint(tmp_path / "first")
    assert weights_hash(begun.weights()) == weights_hash(ended.weights())
    assert begun.progress.loss_tokens == ended.progress.loss_tokens
    second.run()
    rows = logged(tmp_path / "second")
    assert [bool(row["event"]) for row in rows] == [False] * 4 + [True] + [False] * 3
    assert weights_hash(ended.weights())[:16] in rows[4]["event"]


_TWO_PROCESSES = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from test_pretrain_train import SPECIALS, settings
from bilin_engine.pretrain.shards import SampleStore
from bilin_engine.pretrain.train import Trainer
plan = settings(shard_weights=sys.argv[4] == "sharded")
store = SampleStore.open(Path(sys.argv[2]))
trainer = Trainer(Path(sys.argv[3]), store, SPECIALS, plan)
assert trainer.accelerator.num_processes == 2
for _ in range(6):
    trainer._update()
trainer.save()
trainer.accelerator.wait_for_everyone()  # only the first process writes
if sys.argv[4] == "sharded":
    whole = sum(p.numel() for p in trainer.model.parameters())
    mine = sum(p.to_local().numel() for p in trainer.model.parameters())
    assert mine < 0.6 * whole, (mine, whole)
resumed = Trainer(Path(sys.argv[3]), store, SPECIALS, plan)
assert resumed.progress.step == 6
resumed.run()
"""


def run_two_processes(script, store, run, *arguments):
    file = run.with_suffix(".py")
    file.write_text(script)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        str(file), str(Path(__file__).parent), str(store.folder), str(run), *arguments,
    ]  # fmt: skip
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=150)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("kept", ["copied", "sharded"])
def test_two_processes_train_what_one_does(store, tmp_path, kept):
    Trainer(tmp_path / "one", store, SPECIALS, settings()).run()
    run_two_processes(_TWO_PROCESSES, store, tmp_path / "two", kept)
    one, two = (
        read_checkpoint(tmp_path / "one").weights(),
        read_checkpoint(tmp_path / "two").weights(),
    )
    for name, value in one.items():
        # Sums over processes round differently in float32; Adam turns that into some 1e-5.
        assert torch.allclose(value, two[name], atol=1e-4), name


_TWO_DISKS = """
import os, shutil, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import pytest
from test_pretrain_train import SPECIALS, settings
from bilin_engine.pretrain.shards import SampleStore
from bilin_engine.pretrain.train import Trainer
store, disks = SampleStore.open(Path(sys.argv[2])), Path(sys.argv[3])
run = disks / os.environ["RANK"]
trainer = Trainer(run, store, SPECIALS, settings())
trainer._update()
trainer.save()
trainer.accelerator.wait_for_everyone()
with pytest.raises(ValueError, match="not every machine sees .* all need one shared folder"):
    Trainer(run, store, SPECIALS, settings())
if run.name == "1":
    shutil.copytree(disks / "0", run, dirs_exist_ok=True)  # by hand, and then forgotten
trainer.accelerator.wait_for_everyone()
trainer._update()
trainer.save()
trainer.accelerator.wait_for_everyone()
with pytest.raises(ValueError, match="not every machine sees .* all need one shared folder"):
    Trainer(run, store, SPECIALS, settings())
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_machines_without_a_shared_folder_do_not_go_on_from_different_weights(store, tmp_path):
    run_two_processes(_TWO_DISKS, store, tmp_path / "disks")
