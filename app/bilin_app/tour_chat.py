"""What the tour shows of formulas, thoughts, attachments and presets, in both languages."""

import re

from bilin_app.controllers.views import Preset
from bilin_app.text.attachments import Attachment
from bilin_engine.protocol import Sampling

_MATH_ZH = r"""高斯积分可以化到平面上来算。设 \(I=\int_{-\infty}^{\infty} e^{-x^2}\,dx\)，则

$$I^2=\iint e^{-(x^2+y^2)}\,dx\,dy=\int_0^{2\pi}\!\!\int_0^{\infty} e^{-r^2}r\,dr\,d\theta=\pi$$

所以 \(I=\sqrt{\pi}\)。离散的情形写成矩阵：

$$\begin{pmatrix} a & b \\ c & d \end{pmatrix}^{-1}=\frac{1}{ad-bc}
\begin{pmatrix} d & -b \\ -c & a \end{pmatrix}$$

- 当 $n$ 很大时，\(\sum_{k=1}^{n}\frac{1}{k}\approx\ln n+\gamma\)
- 定价仍是文字：从 $5 到 $10"""

_MATH_EN = r"""The Gaussian integral is easy in the plane. Let
\(I=\int_{-\infty}^{\infty} e^{-x^2}\,dx\); then

$$I^2=\iint e^{-(x^2+y^2)}\,dx\,dy=\int_0^{2\pi}\!\!\int_0^{\infty} e^{-r^2}r\,dr\,d\theta=\pi$$

and so \(I=\sqrt{\pi}\). A matrix is inverted by

$$\begin{pmatrix} a & b \\ c & d \end{pmatrix}^{-1}=\frac{1}{ad-bc}
\begin{pmatrix} d & -b \\ -c & a \end{pmatrix}$$

- for large $n$, \(\sum_{k=1}^{n}\frac{1}{k}\approx\ln n+\gamma\)
- prices stay text: from $5 to $10"""

_X_ZH = "先求和，再检查边界。\n首项 1，末项 100，共 100 项，所以和是 100 × 101 / 2。"
THOUGHT_EN = "Sum first, then check the ends.\nThe first term is 1, the last 100: 100 × 101 / 2."

MATH = {
    "zh": ("高斯积分怎么算？", _MATH_ZH),
    "en": ("How is the Gaussian integral found?", _MATH_EN),
}

_THOUGHT_ZH = """<think>
先求和，再检查边界。首项 1，末项 100，共 100 项。
首尾相加都是 101，一共 50 对，所以和是 50 × 101。
</think>

从 1 加到 100 等于 **5050**。"""

_THOUGHT_EN = """<think>
Sum first, then check the ends. The first term is 1, the last 100, and there are 100 of them.
Each pair of ends makes 101, and there are 50 pairs, so the sum is 50 × 101.
</think>

The numbers from 1 to 100 add up to **5050**."""

THOUGHT = {
    "zh": ("从 1 加到 100 是多少？", _THOUGHT_ZH),
    "en": ("What do the numbers from 1 to 100 add up to?", _THOUGHT_EN),
}

_CODE = """\
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reading:
    \"\"\"A temperature in °C, None = not measured.\"\"\"

    hour: int
    value: float | None


def average(readings: list[Reading]) -> float:
    known = [r.value for r in readings if r.value is not None]
    return sum(known) / len(known)
"""

ATTACHMENTS = {
    "zh": (
        Attachment("readings.py", _CODE, 118),
        Attachment("三亚气温记录.csv", "日期,气温\n2026-01-01,22.4\n", 1203),
        Attachment("粘贴的文字 1", "一月平均气温约 22 °C。" * 400, 5210),
    ),
    "en": (
        Attachment("readings.py", _CODE, 118),
        Attachment("temperatures of sanya, january 2026.csv", "day,t\n1,22.4\n", 1203),
        Attachment("pasted text 1", "The mean of January is 22 °C. " * 400, 5210),
    ),
}

ATTACHED = {
    "zh": (
        "这两个文件里，平均气温算得对吗？",
        "`average` 只在至少有一个读数时成立：`known` 为空时会除以零。"
        "先判断一下再除；表里的数据没有缺测，结果是 **22.4 °C**。",
    ),
    "en": (
        "Is the mean computed correctly in these two files?",
        "`average` holds only where there is a reading: with an empty `known` it divides by zero. "
        "Test for that first. Nothing is missing in the table, and the mean is **22.4 °C**.",
    ),
}

STARTS = {"zh": "二月比一月", "en": "With NVLink, the"}

DELETED = {"zh": "已删除 2 条消息", "en": "Messages deleted: 2"}

PRESETS = {
    "zh": [
        Preset("严谨的审稿人", "逐句检查事实和数字，只指出错误。", Sampling(temperature=0.2)),
        Preset("写信", "语气亲切，句子短。", Sampling(temperature=0.9)),
    ],
    "en": [
        Preset(
            "Careful referee", "Check facts and figures line by line.", Sampling(temperature=0.2)
        ),
        Preset("Letters", "Warm, in short sentences.", Sampling(temperature=0.9)),
    ],
}


def prompt_pieces(question: str) -> list[str]:
    """A question as tokens might cut it, in the form of its family."""
    is_chinese = any("\u4e00" <= char <= "\u9fff" for char in question)
    begin, end = ("问：", "\n答：") if is_chinese else ("Question: ", "\nAnswer:")
    words = re.findall(r"[\u4e00-\u9fff]{1,2}| ?[^\s\u4e00-\u9fff]+", question)
    return [begin, *words, end]
