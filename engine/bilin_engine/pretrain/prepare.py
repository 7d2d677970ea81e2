"""From corpora and templates to a folder of packed samples: vocabulary, facts, passages, shards.

`pack_corpus` reads the corpora once and leaves everything small that training needs (vocabulary,
passages, mined facts, dialogues); `render` writes samples from that folder alone, so it also runs
on a machine without the corpora.
"""

import hashlib
import json
import logging
import lzma
import random
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from bilin_engine.pretrain.contamination import ProbeGuard, read_probe_questions
from bilin_engine.pretrain.corpus import (
    SOURCES,
    Dialogue,
    draw_passages,
    mine_facts,
    read_dialogues,
    read_xz,
    warn_of_unread_files,
)
from bilin_engine.pretrain.folder_lock import lock_folder
from bilin_engine.pretrain.mixture import FAMILY_SHARES, Mixture, Writer, family_shares
from bilin_engine.pretrain.objective import BlankFilling
from bilin_engine.pretrain.samples import MAX_VOCAB_SIZE, Sample
from bilin_engine.pretrain.shards import pack_samples, write_shards
from bilin_engine.pretrain.templates.verse import read_poems
from bilin_engine.pretrain.templates.words import MinedFacts, WordPair
from bilin_engine.pretrain.vocabulary import TOKENIZER_FILE, train_vocabulary
from bilin_engine.tokenizers.sentencepiece import SentencePieceTokenizer
from bilin_engine.whole_file import file_sha256

logger = logging.getLogger(__name__)
PACK_FILE = "pack.json"
MIX_FILE = "mix.json"
_ORIGIN_FILE = "rendered_from.json"
_RENDERED_FILES = (
    TOKENIZER_FILE,
    "facts.json",
    "passages.txt.xz",
    "dialogues.jsonl.xz",
    "probe.json",
)
# Code that decides what a sample is.
_RECIPES = tuple(Path(__file__).with_name(f"{name}.py") for name in ("mixture", "objective"))
NUM_TAUGHT_TEXTS = 30_000
HELD_OUT_CHARS = 60_000
MIN_LENGTH = 32
WARN_SHARE = 0.05  # of samples of a family that do not fit


@dataclass(frozen=True, slots=True, kw_only=True)
class PackSettings:
    """What `pack_corpus` takes. text_chars: of Chinese; English gets 2.2 times as many.

    tokenizer: a trained vocabulary to keep; without one, `vocab_size` and `num_chars` make a new.
    """

    vocab_size: int = 8192
    num_chars: int = 3600
    text_chars: int = 6_000_000
    passage_chars: int = 260
    num_words: int = 1500
    num_glosses: int = 300
    seed: int = 1
    tokenizer: Path | None = None


def pack_corpus(corpus: Path, out: Path, probes: list[Path], settings: PackSettings) -> None:
    """Writes tokenizer.model, passages.txt.xz, facts.json, dialogues.jsonl.xz, probe.json.

    pack.json comes last: a folder with one is whole. Raises ValueError where there is no folder
    or no text in it, and for a vocabulary whose ids samples cannot hold.
    """
    if not corpus.is_dir():
        message = f"{corpus} is no folder; name the one with NAME.zh.txt.xz and NAME.en.txt.xz"
        raise ValueError(message)
    _require_small_vocabulary(settings)
    warn_of_unread_files(corpus)
    out.mkdir(parents=True, exist_ok=True)
    (out / PACK_FILE).unlink(missing_ok=True)
    mined = mine_facts(corpus, num_words=settings.num_words, num_glosses=settings.num_glosses)
    passages = draw_passages(
        corpus,
        total_chars=settings.text_chars,
        max_chars=settings.passage_chars,
        seed=settings.seed,
    )
    if not passages:
        message = f"{corpus} holds no text of a source in corpus.py: "
        raise ValueError(message + ", ".join(source.file_name for source in SOURCES))
    dialogues = read_dialogues(corpus)
    if settings.tokenizer is None:
        _train_vocabulary(mined, dialogues, passages, out / TOKENIZER_FILE, settings)
    else:
        shutil.copyfile(settings.tokenizer, out / TOKENIZER_FILE)
    _write_json(out / "facts.json", asdict(mined))
    _write_xz(out / "passages.txt.xz", [json.dumps(text, ensure_ascii=False) for text in passages])
    _write_xz(
        out / "dialogues.jsonl.xz",
        [json.dumps(asdict(dialogue), ensure_ascii=False) for dialogue in dialogues],
    )
    held_out = draw_passages(
        corpus,
        total_chars=HELD_OUT_CHARS,
        max_chars=settings.passage_chars,
        seed=settings.seed,
        held_out=True,
    )
    _write_xz(out / "held_out.txt.xz", [json.dumps(text, ensure_ascii=False) for text in held_out])
    _write_json(out / "probe.json", read_probe_questions(probes))
    _write_json(out / PACK_FILE, asdict(settings) | {"tokenizer": str(settings.tokenizer or "")})


def _require_small_vocabulary(settings: PackSettings) -> None:
    size = settings.vocab_size
    if settings.tokenizer is not None:
        size = SentencePieceTokenizer(settings.tokenizer).vocab_size
    if size > MAX_VOCAB_SIZE:
        message = f"a vocabulary of {size} ids is too large; samples hold {MAX_VOCAB_SIZE} at most"
        raise ValueError(message)


def _train_vocabulary(
    mined: MinedFacts,
    dialogues: list[Dialogue],
    passages: list[str],
    out: Path,
    settings: PackSettings,
) -> None:
    taught = _taught_texts(mined, dialogues, settings.seed)
    words = [f"{pair.zh} {pair.en}" for pair in (*mined.zh_to_en, *mined.en_to_zh)]
    sample = passages[: 4_000_000 // settings.passage_chars]
    spoken = [turn for dialogue in dialogues[:2000] for turn in dialogue.turns[:4]]
    train_vocabulary(
        [*sample, *spoken, *words * 2, *taught],
        out,
        vocab_size=settings.vocab_size,
        num_chars=settings.num_chars,
        needed="".join(sorted(set("".join([*taught, *words])))),
    )


def _taught_texts(mined: MinedFacts, dialogues: list[Dialogue], seed: int) -> list[str]:
    """Exchanges as they are prompted, so that the vocabulary knows their words, and all verse."""
    rng = random.Random(seed)
    writer = Writer(mined, tuple(dialogues))
    texts = [poem.text + poem.title + poem.author for poem in read_poems()]
    for _ in range(NUM_TAUGHT_TEXTS):
        family = rng.choice(tuple(FAMILY_SHARES))
        exchange = writer.exchange(rng, family, rng.choice(("zh", "en")))
        marks = ("问：", "答：") if exchange.lang == "zh" else ("Question: ", "Answer: ")
        texts.append(f"{marks[0]}{exchange.question}\n{marks[1]}{exchange.answer}")
    return texts


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderSettings:
    """What `render` writes. num_templates, num_texts: samples of each; max_length in tokens.

    family_shares: of instruction samples, by family, for families that get another share than the
    mixture's own. Raises ValueError for shares that cannot be, and below MIN_LENGTH.
    """

    num_templates: int = 300_000
    num_texts: int = 60_000
    max_length: int = 256
    seed: int = 1
    processes: int = 1
    family_shares: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        family_shares(dict(self.family_shares))
        if self.max_length < MIN_LENGTH:
            message = f"--max-length {self.max_length} holds no question with its answer"
            raise ValueError(f"{message}; give at least {MIN_LENGTH}")


@dataclass(frozen=True, slots=True)
class Packed:
    """A folder that `pack_corpus` wrote, read back."""

    tokenizer: SentencePieceTokenizer
    mixture: Mixture
    passages: list[str]


def open_packed(folder: Path, shares: tuple[tuple[str, float], ...] = ()) -> Packed:
    """Raises FileNotFoundError for a folder that `pack_corpus` has not filled to the end."""
    _require_whole(folder)
    tokenizer = SentencePieceTokenizer(folder / TOKENIZER_FILE)
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    pairs = {
        name: tuple(WordPair(**pair) for pair in facts[name])
        for name in ("zh_to_en", "en_to_zh", "phrases")
    }
    mined = MinedFacts(**pairs, glosses=tuple((word, gloss) for word, gloss in facts["glosses"]))
    dialogues = tuple(
        Dialogue(entry["lang"], tuple(entry["turns"]))
        for entry in map(json.loads, _read_xz(folder / "dialogues.jsonl.xz"))
    )
    questions = json.loads((folder / "probe.json").read_text(encoding="utf-8"))
    mixture = Mixture(
        filling=BlankFilling(tokenizer),
        guard=ProbeGuard(questions, tokenizer),
        mined=mined,
        dialogues=dialogues,
        family_shares=family_shares(dict(shares)),
    )
    return Packed(tokenizer, mixture, read_texts(folder / "passages.txt.xz"))


def _require_whole(folder: Path) -> None:
    if not (folder / PACK_FILE).exists():
        message = f"{folder} holds nothing that `prepare` has finished; run it first, or again"
        raise FileNotFoundError(message)


def render(folder: Path, out: Path, settings: RenderSettings) -> dict[str, dict[str, int]]:
    """Writes the shards into `out`; samples and loss tokens by family, also in `mix.json`.

    The samples are the same for any number of processes. Earlier ones stay until the new are whole,
    and for as long as a run has them mapped. `rendered_from.json` holds what
    `require_rendered_from` asks for. Raises FileNotFoundError as `open_packed` does.
    """
    _require_whole(folder)
    message = f"{out} is being rendered by another process; wait for it, or name --shards"
    with lock_folder(out, message):
        return _render(folder, out, settings)


def _render(folder: Path, out: Path, settings: RenderSettings) -> dict[str, dict[str, int]]:
    fresh = out / "new"
    origin = {"settings": asdict(settings), "packed": _digests(folder)}
    num_texts = settings.num_texts
    jobs = [
        _Job(
            folder,
            settings.max_length,
            f"{settings.seed} templates {start}",
            family_shares=settings.family_shares,
            num_templates=min(_JOB_SAMPLES, settings.num_templates - start),
        )
        for start in range(0, settings.num_templates, _JOB_SAMPLES)
    ]
    jobs += [
        _Job(
            folder,
            settings.max_length,
            f"{settings.seed} texts {start}",
            texts=(start, min(start + _JOB_SAMPLES, num_texts)),
        )
        for start in range(0, num_texts, _JOB_SAMPLES)
    ]
    samples: Counter[str] = Counter()
    loss_tokens: Counter[str] = Counter()
    too_long: Counter[str] = Counter()

    def parts(results: Iterable[_Rendered]) -> Iterator[bytes]:
        for result in results:
            samples.update(result.samples)
            loss_tokens.update(result.loss_tokens)
            too_long.update(result.too_long)
            yield result.records

    if settings.processes == 1:
        write_shards(parts(map(_run_job, jobs)), fresh)
    else:
        with ProcessPoolExecutor(settings.processes, get_context("spawn")) as pool:
            write_shards(parts(pool.map(_run_job, jobs)), fresh)
    _warn_of_too_long(too_long, samples, settings.max_length)
    mix = {"samples": dict(samples.most_common()), "loss_tokens": dict(loss_tokens.most_common())}
    _write_json(fresh / _ORIGIN_FILE, origin)
    (out / MIX_FILE).unlink(missing_ok=True)  # comes last: a folder with one is whole
    for file in fresh.iterdir():
        file.replace(out / file.name)
    fresh.rmdir()
    _write_json(out / MIX_FILE, mix)
    return mix


def _warn_of_too_long(too_long: Counter[str], fitting: Counter[str], max_length: int) -> None:
    """Of families with many such samples: the mix is then another one than was asked for."""
    for family, count in too_long.items():
        total = count + fitting[family]
        if count > WARN_SHARE * total:
            logger.warning(
                "%s of %s samples of %s do not fit --max-length %s and were left out; give a "
                "larger one, or `prepare` a smaller --passage-chars",
                count,
                total,
                family,
                max_length,
            )


def require_rendered_from(
    shards: Path, packed: Path, settings: Mapping[str, object], *, is_own: bool
) -> None:
    """Raises ValueError naming in what the shards differ from what is asked for.

    settings: those of RenderSettings that a person gave, by name. is_own: whether the shards are to
    come from `packed` as it is now; others need its vocabulary only, and more is a warning. So is a
    folder from before there was a record.
    """
    path = shards / _ORIGIN_FILE
    if not path.exists():
        logger.warning("%s does not say what it was rendered from; taken as it is", shards)
        return
    origin = json.loads(path.read_text(encoding="utf-8"))
    different = [
        f"{name} {origin['settings'][name]} instead of {value}"
        for name, value in json.loads(json.dumps(settings)).items()  # its tuples are lists there
        if origin["settings"][name] != value
    ]
    changed = [
        name for name, digest in _digests(packed).items() if origin["packed"].get(name) != digest
    ]
    if is_own or TOKENIZER_FILE in changed:
        different += [f"another {name}" for name in changed]
    elif changed:
        logger.warning("%s was rendered from another %s than %s", shards, changed[0], packed)
    if different:
        message = (
            f"{shards} was rendered with {', '.join(different)}; `python -m bilin_engine.pretrain "
            f"render {packed} --shards {shards}` with the settings given here writes it anew"
        )
        raise ValueError(message)


def _digests(packed: Path) -> dict[str, str]:
    """sha256 by name of what samples come from: the toolkit's own part, and packed files."""
    here = Path(__file__).parent
    own = hashlib.sha256()
    for file in sorted([*here.glob("facts/*"), *here.glob("templates/*.py"), *_RECIPES]):
        if file.is_file():
            own.update(file.read_bytes())
    files = [packed / name for name in _RENDERED_FILES if (packed / name).exists()]
    return {
        "set of facts and templates": own.hexdigest(),
        **{file.name: file_sha256(file) for file in files},
    }


_JOB_SAMPLES = 20_000


@dataclass(frozen=True, slots=True)
class _Job:
    """A share of the rendering. texts: which passages, first to last; none for templates."""

    folder: Path
    max_length: int
    seed: str
    family_shares: tuple[tuple[str, float], ...] = ()
    num_templates: int = 0
    texts: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class _Rendered:
    records: bytes
    samples: Counter[str]
    loss_tokens: Counter[str]
    too_long: Counter[str]


_open_once = cache(open_packed)  # a process renders many jobs of one folder


def _run_job(job: _Job) -> _Rendered:
    packed = _open_once(job.folder, job.family_shares)
    counts: Counter[str] = Counter()
    loss_tokens: Counter[str] = Counter()
    too_long: Counter[str] = Counter()

    def fitting(drawn: Iterable[tuple[str, Sample]]) -> Iterator[tuple[str, Sample]]:
        for family, sample in drawn:
            if sample.length > job.max_length:
                too_long[family] += 1
            else:
                yield family, sample

    if job.texts is None:
        drawn = islice(fitting(packed.mixture.templates(job.seed)), job.num_templates)
    else:
        # More samples than passages: the passages again, with other blanks.
        texts = [packed.passages[index % len(packed.passages)] for index in range(*job.texts)]
        drawn = fitting(packed.mixture.texts(texts, job.seed))

    def counted() -> Iterator[Sample]:
        for family, sample in drawn:
            counts[family] += 1
            loss_tokens[family] += sample.num_targets
            yield sample

    return _Rendered(pack_samples(counted()), counts, loss_tokens, too_long)


def read_texts(path: Path) -> list[str]:
    """Passages that `pack_corpus` wrote."""
    return list(map(json.loads, _read_xz(path)))


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


def _write_xz(path: Path, lines: list[str]) -> None:
    with lzma.open(path, "wt", encoding="utf-8", preset=1) as stream:
        stream.write("\n".join(lines))


def _read_xz(path: Path) -> list[str]:
    return [line for line in read_xz(path).split("\n") if line]
