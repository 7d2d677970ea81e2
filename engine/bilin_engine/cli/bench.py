"""`bilin-engine bench`: the Runner's rates, and the time to a first token through all processes."""

import argparse
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from bilin_engine.cli import peer
from bilin_engine.cli.arguments import EXIT_OK, ArgumentParser, one_device_settings
from bilin_engine.cli.report import print_json
from bilin_engine.cli.session import Session
from bilin_engine.errors import BadRequestError
from bilin_engine.placement.known_configs import known_config
from bilin_engine.protocol import (
    Chat,
    ChatResult,
    Fill,
    FillResult,
    Generate,
    GenerationStats,
    LoadSettings,
    Message,
    ModelInfo,
    Sampling,
)

if TYPE_CHECKING:
    from bilin_engine.bench import BenchReport

# A greeting and a city for each answer: the same again would go on from what the one before left,
# and be the first token of a prompt of one token.
_OPENINGS = (("你好", "Paris"), ("早安", "Rome"), ("晚安", "Tokyo"))


def add_arguments(parser: ArgumentParser) -> None:
    """What `bench` takes."""
    parser.add_argument("model", nargs="?", help="a model of the library")
    parser.add_argument(
        "--config", metavar="NAME", help="a known one instead, such as glm-130b, without its files"
    )
    parser.add_argument(
        "--random-weights",
        action="store_true",
        help="what --config is measured with: INT4 weights made up on the device (implied)",
    )
    parser.add_argument("--group-size", default="row", help="of those: row (default), 128, 64, 32")
    parser.add_argument("--prompt-tokens", type=int, default=256, metavar="N")
    parser.add_argument("--new-tokens", type=int, default=64, metavar="N")
    parser.add_argument(
        "--no-busy",
        action="store_true",
        help="do not measure again beside a busy process (on the processor, 10 s)",
    )
    peer.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Measures; one table, or one JSON object."""
    load = one_device_settings(options, "bench")
    if options.config is None and options.model is not None and not options.random_weights:
        return _run_model(options, load)
    if options.config is None or options.model is not None:
        raise BadRequestError("bench measures a model of the library, or --config NAME")
    return _run_random(options, load)


def _run_random(options: argparse.Namespace, load: LoadSettings) -> int:
    from bilin_engine.bench import BenchSettings, measure_random

    row = options.group_size == "row"
    if not row and not options.group_size.isdigit():
        raise BadRequestError(f'group size "{options.group_size}" is unknown; use row, 128, 64, 32')
    config = known_config(options.config, group_size="row" if row else int(options.group_size))
    settings = BenchSettings(
        options.prompt_tokens, options.new_tokens, beside_busy=not options.no_busy
    )
    report = measure_random(config, load, settings)
    precision = f"INT4 · {options.group_size}"
    facts: dict[str, object] = {"model": options.config, "precision": precision}
    if options.json:
        print_json({**facts, **_facts(report)})
        return EXIT_OK
    print(f"{options.config}, random weights · {precision} · {report.device}")
    _print(report, report.load_s, None)
    return EXIT_OK


def _run_model(options: argparse.Namespace, load: LoadSettings) -> int:
    if options.peer_gguf is not None:
        with options.open_session(options) as session:
            info = session.model(options.model)
        return peer.run(options, info)
    with options.open_session(options) as session:
        info = session.model(options.model)
        loaded = session.load(options.model, load, tells_memory=options.load_report or None)
        answers = [_short_answer(session, info, *opening) for opening in _OPENINGS]
    first_s = statistics.median(stats.time_to_first_token_s for stats in answers)

    from bilin_engine.bench import BenchSettings, measure  # torch: after the worker is gone

    settings = BenchSettings(
        options.prompt_tokens, options.new_tokens, beside_busy=not options.no_busy
    )
    report = measure(Path(info.path), load, settings)
    facts: dict[str, object] = {
        "model": info.id,
        "precision": info.precision,
        "ready_s": loaded.load_s,
        "time_to_first_token_s": first_s,
    }
    if options.json:
        print_json({**facts, **_facts(report)})
        return EXIT_OK
    print(f"{info.name_zh} {info.name_en} · {info.precision} · {report.device}")
    _print(report, loaded.load_s, first_s)
    return EXIT_OK


def _facts(report: "BenchReport") -> dict[str, object]:
    names = (
        "device",
        "backend",
        "num_threads",
        "prompt_tokens",
        "new_tokens",
        "prefill_tok_s",
        "decode_tok_s",
        "bytes_per_token",
        "read_per_token",
        "read_bytes_s",
        "share_of_bandwidth",
        "memory_bytes",
        "peak_memory_bytes",
        "busy",
    )
    return {name: getattr(report, name) for name in names}


def _print(report: "BenchReport", ready_s: float, first_s: float | None) -> None:
    print(f"backend {report.backend}, {report.num_threads} threads, ready in {ready_s:.2f} s")
    print(f"prefill      {report.prefill_tok_s:12,.0f} tokens/s   ({report.prompt_tokens} tokens)")
    print(f"decode       {report.decode_tok_s:12,.1f} tokens/s   ({report.new_tokens} tokens)")
    if first_s is not None:
        print(
            f"first token  {first_s * 1000:12,.1f} ms         "
            "(a short prompt, through all processes)"
        )
    print(f"reads        {report.read_per_token / 2**20:12,.1f} MiB a token")
    share = report.share_of_bandwidth
    note = "; the weights lie in the processor's cache" if share > 1 else ""
    print(
        f"bandwidth    {report.read_bytes_s / 1e9:12,.1f} GB/s read, {share:.0%} of it used{note}"
    )
    if (busy := report.busy) is not None:
        print(
            f"beside a busy process: prefill {busy.prefill_tok_s:,.0f}, decode "
            f"{busy.decode_tok_s:,.1f} tokens/s with {busy.num_threads} threads, "
            f"{busy.share_of_bandwidth:.0%} of the bandwidth "
            f"({busy.kept_tok_s:,.1f} tokens/s if {report.num_threads} threads had stayed)"
        )
    print(f"peak memory  {report.peak_memory_bytes / 2**20:12,.0f} MiB")


def _short_answer(session: Session, info: ModelInfo, greeting: str, city: str) -> GenerationStats:
    """A greedy answer of a few tokens, as the model is used: a chat, a blank, or raw text."""
    from bilin_engine.generation.masks import parse_mask_text

    greedy = Sampling(temperature=0.0, max_new_tokens=4)
    if info.can_chat:
        messages = (Message("user", greeting),)
        return session.ask(
            lambda i: Chat(id=i, model=info.id, messages=messages, sampling=greedy), ChatResult
        ).stats
    if not info.blank_kinds:
        text = parse_mask_text(f"{city} is the capital of")
        return session.ask(
            lambda i: Generate(id=i, model=info.id, segments=text, sampling=greedy), ChatResult
        ).stats
    segments = parse_mask_text(f"{city} is the [MASK] of the country.")
    return session.ask(
        lambda i: Fill(id=i, model=info.id, segments=segments, sampling=greedy), FillResult
    ).stats
