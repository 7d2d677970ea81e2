import pytest
import torch
from simt_launcher import SimtLauncher


@pytest.fixture(autouse=True)
def one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def simt_cache(pytestconfig):
    return pytestconfig.cache.mkdir("simt")


@pytest.fixture(scope="session")
def ampere(simt_cache):
    """sm_80 and later: m16n8k16, cp.async, both 16-bit types."""
    return SimtLauncher(simt_cache)


@pytest.fixture(scope="session")
def turing(simt_cache):
    """sm_75: two m16n8k8, loads into registers, float16 only."""
    return SimtLauncher(simt_cache, defines=("BILIN_TURING",))
