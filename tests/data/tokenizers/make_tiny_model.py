"""Writes tiny.model, the 440-piece vocabulary of the tests: python make_tiny_model.py.

The text is its own, so that the golden is anyone's to keep.
"""

from pathlib import Path

from bilin_engine.tokenizers.sentencepiece import train_sentencepiece

ZH = [
    "你好，我是一个很小的双语模型。",
    "冬天，中国哪座城市最适合避寒？",
    "建议去三亚，那里冬天也很暖和。",
    "凯旋门位于城市的中心，门高二十五米。",
    "白日依山尽，黄河入海流。",
    "天涯若比邻，海内存知己。",
    "一天有二十四个小时，一米是一百厘米。",
    "怎么把选中的文字变成一个空？",
]
EN = [
    "Hello, I am a small bilingual model.",
    "Which city is the warmest in winter?",
    "The painting was made in June 1889 by a painter who lived in the south.",
    "How do I open the settings and change the language?",
    "There are twenty-four hours in a day and one hundred centimetres in a metre.",
    "def add(a, b):    return a + b",
    "The model fills a blank with the text on both sides in view.",
    "Question: what can you do? Answer: I can chat and fill blanks.",
]

if __name__ == "__main__":
    lines = [line for _ in range(20) for line in (*ZH, *EN)]
    train_sentencepiece(lines, Path(__file__).with_name("tiny.model"), vocab_size=440)
