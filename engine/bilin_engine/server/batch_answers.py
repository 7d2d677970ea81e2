"""GenerateBatch: several texts become one batch of ids, and its tokens several texts.

On the supervisor's work thread, as `answers`.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import repeat

from bilin_engine.errors import BadRequestError, BilinError
from bilin_engine.protocol import (
    BatchPrompt,
    BatchResult,
    ChatResult,
    Event,
    GenerateBatch,
    Started,
    TextDelta,
    WorkerBatch,
    WorkerGenerate,
    WorkerGenerated,
    WorkerTokens,
)
from bilin_engine.server.answers import LoadedModel, seeded
from bilin_engine.server.tasks import Task
from bilin_engine.server.text_stream import CUT_REASONS, TextStream, feed_streams

MAX_PROMPTS = 4096
# Prompts and answers of one batch: at most 16 bytes a token on their way, of 64 MiB a frame.
MAX_BATCH_TOKENS = 2_000_000


def answer_batch(
    model: LoadedModel, task: Task, request: GenerateBatch, emit: Callable[[Event], None]
) -> BatchResult:
    """Continues every prompt; `emit` gets Started and TextDelta.

    Raises BadRequestError and ContextOverflowError with the number of the prompt that is wrong.
    """
    if not 1 <= len(request.prompts) <= MAX_PROMPTS:
        raise BadRequestError(f"{len(request.prompts)} prompts; give 1 to {MAX_PROMPTS}")
    rows = [
        _row(model, prompt, index, len(request.prompts))
        for index, prompt in enumerate(request.prompts)
    ]
    continues = not model.text.blank_kinds
    streams = [
        TextStream(model.text.decoder(continues=continues), prompt.sampling.stop_texts)
        for prompt in request.prompts
    ]
    first_seed = rows[0].sampling.seed
    assert first_seed is not None
    emit(
        Started(
            id=request.id,
            prompt_tokens=sum(len(row.token_ids) for row in rows),
            context_length=model.context_length,
            seed=first_seed,
        )
    )

    def tell(row: int, text: str) -> None:
        if text:
            num_tokens = streams[row].take_num_tokens()
            emit(TextDelta(id=request.id, text=text, num_tokens=num_tokens, candidate=row))

    def on_tokens(first: int, tokens: WorkerTokens) -> list[int]:
        """first: the number of the batch's first row."""
        shown, ended = feed_streams(streams[first:], tokens.candidates, tokens.token_ids)
        for index, text in shown.items():
            tell(first + index, text)
        return ended

    banned_ids = model.text.banned_ids(model.vocab_size)
    results: list[WorkerGenerated] = []
    for part in _parts(rows, model.context_length):
        batch = WorkerBatch(id=model.pool.next_id(), requests=part, banned_ids=banned_ids)
        results += model.pool.generate_batch(task, batch, partial(on_tokens, len(results)))
    for row, stream in enumerate(streams):
        if not stream.num_tokens:  # beams tell nothing before the best is known
            token_ids = results[row].candidates[0].token_ids
            shown, _ = feed_streams([stream], repeat(0, len(token_ids)), token_ids)
            tell(row, shown.get(0, ""))
        if not stream.is_stopped:
            is_cut = results[row].candidates[0].finish_reason in CUT_REASONS
            tell(row, stream.finish(is_cut=is_cut))
    return BatchResult(results=tuple(map(_result, streams, results)))


def _parts(
    rows: Iterable[WorkerGenerate], context_length: int
) -> Iterator[tuple[WorkerGenerate, ...]]:
    """The rows in batches whose ids and answers fit into frames."""
    part: list[WorkerGenerate] = []
    total = 0
    for row in rows:
        size = min(len(row.token_ids) + row.sampling.max_new_tokens, context_length)
        if part and total + size > MAX_BATCH_TOKENS:
            yield tuple(part)
            part, total = [], 0
        part.append(row)
        total += size
    yield tuple(part)


def _row(model: LoadedModel, prompt: BatchPrompt, index: int, count: int) -> WorkerGenerate:
    try:
        layout = model.text.continuation(prompt.segments, model.context_length)
    except BilinError as error:
        if count == 1:
            raise
        message = f"prompt {index + 1} of {count}: {error.message}"
        raise type(error)(message, detail=error.detail) from error
    return WorkerGenerate(
        id=0,
        token_ids=layout.token_ids,
        position_ids=layout.position_ids,
        prefix_len=layout.prefix_len,
        output_position=layout.output_position,
        mask_index=layout.mask_index,
        sampling=seeded(prompt.sampling),
        stop_ids=tuple(sorted(model.text.stop_ids)),
    )


def _result(stream: TextStream, found: WorkerGenerated) -> ChatResult:
    reason = "stop_text" if stream.is_stopped else found.candidates[0].finish_reason
    return ChatResult(text=stream.text, finish_reason=reason, stats=found.stats)
