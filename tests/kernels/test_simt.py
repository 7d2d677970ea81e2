"""The shim itself: it must refuse what a GPU would let pass, or nothing it accepts means much."""

import pytest
import torch
from simt_launcher import SHIM_DIR, SimtError, SimtLauncher

from bilin_kernels.ops import address

THREADS = 64


@pytest.fixture(scope="module")
def faults(simt_cache):
    return SimtLauncher(simt_cache, source_dir=SHIM_DIR)


def run(launcher, kernel, descending=False):
    values = torch.arange(THREADS, dtype=torch.int32) + 1
    out = torch.zeros(THREADS, dtype=torch.int32)
    launcher.descending = descending
    with launcher.tensors([values], [out]):
        arguments = [address(values), address(out)]
        launcher.launch("faults", kernel, (1, 1, 1), THREADS, arguments, values.device)
    launcher.descending = False
    return values, out


def test_sound_kernel_passes(faults):
    values, out = run(faults, "copies")
    assert torch.equal(values, out)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("reads_behind_the_end", "load outside every tensor"),
        ("writes_its_input", "store into a read-only tensor"),
        ("reads_misaligned", "misaligned access of 16 bytes"),
        ("half_of_a_warp_shuffles", "misses a lane|hangs"),
        ("some_threads_skip_the_barrier", "hangs"),
        ("writes_behind_shared_memory", "written behind its end"),
    ],
)
def test_fault_is_refused(faults, kernel, message):
    with pytest.raises(SimtError, match=message):
        run(faults, kernel)


def test_missing_barrier_shows_in_the_order_of_threads(faults):
    _, ascending = run(faults, "forgets_a_barrier")
    _, descending = run(faults, "forgets_a_barrier", descending=True)
    assert not torch.equal(ascending, descending)


def test_copy_lands_only_when_it_is_waited_for(faults):
    values, out = run(faults, "does_not_wait_for_its_copy")
    assert not (out == values).any()
