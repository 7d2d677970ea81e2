"""Makes a small tokenizer.json, and asks `transformers` for the ids of templates' prompts.

    python tests/data/templates/make_goldens.py [folder]

in an environment with transformers. The tokenizer has GLM-4's pattern and everybody's markers.
"""
# pyright: reportMissingImports=false

import json
import sys
from pathlib import Path

import transformers
from templates import CONVERSATIONS, TEMPLATES
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIALS = (
    *("<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>"),
    *("<|assistant|>", "<|observation|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
)
TEXT = [
    "你好，你是谁？我是一个小模型，住在这台电脑里。\n\n"
    "凯旋门位于意大利米兰市古城堡旁。\n\n\n在哪里？",
    "Answer briefly. How many legs has a spider? Eight legs.\n\nassistant user system\n\n\n",
    "You are a helpful assistant. and the other one, where, what, think, l'Étoile  it's\n",
]


def write_tokenizer(folder: Path) -> None:
    """Trains and writes tokenizer.json and tokenizer_config.json."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PATTERN), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXT * 4, trainer)
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in SPECIALS])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in ("<think>", "</think>")])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def main() -> None:
    """Writes the files beside this script, or into the folder that is named."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    write_tokenizer(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    prompts: dict[str, dict[str, list[int]]] = {}
    for family, template in TEMPLATES.items():
        tokenizer.chat_template = template
        prompts[family] = {}
        for name, messages in CONVERSATIONS.items():
            ids = tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=True, return_dict=False
            )
            prompts[family][name] = list(ids)
    texts = [m["content"] for messages in CONVERSATIONS.values() for m in messages]
    plain = {text: tokenizer.encode(text, add_special_tokens=False) for text in texts}
    content = {"prompts": prompts, "texts": plain}
    (folder / "goldens.json").write_text(json.dumps(content, ensure_ascii=False) + "\n")


main()
