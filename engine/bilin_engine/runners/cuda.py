"""A model on one CUDA device: a decode step is one replay of a captured graph.

A graph is captured for each number of slots when it is first decoded. Before the capture the step
runs once as it is, with the same inputs: that loads every kernel, gives cuBLAS its workspace, and
writes what the replay will write again. One table of ids, positions, addresses and lengths goes
to the device and the logits come back, by asynchronous copies around the replay; the host waits
once, for the logits.

Prefill is the model's own forward. Ranks that meet in collectives take the same step uncaptured.
"""

from collections.abc import Sequence

import torch

from bilin_engine.models.base import Model
from bilin_engine.models.decode_step import NUM_INPUTS, DecodeStep, StepInputs
from bilin_engine.runners.base import ShouldStop, StoppedError
from bilin_engine.runners.local import LocalRunner
from bilin_kernels import ops
from bilin_kernels.loader import default_launcher


class CudaRunner(LocalRunner):
    """As LocalRunner, with the decode step of models/decode_step.py.

    On a CPU device, where no graph can be, the step runs on the kernels' reference: for tests.
    """

    def __init__(
        self,
        model: Model,
        *,
        num_slots: int,
        max_length: int,
        num_threads: int,
        dtype: torch.dtype,
        captures: bool,
    ) -> None:
        """dtype: of what lies between linears. captures: whether steps become graphs.

        Raises UnsupportedModelError for a model whose sizes no kernel takes, KernelLoadError if
        the device cannot run the kernels.
        """
        super().__init__(
            model,
            num_slots=num_slots,
            max_length=max_length,
            backend="cuda",
            num_threads=num_threads,
        )
        self._device = self._cache.device
        if ops.backend_of(self._device) == "cuda":
            default_launcher().prepare(self._device)
            ops.reserve_workspace(self._device)
            with torch.cuda.device(self._device):
                torch.cuda.current_blas_handle()  # made at the first product: too late to be told
        with torch.inference_mode():
            self._step: DecodeStep | None = DecodeStep(model, self._cache, dtype)
        self._captures = captures
        self._graphs: dict[int, _Graph] = {}

    @torch.inference_mode()
    def decode(
        self,
        slots: Sequence[int],
        token_ids: Sequence[int],
        position_ids: Sequence[int],
        should_stop: ShouldStop | None = None,
    ) -> torch.Tensor:
        """As `Runner.decode`; `should_stop` is asked before the step, which then runs whole."""
        step = self._step
        if step is None:
            raise ValueError("the runner is closed")
        self._check_decode(slots, token_ids, position_ids)
        if should_stop is not None and should_stop():
            raise StoppedError
        blocks = [self._cache.address(slot) for slot in slots]
        lengths = [self._cache.length(slot) for slot in slots]
        table = torch.tensor([list(token_ids), list(position_ids), blocks, lengths])
        logits = self._run(step, table)
        for slot in slots:
            self._cache.set_length(slot, self._cache.length(slot) + 1)
        return logits

    def close(self) -> None:
        """As `Runner.close`."""
        self._graphs.clear()
        self._step = None
        super().close()

    def _run(self, step: DecodeStep, table: torch.Tensor) -> torch.Tensor:
        if not self._captures:
            return step(StepInputs(table.to(self._device))).cpu()
        num_slots = table.shape[1]
        graph = self._graphs.get(num_slots)
        if graph is None:
            graph = self._graphs[num_slots] = _Graph(step, table, self._device)
        return graph.replay(table)


class _Graph:
    """A captured step of a fixed number of slots, with the memory it reads and writes."""

    def __init__(self, step: DecodeStep, table: torch.Tensor, device: torch.device) -> None:
        """table: of the first step, which runs here without a graph."""
        shape = (NUM_INPUTS, table.shape[1])
        self._device = device
        self._pinned_table = torch.empty(shape, dtype=torch.int64, pin_memory=True)
        self._table = table.to(device)
        inputs = StepInputs(self._table)
        with torch.cuda.device(device):
            side = torch.cuda.Stream(device)
            side.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(side):
                step(inputs)
            side.synchronize()
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=side):
                self._logits = step(inputs)
        self._pinned_logits = torch.empty(
            self._logits.shape, dtype=self._logits.dtype, pin_memory=True
        )

    def replay(self, table: torch.Tensor) -> torch.Tensor:
        """float32 CPU logits [T, V] of the step that `table` describes."""
        # The last replay has been waited for, so nobody reads the pinned memory any more.
        self._pinned_table.copy_(table)
        with torch.cuda.device(self._device):
            self._table.copy_(self._pinned_table, non_blocking=True)
            self._graph.replay()
            self._pinned_logits.copy_(self._logits, non_blocking=True)
            torch.cuda.current_stream(self._device).synchronize()
        return self._pinned_logits.clone()
