"""The mix: which kind of sample how often, and why."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bilin_engine.pretrain.contamination import ProbeGuard
from bilin_engine.pretrain.corpus import Dialogue
from bilin_engine.pretrain.objective import BlankFilling
from bilin_engine.pretrain.samples import Block, Sample
from bilin_engine.pretrain.templates.blanks import BlankTemplates, cloze_of
from bilin_engine.pretrain.templates.exchange import Cloze, Exchange, Lang
from bilin_engine.pretrain.templates.numbers import UnitTemplates, sample_sum
from bilin_engine.pretrain.templates.talk import HowToTemplates, TalkTemplates, fixed_answers
from bilin_engine.pretrain.templates.verse import VerseTemplates
from bilin_engine.pretrain.templates.words import MinedFacts, WordTemplates

# Shares of instruction samples. Greetings and how-tos have fixed answers, so their answers are cut
# short and a sample is cheap; what costs is to know an intent in wordings never seen, hence many.
# Look-ups, verse and sums must find and copy what was asked about, and sums must be known by heart.
FAMILY_SHARES = {
    "talk": 0.155,
    "howto": 0.25,
    "lookup": 0.25,
    "verse": 0.07,
    "sum": 0.16,
    "unit": 0.035,
    "translate": 0.02,
    "fact": 0.045,
    "repeat": 0.005,
    "gloss": 0.005,
    "dialogue": 0.005,
}
# Shares of lists of answers: what must be known by heart, without the questions' cost.
LIST_SHARES = {"sum": 0.5, "lookup": 0.35, "unit": 0.05, "fact": 0.05, "verse": 0.05}
# Shares of taught blanks.
CLOZE_SHARES = {"verse": 0.5, "sentence": 0.35, "fact": 0.15}


_ROUNDING = 1e-6  # of shares that add up to 1
_FIXED_ANSWERS = ("talk", "howto")


def family_shares(given: Mapping[str, float]) -> dict[str, float]:
    """Of all families, 1 together: those `given`, and FAMILY_SHARES' proportions in the rest.

    Raises ValueError where `given` leaves no such shares.
    """
    total = sum(given.values())
    others = sum(share for family, share in FAMILY_SHARES.items() if family not in given)
    named = ", ".join(f"{family}={share:g}" for family, share in given.items())
    if not all(share >= 0 for share in given.values()):
        message = f"--share {named}: a share is a number from 0 to 1"
        raise ValueError(message)
    if total > 1 + _ROUNDING or (total < 1 - _ROUNDING and not others):
        message = f"--share {named}: these add up to {total:g}; all families together have 1"
        raise ValueError(message)
    scale = max(0.0, 1 - total) / others if others else 0.0
    return {family: given.get(family, share * scale) for family, share in FAMILY_SHARES.items()}


@dataclass(frozen=True, slots=True)
class Mixture:
    """Draws samples that pass the probe guard.

    history_share: instruction samples with exchanges before the question; each further one comes
    with the chance more_history_share.
    cloze_share: taught blanks among the template samples, the rest are instructions.
    cut_share: of the fixed answers, those that `cut_answer` shortens. list_share: of texts, those
    that give way to a list of answers, as a primer has them. family_shares: of instruction samples.
    """

    filling: BlankFilling
    guard: ProbeGuard
    mined: MinedFacts
    dialogues: tuple[Dialogue, ...]
    history_share: float = 0.08
    more_history_share: float = 0.45
    cloze_share: float = 0.12
    cut_share: float = 0.8
    list_share: float = 0.2
    family_shares: dict[str, float] = field(default_factory=lambda: dict(FAMILY_SHARES))

    def templates(self, seed: str) -> Iterator[tuple[str, Sample]]:
        """Endless (family, sample) from templates and dialogues."""
        rng = random.Random(seed)
        writer = Writer(self.mined, self._unseen_dialogues())
        encode = self.filling.tokenizer.encode
        told_apart = lengths_told_apart(map(encode, fixed_answers()))
        while True:
            if rng.random() < self.cloze_share:
                cloze = writer.cloze(rng)
                sample = self.filling.from_cloze(cloze)
                family = "blank:" + cloze.family
            else:
                turns, family = self._turns(rng, writer)
                sample = self.filling.from_chat(turns)
                if family in _FIXED_ANSWERS and rng.random() < self.cut_share:
                    needed = told_apart[sample.blocks[0].token_ids]
                    sample = cut_answer(rng, sample, needed)
            if not self.guard.shares_ngram(sample.prefix):
                yield family, sample

    def _unseen_dialogues(self) -> tuple[Dialogue, ...]:
        """Those in which nobody asks what a probe asks."""
        return tuple(
            dialogue
            for dialogue in self.dialogues
            if not any(map(self.guard.is_known_question, dialogue.turns[::2]))
        )

    def _turns(self, rng: random.Random, writer: "Writer") -> tuple[list[str], str]:
        family = rng.choices(tuple(self.family_shares), tuple(self.family_shares.values()))[0]
        if family == "dialogue" and writer.dialogues:
            return writer.dialogue_turns(rng), family
        exchange = self._clean_exchange(rng, writer, family)
        turns = [exchange.question, exchange.answer]
        chance = self.history_share
        while rng.random() < chance:
            chance = self.more_history_share
            earlier = rng.choices(tuple(FAMILY_SHARES)[:4], (2, 2, 1, 1))[0]
            before = self._clean_exchange(rng, writer, earlier)
            turns = [before.question, before.answer, *turns]
        return turns, family

    def _clean_exchange(self, rng: random.Random, writer: "Writer", family: str) -> Exchange:
        while True:
            exchange = writer.exchange(rng, family, rng.choice(("zh", "en")))
            if not self.guard.is_known_question(exchange.question):
                return exchange

    def texts(self, texts: list[str], seed: str) -> Iterator[tuple[str, Sample]]:
        """Self-supervised samples: one of each of `texts`, or of a list in its place."""
        rng = random.Random(seed)
        writer = Writer(self.mined, ())
        for passage in texts:
            is_list = rng.random() < self.list_share
            text = writer.list_of_answers(rng) if is_list else passage
            # The whole text: a mask in the middle of a run would hide it.
            if self.guard.shares_ngram(self.filling.tokenizer.encode(text)):
                continue
            sample = self.filling.from_text(rng, text, is_whole=is_list)
            if sample is None:
                continue
            if not self.guard.shares_ngram(sample.prefix) and not any(
                self.guard.shares_ngram(block.token_ids) for block in sample.blocks
            ):
                yield "list" if is_list else "text", sample


def lengths_told_apart(answers: Iterable[Sequence[int]]) -> dict[tuple[int, ...], int]:
    """Tokens of each answer until it differs from every other; all of one that begins another."""
    known = {tuple(ids) for ids in answers}
    beginnings = Counter(
        answer[:length] for answer in known for length in range(1, len(answer) + 1)
    )
    return {
        answer: next(
            (n for n in range(1, len(answer) + 1) if beginnings[answer[:n]] == 1), len(answer)
        )
        for answer in known
    }


def cut_answer(rng: random.Random, sample: Sample, needed: int) -> Sample:
    """`sample` with its one block cut off somewhere after `needed` tokens, mostly soon after.

    Which fixed answer is due shows where it differs from the others; the rest is soon known by
    heart and teaches nothing. Shorter blocks let the same time show more questions. No stop is
    learnt at the cut.
    """
    (block,) = sample.blocks
    size = len(block.token_ids)
    least = min(size, needed + 2)
    kept = least + int((size - least) * rng.random() ** 3)
    if kept == size:
        return sample
    return Sample(sample.prefix, (Block(block.token_ids[:kept], block.mask_index, False),))


class Writer:
    """All templates behind two doors: an exchange of a family, or a blank."""

    def __init__(self, mined: MinedFacts, dialogues: tuple[Dialogue, ...]) -> None:
        self._talk = TalkTemplates()
        self._how_to = HowToTemplates()
        self._units = UnitTemplates()
        self._words = WordTemplates(mined)
        self._verse = VerseTemplates()
        self._blanks = BlankTemplates()
        self.dialogues = dialogues
        sources = Counter(dialogue.lang for dialogue in dialogues)
        self._dialogue_weights = [1 / sources[dialogue.lang] for dialogue in dialogues]

    def exchange(self, rng: random.Random, family: str, lang: Lang) -> Exchange:
        """One exchange of `family`; a family without facts falls to look-ups."""
        match family:
            case "talk":
                return self._talk.sample(rng, lang)
            case "howto":
                return self._how_to.sample(rng, lang)
            case "sum":
                return sample_sum(rng, lang)
            case "unit":
                return self._units.sample(rng, lang)
            case "verse":
                return self._verse.sample(rng, "zh" if rng.random() < 0.7 else lang)
            case "translate":
                return self._words.sample_translation(rng, lang)
            case "fact":
                return self._words.sample_fact(rng, lang)
            case "repeat":
                return self._words.sample_repeat(rng, lang)
            case "gloss":
                return self._words.sample_gloss(rng) or self._words.sample_lookup(rng, lang)
            case _:
                return self._words.sample_lookup(rng, lang)

    def list_of_answers(self, rng: random.Random) -> str:
        """Four to eight answers of one family, in one language for most families."""
        lang: Lang = rng.choice(("zh", "en"))
        family = rng.choices(tuple(LIST_SHARES), tuple(LIST_SHARES.values()))[0]
        answers = [self.exchange(rng, family, lang).answer for _ in range(rng.randint(4, 8))]
        return rng.choice(("\n", "" if lang == "zh" else " ")).join(answers)

    def dialogue_turns(self, rng: random.Random) -> list[str]:
        """Up to four turns of a dialogue, ending with an answer."""
        turns = rng.choices(self.dialogues, self._dialogue_weights)[0].turns
        last = rng.randrange(1, len(turns), 2)
        return list(turns[max(0, last - 3) : last + 1])

    def cloze(self, rng: random.Random) -> Cloze:
        """One taught blank."""
        kind = rng.choices(tuple(CLOZE_SHARES), tuple(CLOZE_SHARES.values()))[0]
        if kind == "verse":
            return self._verse.sample_cloze(rng)
        if kind == "fact":
            lang: Lang = rng.choice(("zh", "en"))
            stated = self.exchange(rng, rng.choice(("fact", "lookup", "unit")), lang)
            cloze = cloze_of(stated, rng)
            if cloze is not None:
                return cloze
        return self._blanks.sample(rng)
