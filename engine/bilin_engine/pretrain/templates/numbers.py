"""Sums, units and number words in both languages."""

import random
from collections.abc import Callable

from bilin_engine.pretrain.templates.exchange import (
    Exchange,
    Frames,
    Lang,
    read_frames,
    read_rows,
    vary,
)

_ZH_DIGITS = "零一二三四五六七八九"
# fmt: off
_EN_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
_EN_TENS = (
    "-", "-", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
)
# fmt: on


def number_zh(value: int) -> str:
    """0 to 9999 in Chinese words, as read aloud: 10 十, 15 十五, 105 一百零五."""
    if value < 10:
        return _ZH_DIGITS[value]
    words = ""
    pending_zero = False
    for unit, size in (("千", 1000), ("百", 100), ("十", 10), ("", 1)):
        digit = value // size % 10
        if digit == 0:
            pending_zero = bool(words)
            continue
        words += ("零" if pending_zero else "") + _ZH_DIGITS[digit] + unit
        pending_zero = False
    return words.removeprefix("一") if 10 <= value < 20 else words


def _count_zh(value: int) -> str:
    """As it stands before what is counted: 两个, not 二个."""
    return "两" if value == 2 else number_zh(value)


def number_en(value: int) -> str:
    """0 to 9999 in English words: 21 twenty-one, 105 one hundred and five."""
    if value < 20:
        return _EN_SMALL[value]
    if value < 100:
        tens, rest = divmod(value, 10)
        return _EN_TENS[tens] + (f"-{_EN_SMALL[rest]}" if rest else "")
    size, name = (1000, "thousand") if value >= 1000 else (100, "hundred")
    head, rest = divmod(value, size)
    words = f"{number_en(head)} {name}"
    if not rest:
        return words
    return f"{words} {'and ' if rest < 100 else ''}{number_en(rest)}"


_ZH_OPS = {
    "+": ("加", "加上", "+", " + ", " 加 "),
    "-": ("减", "减去", "-", " - ", " 减 "),
    "*": ("乘", "乘以", "×", "*", " × ", " 乘以 "),
    "/": ("除以", "÷", "/", " ÷ ", " 除以 "),
}
_EN_OPS = {
    "+": ("plus", "plus", "+", "and"),
    "-": ("minus", "minus", "-"),
    "*": ("times", "times", "multiplied by", "×", "*"),
    "/": ("divided by", "÷", "/", "over"),
}
# The same asked without an operator between the numbers; @ is the left one, % the right one.
_ZH_ROUNDABOUT = {
    "+": (
        "@和%的和是多少",
        "@跟%加起来是多少",
        "@与%相加等于几",
        "@再加%是多少",
        "把@和%加起来",
        "比@多%的数是几",
    ),
    "-": (
        "@和%的差是多少",
        "@去掉%还剩多少",
        "@里面减掉%剩几",
        "从@里减去%",
        "比@少%的数是几",
        "@比%多多少",
    ),
    "*": ("@和%的积是多少", "@个%是多少", "@的%倍是多少", "@与%相乘得几", "@跟%乘起来等于几"),
    "/": (
        "@和%的商是多少",
        "@里面有几个%",
        "@是%的几倍",
        "把@平均分成%份，每份多少",
        "@用%去除得几",
    ),
}
_EN_ROUNDABOUT = {
    "+": (
        "the sum of @ and %",
        "add @ and %",
        "what do you get when you add % to @",
        "% more than @",
        "@ and % together",
        "what do @ and % add up to",
        "what is the total of @ and %",
    ),
    "-": (
        "the difference between @ and %",
        "subtract % from @",
        "take % away from @",
        "% less than @",
        "@ take away %",
        "what is left when you take % from @",
        "@ less %",
    ),
    "*": (
        "the product of @ and %",
        "multiply @ by %",
        "@ multiplied with %",
        "what do @ and % multiply to",
        "what do you get when you multiply @ and %",
    ),
    "/": (
        "divide @ by %",
        "how many times does % go into @",
        "the quotient of @ and %",
        "@ shared by %",
        "what do you get when you divide @ by %",
    ),
}
# With a 2 on the right that is not named.
_ZH_BY_TWO = {
    "*": ("@的两倍是多少", "@翻一倍是多少", "两个@是多少", "两个@加起来是多少", "@翻倍等于几"),
    "/": ("@的一半是多少", "一半的@是多少", "@减半是多少", "@分成两半，每半多少"),
}
_EN_BY_TWO = {
    "*": ("double @", "twice @", "two times @", "@ doubled", "what is double @", "what is twice @"),
    "/": ("half of @", "@ halved", "what is half of @", "half @", "one half of @", "cut @ in half"),
}
# As the table of products is said.
_ZH_RECITED = {"*": ("@%得几", "@%得多少", "@%是多少")}
_EN_RECITED = {"*": ("@ %s", "what are @ %s", "how much is @ %s")}
_ASKED_SHARES = {"plain": 0.6, "roundabout": 0.15, "problem": 0.2, "by two": 0.04, "recited": 0.01}
_ZH_SUM = read_frames("zh_sum")
_EN_SUM = read_frames("en_sum")
KINDS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}
_PROBLEM = {
    lang: {sign: read_frames(f"{lang}_{kind}") for sign, kind in KINDS.items()}
    for lang in ("zh", "en")
}
_ASKED = {
    "zh": {"roundabout": _ZH_ROUNDABOUT, "by two": _ZH_BY_TWO, "recited": _ZH_RECITED},
    "en": {"roundabout": _EN_ROUNDABOUT, "by two": _EN_BY_TWO, "recited": _EN_RECITED},
}


def _operands(rng: random.Random, asked: str) -> tuple[str, int, int, int]:
    """(sign, left, right, result) of a sum that is asked for as `asked`, of _ASKED_SHARES."""
    if asked == "by two":
        value = rng.randint(1, 50)
        return ("*", value, 2, value * 2) if rng.random() < 0.5 else ("/", value * 2, 2, value)
    if asked == "recited":
        left, right = rng.randint(2, 9), rng.randint(2, 9)
        return "*", left, right, left * right
    least = 1 if asked == "problem" else 0  # nobody eats no apples
    sign = rng.choices("+-*/", (5, 4, 4, 2))[0]
    # Below a hundred most often: they are too many to be known by heart, and want their steps.
    top = rng.choices((10, 20, 100), (2, 3, 5))[0]
    if sign == "+":
        left, right = rng.randint(least, top), rng.randint(least, top)
        return sign, left, right, left + right
    if sign == "-":
        right, rest = sorted((rng.randint(least, top), rng.randint(least, top)))
        return sign, rest, right, rest - right
    table = 10 if rng.random() < 0.75 else 12
    left, right = rng.randint(least, table), rng.randint(1, table)
    if sign == "*":
        return sign, left, right, left * right
    return sign, left * right, right, left


Sum = tuple[str, int, int, int]  # sign, left, right, result
# Between words, before a result, between steps, before the first one, behind all.
_MARKS = {"zh": ("", "等于", "，", "：", "。"), "en": (" ", " is ", ", ", ": ", ".")}


def _steps(sign: str, left: int, right: int) -> list[Sum]:
    """How a sum of 20 and more that carries or borrows is worked out; empty for others.

    Units come first. Digits are written from the left, so that without steps the first one would
    hang on a carry that has not been written yet.
    """
    left_unit, right_unit = left % 10, right % 10
    left_tens, right_tens = left - left_unit, right - right_unit
    if sign == "+" and left_unit + right_unit >= 10 and left + right >= 20:
        units, tens = left_unit + right_unit, left_tens + right_tens
    elif sign == "-" and left_unit < right_unit and left >= 20:
        left_unit, left_tens = left_unit + 10, left_tens - 10
        units, tens = left_unit - right_unit, left_tens - right_tens
    else:
        return []
    with_tens = [(sign, left_tens, right_tens, tens)] if left_tens and right_tens else []
    return [(sign, left_unit, right_unit, units), *with_tens, ("+", tens, units, tens + units)]


def answer_sum(lang: Lang, asked: Sum, show: Callable[[int], str]) -> str:
    """`asked` as a sentence, with the steps of what carries or borrows; `show` writes a number."""
    space, equals, comma, colon, end = _MARKS[lang]
    signs = _ZH_OPS if lang == "zh" else _EN_OPS

    def said(sign: str, left: int, right: int) -> str:
        return space.join((show(left), signs[sign][0], show(right)))

    sign, left, right, result = asked
    answer = said(sign, left, right)
    if steps := _steps(sign, left, right):
        answer += colon + comma.join(said(*step[:3]) + equals + show(step[3]) for step in steps)
    else:
        answer += equals + show(result)
    return answer[:1].upper() + answer[1:] + end


def sample_sum(rng: random.Random, lang: Lang) -> Exchange:
    """A sum with small numbers, in digits or in words; the answer keeps the question's way.

    One in five is a problem of one step: apples that are eaten, pages that are read.
    """
    asked = rng.choices(tuple(_ASKED_SHARES), tuple(_ASKED_SHARES.values()))[0]
    sign, left, right, result = _operands(rng, asked)
    in_words = asked == "recited" or rng.random() < 0.4
    text = _question(rng, lang, asked, sign, in_words=in_words)
    if lang == "zh":
        show = number_zh if in_words else str
        count = _count_zh if in_words and asked == "problem" else show
        text = text.replace("@", count(left)).replace("%", count(right))
    else:
        show = number_en if in_words else str
        text = text.replace("@", show(left)).replace("%", show(right)).replace("sixs", "sixes")
    answer = answer_sum(lang, (sign, left, right, result), show)
    return Exchange(lang, vary(rng, lang, text), answer, "sum")


def _question(rng: random.Random, lang: Lang, asked: str, sign: str, *, in_words: bool) -> str:
    """With @ for the left number and % for the right one."""
    if asked == "problem":
        return _PROBLEM[lang][sign].sample(rng)
    if asked != "plain":
        return rng.choice(_ASKED[lang][asked][sign])
    if lang == "zh":
        operation = rng.choice(_ZH_OPS[sign][: 2 if in_words else None])
        return _ZH_SUM.sample(rng).replace("@", f"@{operation}%")
    operation = rng.choice(_EN_OPS[sign][:2] if in_words else _EN_OPS[sign])
    is_tight = not in_words and not operation.isalpha() and rng.random() < 0.4
    space = "" if is_tight else " "
    return _EN_SUM.sample(rng).replace("@", f" @{space}{operation}{space}%").strip()


_SEVERAL = 0.4
# Of those, the shares that ask for the larger unit: 180 minutes in hours.
_BACK = 0.25
_LARGEST_BACK = 1000
_ZH_UNIT = read_frames("zh_unit")
_EN_UNIT = read_frames("en_unit")
_ZH_UNITS = read_frames("zh_units")
_EN_UNITS = read_frames("en_units")


def _article(word: str) -> str:
    return "an" if word.startswith(("a", "e", "i", "o", "u", "hour")) else "a"


_PLURALS = {
    "foot": "feet",
    "century": "centuries",
    "millennium": "millennia",
    "quarter of an hour": "quarters of an hour",
    "dozen": "dozen",
}


def _plural(unit: str) -> str:
    return _PLURALS.get(unit, unit + "s")


class UnitTemplates:
    """Draws conversions of `units.tsv`, also for two to ten of the larger unit and back to it."""

    def __init__(self) -> None:
        rows = [row + [""] * (6 - len(row)) for row in read_rows("units.tsv")]
        self._zh = [(row[0], row[1], int(row[2])) for row in rows if row[0]]
        self._en = [(row[3], row[4], int(row[5] or row[2])) for row in rows if row[3]]

    def sample(self, rng: random.Random, lang: Lang) -> Exchange:
        """One conversion. That of several begins with that of one, which it is worked out from."""
        large, small, size = rng.choice(self._zh if lang == "zh" else self._en)
        many = rng.randint(2, 10) if rng.random() < _SEVERAL else 1
        is_back = many > 1 and size <= _LARGEST_BACK and rng.random() < _BACK
        in_words = rng.random() < 0.5
        if lang == "zh":
            answer = f"一{large}等于{size}{small}"
            count = _count_zh(many) if in_words else str(many)
            if many == 1:
                text = _ZH_UNIT.sample(rng).replace("<A>", large).replace("<B>", small)
            elif is_back:
                text = _asked_of(_ZH_UNITS, rng, str(size * many), small, large)
                answer += f"，{size * many}{small}等于{many}{large}"
            else:
                text = _asked_of(_ZH_UNITS, rng, count, large, small)
                answer += f"，{count}{large}等于{size * many}{small}"
            return Exchange(lang, vary(rng, lang, text), answer + "。", "unit")
        answer = f"There are {size} {small} in {_article(large)} {large}"
        count, plural = number_en(many) if in_words else str(many), _plural(large)
        if many == 1:
            text = _EN_UNIT.sample(rng)
            text = text.replace("<AN>", _article(large)).replace("<A>", large).replace("<B>", small)
        elif is_back:
            text = _asked_of(_EN_UNITS, rng, str(size * many), small, plural)
            answer += f", and {size * many} {small} are {many} {plural}"
        else:
            text = _asked_of(_EN_UNITS, rng, count, plural, small)
            answer += f", and {size * many} {small} in {count} {plural}"
        return Exchange(lang, vary(rng, lang, text), answer + ".", "unit")


def _asked_of(frames: Frames, rng: random.Random, count: str, unit: str, wanted: str) -> str:
    frame = frames.sample(rng)
    return frame.replace("<N>", count).replace("<A>", unit).replace("<B>", wanted)
