"""The training loop: one device to a cluster through `accelerate`, resumable to the bit.

Weights are float32, maths in bfloat16 where asked. A step's loss is the mean over all its target
tokens, on every process alike, so the number of processes changes no result beyond rounding.
Nothing random happens after the initialisation: batches are a function of (store, seed, cursor).
"""

import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from bilin_engine.config import SpecialIds
from bilin_engine.pretrain.batches import BatchStream, iterate_batches
from bilin_engine.pretrain.model import TrainableGlm
from bilin_engine.pretrain.published import is_model_folder, read_published, vocabulary_of
from bilin_engine.pretrain.run_folder import (
    LOG_FILE,
    LOG_HEADER,
    NEW_RUN_EVENT,
    Checkpoint,
    Progress,
    TrainSettings,
    has_checkpoint,
    log_line,
    read_checkpoint,
    read_log_lines,
    require_same_settings,
    require_same_vocabulary,
    weights_hash,
    write_checkpoint,
    write_log_lines,
    write_settings,
)
from bilin_engine.pretrain.samples import Arrays
from bilin_engine.pretrain.schedule import is_rounding, learning_rate, num_batches, share_done
from bilin_engine.pretrain.shards import SampleStore
from bilin_engine.pretrain.spike_guard import SpikeGuard, spike_margin

logger = logging.getLogger(__name__)

MAX_RETRIES = 3  # rollbacks to one checkpoint before the checkpoint itself is doubted


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases and norms do not."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _shard(model: TrainableGlm) -> None:
    """Spreads the weights, gradients and moments over the processes, layer by layer (FSDP2).

    Our own call, since accelerate shards on accelerators only, and this also runs on CPUs.
    """
    for block in model.blocks:
        fully_shard(block)
    fully_shard(model)


def device_name(device: torch.device, num_processes: int) -> str:
    """As the model's card names it. num_processes: each with a GPU of its own, if any."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        return name if num_processes == 1 else f"{num_processes} × {name}"
    return f"CPU, {os.cpu_count()} cores"


class _Clock:
    """Seconds since it was made, as the first process counts them: all must end together."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._begun = time.monotonic()
        self._seconds = 0.0

    def read(self) -> float:
        """Asks the first process; all processes must call it."""
        self._seconds = self.shared(time.monotonic() - self._begun)
        return self._seconds

    def shared(self, mine: float) -> float:
        """The first process's number; all processes must call it."""
        if self._accelerator.num_processes == 1:
            return mine
        kept = mine if self._accelerator.is_main_process else 0.0
        sum_of_one: Any = self._accelerator.reduce(
            torch.tensor(kept, dtype=torch.float64, device=self._accelerator.device), "sum"
        )
        return float(sum_of_one)

    def seconds(self) -> float:
        """What `read` last gave."""
        return self._seconds


def _require_whole_share(settings: TrainSettings, processes: int) -> None:
    """Every update must have as many batches for one process as for another."""
    counts = {num_batches(step, settings) for step in range(settings.batch_warmup_steps + 1)}
    odd = sorted(count for count in counts if count % processes)
    if odd:
        message = (
            f"{processes} processes cannot share {odd[0]} batches; make batches_per_step and "
            f"first_batches_per_step multiples of {processes}, and batch_warmup_steps 0"
        )
        raise ValueError(message)


def _require_whole_groups(settings: TrainSettings) -> None:
    """Now, not when rounding begins: by then the run could not be finished."""
    if not settings.fake_quant_share > 0:
        return
    group, size = settings.fake_quant_group, settings.size
    widths = {"hidden_size": size.hidden_size, "inner_size": size.inner_size}
    for name, width in widths.items():
        if group < 1 or width % group:
            message = (
                f"fake_quant_group {group} does not divide {name} {width}; use a divisor of "
                f"{math.gcd(*widths.values())}, or fake_quant_share 0"
            )
            raise ValueError(message)


class Trainer:
    """Trains in `folder`: `checkpoint/` (kill-safe), `log.csv`, `settings.json`.

    A folder with a checkpoint goes on from it; its settings must be the same but for those that
    change no result (`run_folder.require_same_settings`). init_from: another run or a model folder,
    whose weights, log, loss tokens and seconds a new folder begins with; moments, schedule and mix
    are new.
    """

    def __init__(
        self,
        folder: Path,
        store: SampleStore,
        specials: SpecialIds,
        settings: TrainSettings,
        init_from: Path | None = None,
    ) -> None:
        self.folder, self.settings = folder, settings
        self.accelerator = Accelerator(
            cpu=settings.device == "cpu",
            mixed_precision="bf16" if settings.precision == "bf16" else "no",
        )
        _require_whole_share(settings, self.accelerator.num_processes)
        _require_whole_groups(settings)
        torch.manual_seed(settings.seed)
        model = TrainableGlm(settings.size, embedding_gradient=settings.embedding_gradient)
        self.plain_model = model
        if settings.shard_weights:
            _shard(model.to(self.accelerator.device))
        optimizer = torch.optim.AdamW(
            parameter_groups(model, settings.weight_decay),
            lr=settings.learning_rate,
            betas=settings.betas,
            eps=1e-8,
            fused=True,
        )
        if settings.shard_weights:  # what is sharded takes part in the others' work by itself
            self.model, self.optimizer = model, self.accelerator.prepare(optimizer)
        else:
            self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.stream = BatchStream(store, settings, specials)
        self.progress = Progress()
        self.guard = SpikeGuard()
        self._safe: dict[str, Tensor] = {}
        self._safe_progress, self._safe_guard = Progress(), self.guard.state()
        self._num_retries = 0  # from the safe state, each on other batches
        folder.mkdir(parents=True, exist_ok=True)
        is_begun = has_checkpoint(folder)
        self._require_one_folder(int(is_begun))
        if is_begun:
            self._resume()
            self._require_one_folder(self.progress.step, self.progress.cursor)
        else:
            if self.accelerator.is_main_process:  # what a kill before the first checkpoint left
                write_log_lines(folder, [])
            if init_from is not None:
                self._begin_with(init_from)
            self._remember()
            if self.accelerator.is_main_process:
                write_settings(folder, settings)
        self._batches = self._open_batches()

    def _require_one_folder(self, *found: int) -> None:
        """Only the first process writes there; others would go on from something else.

        found: what this process read. Raises ValueError in all of them.
        """
        mine = torch.tensor([found], device=self.accelerator.device)
        everyones: Any = self.accelerator.gather(mine)
        if bool((everyones != everyones[0]).any()):
            message = (
                f"not every machine sees the same checkpoint in {self.folder}; all need one shared "
                "folder"
            )
            raise ValueError(message)

    def _begin_with(self, run: Path) -> None:
        vocabulary = self.settings.vocabulary
        require_same_vocabulary(self.folder, vocabulary, run, vocabulary_of(run))
        if is_model_folder(run):
            earlier, log_lines = read_published(run)
        else:
            earlier, log_lines = read_checkpoint(run), read_log_lines(run)
        weights = earlier.weights()
        model = self.plain_model.state_dict()
        if {n: w.shape for n, w in weights.items()} != {n: w.shape for n, w in model.items()}:
            message = f"{run} holds a model of another size than {self.settings.size}"
            raise ValueError(message)
        self._restore({f"weight/{name}": value for name, value in weights.items()}, _WHOLE)
        self.progress.loss_tokens = earlier.progress.loss_tokens
        self.progress.seconds = earlier.progress.seconds
        if self.accelerator.is_main_process:
            write_log_lines(self.folder, log_lines[: earlier.log_lines])
        event = f"{NEW_RUN_EVENT} {weights_hash(weights)[:16]}, step {earlier.progress.step}"
        self._log(event)

    # --- The loop ---------------------------------------------------------------------------------

    def run(self) -> Progress:
        """Trains to settings.steps or max_seconds; leaves a checkpoint. Returns where it stands."""
        clock = _Clock(self.accelerator)
        before, scheduled = self.progress.seconds, self.progress.scheduled
        if self.settings.ends_at:
            left = self.settings.ends_at - time.time()
            scheduled = clock.shared(max(0.0, self.settings.schedule_seconds - left))
            self.progress.scheduled = scheduled
        self.model.train()
        while self.progress.step < self.settings.steps:
            if clock.seconds() > self.settings.max_seconds:
                break
            if share_done(self.progress, self.settings) >= 1:
                break
            self._update()
            spent = clock.read()
            self.progress.seconds = before + spent
            self.progress.scheduled = scheduled + spent
            has_advanced = self.progress.step > self._safe_progress.step  # not just rolled back
            if has_advanced and self.progress.step % self.settings.checkpoint_steps == 0:
                self.save()
        self.save()
        return self.progress

    def _update(self) -> None:
        settings, progress = self.settings, self.progress
        rate = learning_rate(progress, settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        is_quantized = is_rounding(progress, settings)
        self.plain_model.set_fake_quantization(settings.fake_quant_group if is_quantized else 0)
        count = num_batches(progress.step, settings)
        self.guard.margin = spike_margin(count)
        batches = list(islice(self._batches, count // self.accelerator.num_processes))
        targets = torch.tensor(
            sum(batch.num_targets for batch in batches), device=self.accelerator.device
        )
        num_targets = int(self._sum(targets))
        loss_sum = 0.0
        for index, batch in enumerate(batches):
            is_last = index == len(batches) - 1
            with nullcontext() if is_last else self.accelerator.no_sync(self.model):
                with self.accelerator.autocast():
                    loss = self.model(*self._tensors(batch))
                # Processes are averaged, so each counts for all of them.
                self.accelerator.backward(loss * (self.accelerator.num_processes / num_targets))
                loss_sum += float(loss.detach())
        total = torch.tensor(loss_sum, device=self.accelerator.device)
        mean_loss = self._sum(total) / num_targets
        norm = self._clip(settings.clip)
        progress.cursor += count
        if self.guard.is_spike(mean_loss) or not math.isfinite(norm):
            self.optimizer.zero_grad()
            self._roll_back(mean_loss, norm)
            return
        self.optimizer.step()
        self.optimizer.zero_grad()
        progress.step += 1
        progress.loss_tokens += num_targets
        self._log(
            loss=mean_loss, norm=norm, rate=rate, num_batches=count, is_quantized=is_quantized
        )

    def _sum(self, value: Tensor) -> float:
        """Of all processes."""
        total: Any = self.accelerator.reduce(value, "sum")
        return total.item()

    def _clip(self, limit: float) -> float:
        """Clips the gradients; their norm before it."""
        norm: Any = self.accelerator.clip_grad_norm_(self.model.parameters(), limit)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def _open_batches(self) -> Iterator[Arrays]:
        return iterate_batches(
            self.stream,
            self.progress,
            self.settings,
            rank=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )

    def _tensors(self, batch: Arrays) -> list[Tensor]:
        arrays = (batch.input_ids, batch.position_ids, batch.block_ids, batch.targets)
        return [torch.from_numpy(a).to(self.accelerator.device) for a in arrays]

    def _roll_back(self, loss: float, norm: float) -> None:
        """To the last checkpoint's weights; the batches since then are not seen again.

        Where spike follows on spike, the checkpoint itself is like that: the guard takes its loss
        for the usual one. Raises ValueError where there is not even a loss.
        """
        skipped_to, spikes = self.progress.cursor, self.progress.num_spikes + 1
        seconds, scheduled = self.progress.seconds, self.progress.scheduled
        logger.warning(
            "loss spike at step %s: %.3f nats per token, gradient norm %.3g; going back to step %s "
            "and on with batch %s",
            self.progress.step,
            loss,
            norm,
            self._safe_progress.step,
            skipped_to,
        )
        at_spike = self.progress.step
        self._restore(self._safe, _SHARE)
        self.progress = Progress(**asdict(self._safe_progress))
        self.progress.cursor, self.progress.num_spikes = skipped_to, spikes
        self.progress.seconds, self.progress.scheduled = seconds, scheduled
        self.guard.restore(self._safe_guard)
        self._batches = self._open_batches()
        self._log(f"spike at step {at_spike}: rolled back", loss=loss, norm=norm)
        self._num_retries += 1
        if self._num_retries < MAX_RETRIES:
            return
        if not (math.isfinite(loss) and math.isfinite(norm)):
            message = (
                f"from step {self.progress.step} on the loss was not finite {MAX_RETRIES} times; "
                f"begin again with a --learning-rate below {self.settings.learning_rate}"
            )
            raise ValueError(message)
        self.guard.forget()
        event = f"{MAX_RETRIES} spikes on end: the guard starts anew"
        self._log(event, loss=loss, norm=norm)

    def _log(self, event: str = "", **figures: Any) -> None:  # noqa: ANN401 - log_line's own
        if not self.accelerator.is_main_process:
            return
        with (self.folder / LOG_FILE).open("a", newline="", encoding="utf-8") as stream:
            if stream.tell() == 0:
                stream.write(LOG_HEADER)
            stream.write(log_line(self.progress, event, **figures))

    # --- Checkpoints ------------------------------------------------------------------------------

    def _tensors_of_state(self, options: StateDictOptions) -> dict[str, Tensor]:
        """Weights and optimizer moments by name, cloned: this process's share, or the whole."""
        weights: Any = get_model_state_dict(self.model, options=options)
        tensors = {f"weight/{name}": value for name, value in weights.items()}
        if self.optimizer.state:  # asking before the first update would make one
            moments: Any = get_optimizer_state_dict(self.model, self.optimizer, options=options)
            for name, parts in moments.get("state", {}).items():
                for part, value in parts.items():
                    tensors[f"optimizer/{part}/{name}"] = value
        return {name: value.detach().clone() for name, value in tensors.items()}

    def _restore(self, tensors: dict[str, Tensor], options: StateDictOptions) -> None:
        weights: Any = {}
        moments: Any = {}
        for name, value in tensors.items():
            kind, rest = name.split("/", 1)
            if kind == "weight":
                weights[rest] = value
            else:
                part, parameter = rest.split("/", 1)
                moments.setdefault(parameter, {})[part] = value.clone()
        set_model_state_dict(self.model, weights, options=options)
        if not moments:
            self.optimizer.state.clear()
            return
        # Not with `options`: asked for the whole, only the first process would be told.
        current: Any = get_optimizer_state_dict(self.model, self.optimizer, options=_SHARE)
        set_optimizer_state_dict(
            self.model,
            self.optimizer,
            {"state": moments, "param_groups": current["param_groups"]},
            options=options,
        )

    def _remember(self) -> None:
        self._safe = self._tensors_of_state(_SHARE)
        self._safe_progress = Progress(**asdict(self.progress))
        self._safe_guard = self.guard.state()
        self._num_retries = 0

    def save(self) -> None:
        """Leaves a checkpoint of this moment, to resume from and for the guard to go back to."""
        self.progress.device = device_name(self.accelerator.device, self.accelerator.num_processes)
        self._remember()
        tensors = self._tensors_of_state(_WHOLE)  # all processes take part
        if self.accelerator.is_main_process:
            log_lines = len(read_log_lines(self.folder))
            write_checkpoint(
                self.folder, Checkpoint(tensors, self.progress, self._safe_guard, log_lines)
            )

    def _resume(self) -> None:
        require_same_settings(self.folder, self.settings)
        checkpoint = read_checkpoint(self.folder)
        self._restore(checkpoint.tensors, _WHOLE)
        self.progress = checkpoint.progress
        self.guard.restore(checkpoint.guard)
        self._remember()
        if self.accelerator.is_main_process:  # what came later is made again
            write_log_lines(self.folder, read_log_lines(self.folder)[: checkpoint.log_lines])


# In memory every process keeps its share; the file holds the whole, and only the first writes it.
_SHARE = StateDictOptions()
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
