"""`bilin-engine bench MODEL --peer-gguf FILE`: beside llama.cpp, in one run, turn by turn.

Both hold their model while the other computes, so that whatever else the machine does meets both
alike. Without `--threads` each runs as it does by itself: ours with as many threads as the load
allows, llama.cpp with one a core. With a text also bits per byte, over the same windows of the same
tokens.
"""

import argparse
import contextlib
import json
import math
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bilin_engine.cli.arguments import EXIT_OK, ArgumentParser, load_settings, text_argument
from bilin_engine.cli.report import print_json
from bilin_engine.config import read_model_config
from bilin_engine.errors import BadRequestError, BilinError
from bilin_engine.protocol import ModelInfo
from bilin_engine.tokenizers.load import load_tokenizer

if TYPE_CHECKING:
    from bilin_engine.runners.base import Runner

NUM_ROUNDS = 5
WINDOW_TOKENS = 512
_SCRIPT = Path(__file__).with_name("llama_cpp_peer.py")


class Rates(msgspec.Struct, frozen=True):
    """Tokens/s: the best prefill and the median decode step of all rounds."""

    prefill_tok_s: float
    decode_tok_s: float


class PeerReport(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides; same_tokens: both cut the text alike.

    num_threads: ours, as the load left it. bits_per_byte: of the text, 0.0 without one.
    """

    ours: Rates
    peer: Rates
    peer_version: str
    num_threads: int
    peer_threads: int
    busy: int
    prompt_tokens: int
    new_tokens: int
    our_bits_per_byte: float = 0.0
    peer_bits_per_byte: float = 0.0
    same_tokens: bool = True


def add_arguments(parser: ArgumentParser) -> None:
    """What `bench` takes for a comparison."""
    group = parser.add_argument_group("beside llama.cpp (by llama-cpp-python or cyllama)")
    group.add_argument("--peer-gguf", type=Path, metavar="FILE", help="the model it loads")
    group.add_argument(
        "--peer-python",
        type=Path,
        default=Path(sys.executable),
        metavar="PYTHON",
        help="an interpreter that has one of them; default: this one",
    )
    group.add_argument("--busy", type=int, default=0, metavar="N", help="processes that only count")
    group.add_argument("--text", type=text_argument, default="", help="also its bits per byte")


def run(options: argparse.Namespace, info: ModelInfo) -> int:
    """Measures both; a table, or one JSON object."""
    with _busy(options.busy):
        report = compare(options, Path(info.path))
    if options.json:
        print_json(report)
        return EXIT_OK
    busy = f", beside {report.busy} busy processes" if report.busy else ""
    threads = f"{report.num_threads} and {report.peer_threads} threads"
    print(f"{info.name_en} and llama.cpp {report.peer_version}, {threads}{busy}")
    _print("prefill", report.ours.prefill_tok_s, report.peer.prefill_tok_s, "tokens/s")
    _print("decode", report.ours.decode_tok_s, report.peer.decode_tok_s, "tokens/s")
    if report.peer_bits_per_byte:
        ours, peer = report.our_bits_per_byte, report.peer_bits_per_byte
        print(f"{'bits/byte':<9} {ours:12.4f} {peer:12.4f}   {ours / peer - 1:+.2%}")
        if not report.same_tokens:
            print("the two cut the text into different tokens; both scored ours")
    return EXIT_OK


def _print(what: str, ours: float, peer: float, unit: str) -> None:
    print(f"{what:<9} {ours:12,.1f} {peer:12,.1f} {unit}, {ours / peer:.2f} times as fast")


def compare(options: argparse.Namespace, folder: Path) -> PeerReport:
    """Loads both and takes turns.

    Raises BadRequestError for a peer that is not there, BilinError where it does not answer.
    """
    from bilin_engine.runners.load import load_runner
    from bilin_engine.runners.threads import physical_cores

    if not options.peer_gguf.is_file():
        raise BadRequestError(f"{options.peer_gguf} is no file; --peer-gguf needs a GGUF file")
    if shutil.which(options.peer_python) is None:
        raise BadRequestError(
            f"{options.peer_python} is no program; --peer-python needs a Python interpreter"
        )
    load = load_settings(options)
    peer_threads = load.num_threads or physical_cores()
    prompt_tokens, new_tokens = options.prompt_tokens, options.new_tokens
    window_tokens = min(WINDOW_TOKENS, read_model_config(folder).max_sequence_length)
    context = max(prompt_tokens + new_tokens, window_tokens)
    runner = load_runner(
        folder,
        context=context,
        device=load.device,
        backend=load.backend,
        num_threads=load.num_threads,
        num_slots=1,
    )
    with contextlib.closing(runner), _Peer(options, peer_threads, context) as peer:
        token_ids = [index % min(runner.vocab_size, 4096) for index in range(prompt_tokens)]
        ask = {"do": "time", "token_ids": token_ids, "new_tokens": new_tokens}
        ours, theirs = [], []
        for _ in range(NUM_ROUNDS):
            ours.append(_round(runner, token_ids, new_tokens))
            theirs.append(peer.ask(ask))
        report = PeerReport(
            ours=_rates(ours, prompt_tokens),
            peer=_rates(theirs, prompt_tokens),
            peer_version=peer.version,
            num_threads=runner.num_threads,
            peer_threads=peer_threads,
            busy=options.busy,
            prompt_tokens=prompt_tokens,
            new_tokens=new_tokens,
        )
        if not options.text:
            return report
        token_ids = load_tokenizer(folder).encode(options.text)
        starts = range(0, len(token_ids), window_tokens)
        windows = [token_ids[start : start + window_tokens] for start in starts]
        size = len(options.text.encode())
        return msgspec.structs.replace(
            report,
            our_bits_per_byte=sum(_bits(runner, window) for window in windows) / size,
            peer_bits_per_byte=peer.ask({"do": "score", "windows": windows})["bits"] / size,
            same_tokens=peer.ask({"do": "tokenize", "text": options.text}) == token_ids,
        )


def _round(runner: "Runner", token_ids: list[int], new_tokens: int) -> dict[str, float]:
    """Seconds of a prefill, and of the median step after it."""
    from bilin_engine.runners.base import PrefillRow

    runner.truncate(0, 0)
    count = len(token_ids)
    row = PrefillRow(slot=0, token_ids=token_ids, position_ids=range(count), prefix_len=0)
    begun_s = time.perf_counter()
    runner.prefill([row])
    prefill_s = time.perf_counter() - begun_s
    steps_s = []
    for index in range(new_tokens):
        begun_s = time.perf_counter()
        runner.decode([0], [token_ids[index % count]], [count + index])
        steps_s.append(time.perf_counter() - begun_s)
    return {"prefill_s": prefill_s, "step_s": statistics.median(steps_s)}


def _rates(rounds: list[dict[str, float]], prompt_tokens: int) -> Rates:
    return Rates(
        prompt_tokens / min(r["prefill_s"] for r in rounds),
        1 / statistics.median(r["step_s"] for r in rounds),
    )


def _bits(runner: "Runner", window: list[int]) -> float:
    """Of every token of a window but the first."""
    import torch

    from bilin_engine.runners.base import PrefillRow

    runner.truncate(0, 0)
    row = PrefillRow(slot=0, token_ids=window, position_ids=range(len(window)), prefix_len=0)
    logprobs = runner.prefill([row], "all")[0][:-1].double().log_softmax(1)
    chosen = logprobs.gather(1, torch.tensor(window[1:]).unsqueeze(1))
    return -chosen.sum().item() / math.log(2)


class _Peer:
    """llama.cpp in a process of its own."""

    def __init__(self, options: argparse.Namespace, threads: int, context: int) -> None:
        arguments = [options.peer_gguf.absolute(), threads, context]
        try:
            self._process = subprocess.Popen(
                [str(options.peer_python), str(_SCRIPT), *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        except OSError as error:  # no interpreter's format, for one
            message = f"{options.peer_python} cannot be run: {error.strerror}"
            raise BadRequestError(message) from error
        self.version: str = self._answer()["version"]

    def ask(self, request: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """One request, one answer."""
        assert self._process.stdin is not None, "started with pipes"
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def __enter__(self) -> "_Peer":
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> Any:  # noqa: ANN401 - JSON
        assert self._process.stdout is not None, "started with pipes"
        line = self._process.stdout.readline()
        if not line:
            _, complaint = self._process.communicate()
            last = (complaint.strip().splitlines() or ["it said nothing"])[-1]
            raise BilinError(
                f"llama.cpp does not answer: {last}. The interpreter that --peer-python names "
                "needs the package llama-cpp-python or cyllama"
            )
        return json.loads(line)


@contextlib.contextmanager
def _busy(count: int) -> Iterator[None]:
    """Processes that keep processors busy meanwhile."""
    counting = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(counting) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
