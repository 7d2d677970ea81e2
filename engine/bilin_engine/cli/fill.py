"""`bilin-engine fill`: blanks filled."""

import argparse
import sys

from bilin_engine.cli.arguments import (
    EXIT_OK,
    as_length_limit,
    load_settings,
    sampling,
)
from bilin_engine.cli.report import plain_text, print_json
from bilin_engine.generation.masks import parse_mask_text
from bilin_engine.protocol import (
    Candidate,
    Fill,
    FillConstraints,
    FilledBlank,
    FillResult,
    Sampling,
)


def run_fill(options: argparse.Namespace) -> int:
    """Fills; prints the whole text.

    Below it the candidates with their log-probs: where several were asked for, or one breaks what
    was asked.
    """
    constraints = FillConstraints(
        length=as_length_limit(options.length, options.text),
        choices=_choices(options.choices),
        digits_only=options.digits,
    )
    with options.open_session(options) as session:
        # Several candidates of a model that recommends greedy decoding would all be the same.
        recommended = (
            session.model(options.model).sampling if options.candidates == 1 else Sampling()
        )
        chosen = sampling(options, recommended)
        session.load(
            options.model, load_settings(options), tells_memory=options.load_report or None
        )
        result = session.ask(
            lambda i: Fill(
                id=i,
                model=options.model,
                segments=parse_mask_text(options.text),
                blank=options.blank,
                num_candidates=options.candidates,
                constraints=constraints,
                sampling=chosen,
            ),
            FillResult,
        )
    if options.json:
        print_json(fill_json(result))
        return EXIT_OK
    print(plain_text(result.text))
    is_broken = any(one.breaks for blank in result.blanks for one in blank.candidates)
    if options.candidates > 1 or options.choices or is_broken:
        for blank in result.blanks:
            _print_blank(blank)
    if not options.choices and chosen.num_beams == 1:
        for blank in result.blanks:
            _tell_equal_draws(blank, options.candidates)
    return EXIT_OK


def fill_json(result: FillResult) -> dict[str, object]:
    """The documented JSON: text, and per blank its candidates; `breaks` only where one breaks."""
    return {
        "text": result.text,
        "blanks": [
            {"candidates": [_candidate_json(candidate) for candidate in blank.candidates]}
            for blank in result.blanks
        ],
    }


def _candidate_json(candidate: Candidate) -> dict[str, object]:
    shown: dict[str, object] = {"text": candidate.text, "logprob": candidate.logprob}
    if candidate.breaks:
        shown["breaks"] = candidate.breaks
    return shown


def _print_blank(blank: FilledBlank) -> None:
    print(f"\nblank 空 {blank.index}")
    for number, candidate in enumerate(blank.candidates, start=1):
        note = f"  ({candidate.breaks})" if candidate.breaks else ""
        print(f"  {number}  {candidate.logprob:8.2f}  {plain_text(candidate.text)}{note}")


def _tell_equal_draws(blank: FilledBlank, num_draws: int) -> None:
    """Says on stderr why there are fewer candidates than were asked for."""
    count = len(blank.candidates)
    if count < num_draws:
        answers = "1 different answer" if count == 1 else f"{count} different answers"
        print(
            f"bilin-engine: blank {blank.index}: {answers} "
            f"came of {num_draws} draws; a higher --temperature or --beams {num_draws} gives more",
            file=sys.stderr,
        )


def _choices(value: str | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(choice for part in value.replace("，", ",").split(",") if (choice := part.strip()))
