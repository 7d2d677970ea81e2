"""EM and F1 as in SQuAD, and the summary of several files.

Source: github THUDM/GLM-130B 212215c, evaluation/metrics.py and evaluation/tasks.py.
"""

import re
import statistics
import string
from collections import Counter
from collections.abc import Callable, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized_answer(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, single spaces."""
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def exact_match(prediction: str, target: str) -> float:
    """1.0 where both are the same answer, else 0.0."""
    return float(normalized_answer(prediction) == normalized_answer(target))


def word_f1(prediction: str, target: str) -> float:
    """Harmonic mean of precision and recall over words, each counted as often as it occurs."""
    predicted = normalized_answer(prediction).split()
    wanted = normalized_answer(target).split()
    num_same = sum((Counter(predicted) & Counter(wanted)).values())
    if not num_same:
        return 0.0
    precision, recall = num_same / len(predicted), num_same / len(wanted)
    return 2 * precision * recall / (precision + recall)


def best_over_targets(
    metric: Callable[[str, str], float], prediction: str, targets: Sequence[str]
) -> float:
    """The metric against the target that suits the prediction best; 0.0 without targets."""
    return max((metric(prediction, target) for target in targets), default=0.0)


def percent(values: Sequence[float]) -> float:
    """The mean times 100; 0.0 for no values."""
    return 100.0 * sum(values) / len(values) if values else 0.0


def summarize(values: Sequence[float], weights: Sequence[int]) -> dict[str, float]:
    """Max, median and weighted average (weights: samples a file) of one metric over files."""
    total = sum(weights)
    average = sum(v * w for v, w in zip(values, weights, strict=True)) / total if total else 0.0
    return {"max": max(values), "median": statistics.median(values), "average": average}
