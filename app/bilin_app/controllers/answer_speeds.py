"""How fast each model reads and writes on this machine, learned from the answers it finished."""

from dataclasses import dataclass

from bilin_app.controllers.views import AnswerFacts
from bilin_app.storage.model_notes import ModelNotes

FADE = 0.8  # of what earlier answers weigh, with each new one
MIN_TOKENS = 8  # fewer say nothing of how fast the model reads or writes


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second; 0.0 = not measured."""

    prefill_tok_s: float
    decode_tok_s: float


class AnswerSpeeds:
    """Rates by model. Long prompts and answers weigh more: they are what one waits for."""

    def __init__(self, notes: ModelNotes) -> None:
        self._notes = notes

    def of(self, model_id: str) -> Speed:
        """What was measured of a model."""
        note = self._notes.get(model_id)
        return Speed(
            note.prefill_tokens / note.prefill_s if note.prefill_s else 0.0,
            note.decode_tokens / note.decode_s if note.decode_s else 0.0,
        )

    def learn(self, facts: AnswerFacts, encoded_tokens: int) -> None:
        """Takes in what a finished answer took.

        encoded_tokens: of its prompt, those that were not there from the answer before.
        """
        note, changes = self._notes.get(facts.model.id), {}
        if facts.time_to_first_token_s > 0 and encoded_tokens >= MIN_TOKENS:
            changes["prefill_tokens"] = FADE * note.prefill_tokens + encoded_tokens
            changes["prefill_s"] = FADE * note.prefill_s + facts.time_to_first_token_s
        if facts.new_tokens >= MIN_TOKENS and facts.rate_tok_s > 0:
            decode_s = (facts.new_tokens - 1) / facts.rate_tok_s
            changes["decode_tokens"] = FADE * note.decode_tokens + facts.new_tokens - 1
            changes["decode_s"] = FADE * note.decode_s + decode_s
        if changes:
            self._notes.change(facts.model.id, **changes)
