"""`bilin-engine score`: how likely a model finds a text, in all and token by token."""

import argparse
import math

from bilin_engine.cli.arguments import (
    EXIT_OK,
    ArgumentParser,
    load_settings,
    text_argument,
)
from bilin_engine.cli.report import plain_text, print_json
from bilin_engine.generation.masks import parse_mask_text
from bilin_engine.protocol import Score, ScoreResult


def add_arguments(parser: ArgumentParser) -> None:
    """What `score` takes, beside how a model is loaded and where models lie."""
    parser.add_argument("model")
    parser.add_argument("text", type=text_argument, help="the text, a file, or - for stdin")
    parser.add_argument(
        "--given",
        type=text_argument,
        default="",
        metavar="TEXT",
        help="what the text follows, or what it fills: then with [MASK], [sMASK] or [gMASK]",
    )


def run(options: argparse.Namespace) -> int:
    """Prints a line a token and the sum, or one JSON object."""
    with options.open_session(options) as session:
        session.load(
            options.model, load_settings(options), tells_memory=options.load_report or None
        )
        result = session.ask(
            lambda i: Score(
                id=i,
                model=options.model,
                text=options.text,
                segments=parse_mask_text(options.given),
            ),
            ScoreResult,
        )
    if options.json:
        print_json(result)
        return EXIT_OK
    for token in result.tokens:
        print(f"{token.logprob:9.3f}  {plain_text(token.text)}")
    count = len(result.tokens)
    print(
        f"{result.logprob:9.3f}  log-prob of {count} tokens, "
        f"perplexity {math.exp(-result.logprob / count):,.2f}"
    )
    return EXIT_OK
