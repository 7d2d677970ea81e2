"""`python -m bilin_engine.pretrain`: prepare, render, train, export, report."""

import argparse
import dataclasses
import json
import logging
import math
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bilin_engine import processes
from bilin_engine.errors import BilinError
from bilin_engine.protocol import Example

if TYPE_CHECKING:  # its imports take a second, which --help need not wait for
    from bilin_engine.pretrain.prepare import RenderSettings

SIZES = {
    # name: vocabulary, width, layers, heads, inner, context. Widths are multiples of 64.
    "starter": (8192, 256, 6, 4, 704, 512),
    "mini": (16384, 512, 10, 8, 1408, 1024),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status. Errors are a sentence on stderr."""
    processes.calm_openmp()
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        return options.run(options)
    except BrokenPipeError:  # `render … | head`, which has done its work by then
        sys.stderr.close()
        return 1
    except (BilinError, ValueError, OSError) as error:
        sys.stderr.write(f"bilin_engine.pretrain: {error}\n")
        return 1


def _prepare(options: argparse.Namespace) -> int:
    from bilin_engine.pretrain.prepare import PackSettings, pack_corpus

    settings = PackSettings(
        vocab_size=options.vocab_size,
        num_chars=options.num_chars,
        text_chars=options.text_chars,
        passage_chars=options.passage_chars,
        num_words=options.num_words,
        num_glosses=options.num_glosses,
        seed=options.seed,
        tokenizer=options.tokenizer,
    )
    pack_corpus(options.corpus, options.packed, options.probe, settings)
    return 0


def _render(options: argparse.Namespace) -> int:
    from bilin_engine.pretrain.prepare import render

    mix = render(
        options.packed, options.shards or options.packed / "shards", _render_settings(options)
    )
    _say_mix(mix)
    return 0


def _say_mix(mix: dict[str, dict[str, int]]) -> None:
    total = sum(mix["loss_tokens"].values())
    for family, tokens in mix["loss_tokens"].items():
        share = 100 * tokens / total
        _say(f"{family:20} {mix['samples'][family]:>9} samples {share:5.1f} % of loss tokens")


def _train(options: argparse.Namespace) -> int:
    import torch
    from accelerate import PartialState

    from bilin_engine.pretrain.model import GlmSize
    from bilin_engine.pretrain.prepare import MIX_FILE, render, require_rendered_from
    from bilin_engine.pretrain.run_folder import TrainSettings, has_checkpoint, lock_run
    from bilin_engine.pretrain.schedule import end_of_run
    from bilin_engine.pretrain.shards import SampleStore
    from bilin_engine.pretrain.train import Trainer
    from bilin_engine.pretrain.vocabulary import TOKENIZER_FILE
    from bilin_engine.tokenizers.sentencepiece import SentencePieceTokenizer
    from bilin_engine.whole_file import file_sha256

    if options.ends_at and not options.schedule_seconds:
        message = "--ends-at needs --schedule-seconds too: how long the run that then ends takes"
        raise ValueError(message)
    if options.threads:
        torch.set_num_threads(options.threads)
    shards = options.shards or options.packed / "shards"
    # The default, ten minutes, is over before a rendering that the others wait for.
    state = PartialState(cpu=options.device == "cpu", timeout=timedelta(hours=24))
    # mix.json is written last. The first process renders, then on each machine that does not see
    # its folder one more; the others wait.
    with state.main_process_first(), state.local_main_process_first():
        if not (shards / MIX_FILE).exists():
            _say_mix(render(options.packed, shards, _render_settings(options)))
    given = _given_render_settings(options)
    given.pop("seed", None)  # also that of the order, which may be another on the same samples
    require_rendered_from(shards, options.packed, given, is_own=options.shards is None)
    tokenizer = SentencePieceTokenizer(options.packed / TOKENIZER_FILE)
    _, hidden, layers, heads, inner, context = SIZES[options.size]
    size = GlmSize(
        vocab_size=tokenizer.vocab_size,
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        inner_size=inner,
        context=context,
    )
    known = {field.name for field in dataclasses.fields(TrainSettings)}
    values = {name: value for name, value in vars(options).items() if name in known - {"size"}}
    if options.ends_at:
        now, seconds = datetime.now().astimezone(), options.schedule_seconds
        hour, minute = options.ends_at
        end = end_of_run(now, hour, minute, seconds)
        if end <= now and not has_checkpoint(options.run_folder):
            message = (
                f"--ends-at {hour:02}:{minute:02} is more than --schedule-seconds {seconds:.0f} "
                "away: give more seconds, or begin later"
            )
            raise ValueError(message)
        values["ends_at"] = end.timestamp()
    vocabulary = file_sha256(options.packed / TOKENIZER_FILE)
    store = SampleStore.open(shards)
    if state.is_local_main_process:
        store.require_intact()
    settings = TrainSettings(
        size=size, vocabulary=vocabulary, samples=file_sha256(store.index), **values
    )
    run = options.run_folder
    with lock_run(run) if state.is_main_process else nullcontext():
        trainer = Trainer(run, store, tokenizer.specials, settings, options.init_from)
        _say(f"{size.num_parameters / 1e6:.1f}M parameters on {trainer.accelerator.device}")
        progress = trainer.run()
    _say(json.dumps(dataclasses.asdict(progress)))
    return 0


def _export(options: argparse.Namespace) -> int:
    from bilin_engine.pretrain.export import ExportSettings, export

    examples: tuple[Example, ...] = ()
    if options.examples:
        examples = msgspec.json.decode(options.examples.read_bytes(), type=tuple[Example, ...])
    measured: tuple[tuple[str, str], ...] = ()
    if options.measured:
        measured = msgspec.json.decode(
            options.measured.read_bytes(), type=tuple[tuple[str, str], ...]
        )
    group_size = "row" if options.group_size == "row" else int(options.group_size)
    settings = ExportSettings(
        model_id=options.id,
        name_zh=options.name_zh,
        name_en=options.name_en,
        group_size=group_size,
        examples=examples,
        measured=measured,
    )
    shards = options.shards or options.packed / "shards"
    _say(str(export(options.run_folder, options.packed, shards, options.out, settings)))
    return 0


def _average(options: argparse.Namespace) -> int:
    from bilin_engine.pretrain.average import average

    average(options.run_folder, options.other, options.out)
    return 0


def _report(options: argparse.Namespace) -> int:
    from bilin_engine.pretrain.report import held_out_report

    _say(json.dumps(held_out_report(options.models, options.packed, options.num_texts), indent=1))
    return 0


def _render_settings(options: argparse.Namespace) -> "RenderSettings":
    from bilin_engine.pretrain.prepare import RenderSettings

    return RenderSettings(processes=options.processes, **_given_render_settings(options))


def _given_render_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Those that a person gave: shards rendered with others are then not the ones meant."""
    names = ("num_templates", "num_texts", "max_length", "seed", "family_shares")
    given = {name: value for name, value in vars(options).items() if name in names}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bilin_engine.pretrain",
        description=(
            "Trains a bilingual GLM that fills blanks and chats, from text and templates. "
            "Run `prepare`, `train`, `export` in this order; `accelerate launch -m "
            "bilin_engine.pretrain train …` uses several devices."
        ),
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shown = argparse.ArgumentDefaultsHelpFormatter

    prepare = commands.add_parser(
        "prepare",
        formatter_class=shown,
        help=("read the corpora: vocabulary, passages, facts, dialogues"),
    )
    prepare.add_argument("corpus", type=Path, help="folder with NAME.zh.txt.xz and NAME.en.txt.xz")
    prepare.add_argument("packed", type=Path, help="folder to write")
    prepare.add_argument(
        "--probe",
        type=Path,
        nargs="*",
        default=[],
        help=("probe files; nothing that shares eight tokens with their questions is trained on"),
    )
    prepare.add_argument("--vocab-size", type=int, default=8192)
    prepare.add_argument("--num-chars", type=int, default=3600, help="characters that are pieces")
    prepare.add_argument(
        "--text-chars",
        type=int,
        default=6_000_000,
        help=("Chinese characters of passages; English gets 2.2 times as many"),
    )
    prepare.add_argument("--passage-chars", type=int, default=260)
    prepare.add_argument("--num-words", type=int, default=1500, help="mined look-ups")
    prepare.add_argument("--num-glosses", type=int, default=300, help="mined definitions")
    prepare.add_argument("--seed", type=int, default=1)
    prepare.add_argument(
        "--tokenizer", type=Path, help="tokenizer.model to keep instead of training one"
    )
    prepare.set_defaults(run=_prepare)

    for name, run, text in (
        ("render", _render, "write the samples of a packed folder (train does it when absent)"),
        ("train", _train, "train, or go on training; kill it whenever you like"),
    ):
        command = commands.add_parser(name, formatter_class=shown, help=text)
        command.add_argument("packed", type=Path, help="folder that `prepare` wrote")
        if name == "train":
            _add_training(command)
        _add_rendering(command)
        command.set_defaults(run=run)

    mean = commands.add_parser(
        "average", formatter_class=shown, help="the mean of the weights at two points of a training"
    )
    mean.add_argument("run_folder", type=Path)
    mean.add_argument("other", type=Path, help="a run that it went on from, or a model folder")
    mean.add_argument("out", type=Path, help="run folder to write")
    mean.set_defaults(run=_average)

    export = commands.add_parser("export", formatter_class=shown, help="write the model folder")
    export.add_argument("run_folder", type=Path)
    export.add_argument("packed", type=Path)
    export.add_argument("out", type=Path, help="folder to write; replaced if export wrote it")
    export.add_argument("--shards", type=Path, help="default: PACKED/shards")
    export.add_argument("--id", default="bilin-mini")
    export.add_argument("--name-zh", default="Bilin Mini 小模型", help="what people see")
    export.add_argument("--name-en", default="Bilin Mini")
    export.add_argument("--group-size", default="32", help='of INT4; "row"; 0 = not quantized')
    export.add_argument("--examples", type=Path, help="JSON list of {kind, lang, text}")
    export.add_argument(
        "--measured", type=Path, help="JSON list of [what, value] for the card's figures"
    )
    export.set_defaults(run=_export)

    report = commands.add_parser(
        "report",
        formatter_class=shown,
        help=("held-out bits per byte and cloze top-1 of model folders"),
    )
    report.add_argument("packed", type=Path)
    report.add_argument("models", type=Path, nargs="+")
    report.add_argument("--num-texts", type=int, default=300)
    report.set_defaults(run=_report)
    return parser


def _family_share(text: str) -> tuple[str, float]:
    from bilin_engine.pretrain.mixture import FAMILY_SHARES

    family, _, share = text.partition("=")
    if family not in FAMILY_SHARES:
        message = f"there is no family {family!r}; known: {', '.join(FAMILY_SHARES)}"
        raise argparse.ArgumentTypeError(message)
    return family, float(share)


def _time_of_day(text: str) -> tuple[int, int]:
    time = datetime.strptime(text, "%H:%M")
    return time.hour, time.minute


def _add_rendering(command: argparse.ArgumentParser) -> None:
    """Without defaults, which are RenderSettings': `train` holds samples to what is given only."""
    command.add_argument(
        "--shards",
        type=Path,
        help=(
            "the samples; default: PACKED/shards, which train wants rendered from PACKED as it is "
            "now. Named ones may be of any PACKED with the same vocabulary"
        ),
    )
    for flag, text in (
        ("--num-templates", "samples of templates (default: 300000)"),
        ("--num-texts", "samples of passages (default: 60000)"),
        ("--max-length", "tokens of a sample (default: 256)"),
        ("--seed", "of samples and of their order (default: 1)"),
    ):
        command.add_argument(flag, type=int, default=argparse.SUPPRESS, help=text)
    command.add_argument(
        "--share",
        type=_family_share,
        action="append",
        default=argparse.SUPPRESS,
        dest="family_shares",
        metavar="FAMILY=SHARE",
        help=(
            "of instruction samples; families not named share the rest as the mixture has them; "
            "may be repeated"
        ),
    )
    command.add_argument("--processes", type=int, default=1, help="that render")


def _add_training(command: argparse.ArgumentParser) -> None:
    command.add_argument("run_folder", type=Path, help="checkpoint, log.csv and settings.json")
    command.add_argument(
        "--init-from",
        type=Path,
        metavar="RUN",
        help=(
            "begin a new run with the weights and the log of another, or of a model folder, on "
            "another mix or schedule"
        ),
    )
    command.add_argument("--size", choices=sorted(SIZES), default="starter")
    command.add_argument("--steps", type=int, default=6000)
    command.add_argument("--learning-rate", type=float, default=1.2e-3)
    command.add_argument("--final-learning-rate-share", type=float, default=0.05)
    command.add_argument("--warmup-steps", type=int, default=120)
    command.add_argument("--weight-decay", type=float, default=0.1)
    command.add_argument("--clip", type=float, default=1.0)
    command.add_argument("--tokens-per-batch", type=int, default=1024)
    command.add_argument("--batches-per-step", type=int, default=1)
    command.add_argument("--first-batches-per-step", type=int, default=1)
    command.add_argument("--batch-warmup-steps", type=int, default=0)
    command.add_argument("--embedding-gradient", type=float, default=0.1)
    command.add_argument(
        "--fake-quant-share",
        type=float,
        default=0.0,
        help=("of the steps, at the end, with INT4-rounded weights"),
    )
    command.add_argument("--fake-quant-group", type=int, default=32)
    command.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    command.add_argument("--device", choices=("auto", "cpu"), default="auto")
    command.add_argument(
        "--shard-weights",
        action="store_true",
        help="every process keeps its share of weights and moments (FSDP), not a copy",
    )
    command.add_argument("--checkpoint-steps", type=int, default=200)
    command.add_argument(
        "--schedule-seconds",
        type=float,
        default=0.0,
        help=("end after this time, with schedules that follow the clock instead of --steps"),
    )
    command.add_argument(
        "--ends-at",
        type=_time_of_day,
        metavar="HH:MM",
        help="the time of day at which --schedule-seconds are over, pauses and restarts included",
    )
    command.add_argument("--loader-processes", type=int, default=0)
    command.add_argument("--max-seconds", type=float, default=math.inf)
    command.add_argument("--threads", type=int, default=0, help="0 = torch's own choice")


if __name__ == "__main__":
    sys.exit(main())
