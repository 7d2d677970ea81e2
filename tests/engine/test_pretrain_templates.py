"""Templates: the grammar, the facts, answers in the language asked, and apart from the probes."""

import json
import lzma
import random
import re
from collections import defaultdict
from dataclasses import replace
from itertools import islice
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bilin_engine.chat_format import text_language
from bilin_engine.evaluate.probe import read_probe
from bilin_engine.pretrain.contamination import ProbeGuard, ngrams, normalized, read_probe_questions
from bilin_engine.pretrain.corpus import (
    Dialogue,
    clean,
    draw_passages,
    is_held_out,
    mine_facts,
    passages,
    read_dialogues,
)
from bilin_engine.pretrain.mixture import (
    CLOZE_SHARES,
    FAMILY_SHARES,
    LIST_SHARES,
    Mixture,
    Writer,
    family_shares,
)
from bilin_engine.pretrain.objective import BlankFilling
from bilin_engine.pretrain.samples import COUNT_ON
from bilin_engine.pretrain.templates import talk
from bilin_engine.pretrain.templates.exchange import read_frames, read_intents, read_rows
from bilin_engine.pretrain.templates.grammar import Pool, parse
from bilin_engine.pretrain.templates.numbers import (
    KINDS,
    UnitTemplates,
    answer_sum,
    number_en,
    number_zh,
    sample_sum,
)
from bilin_engine.pretrain.templates.talk import (
    HowToTemplates,
    TalkTemplates,
    written_questions,
)
from bilin_engine.pretrain.templates.verse import VerseTemplates, read_poems
from bilin_engine.pretrain.templates.words import MinedFacts, WordPair, WordTemplates
from bilin_engine.pretrain.vocabulary import train_vocabulary
from bilin_engine.tokenizers.sentencepiece import SentencePieceTokenizer

TEMPLATES = Path(talk.__file__).parent

RESOURCES = Path(__file__).parents[2] / "resources"
PROBES = sorted((Path(__file__).parents[1] / "data" / "probe").glob("*.jsonl"))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    file = tmp_path_factory.mktemp("vocabulary") / "tokenizer.model"
    writer, rng = Writer(MinedFacts(), ()), random.Random(0)
    texts = []
    for _ in range(400):
        exchange = writer.exchange(rng, rng.choice(tuple(FAMILY_SHARES)), rng.choice(("zh", "en")))
        texts.append(f"{exchange.question} {exchange.answer}")
    train_vocabulary(texts, file, vocab_size=2048, num_chars=1300, needed="")
    return SentencePieceTokenizer(file)


def mixture_of(tokenizer, *, questions=(), families=None, **more):
    """A mixture without mined facts. questions: of a probe. families: alone are drawn, by share."""
    if families is not None:
        more["family_shares"] = dict.fromkeys(FAMILY_SHARES, 0.0) | families
        more["cloze_share"] = 0.0
    settings = {"mined": MinedFacts(), "dialogues": ()} | more
    guard = ProbeGuard(questions, tokenizer)
    return Mixture(filling=BlankFilling(tokenizer), guard=guard, **settings)


def all_phrasings(phrase):
    out = [""]
    for part in phrase.parts:
        ends = [part] if isinstance(part, str) else [t for b in part for t in all_phrasings(b)]
        out = [start + end for start in out for end in ends]
    return out


def test_a_pattern_stands_for_every_way_of_choosing():
    phrase = parse("{open|show} the {{big |}menu|list}{| now}")
    found = all_phrasings(phrase)
    assert len(found) == phrase.count() == 12
    assert "open the big menu now" in found
    assert "show the list" in found
    rng = random.Random(1)
    assert {phrase.sample(rng) for _ in range(400)} == set(found)


@pytest.mark.parametrize("pattern", ["{open", "open}", "{a|{b}"])
def test_a_brace_without_its_partner_is_refused(pattern):
    with pytest.raises(ValueError, match="brace"):
        parse(pattern)


def test_every_how_to_has_many_phrasings_in_both_languages():
    intents = read_intents("howto.toml")
    assert len({intent["id"] for intent in intents}) == len(intents) >= 40
    for intent in intents:
        for lang in ("zh", "en"):
            # A verb phrase goes into some 100 frames of its language.
            frames = 100
            total = (
                frames * Pool(intent[f"{lang}_do"]).count() + Pool(intent[f"{lang}_ask"]).count()
            )
            assert total >= 60, (intent["id"], lang)


def test_every_intent_has_written_questions_of_its_own_in_both_languages():
    written = written_questions()
    intents = {
        (family, intent["id"], lang)
        for family in ("talk", "howto")
        for intent in read_intents(f"{family}.toml")
        for lang in ("zh", "en")
    }
    assert written.keys() == intents
    owners: dict[str, set[str]] = {}
    for (family, intent, lang), questions in written.items():
        assert len(questions) >= 40, (intent, lang)
        assert len(set(questions)) == len(questions), (intent, lang)
        for question in questions:
            assert question == " ".join(question.split())
            owners.setdefault(normalized(question) or question, set()).add(f"{family}:{intent}")
    assert not {question: names for question, names in owners.items() if len(names) > 1}


def test_no_written_question_is_one_of_our_probe():
    asked = {normalized(question) for question in read_probe_questions(PROBES)}
    written = [text for texts in written_questions().values() for text in texts]
    assert not asked.intersection(map(normalized, written))


def test_how_tos_are_drawn_written_and_from_grammars():
    rng = random.Random(5)
    templates = HowToTemplates()
    written = {text for texts in written_questions().values() for text in texts}
    drawn = [templates.sample(rng, "zh").question for _ in range(2000)]
    assert 0.2 < sum(question in written for question in drawn) / len(drawn) < 0.6


def test_answers_are_in_the_language_asked():
    rng = random.Random(4)
    writer = Writer(MinedFacts((WordPair("城堡", "castle"),), (WordPair("城堡", "castle"),)), ())
    for family in FAMILY_SHARES:
        for _ in range(150):
            exchange = writer.exchange(rng, family, rng.choice(("zh", "en")))
            assert text_language(exchange.answer) == exchange.lang, exchange
    for intent in (*read_intents("talk.toml"), *read_intents("howto.toml")):
        assert text_language(intent["zh"]) == "zh", intent["id"]
        assert text_language(intent["en"]) == "en", intent["id"]


def test_how_to_answers_name_their_keys_in_both_languages():
    """A key that one language names, the other names too."""
    for intent in read_intents("howto.toml"):
        for key in (
            "Ctrl+K",
            "Ctrl+N",
            "Ctrl+M",
            "Ctrl+Shift+M",
            "Tab",
            "Esc",
            "F1",
            "Shift+Enter",
        ):
            assert (key in intent["zh"]) == (key in intent["en"]), (intent["id"], key)


# Quoted in Chinese answers, yet no label of the window: names and verse.
_NO_LABEL = {"比邻", "天涯若比邻", "春眠不觉晓"}


def test_what_answers_name_stands_in_the_window():
    """A how-to whose button has another name by now sends people looking for what is not there."""
    translations = (RESOURCES / "ui" / "translations" / "bilin_zh_CN.ts").read_text("utf-8")
    english = defaultdict(set)
    for message in ElementTree.fromstring(translations).iter("message"):
        label = (message.findtext("source") or "").strip(" …").replace("’", "'").lower()
        english[(message.findtext("translation") or "").strip(" …")].add(label)
    for intent in (*read_intents("howto.toml"), *read_intents("talk.toml")):
        for quoted in set(re.findall("“(.+?)”", intent["zh"])) - _NO_LABEL:
            labels = english[quoted.strip(" …")]
            assert labels, (intent["id"], quoted)
            assert any(label in intent["en"].lower() for label in labels), (intent["id"], labels)


@pytest.mark.parametrize(
    ("value", "zh", "en"),
    [
        (0, "零", "zero"),
        (10, "十", "ten"),
        (15, "十五", "fifteen"),
        (20, "二十", "twenty"),
        (81, "八十一", "eighty-one"),
        (100, "一百", "one hundred"),
        (105, "一百零五", "one hundred and five"),
        (110, "一百一十", "one hundred and ten"),
        (1001, "一千零一", "one thousand and one"),
    ],
)
def test_numbers_are_written_in_words(value, zh, en):
    assert (number_zh(value), number_en(value)) == (zh, en)


_WORDS = {"zh": number_zh, "en": number_en}
_SIGNS = {
    "加": "+", "减": "-", "乘": "*", "除以": "/",
    "plus": "+", "minus": "-", "times": "*", "divided by": "/",
}  # fmt: skip
_EQUATION = {
    "zh": re.compile(r"([^加减乘除：，]+)(加|减|乘|除以)([^等：，]+)(?:等于([^，。]+))?"),
    "en": re.compile(
        r"([\w -]+?) (plus|minus|times|divided by) ([\w -]+?)(?: is ([\w -]+))?(?=[:,.])"
    ),
}


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_sums_and_their_steps_are_right(lang):
    """Every equation of an answer holds, and its last result is that of the sum it repeats."""
    rng = random.Random(2)
    values = {_WORDS[lang](v): v for v in range(1000)} | {str(v): v for v in range(1000)}
    lengths = []
    for _ in range(600):
        answer = sample_sum(rng, lang).answer
        equations = [
            (_SIGNS[sign], values[left.strip().lower()], values[right], result and values[result])
            for left, sign, right, result in _EQUATION[lang].findall(answer)
        ]
        results = [
            {"+": left + right, "-": left - right, "*": left * right, "/": left // (right or 1)}[
                sign
            ]
            for sign, left, right, _ in equations
        ]
        said = [result for *_, result in equations]
        assert said[-1] == results[0], answer
        assert [result for result in said if result != ""] == results[len(said) > 1 :], answer
        lengths.append(len(equations))
    assert lengths.count(1) > 300
    assert lengths.count(3) > 20
    assert lengths.count(4) > 20


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (("+", 25, 7, 32), "25加7：5加7等于12，20加12等于32。"),
        (("+", 46, 37, 83), "46加37：6加7等于13，40加30等于70，70加13等于83。"),
        (("+", 17, 3, 20), "17加3：7加3等于10，10加10等于20。"),
        (("-", 52, 6, 46), "52减6：12减6等于6，40加6等于46。"),
        (("-", 100, 35, 65), "100减35：10减5等于5，90减30等于60，60加5等于65。"),
        (("-", 31, 25, 6), "31减25：11减5等于6，20减20等于0，0加6等于6。"),
        (("+", 8, 7, 15), "8加7等于15。"),
        (("-", 15, 7, 8), "15减7等于8。"),
        (("+", 43, 25, 68), "43加25等于68。"),
        (("*", 9, 8, 72), "9乘8等于72。"),
    ],
)
def test_what_carries_or_borrows_is_worked_out_from_the_units(asked, answer):
    assert answer_sum("zh", asked, str) == answer


def test_problems_are_answered_with_their_own_numbers():
    """Both numbers of the answer stand in what was asked, and nobody eats no sweets."""
    rng = random.Random(5)
    problems = [e for e in (sample_sum(rng, "en") for _ in range(4000)) if "sweets" in e.question]
    assert len(problems) > 10
    for exchange in problems:
        found = re.match(
            r"(\S+) (?:plus|minus|times|divided by) ([\w-]+)(?:: | is )", exchange.answer
        )
        assert found, exchange
        for number in (found[1].lower(), found[2]):
            assert number in exchange.question.lower(), exchange
            assert number not in ("0", "zero"), exchange


def test_doubles_halves_and_recited_products_are_answered_in_full():
    rng = random.Random(7)
    drawn = [sample_sum(rng, lang) for lang in ("zh", "en") for _ in range(4000)]
    words = {number_zh(v): v for v in range(101)} | {number_en(v): v for v in range(101)}
    words |= {str(v): v for v in range(101)}
    asked = (
        (r"(?i)(?:double|twice) (?!one hundred)([\w-]+)\b", r"(?P<n>\S+) times (?:2|two) is "),
        (r"(?i)half of (?!one hundred)([\w-]+)\b", r"(?P<n>\S+) divided by (?:2|two) is "),
        (r"([\d零一二三四五六七八九十百]+)的一半", r"(?P<n>\S+)除以(?:2|二)等于"),
        (r"([\d零一二三四五六七八九十百]+)翻倍", r"(?P<n>\S+)乘(?:2|二)等于"),
        (r"(?<![个\w])([二三四五六七八九])[二三四五六七八九]得(?:几|多少)", r"(?P<n>.)乘.等于"),
        (
            r"(?i)(?:what are|how much is) (\w+) \w+(?:ens|xes|rs|nes|ves|hts|wos|ees)\b",
            r"(?P<n>\w+) times ",
        ),
    )
    for question, answer in asked:
        found = [(re.search(question, e.question), e) for e in drawn]
        matches = [(match, exchange) for match, exchange in found if match]
        assert len(matches) > 5, question
        for match, exchange in matches:
            said = re.match(answer, exchange.answer)
            assert said, exchange
            assert words[said["n"].lower()] == words[match[1].lower()], exchange


def test_several_of_a_unit_are_counted():
    rng = random.Random(6)
    templates = UnitTemplates()
    drawn = [templates.sample(rng, lang) for lang in ("zh", "en") for _ in range(1500)]
    words = {number_zh(v): v for v in range(1, 11)} | {number_en(v): v for v in range(2, 11)}
    words |= {str(v): v for v in range(1, 11)} | {"两": 2}
    there = [
        (words[found[1] or found[4]], int(found[2] or found[3]))
        for e in drawn
        if (
            found := re.search(
                r"，(.+?)个?小时等于(\d+)分钟|and (\d+) minutes in (\S+) hours", e.answer
            )
        )
    ]
    back = [
        (int(found[2] or found[4]), int(found[1] or found[3]))
        for e in drawn
        if (
            found := re.search(
                r"(\d+)分钟等于(\d+)个?小时|and (\d+) minutes are (\d+) hours", e.answer
            )
        )
    ]
    assert len(there) > 10
    assert len(back) > 5
    assert all(minutes == 60 * hours > 60 for hours, minutes in there + back)
    begun = re.compile(r"一\D+等于\d+\D+[，。]|There are \d+ [a-z ]+ in an? [a-z ]+(?:, and |\.)")
    assert all(begun.match(e.answer) for e in drawn)


def test_poems_are_whole_lines_and_their_next_line_is_taught():
    poems = read_poems()
    assert len(poems) >= 80
    for poem, row in zip(poems, read_rows("verse.tsv"), strict=True):
        assert poem.text == row[2], poem.title
        assert len(poem.clauses) >= 2
    rng = random.Random(3)
    templates = VerseTemplates()
    joined = "".join(poem.text for poem in poems)
    for _ in range(200):
        exchange = templates.sample(rng, "zh")
        if "的下一句是" in exchange.answer:
            first, second = (part.strip("“”。") for part in exchange.answer.split("的下一句是"))
            assert any(f"{first}{mark}{second}" in joined for mark in "，。？！")


def test_a_taught_blank_put_back_gives_the_poem():
    rng = random.Random(6)
    templates = VerseTemplates()
    texts = [poem.text for poem in templates.poems]
    for _ in range(200):
        cloze = templates.sample_cloze(rng)
        mask = next(m for m in ("[MASK]", "[gMASK]", "[sMASK]") if m in cloze.text)
        filled = cloze.text.replace(mask, cloze.answer).split("》")[-1]
        assert any(filled in text for text in texts), cloze


def test_the_shares_are_shares():
    assert sum(FAMILY_SHARES.values()) == pytest.approx(1.0)
    assert sum(CLOZE_SHARES.values()) == pytest.approx(1.0)
    assert sum(LIST_SHARES.values()) == pytest.approx(1.0)


# --- Apart from the probes ------------------------------------------------------------------------


def test_a_family_s_share_can_be_set(tokenizer):
    mixture = mixture_of(tokenizer, families={"sum": 0.5, "verse": 0.5})
    drawn = [family for family, _ in islice(mixture.templates("1"), 300)]
    assert set(drawn) == {"sum", "verse"}
    assert 100 < drawn.count("sum") < 200


def test_some_questions_follow_earlier_exchanges(tokenizer):
    mixture = mixture_of(
        tokenizer,
        families={"unit": 1.0},
        history_share=0.5,
        more_history_share=0.5,
    )
    drawn = [sample.prefix for _, sample in islice(mixture.templates("1"), 300)]
    shown = [tokenizer.decode([t for t in p if not tokenizer.is_special(t)]) for p in drawn]
    asked = [text.count("问：") + text.count("Question: ") for text in shown]
    assert 110 < asked.count(1) < 190
    assert 50 < asked.count(2) < 105
    assert max(asked) >= 4


def test_several_of_a_unit_are_in_its_plural():
    units, rng = UnitTemplates(), random.Random(3)
    answers = " ".join(units.sample(rng, "en").answer for _ in range(4000))
    assert "feet." in answers
    assert "centuries." in answers
    assert not re.search(r"foots|centurys|an hours|millenniums|dozens", answers)


def test_an_intent_without_written_questions_is_asked_by_its_grammars(monkeypatch):
    monkeypatch.setattr(talk, "written_questions", dict)
    assert HowToTemplates().sample(random.Random(1), "zh").question
    assert TalkTemplates().sample(random.Random(1), "en").question


def test_no_written_question_asks_for_a_taught_capital():
    """ "I do not know that" must not be the answer to what `capitals.tsv` teaches."""
    unknown = [*written_questions()["talk", "unknown", "zh"]]
    unknown += written_questions()["talk", "unknown", "en"]
    assert not [text for text in unknown if re.search("首都|capital of", text, re.IGNORECASE)]


def test_the_guard_knows_equal_questions_and_shared_runs(tokenizer):
    guard = ProbeGuard(["How do I reject a candidate in the editor?", "你好"], tokenizer)
    assert guard.is_known_question("how do i reject a candidate in the EDITOR")
    assert guard.is_known_question("你好！")
    assert not guard.is_known_question("你好啊")
    assert guard.shares_ngram(tokenizer.encode("So how do I reject a candidate in the editor now?"))
    assert not guard.shares_ngram(tokenizer.encode("Which key accepts a fill?"))
    assert list(ngrams([1, 2, 3])) == []
    assert normalized("《你 好》, A!") == "你好a"


def test_no_sample_of_the_templates_shares_eight_tokens_with_a_probe(tokenizer):
    questions = read_probe_questions(PROBES)
    mixture = mixture_of(tokenizer, questions=questions)
    probe_ngrams = {gram for q in questions for gram in ngrams(tokenizer.encode(q))}
    equal = {normalized(q) for q in questions}
    for _, sample in islice(mixture.templates("1"), 2000):
        assert not probe_ngrams.intersection(ngrams(sample.prefix))
        shown = tokenizer.decode([t for t in sample.prefix if not tokenizer.is_special(t)])
        asked = shown.rsplit("问：", 1)[-1].rsplit("Question: ", 1)[-1].split("\n")[0]
        assert normalized(asked) not in equal


def test_no_text_of_a_probe_is_learnt_from_whatever_is_masked_in_it(tokenizer):
    asked = "How do I reject a candidate in the editor and keep the blank as it was before?"
    mixture = mixture_of(
        tokenizer,
        questions=[asked],
        families={"dialogue": 1.0},
        dialogues=(Dialogue("zh", ("你好", "你好！")), Dialogue("en", ("Well?", "Fine."))),
    )
    texts = [asked, "Which key accepts a fill? " + asked, "Which key accepts a fill in it?"] * 100
    drawn = [sample for _, sample in replace(mixture, list_share=0.0).texts(texts, "1")]
    assert 90 < len(drawn) <= 100
    known = replace(mixture, guard=ProbeGuard(["你好？"], tokenizer))
    shown = {tokenizer.decode(list(s.prefix)) for _, s in islice(known.templates("1"), 50)}
    assert not any("你好" in text for text in shown)


def test_families_that_are_not_named_share_the_rest():
    shares = family_shares({"sum": 0.5})
    assert shares["sum"] == 0.5
    assert sum(shares.values()) == pytest.approx(1)
    kept = FAMILY_SHARES["howto"] / FAMILY_SHARES["talk"]
    assert shares["howto"] / shares["talk"] == pytest.approx(kept)
    assert family_shares(FAMILY_SHARES) == FAMILY_SHARES
    assert family_shares({}) == pytest.approx(FAMILY_SHARES)


def test_one_text_in_five_gives_way_to_a_list_of_answers(tokenizer):
    mixture = mixture_of(tokenizer)
    drawn = list(mixture.texts(["春天来了，花都开了，鸟在树上唱歌。"] * 600, "1"))
    lists = [sample for family, sample in drawn if family == "list"]
    assert 90 < len(lists) < 150
    plus = re.compile(r"(\d+)加(\d+)等于(\d+)")
    sums = [
        tuple(map(int, found))
        for sample in lists
        for found in plus.findall(tokenizer.decode([*sample.prefix, *sample.blocks[0].token_ids]))
        if len(sample.blocks) == 1 and sample.blocks[0].mask_index == COUNT_ON
    ]
    assert len(sums) > 8
    # A sum that the mask cuts in two reads on behind it.
    assert sum(left + right == total for left, right, total in sums) > 0.8 * len(sums)


def test_where_every_dialogue_asks_what_a_probe_asks_look_ups_take_their_place(tokenizer):
    mixture = mixture_of(
        tokenizer,
        questions=["你好？"],
        families={"dialogue": 1.0},
        dialogues=(Dialogue("zh", ("你好", "你好！", "再见", "再见！")),),
    )
    assert {family for family, _ in islice(mixture.templates("1"), 20)} == {"dialogue"}
    drawn = [tokenizer.decode(list(s.prefix)) for _, s in islice(mixture.templates("1"), 20)]
    assert not any("再见" in text for text in drawn)


def test_the_guard_would_have_had_something_to_do(tokenizer):
    """Without it the templates do make phrasings of a probe."""
    rng = random.Random(1)
    talk = TalkTemplates()
    asked = [talk.sample(rng, "zh").question for _ in range(4000)]
    questions = [asked[0], asked[1]]
    guard = ProbeGuard(questions, tokenizer)
    assert sum(map(guard.is_known_question, asked)) >= 2


def test_our_probe_is_large_well_formed_and_bilingual():
    asking = [path for path in PROBES if '"q"' in path.read_text(encoding="utf-8")]
    lines = [line for path in asking for line in read_probe(path)]
    assert len(lines) >= 200
    for lang in ("zh", "en"):
        assert sum(line.lang == lang for line in lines) >= 80
    assert len({line.q for line in lines}) == len(lines)


def test_our_probe_asks_for_every_how_to_and_its_answers_pass():
    """Each pattern is one that the true answer of some how-to meets."""
    intents = read_intents("howto.toml")
    howto = read_probe(PROBES[0].parent / "howto.jsonl")
    assert len(howto) == 2 * len(intents)
    for intent, (zh, en) in zip(intents, zip(howto[::2], howto[1::2], strict=True), strict=True):
        assert re.search(zh.must, intent["zh"]), (intent["id"], zh)
        assert re.search(en.must, intent["en"]), (intent["id"], en)


# --- Corpora --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("  The  cat\tsat on the mat. ", "The cat sat on the mat."),
        ("今天　天气很好。", "今天 天气很好。"),
        ("ok", ""),
        ("12345 67890 !!!", ""),
        ("see https://example.org for more words", ""),
        ("the formula $x^2 + y$ is long", ""),
        ("broken \ufffd text of a page", ""),
    ],
)
def test_lines_are_cleaned(line, kept):
    assert clean(line) == kept


def test_passages_are_runs_of_lines_within_their_size():
    lines = [f"This is line number {'abcdefghij'[i % 10]} of the text." for i in range(50)]
    for text in islice(passages(lines, random.Random(1), max_chars=120), 50):
        assert 0 < len(text) <= 120 + 40
    assert list(passages(["", "!!"], random.Random(1), max_chars=120)) == []


@pytest.fixture
def corpus(tmp_path):
    def write(name, lines):
        (tmp_path / name).write_bytes(lzma.compress("\n".join(lines).encode()))

    numbered = [f"第{number_zh(i)}行说的是今天的天气。" for i in range(2000)]
    said = "水果很好吃，我喜欢水果。好久不见，打招呼。"
    write("hsk_sentences_audio.zh.txt.xz", [*numbered, said])
    write("cc_cedict.zh.txt.xz", ["水果", "天气", "今天", "张", "好久不见", "打招呼", "没人说"])
    senses = ["fruit; CL:個|个[ge4]", "weather", "to be today (dialect)", "surname Zhang"]
    senses += ["long time no see", "to greet sb by word or action", "what nobody said here"]
    write("cc_cedict.en.txt.xz", senses)
    write("python_docs.zh.txt.xz", ["这个字段不会被继承。", "什么是类？", "打印 x 的值。"])
    docs = ["This field is not inherited.", "What is a class?", "Print the value of x."]
    write("python_docs.en.txt.xz", docs)
    write(
        "wordnet_3_0_glosses.en.txt.xz",
        ['fruit: the ripened part of a plant; "the fruit of the tree"', "go: move away"],
    )
    dialogue = {"lang": "zh", "source": "kdconv", "turns": ["你好", "你好！"], "facts": []}
    write("dialogues.jsonl.xz", [json.dumps(dialogue, ensure_ascii=False)])
    return tmp_path


@pytest.mark.expects_log
def test_held_out_lines_are_never_drawn_for_training(corpus):
    lines = [f"第{number_zh(i)}行说的是今天的天气。" for i in range(2000)]
    kept_out = {line for index, line in enumerate(lines) if is_held_out(index)}
    assert len(kept_out) == 40
    train = draw_passages(corpus, total_chars=60_000, max_chars=60, seed=1)
    measure = draw_passages(corpus, total_chars=10_000, max_chars=60, seed=1, held_out=True)
    chinese = [t for t in train if "行说的是" in t]
    assert chinese
    assert not kept_out.intersection(line for text in chinese for line in text.split("\n"))
    assert {line for text in measure for line in text.split("\n") if "行说" in line} <= kept_out


def test_facts_are_mined_from_first_senses(corpus):
    mined = mine_facts(corpus, num_words=10, num_glosses=10)
    assert {(pair.zh, pair.en) for pair in mined.zh_to_en} == {
        ("天气", "weather"),
        ("今天", "be today"),
        ("水果", "fruit"),
    }
    assert mined.glosses == (("fruit", "the ripened part of a plant"),)
    # Said somewhere, of three words at least, nothing cut out of it; then parallel sentences.
    assert mined.phrases == (
        WordPair("好久不见", "long time no see"),
        WordPair("什么是类？", "What is a class?"),
        WordPair("这个字段不会被继承", "This field is not inherited"),
    )
    assert read_dialogues(corpus)[0].turns == ("你好", "你好！")


def test_written_frames_ask_for_what_their_kind_asks_for():
    """Each has its placeholder once, a name that templates read, and no copy."""
    rows = read_rows("written_frames.tsv")
    assert len(rows) > 3300
    assert len({(name, text.lower()) for name, text in rows}) == len(rows)
    problems = [f"{lang}_{kind}" for lang in ("zh", "en") for kind in KINDS.values()]
    placeholders = {
        **dict.fromkeys(("zh_unit", "en_unit"), ("<A>", "<B>")),
        **dict.fromkeys(("zh_units", "en_units"), ("<N>", "<A>", "<B>")),
        **dict.fromkeys(problems, ("@", "%")),
        "whole_zh": ("%",),
    }
    sources = "".join(path.read_text() for path in TEMPLATES.glob("*.py"))
    for name, text in rows:
        assert f'read_frames("{name}")' in sources or name in problems, name
        if name.startswith("author"):
            assert text.count("@") + text.count("%") == 1, text
            continue
        wanted = placeholders.get(name, ("@",))
        for placeholder in ("@", "%", "<N>", "<A>", "<B>"):
            assert text.count(placeholder) == (placeholder in wanted), text
        assert not re.search("[{|}]", text), text


def test_three_in_five_frames_are_written_ones():
    frames, rng = read_frames("next_zh"), random.Random(1)
    drawn = [frames.sample(rng) for _ in range(2000)]
    assert 0.57 < sum(text in frames.written for text in drawn) / 2000 < 0.68


def test_mined_pairs_do_not_override_curated_ones():
    mined = MinedFacts((WordPair("狗", "hound"),), (WordPair("犬", "dog"),))
    rng = random.Random(1)
    words = WordTemplates(mined, curated_share=0.0)
    answers = [words.sample_lookup(rng, "en").answer for _ in range(300)]
    assert not any("hound" in answer or "犬" in answer for answer in answers)


def test_mined_phrases_are_asked_for_beside_the_taught_ones():
    seen = WordPair("好久不见了", "long time no see")
    mined = MinedFacts(phrases=(WordPair("我爱你", "me love you"), seen))
    rng = random.Random(1)
    words = WordTemplates(mined)
    answers = [words.sample_translation(rng, lang).answer for lang in ("zh", "en") * 150]
    of_mined = [answer for answer in answers if "long time no see" in answer]
    assert 30 < len(of_mined) < 90
    assert set(of_mined) == {
        "“好久不见了”的英文是：long time no see.",
        'In Chinese, "long time no see" is 好久不见了.',
    }
    assert not any("me love you" in answer for answer in answers)


def test_every_intent_is_drawn():
    rng = random.Random(1)
    templates = HowToTemplates()
    drawn = {templates.sample(rng, "en").family for _ in range(2000)}
    assert drawn == {"howto:" + name for name in templates.intent_ids()}
