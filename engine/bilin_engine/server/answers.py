"""Chat, Generate and Fill: a request becomes prompts, their ids become text, text becomes deltas.

Everything here runs on the supervisor's work thread, one request at a time. Torch is elsewhere.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from bilin_engine.errors import BadRequestError
from bilin_engine.generation.masks import (
    Blank,
    MaskedSequence,
    encode_segments,
    layout_blank,
)
from bilin_engine.generation.request import PromptLayout
from bilin_engine.protocol import (
    BlankSegment,
    Candidate,
    Chat,
    ChatResult,
    Event,
    Fill,
    FilledBlank,
    FillResult,
    Generate,
    GenerationStats,
    Proofread,
    ProofreadResult,
    Sampling,
    Score,
    ScoredToken,
    ScoreResult,
    Started,
    TextDelta,
    TextPart,
    TextSegment,
    WorkerCandidate,
    WorkerGenerate,
    WorkerGenerated,
    WorkerTokens,
)
from bilin_engine.server.constraints import broken_constraint
from bilin_engine.server.fill_prompts import FILL_CLOSE, FillPrompt, FillPrompts
from bilin_engine.server.model_text import ModelText
from bilin_engine.server.proofreading import Proofreading
from bilin_engine.server.tasks import Task
from bilin_engine.server.text_stream import CUT_REASONS, TextStream, feed_streams
from bilin_engine.server.thinking import ThinkingSplitter
from bilin_engine.server.worker_pool import WorkerPool

SEED_BITS = 53  # whole in every JSON reader
MAX_CANDIDATES = 16

Emit = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that can answer: its text side here, its weights behind `pool`.

    context_length: tokens a slot holds, prompt and output. vocab_size: width of its logits.
    """

    text: ModelText
    pool: WorkerPool
    context_length: int
    vocab_size: int


@dataclass(slots=True)
class _Run:
    """One prompt's way through the workers. Times are time.monotonic()."""

    request: WorkerGenerate
    streams: list[TextStream]
    started_s: float
    first_s: float | None = None
    result: WorkerGenerated | None = None

    @property
    def candidates(self) -> tuple[WorkerCandidate, ...]:
        """The workers' own, best first; a stop text may stand in one, and a little after it."""
        assert self.result is not None
        return self.result.candidates

    def stats(self) -> GenerationStats:
        """The workers' own figures; the time to the first token is the one seen here."""
        first_s = self.first_s if self.first_s is not None else time.monotonic()
        assert self.result is not None
        return msgspec.structs.replace(
            self.result.stats,
            time_to_first_token_s=first_s - self.started_s,
            seed=self.request.sampling.seed,
        )


@dataclass(frozen=True, slots=True)
class _CandidateRow:
    """A candidate on its way to a person. token_ids: what stands for its text in a prompt.

    score: the worker's, of all it wrote. is_whole: no stop text cut that.
    """

    candidate: Candidate
    score: float
    is_whole: bool
    token_ids: Sequence[int]


@dataclass(slots=True)
class Answering:
    """Runs one request. `emit` gets Started and TextDelta; the result is returned."""

    model: LoadedModel
    task: Task
    emit: Emit
    _begun: bool = field(default=False, init=False)
    _dropped: tuple[int, ...] = field(default=(), init=False)
    _thinking: ThinkingSplitter | None = field(default=None, init=False)
    _untold: int = field(default=0, init=False)  # tokens whose text is held back

    def chat(self, request: Chat) -> ChatResult:
        """Answers the last user message, going on from `prefill`."""
        prompt = self.model.text.chat_prompt(
            request.messages,
            request.prefill,
            self.model.context_length,
            thinks=request.sampling.thinks,
            check=self.task.check,
        )
        return self._one_text(
            request,
            prompt.layout,
            prompt.stop_ids,
            (*request.sampling.stop_texts, *prompt.stop_texts),
            continues=bool(request.prefill),
            drops_lead=prompt.drops_lead,
            dropped=prompt.dropped,
            thinking=ThinkingSplitter(is_open=prompt.opens_thinking) if prompt.may_think else None,
        )

    def generate(self, request: Generate) -> ChatResult:
        """Continues raw segments at their first blank, or where they end."""
        text = self.model.text
        layout = text.continuation(request.segments, self.model.context_length)
        return self._one_text(
            request,
            layout,
            text.stop_ids,
            request.sampling.stop_texts,
            continues=not text.blank_kinds,
        )

    def fill(self, request: Fill) -> FillResult:
        """Fills one blank or all; each fill's ids stay in the text that the next one sees."""
        _check_fill(request)
        # One seed for all blanks: the one that is told repeats the whole fill.
        request = msgspec.structs.replace(request, sampling=seeded(request.sampling))
        prompts = FillPrompts(
            self.model.text,
            request.segments,
            self.model.context_length,
            takes_nearest=request.takes_nearest,
            constraints=request.constraints,
        )
        filled: list[FilledBlank] = []
        stats: list[GenerationStats] = []
        for index in prompts.order(request.blank):
            prompt = prompts.prompt(index)
            run = self._fill_one(request, prompt, index)
            candidates, best_ids = self._candidates(request, prompt, run)
            kind = prompts.kinds[index]
            filled.append(FilledBlank(index=index, kind=kind, candidates=candidates))
            prompts.fill(index, candidates[0].text, best_ids)
            stats.append(run.stats())
        return FillResult(
            text=prompts.filled_text(),
            blanks=tuple(sorted(filled, key=lambda blank: blank.index)),
            stats=_sum_stats(stats),
            way=prompts.way,
        )

    def proofread(self, request: Proofread) -> ProofreadResult:
        """Compares every word of some sentences with what the model expects there."""
        model = self.model
        reading = Proofreading(
            model.text,
            model.pool,
            self.task,
            model.context_length,
            model.text.banned_ids(model.vocab_size),
        )
        return reading.run(request, self.emit)

    def score(self, request: Score) -> ScoreResult:
        """The log-prob of every token of a text. Raises BadRequestError for an empty one."""
        text = self.model.text
        encode = text.tokenizer.encode
        if text.blank_kinds:
            sequence = encode_segments(request.segments, text.tokenizer)
            blank = sequence.next_blank()
            assert blank is not None
            layout = self._layout(sequence, blank)
        else:
            given = _given_text(request)
            layout = self._causal_layout(given)
            encode = text.tokenizer.encode_after if given else encode
        token_ids = tuple(encode(request.text))
        if not token_ids:
            raise BadRequestError("the text to score is empty; give some text")
        greedy = Sampling(temperature=0.0, seed=0)
        run = self._run(request.id, layout, text.stop_ids, greedy, [], choices=(token_ids,))
        (found,) = run.candidates
        tokens = tuple(
            ScoredToken(token_id, text.tokenizer.token_text(token_id), logprob)
            for token_id, logprob in zip(token_ids, found.logprobs, strict=True)
        )
        return ScoreResult(
            logprob=sum(found.logprobs), tokens=tokens, prompt_tokens=len(layout.token_ids)
        )

    def _causal_layout(self, given: str) -> PromptLayout:
        """What a model without masks reads first: a text, or an end token before nothing."""
        tokenizer = self.model.text.tokenizer
        frame = getattr(tokenizer, "frame", ())
        ids = (*frame, *tokenizer.encode(given)) or (tokenizer.specials.eos,)
        return PromptLayout(ids, tuple(range(len(ids))), 0, None, None)

    def _layout(self, sequence: MaskedSequence, blank: Blank) -> PromptLayout:
        specials = self.model.text.tokenizer.specials
        return layout_blank(sequence, blank, specials, self.model.context_length)

    def _one_text(
        self,
        request: Chat | Generate,
        layout: PromptLayout,
        stop: frozenset[int],
        stop_texts: tuple[str, ...],
        *,
        continues: bool = False,
        drops_lead: bool = False,
        dropped: tuple[int, ...] = (),
        thinking: ThinkingSplitter | None = None,
    ) -> ChatResult:
        self._dropped = dropped
        self._thinking = thinking
        decoder = self.model.text.decoder(continues=continues)
        stream = TextStream(decoder, stop_texts, drops_lead=drops_lead)
        run = self._run(request.id, layout, stop, request.sampling, [stream])
        reason = run.candidates[0].finish_reason
        if not stream.is_stopped:
            text = stream.finish(is_cut=reason in CUT_REASONS)
            self._tell(request.id, text, stream.take_num_tokens(), 0, 0)
        if thinking is not None:
            self._tell_pieces(request.id, thinking.flush(), 0, 0, 0)
        return ChatResult(
            text=stream.text if thinking is None else thinking.answer,
            finish_reason="stop_text" if stream.is_stopped else reason,
            stats=run.stats(),
            thinking="" if thinking is None else thinking.thinking,
        )

    def _fill_one(self, request: Fill, prompt: FillPrompt, index: int) -> _Run:
        streams = [self._stream(request, prompt) for _ in range(request.num_candidates)]
        run = self._run(
            request.id,
            prompt.layout,
            prompt.stop_ids,
            request.sampling,
            streams,
            blank=index,
            # What has to write its closing tag is checked afterwards instead.
            digits_only=request.constraints.digits_only and not prompt.is_enclosed,
            choices=tuple(self._choices(request)),
        )
        # Candidates come best first, streams as they were drawn: told apart by their length.
        cut = {len(c.token_ids) for c in run.candidates if c.finish_reason in CUT_REASONS}
        for number, stream in enumerate(streams):
            num_tokens = stream.take_num_tokens()
            shown = stream.finish(is_cut=stream.num_tokens in cut)
            self._tell(request.id, shown, num_tokens, index, number)
        return run

    def _choices(self, request: Fill) -> dict[tuple[int, ...], str]:
        """The ids that may come, and the choice each stands for: of icetk, ！ comes back as !."""
        found: dict[tuple[int, ...], str] = {}
        for choice in request.constraints.choices:
            for ids in self.model.text.choice_ids(choice):
                found.setdefault(ids, choice.strip())
        return found

    def _stream(self, request: Fill, prompt: FillPrompt) -> TextStream:
        decoder = self.model.text.decoder(continues=prompt.continues)
        return TextStream(decoder, (*request.sampling.stop_texts, *prompt.stop_texts))

    def _candidates(
        self, request: Fill, prompt: FillPrompt, run: _Run
    ) -> tuple[tuple[Candidate, ...], Sequence[int]]:
        """Best first; behind them those that put nothing there, last those that break a rule.

        And the ids of the best, for the prompts to come.
        """
        choices = self._choices(request)
        rows = [self._read_candidate(request, prompt, found, choices) for found in run.candidates]
        # Beams' scores are for their length: where a stop text cut one, log-probs tell alone.
        by_score = all(row.is_whole for row in rows)
        rows.sort(key=lambda row: -(row.score if by_score else row.candidate.logprob))
        seen: set[str] = set()
        kept: list[_CandidateRow] = []
        for row in rows:
            if row.candidate.text not in seen:
                # Else drawn twice, or one choice in two spellings: the better one is in.
                seen.add(row.candidate.text)
                kept.append(row)
        # Stable: the score's order within.
        kept.sort(key=lambda row: (bool(row.candidate.breaks), not row.candidate.text.strip()))
        return tuple(row.candidate for row in kept), kept[0].token_ids

    def _read_candidate(
        self,
        request: Fill,
        prompt: FillPrompt,
        found: WorkerCandidate,
        choices: Mapping[tuple[int, ...], str],
    ) -> _CandidateRow:
        """A candidate up to its stop text: what comes after it counts for nothing."""
        stream = self._stream(request, prompt)
        for token_id in found.token_ids:
            stream.feed(token_id)
            if stream.is_stopped:
                break
        stream.finish(is_cut=found.finish_reason in CUT_REASONS)
        bare = bool(choices) or prompt.is_enclosed
        shown = stream.text.strip() if bare else stream.text
        if not stream.is_stopped:
            shown = choices.get(found.token_ids, shown)
        breaks = broken_constraint(shown, request.constraints)
        is_form_kept = stream.is_stopped or not prompt.is_enclosed
        if not is_form_kept and not choices:
            breaks = breaks or f"does not end with {FILL_CLOSE}, as was asked"
        logprob = sum(found.logprobs[: stream.num_tokens])
        return _CandidateRow(
            candidate=Candidate(
                text=shown, logprob=logprob, num_tokens=stream.num_tokens, breaks=breaks
            ),
            score=found.score,
            is_whole=stream.num_tokens == len(found.token_ids),
            token_ids=(
                self.model.text.tokenizer.encode(shown) if stream.is_stopped else found.token_ids
            ),
        )

    def _run(
        self,
        request_id: int,
        layout: PromptLayout,
        stop: frozenset[int],
        sampling: Sampling,
        streams: list[TextStream],
        *,
        blank: int = 0,
        digits_only: bool = False,
        choices: tuple[tuple[int, ...], ...] = (),
    ) -> _Run:
        """One generation; deltas go out as tokens come in."""
        sampling = seeded(sampling)
        assert sampling.seed is not None
        request = WorkerGenerate(
            id=self.model.pool.next_id(),
            token_ids=layout.token_ids,
            position_ids=layout.position_ids,
            prefix_len=layout.prefix_len,
            output_position=layout.output_position,
            mask_index=layout.mask_index,
            sampling=sampling,
            stop_ids=tuple(sorted(stop)),
            banned_ids=self.model.text.banned_ids(self.model.vocab_size, digits_only=digits_only),
            num_candidates=max(1, len(streams)),  # none where choices are scored for nobody to read
            forced_choices=choices,
        )
        run = _Run(request, streams, started_s=time.monotonic())
        if not self._begun:
            self._begun = True
            self.emit(
                Started(
                    id=request_id,
                    prompt_tokens=len(layout.token_ids),
                    context_length=self.model.context_length,
                    seed=sampling.seed,
                    dropped_messages=self._dropped,
                )
            )

        def on_tokens(batch: WorkerTokens) -> list[int]:
            if run.first_s is None:
                run.first_s = time.monotonic()
            shown, ended = feed_streams(streams, batch.candidates, batch.token_ids)
            for number, text in shown.items():
                if text:
                    num_tokens = streams[number].take_num_tokens()
                    self._tell(request_id, text, num_tokens, blank, number)
            return ended

        run.result = self.model.pool.generate(self.task, request, on_tokens)
        return run

    def _tell(
        self, request_id: int, text: str, num_tokens: int, blank: int, candidate: int
    ) -> None:
        if not text:
            return
        pieces: list[tuple[TextPart, str]] = [("answer", text)]
        if self._thinking is not None:
            pieces = self._thinking.feed(text)
        self._tell_pieces(request_id, pieces, num_tokens, blank, candidate)

    def _tell_pieces(
        self,
        request_id: int,
        pieces: list[tuple[TextPart, str]],
        num_tokens: int,
        blank: int,
        candidate: int,
    ) -> None:
        """One delta a piece; the first stands for all tokens, those held back before included."""
        self._untold += num_tokens
        for part, text in pieces:
            self.emit(
                TextDelta(
                    id=request_id,
                    text=text,
                    num_tokens=self._untold,
                    blank=blank,
                    candidate=candidate,
                    part=part,
                )
            )
            self._untold = 0


def seeded(sampling: Sampling) -> Sampling:
    """With a seed drawn where none was given."""
    if sampling.seed is not None:
        return sampling
    return msgspec.structs.replace(sampling, seed=secrets.randbits(SEED_BITS))


def _check_fill(request: Fill) -> None:
    if not 1 <= request.num_candidates <= MAX_CANDIDATES:
        raise BadRequestError(f"{request.num_candidates} candidates; ask for 1 to {MAX_CANDIDATES}")
    if not any(isinstance(segment, BlankSegment) for segment in request.segments):
        raise BadRequestError("the text has no blank to fill; put [MASK] where one should be")
    limit = request.constraints.length
    if limit is not None and limit.count < 1:
        raise BadRequestError(f"a length of {limit.count} {limit.unit}; at least 1 is needed")


def _sum_stats(stats: list[GenerationStats]) -> GenerationStats:
    """Stats of several blanks as one: times and tokens add up, the first token was the first."""
    first = stats[0]
    return GenerationStats(
        prompt_tokens=first.prompt_tokens,
        new_tokens=sum(s.new_tokens for s in stats),
        time_to_first_token_s=first.time_to_first_token_s,
        prefill_s=sum(s.prefill_s for s in stats),
        decode_s=sum(s.decode_s for s in stats),
        seed=first.seed,
        encoded_tokens=sum(s.encoded_tokens for s in stats),
    )


def _given_text(request: Score) -> str:
    """What stands before the text to score, for a model without masks."""
    if any(isinstance(segment, BlankSegment) for segment in request.segments):
        raise BadRequestError("this model has no masks: it scores what follows a text only")
    return "".join(s.text for s in request.segments if isinstance(s, TextSegment))
