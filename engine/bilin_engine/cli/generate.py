"""`bilin-engine generate`: a text continued as it comes, or many texts together."""

import argparse
from pathlib import Path
from typing import Any

import msgspec

from bilin_engine.cli.arguments import EXIT_OK, load_settings, sampling
from bilin_engine.cli.report import dim, plain_text, print_json
from bilin_engine.cli.session import Session
from bilin_engine.errors import BadRequestError
from bilin_engine.generation.masks import parse_mask_text
from bilin_engine.generation.request import check_sampling
from bilin_engine.protocol import (
    BatchPrompt,
    BatchResult,
    ChatResult,
    Event,
    Generate,
    GenerateBatch,
    Sampling,
    TextDelta,
)
from bilin_engine.text_file import numbered_lines


def run(options: argparse.Namespace) -> int:
    """Continues one text, streaming, or several; prints those in order when all are there."""
    if not options.texts and options.prompts_file is None:
        raise BadRequestError("there is no text to continue; give one, or --prompts-file FILE")
    with options.open_session(options) as session:
        chosen = sampling(options, session.model(options.model).sampling)
        prompts = [_prompt(text, chosen) for text in options.texts]
        if options.prompts_file is not None:
            prompts += read_prompts(options.prompts_file, chosen)
        settings = load_settings(options)
        num_slots = max(options.batch, settings.num_slots)
        settings = msgspec.structs.replace(settings, num_slots=num_slots)
        session.load(options.model, settings, tells_memory=options.load_report or None)
        if len(prompts) == 1 and options.prompts_file is None:
            _run_one(session, options, prompts[0])
        else:
            _run_batch(session, options, prompts)
    return EXIT_OK


def read_prompts(path: Path, chosen: Sampling) -> list[BatchPrompt]:
    """The prompts of a file. chosen: the sampling of lines that say nothing of it.

    Raises BadRequestError naming file, line and what is wrong.
    """
    read = _json_prompt if path.suffix == ".jsonl" else _prompt
    prompts = []
    for where, line in numbered_lines(path):
        try:
            prompt = read(line, chosen)
            check_sampling(prompt.sampling)
        except (msgspec.DecodeError, msgspec.ValidationError, BadRequestError) as error:
            raise BadRequestError(f"{where}: {error}") from error
        prompts.append(prompt)
    if not prompts:
        raise BadRequestError(f"{path} holds no prompts; write one a line")
    return prompts


def _prompt(text: str, chosen: Sampling) -> BatchPrompt:
    return BatchPrompt(segments=parse_mask_text(text), sampling=chosen)


def _json_prompt(line: str, chosen: Sampling) -> BatchPrompt:
    values = msgspec.json.decode(line, type=dict[str, Any])
    text = values.pop("text", None)
    if not isinstance(text, str):
        raise msgspec.ValidationError('"text" is needed, a string')
    known: dict[str, Any] = msgspec.structs.asdict(chosen)
    return _prompt(text, msgspec.convert({**known, **values}, Sampling))


def _run_one(session: Session, options: argparse.Namespace, prompt: BatchPrompt) -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, TextDelta) and not options.json:
            print(plain_text(event.text), end="", flush=True)

    result = session.ask(
        lambda i: Generate(
            id=i, model=options.model, segments=prompt.segments, sampling=prompt.sampling
        ),
        ChatResult,
        on_event,
    )
    if options.json:
        print_json(result)
    else:
        print()


def _run_batch(session: Session, options: argparse.Namespace, prompts: list[BatchPrompt]) -> None:
    result = session.ask(
        lambda i: GenerateBatch(id=i, model=options.model, prompts=tuple(prompts)), BatchResult
    )
    if options.json:
        print_json(result)
        return
    for number, one in enumerate(result.results, start=1):
        if number > 1:
            print()
        print(dim(f"{number}. ({one.finish_reason}, {one.stats.new_tokens} tokens)"))
        print(plain_text(one.text))
