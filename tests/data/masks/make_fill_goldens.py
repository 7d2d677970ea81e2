"""Writes fills.json: what the published inference code asks of a model, blank by blank.

Run as: python make_fill_goldens.py GLM-130B-CHECKOUT (github THUDM/GLM-130B, 212215c). Its own
`fill_blanks` runs, with a tokenizer of ours and a model that answers from a list; recorded are the
ids, attention and positions it would have computed with, and the ids and text it ended with.
"""

import ast
import json
import re
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch

from bilin_engine.tokenizers.sentencepiece import SPECIAL_NAMES, SentencePieceTokenizer

TINY = SentencePieceTokenizer(Path(__file__).parents[1] / "tokenizers" / "tiny.model")
PROMPTS = [
    "The model fills a blank",
    "The painting was made by [MASK] in June 1889.",
    "凯旋门位于[MASK]的中心，门高二十五米。",
    "[MASK] and [MASK]",
    "a[gMASK]b[MASK]c[sMASK]d[MASK] e",
    "天涯若[sMASK]，海内存[sMASK]。",
    "Question: what can you do? Answer: [gMASK]",
    "[gMASK] begins and ends [gMASK]",
    "",
    "[MASK] ",
    "one[MASK] two [MASK][MASK]",
]
ANSWERS = [[300, 301, 302], [310], [], [320, 321]]
FUNCTIONS = ("isEnglish", "get_masks_and_position_ids", "fill_blanks")


class ReferenceTokenizer:
    tokenize = staticmethod(TINY.encode)
    detokenize = staticmethod(TINY.decode)

    @staticmethod
    def get_command(name):
        return 2 if name == "eos" else 440 + SPECIAL_NAMES.index(name)


def record(checkout: Path, prompt: str) -> dict:
    steps = []

    def batch_filling_sequence(model, seqs, lengths, strategy, get_masks_and_position_ids):
        del model
        tokens, attention, positions = get_masks_and_position_ids(seqs)
        length, answer = int(lengths[0]), ANSWERS[len(steps) % len(ANSWERS)]
        # Columns that the first row sees: the two-sided prefix.
        visible = int((~attention[0, 0, 0]).sum())
        causal = torch.ones_like(attention[0, 0]).tril().logical_not()
        causal[:, :visible] = False
        assert torch.equal(causal, attention[0, 0])
        end = length + max(1, len(answer))
        steps.append(
            {
                "token_ids": tokens[0, :length].tolist(),
                "position_ids": positions[0, :end].tolist(),
                "prefix_len": visible,
                "answer": answer,
            }
        )
        output = [*tokens[0, :length].tolist(), *answer, strategy.end_tokens[0], -1]
        return [torch.tensor([output])], None

    source = (checkout / "generate.py").read_text(encoding="utf-8")
    code = ast.parse(source)
    code.body = [node for node in code.body if getattr(node, "name", "") in FUNCTIONS]
    for node in code.body:
        node.returns = None  # type: ignore[attr-defined]
    scope = {
        "torch": SimpleNamespace(
            **{name: getattr(torch, name) for name in ("nn", "ones", "arange", "long", "Tensor")},
            cuda=SimpleNamespace(LongTensor=torch.tensor),
        ),
        "re": re,
        "partial": partial,
        "print": lambda *_: None,
        "mpu": SimpleNamespace(get_model_parallel_rank=lambda: 1),
        "batch_filling_sequence": batch_filling_sequence,
        "args": SimpleNamespace(
            sampling_strategy="BaseStrategy",
            max_sequence_length=2048,
            out_seq_length=200,
            device="cpu",
            num_beams=1,
        ),
    }
    exec(compile(code, "generate.py", "exec"), scope)  # noqa: S102 -- a script run by hand
    strategy = SimpleNamespace(end_tokens=[445, 2])
    answers, _, blanks = scope["fill_blanks"](prompt, None, ReferenceTokenizer, strategy)
    return {"prompt": prompt, "steps": steps, "text": answers[0], "blanks": blanks[0]}


if __name__ == "__main__":
    recorded = [record(Path(sys.argv[1]), prompt) for prompt in PROMPTS]
    target = Path(__file__).with_name("fills.json")
    lines = ",\n".join(json.dumps(each, ensure_ascii=False) for each in recorded)
    target.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
