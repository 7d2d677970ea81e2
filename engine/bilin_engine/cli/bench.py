"""`bilin-engine bench`: the Runner's rates, and the time to a first token through all processes."""

import argparse
import statistics
from pathlib import Path

from bilin_engine.cli.arguments import EXIT_OK, load_settings
from bilin_engine.cli.report import print_json
from bilin_engine.cli.session import Session
from bilin_engine.protocol import (
    Chat,
    ChatResult,
    Fill,
    FillResult,
    GenerationStats,
    Message,
    ModelInfo,
    Sampling,
)

NUM_ANSWERS = 3


def run(options: argparse.Namespace) -> int:
    """Measures; one table, or one JSON object."""
    load = load_settings(options)
    with options.open_session(options) as session:
        info = session.model(options.model)
        loaded = session.load(options.model, load)
        answers = [_short_answer(session, info) for _ in range(NUM_ANSWERS)]
    first_s = statistics.median(stats.time_to_first_token_s for stats in answers)

    from bilin_engine.bench import BenchSettings, measure  # torch: after the worker is gone

    settings = BenchSettings(options.prompt_tokens, options.new_tokens)
    report = measure(Path(info.path), load, settings)
    shown: dict[str, object] = {
        "model": info.id,
        "precision": info.precision,
        "device": report.device,
        "backend": report.backend,
        "num_threads": report.num_threads,
        "ready_s": loaded.load_s,
        "prompt_tokens": report.prompt_tokens,
        "new_tokens": report.new_tokens,
        "prefill_tok_s": report.prefill_tok_s,
        "decode_tok_s": report.decode_tok_s,
        "time_to_first_token_s": first_s,
        "bytes_per_token": report.bytes_per_token,
        "read_bytes_s": report.read_bytes_s,
        "share_of_bandwidth": report.share_of_bandwidth,
        "memory_bytes": report.memory_bytes,
        "peak_memory_bytes": report.peak_memory_bytes,
    }
    if options.json:
        print_json(shown)
        return EXIT_OK
    print(f"{info.name_zh} {info.name_en} · {info.precision} · {report.device}")
    print(f"backend {report.backend}, {report.num_threads} threads, ready in {loaded.load_s:.2f} s")
    print(f"prefill      {report.prefill_tok_s:12,.0f} tokens/s   ({report.prompt_tokens} tokens)")
    print(f"decode       {report.decode_tok_s:12,.1f} tokens/s   ({report.new_tokens} tokens)")
    print(
        f"first token  {first_s * 1000:12,.1f} ms         (a short prompt, through all processes)"
    )
    print(f"reads        {report.bytes_per_token / 2**20:12,.1f} MiB a token")
    share = report.share_of_bandwidth
    note = "; the weights lie in the processor's cache" if share > 1 else ""
    print(
        f"bandwidth    {report.read_bytes_s / 1e9:12,.1f} GB/s read, {share:.0%} of it used{note}"
    )
    print(f"peak memory  {report.peak_memory_bytes / 2**20:12,.0f} MiB")
    return EXIT_OK


def _short_answer(session: Session, info: ModelInfo) -> GenerationStats:
    """A greedy answer of a few tokens, as the model is used: a chat, or a blank."""
    from bilin_engine.generation.masks import parse_mask_text

    greedy = Sampling(temperature=0.0, max_new_tokens=4)
    if info.can_chat:
        messages = (Message("user", "你好"),)
        return session.ask(
            lambda i: Chat(id=i, model=info.id, messages=messages, sampling=greedy), ChatResult
        ).stats
    segments = parse_mask_text("Paris is the [MASK] of France.")
    return session.ask(
        lambda i: Fill(id=i, model=info.id, segments=segments, sampling=greedy), FillResult
    ).stats
