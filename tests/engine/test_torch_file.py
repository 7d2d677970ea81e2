"""The restricted reader of torch files: right tensors, and nothing ever runs."""

import argparse
import pickle
import zipfile
from importlib import import_module

import pytest
import torch
from reference_checkpoint import RunsWhenLoaded

from bilin_engine.checkpoints.torch_file import TorchFile
from bilin_engine.errors import ModelBrokenError, UnsupportedModelError


def test_tensors_come_back_whole_and_in_rows(tmp_path):
    weight = torch.randn(6, 8).half()
    tensors = {
        "weight": weight,
        "view": weight[2:4, 1:5],
        "transposed": weight.t(),
        "parameter": torch.nn.Parameter(torch.ones(3)),
        "codes": torch.arange(-4, 4, dtype=torch.int8),
        "scalar": torch.tensor(2.5),
        "nested": {"a": torch.zeros(0, 3), "list": [torch.ones(2)]},
    }
    torch.save({"module": tensors}, tmp_path / "a.pt")
    with TorchFile(tmp_path / "a.pt") as file:
        found = file.tensors("module")
        assert set(found) == {
            "weight", "view", "transposed", "parameter", "codes", "scalar", "nested.a",
            "nested.list.0",
        }  # fmt: skip
        for name in ("weight", "view", "transposed", "parameter", "codes", "scalar"):
            assert torch.equal(found[name].read(), tensors[name]), name
        assert torch.equal(found["weight"].read(slice(1, 3)), weight[1:3])
        assert found["nested.a"].read().shape == (0, 3)


def test_globals_beside_the_weights_stay_inert(tmp_path):
    marker = tmp_path / "it_ran"
    content = {
        "module": {"weight": torch.ones(2)},
        "args": argparse.Namespace(lr=0.1, nested=[RunsWhenLoaded(marker)]),
        "optimizer": {"state": RunsWhenLoaded(marker)},
    }
    torch.save(content, tmp_path / "a.pt")
    with TorchFile(tmp_path / "a.pt") as file:
        assert list(file.tensors("module")) == ["weight"]
        assert "argparse.Namespace" in file.inert_globals
        assert any(name.endswith(".system") for name in file.inert_globals)
    assert not marker.exists()


@pytest.mark.parametrize("place", ["under module", "as module", "as the file"])
def test_a_planted_call_is_refused_by_name_and_never_runs(tmp_path, place):
    marker = tmp_path / "it_ran"
    planted = RunsWhenLoaded(marker)
    content = {
        "under module": {"module": {"weight": torch.ones(2), "b": planted}},
        "as module": {"module": planted},
        "as the file": planted,
    }[place]
    torch.save(content, tmp_path / "a.pt")
    with (
        TorchFile(tmp_path / "a.pt") as file,
        pytest.raises(UnsupportedModelError, match=r'wants to use "posix\.system"'),
    ):
        file.tensors("module")
    assert not marker.exists()


def test_a_class_itself_under_module_is_refused(tmp_path):
    torch.save({"module": {"weight": argparse.Namespace}}, tmp_path / "a.pt")
    with (
        TorchFile(tmp_path / "a.pt") as file,
        pytest.raises(UnsupportedModelError, match=r"argparse\.Namespace"),
    ):
        file.tensors("module")


def test_old_format_is_refused_with_the_line_to_save_it_again(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"module": {}}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UnsupportedModelError, match=r"weights_only=True.*\.new"):
        TorchFile(path)


def test_what_is_no_torch_file_is_said(tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(b"hello world")
    with pytest.raises(UnsupportedModelError, match="is no PyTorch file"):
        TorchFile(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/readme", "x")
    with pytest.raises(ModelBrokenError, match=r"0 data\.pkl entries"):
        TorchFile(path)


def test_a_cut_file_is_said(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"module": {"weight": torch.ones(1000)}}, path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ModelBrokenError, match="damaged or was cut short"):
        TorchFile(path)


def test_a_missing_dictionary_is_said(tmp_path):
    torch.save({"model": {}}, tmp_path / "a.pt")
    with (
        TorchFile(tmp_path / "a.pt") as file,
        pytest.raises(ModelBrokenError, match='no dictionary "module"'),
    ):
        file.tensors("module")


def _with_pickle(path, root: object, storages: dict[str, bytes]) -> None:
    """A torch zip whose data.pkl is made by hand."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return value.pid if isinstance(value, _Storage) else None

    import io

    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump(root)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", buffer.getvalue())
        for key, content in storages.items():
            archive.writestr(f"a/data/{key}", content)


class _Storage:
    def __init__(self, kind, key, count):
        self.pid = ("storage", kind, key, "cpu", count)


class _Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.arguments = (storage, offset, shape, strides, False, {})

    def __reduce__(self):
        return import_module("torch._utils")._rebuild_tensor_v2, self.arguments


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "sentence"),
    [
        (0, (5,), (1,), "reaches past its storage"),
        (2, (3,), (1,), "reaches past its storage"),
        (0, (2, 2), (4, 1), "reaches past its storage"),
        (-1, (1,), (1,), "malformed"),
        (0, (4,), (-1,), "has shape"),
        (0, (2, 2), (1,), "has shape"),
        (0, (1,) * 9, (1,) * 9, "malformed"),
    ],
)
def test_tensors_outside_their_storage_are_refused(tmp_path, offset, shape, strides, sentence):
    storage = _Storage(torch.HalfStorage, "0", 4)
    root = {"module": {"w": _Tensor(storage, offset, shape, strides)}}
    _with_pickle(tmp_path / "a.pt", root, {"0": b"\0" * 8})
    with pytest.raises(ModelBrokenError, match=sentence):
        TorchFile(tmp_path / "a.pt").tensors("module")


def test_a_storage_shorter_than_it_says_is_refused(tmp_path):
    storage = _Storage(torch.HalfStorage, "0", 4)
    root = {"module": {"w": _Tensor(storage, 0, (4,), (1,))}}
    _with_pickle(tmp_path / "a.pt", root, {"0": b"\0" * 6})
    with pytest.raises(ModelBrokenError, match="needs 8 bytes; the file has 6"):
        TorchFile(tmp_path / "a.pt").tensors("module")
