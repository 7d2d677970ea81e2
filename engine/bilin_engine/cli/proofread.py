"""`bilin-engine proofread`: the words that a model finds unlikely, and how well it finds them."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bilin_engine.cli.arguments import EXIT_OK, ArgumentParser, load_settings, text_argument
from bilin_engine.cli.report import dim, plain_text, print_json
from bilin_engine.cli.session import Session
from bilin_engine.errors import BadRequestError
from bilin_engine.evaluate.proofread import (
    LANGUAGES,
    Language,
    LanguageFigures,
    as_figures,
    measure,
    one_text,
    read_planted,
)
from bilin_engine.library import read_description, write_proofread_figures
from bilin_engine.protocol import Event, Proofread, ProofreadResult, ReadWord, SentenceRead
from bilin_engine.server.proofreading import sentence_spans


def add_arguments(parser: ArgumentParser) -> None:
    """What `proofread` takes, beside how a model is loaded and where models lie."""
    parser.add_argument("model")
    parser.add_argument(
        "text", nargs="?", type=text_argument, help="the text, a file, or - for stdin"
    )
    parser.add_argument(
        "--probe",
        type=Path,
        metavar="FILE",
        help="measure instead, on sentences (.jsonl) with one planted wrong word each",
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="with --probe: put the figures into the model's bilin.json, where the app reads them",
    )


def run(options: argparse.Namespace) -> int:
    """Prints the unlikely words, or the figures of a probe file."""
    if (options.text is None) == (options.probe is None) or (options.write and not options.probe):
        raise BadRequestError("give a text to read, or --probe FILE to measure (then --write)")
    if options.probe is not None:
        return _run_probe(options)
    spans = sentence_spans(options.text)
    if not spans:
        shown = plain_text(options.text[:40])
        raise BadRequestError(f'there is no word to read in "{shown}"; give at least one sentence')
    with options.open_session(options) as session:
        session.load(
            options.model, load_settings(options), tells_memory=options.load_report or None
        )
        found, result = _read(session, options.model, options.text, spans)
        figures = session.model(options.model).proofread
    words = [word for sentence in found for word in sentence]
    if options.json:
        shown = [
            {"text": options.text[word.start : word.end], **msgspec.to_builtins(word)}
            for word in words
        ]
        print_json(
            {
                "words": shown,
                "num_words": result.num_words,
                "seconds": result.seconds,
                "way": result.way,
                "measured": figures,
            }
        )
        return EXIT_OK
    unlikely = [word for word in words if word.is_unlikely]
    for word in unlikely:
        print(_line(options.text, word))
    rate = result.num_words / max(result.seconds, 1e-9)
    told = f"{len(unlikely)} of {result.num_words} words are unlikely; {rate:.0f} words/s"
    print(f"{told}. {result.num_words} 个词中有 {len(unlikely)} 个可疑。", file=sys.stderr)
    if figures is None:
        print("This model's proofreading is untested. 此模型的校读未经测试。", file=sys.stderr)
    return EXIT_OK


def _line(text: str, word: ReadWord) -> str:
    row = text.count("\n", 0, word.start) + 1
    column = word.start - text.rfind("\n", 0, word.start)
    expected = ", ".join(plain_text(one.text) for one in word.expected)
    shown = plain_text(text[word.start : word.end])
    return f"{row}:{column}  {shown}  {word.score:.1f}  -> {expected}"


def _read(
    session: Session, model: str, text: str, spans: Sequence[tuple[int, int]]
) -> tuple[list[tuple[ReadWord, ...]], ProofreadResult]:
    found: list[tuple[ReadWord, ...]] = []

    def on_event(event: Event) -> None:
        if isinstance(event, SentenceRead):
            found.append(event.words)
            if sys.stderr.isatty():
                done = f"\rsentence {len(found)} of {len(spans)}"
                print(dim(done), end="", file=sys.stderr, flush=True)

    result = session.ask(
        lambda i: Proofread(id=i, model=model, text=text, spans=tuple(spans)),
        ProofreadResult,
        on_event,
    )
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return found, result


def _run_probe(options: argparse.Namespace) -> int:
    lines = read_planted(options.probe)
    by_language: dict[Language, LanguageFigures] = {}
    with options.open_session(options) as session:
        session.load(
            options.model, load_settings(options), tells_memory=options.load_report or None
        )
        for lang in LANGUAGES:
            chosen = [line for line in lines if line.lang == lang]
            if not chosen:
                continue
            text, spans = one_text(chosen)
            found, result = _read(session, options.model, text, spans)
            by_language[lang] = measure(chosen, found, result.num_words, result.seconds)
        folder = Path(session.model(options.model).path)
    if options.json:
        print_json(msgspec.to_builtins(by_language))
    else:
        for lang, found_figures in by_language.items():
            print(_figures_line(lang, found_figures))
    if options.write:  # last: a folder that cannot be written costs no measurement
        known = read_description(folder).capabilities.proofread
        write_proofread_figures(folder, as_figures(by_language, known))
        if not options.json:
            print(f"written to {folder / 'bilin.json'}")
    return EXIT_OK


def _figures_line(lang: str, figures: LanguageFigures) -> str:
    return (
        f"{lang}: of {figures.num} planted words {figures.hit_rate:.0%} are among the three most "
        f"unlikely ({figures.first_rate:.0%} the first); {figures.caught:.0%} score below "
        f"{figures.threshold:.2f}, as 5% of the other words do; {figures.words_per_s:.0f} words/s"
    )
