"""MODEL_CARD.md, in Chinese and English: every figure in it is the run's own."""

from dataclasses import dataclass

from bilin_engine.config import GroupSize
from bilin_engine.pretrain.corpus import OTHER_LICENCES, SOURCES


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What a card says of one trained model.

    is_bundled: it is the one that comes with Bilin. device: that the last run was trained on.
    has_earlier_runs: its figures count those in, whose devices are not known.
    group_size: of its INT4; 0 = not quantized. mix: shares of the last phase's loss tokens by
    family. measured: rows of a table (what, value).
    """

    name_zh: str
    name_en: str
    is_bundled: bool
    num_parameters: int
    num_layers: int
    hidden_size: int
    vocab_size: int
    context: int
    loss_tokens: int
    seconds: float
    device: str
    has_earlier_runs: bool
    group_size: GroupSize
    weights_sha256: str
    mix: dict[str, float]
    measured: tuple[tuple[str, str], ...] = ()

    @property
    def text_share(self) -> float:
        """Running text's share of the loss tokens, lists of taught answers among it."""
        return self.mix.get("text", 0.0) + self.mix.get("list", 0.0)


_BUNDLED_ZH = "比邻自带的双语演示模型：第一次打开比邻时，不用下载就能对话和填空。"
_BUNDLED_EN = (
    "The bilingual demonstration model that comes with Bilin: the first chat and the first filled "
    "blank work without a download. "
)


def _stored(group_size: GroupSize) -> tuple[str, str]:
    """How the weights are stored, in both languages."""
    match group_size:
        case 0:
            return "权重为 bfloat16", "weights in bfloat16"
        case "row":
            zh, en = "每行一个尺度", "one scale a row"
        case _:
            zh, en = f"每组 {group_size} 个", f"groups of {group_size}"
    return f"权重以 INT4（{zh}）存放，词向量为 bfloat16", f"INT4 weights ({en}), bfloat16 embedding"


def _trained_on(facts: CardFacts) -> tuple[str, str]:
    if facts.has_earlier_runs:
        return f"最后在 {facts.device} 上", f"last on {facts.device}"
    return facts.device, facts.device


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def model_card(facts: CardFacts) -> str:
    """The text of the card."""
    return "\n".join([*_chinese(facts), "", *_english(facts), "", *_tables(facts), ""])


def _chinese(facts: CardFacts) -> list[str]:
    return [
        f"# {facts.name_zh}",
        "",
        (_BUNDLED_ZH if facts.is_bundled else "") + "它由比邻自己的开源工具"
        "（`bilin_engine.pretrain`）从零训练，结构与 GLM-130B 相同，只是小得多。",
        "",
        "**它会的**：打招呼，介绍自己，回答比邻怎么用，查常用词，翻译教过的短句，接教过的唐诗，"
        "小数目的加减乘除，常用单位，补教过的句子、成语和诗句里的空。问什么语言就答什么语言。",
        "",
        "**它不会的**：它很小，没有常识和推理能力，教过以外的问题多半答错，也会编造。不要把它的话"
        "当作事实。想要真正有用的回答，请到“模型”页添加一个大模型。",
        "",
        f"- 规模：{facts.num_parameters / 1e6:.1f} M 参数，{facts.num_layers} 层，宽 "
        f"{facts.hidden_size}，词表 {facts.vocab_size}，上下文 {facts.context} 个 token；"
        f"{_stored(facts.group_size)[0]}。",
        f"- 训练：{facts.loss_tokens / 1e6:.2f} M 个计损失的 token，{facts.seconds / 60:.0f} 分钟"
        f"（{_trained_on(facts)[0]}）。过程见 training_log.csv 与 training_loss.svg。",
        f"- 权重 sha256（未量化，float32）：`{facts.weights_sha256}`，与日志首行一致。",
        "- 目标：自回归填空（GLM）；自监督样本中 [gMASK] 占 70 %，[MASK] 占 30 %；对话样本用"
        "“问：…答：”格式。训练用的问题和正文，凡与评测题目有连续八个 token 相同的都已去掉；"
        "教过的答语里可能有题目引用的话，例如一句诗。",
        "- 配比：最后阶段计损失的 token 中，问答与教过的空占 "
        f"{_percent(1 - facts.text_share)}，正文占 {_percent(facts.text_share)}，其中一部分是教过的"
        "算式、单词等列成的清单。固定的回答八成截短：开头已能看出是哪个回答，余下的背熟后不再教会什么。",
        "- 许可证：权重与代码 Apache-2.0；训练文本的来源与许可证见下表。",
    ]


def _english(facts: CardFacts) -> list[str]:
    return [
        f"# {facts.name_en}",
        "",
        (_BUNDLED_EN if facts.is_bundled else "")
        + "Bilin's own open toolkit (`bilin_engine.pretrain`) trained it from scratch; its "
        "architecture is GLM-130B's, only much smaller.",
        "",
        "**What it can do**: greet, say what it is, explain how Bilin works, look up common words, "
        "translate short phrases it was taught, continue Tang verse it was taught, do sums with "
        "small numbers, convert common units, and fill blanks in sentences, idioms and poems it "
        "was taught. It answers in the language of the question.",
        "",
        "**What it cannot do**: it is tiny. It has no general knowledge and does not reason; what "
        "it was not taught it mostly gets wrong, and it makes things up. Take nothing it says for "
        "a fact. For useful answers add a larger model under Models.",
        "",
        f"- Size: {facts.num_parameters / 1e6:.1f} M parameters, {facts.num_layers} layers, width "
        f"{facts.hidden_size}, vocabulary {facts.vocab_size}, context {facts.context} tokens; "
        f"{_stored(facts.group_size)[1]}.",
        f"- Training: {facts.loss_tokens / 1e6:.2f} M loss tokens in {facts.seconds / 60:.0f} "
        f"minutes ({_trained_on(facts)[1]}). See training_log.csv and training_loss.svg.",
        f"- sha256 of the weights (unquantized, float32): `{facts.weights_sha256}`, as in the "
        "first line of the log.",
        "- Objective: autoregressive blank filling (GLM); self-supervised samples are 70 % "
        '[gMASK] and 30 % [MASK]; chat samples use the format "Question: … Answer:". No question '
        "and no running text of the training shares eight tokens in a row with a question of the "
        "probes; a taught answer may hold what a probe quotes, such as a line of verse.",
        f"- Mix: of the last phase's loss tokens {_percent(1 - facts.text_share)} are taught "
        f"exchanges and blanks, {_percent(facts.text_share)} running text, in part lists of taught "
        "sums, words and the like. Four in five fixed answers are cut short: which one is due "
        "shows in its beginning, and the rest teaches nothing once known by heart.",
        "- Licence: weights and code Apache-2.0; sources and licences of the text below.",
    ]


def _tables(facts: CardFacts) -> list[str]:
    lines = ["## 测得的数字 Measured", "", "| | |", "|---|---|"]
    lines += [f"| {what} | {value} |" for what, value in facts.measured]
    lines += [
        "",
        "## 最后阶段的训练样本 Mix of the last phase, share of loss tokens",
        "",
        "| | % |",
        "|---|---|",
    ]
    lines += [f"| {family} | {100 * share:.1f} |" for family, share in facts.mix.items()]
    lines += ["", "## 来源 Sources", "", "| text | language | licence | why |", "|---|---|---|---|"]
    lines += [f"| {s.name} | {s.lang} | {s.licence} | {s.reason} |" for s in SOURCES]
    lines += [f"| {name} | | {licence} | {why} |" for name, licence, why in OTHER_LICENCES]
    lines += [
        "| templates of the toolkit (`pretrain/facts`) | zh, en | Apache-2.0; poems in the public "
        "domain | what the model is for |",
        "| questions of the toolkit (`questions.tsv`, `written_frames.tsv`) | zh, en | Apache-2.0; "
        "written by a large language model | what is asked, in many people's words |",
    ]
    return lines
