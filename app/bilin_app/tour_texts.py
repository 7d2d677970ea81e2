"""What the tour and the bench say: conversations, answers, search hits, in both languages."""

from dataclasses import dataclass, replace

from bilin_app.controllers.engine_views import ModelView
from bilin_app.controllers.list_views import ListRow, SearchHit
from bilin_app.controllers.views import (
    AnswerFacts,
    AnswerState,
    ExampleView,
    MessageView,
)
from bilin_app.theme.fonts import Language

DAY_S = 86_400.0

MODEL = ModelView("glm-130b", "GLM-130B", "GLM-130B", 130_000_000_000, "INT4 · 4 GPU", 2048)
MINI = ModelView("bilin-mini", "比邻 Mini", "Bilin Mini", 40_600_000, "INT4", 1024, is_bundled=True)
FACTS = AnswerFacts(MODEL, 64, 214, 0.4, 38.2, 7, "stop")

_CODE_ZH = """\
```python
def average(temps):
    # 忽略缺测值
    known = [t for t in temps if t is not None]
    return sum(known) / len(known)
```
"""

_CODE_EN = """\
```python
def ms_per_token(weights_gb, cards):
    # bytes over bandwidth
    return weights_gb / cards / 936 * 1e3
```
"""

_ANSWER_ZH = f"""\
避寒的话，建议去海南**三亚**：一月平均气温约 22 °C，几乎没有冬季。也可以考虑：

- **西双版纳**　冬季干爽，花费较低
- **厦门**　适合散步，夜里稍凉

统计平均气温可以这样写：

{_CODE_ZH}
需要我按月份画成图吗"""

_ANSWER_EN = f"""\
**Tensor parallel.** With INT4 the weights are 67 GB, so each card reads a quarter of them at the \
same time:

- tensor parallel: 16.8 GB per card → 17.9 ms a token
- layer split: 67.2 GB in turn → 71.8 ms a token

The same in Python:

{_CODE_EN}
Communication adds about four milliseconds, so expect"""

_RICH_ZH = """\
## 三种放法的比较

下面的数字按 **四张 RTX 3090**、INT4 权重计算：

| 放法 | 每卡权重 | 每词元耗时 | 适合 |
|---|---|---|---|
| 张量并行 | 16.8 GB | 17.9 ms | 卡与卡之间快 |
| 按层切分 | 16.8 GB | 71.8 ms | 卡与卡之间慢 |
| 单卡 | 67.2 GB | 放不下 | — |

1. 先看每张卡的*空闲显存*
2. 再看卡间带宽
   - `nvidia-smi topo -m` 会列出连接方式
   - NVLink 快于 PCIe
3. 最后选放法

> 天涯若比邻。
> ——王勃《送杜少府之任蜀州》

- [x] 量化到 INT4
- [ ] 测一遍速度

---

详见[论文](https://arxiv.org/abs/2210.02414)第三节。"""

_RICH_EN = """\
## Three placements compared

The figures are for **four RTX 3090s** with INT4 weights:

| Placement | Weights per card | Per token | Suits |
|---|---|---|---|
| tensor parallel | 16.8 GB | 17.9 ms | fast links |
| layer split | 16.8 GB | 71.8 ms | slow links |
| one GPU | 67.2 GB | does not fit | — |

1. Look at each card’s *free memory*
2. Then at the links between the cards
   - `nvidia-smi topo -m` names them
   - NVLink is faster than PCIe
3. Choose the placement

> “A bosom friend afar brings a distant land near.”
> — Wang Bo, 天涯若比邻

- [x] quantize to INT4
- [ ] measure the speed

---

See [the paper](https://arxiv.org/abs/2210.02414), section 3."""

_LONG_ZH = """\
凯旋门位于意大利米兰市古城堡旁。1807年为纪念拿破仑胜利而建，门高25米，顶上矗立两武士青铜古兵车铸像。\
它与巴黎的凯旋门遥相呼应，至今仍是城市西北的门户。

### 建造经过

工程始于一八〇七年，由建筑师路易吉·卡尼奥拉主持。拿破仑失势之后工程一度停顿，直到一八二六年奥地利皇帝弗朗茨一世下令\
续建，才把原先献给胜利的纪念门改作献给和平的纪念门，所以当地人至今叫它“和平门”。门上的浮雕因此既有战争，也有和约：\
东面刻着维也纳会议的场景，西面刻着莱比锡之战。

### 形制与材料

- 门洞三个，中间一个高十四米，两侧略低
- 石料取自马焦雷湖畔的克雷沃拉多索拉采石场
- 顶上六马战车由阿邦迪奥·圣乔治铸成，重心略向前倾

一八五九年六月，法国与撒丁联军在马真塔获胜之后，拿破仑三世与维克托·伊曼纽尔二世正是从这座门下进入米兰的。\
一百多年过去，城墙早已拆除，门前的电车换了几代，门却还在原处；傍晚时分，夕照从森皮奥内大道尽头照过来，\
穿过中间的门洞，正好落在公园的草地上。

### 今天去看

从地铁一号线凯罗利站出来，穿过斯福尔扎城堡和森皮奥内公园，步行大约十五分钟就到。"""

_LONG_EN = """\
The Arch of Peace stands beside the old castle of Milan. It was begun in 1807 to honour Napoleon’s \
victories; it is 25 metres high, and on its top a bronze chariot faces the city.

### How it was built

The work was led by the architect Luigi Cagnola. When Napoleon fell it came to a halt, and only in \
1826 did Emperor Francis I of Austria order it to go on, now as a monument to peace. That is why \
the reliefs show both: the Battle of Leipzig on one side and the Congress of Vienna on the other.

### Shape and stone

- three openings, the middle one fourteen metres high
- stone from the quarries of Crevoladossola, near Lake Maggiore
- a chariot with six horses by Abbondio Sangiorgio, leaning slightly forward

In June 1859, after the battle of Magenta, Napoleon III and Victor Emmanuel II entered Milan \
through this gate. The city walls are gone and the trams before it have changed more than \
once, but the arch is where it was; towards evening the sun comes down the Corso Sempione, passes \
through the middle opening and falls on the grass of the park.

### Seeing it today

Leave the first underground line at Cairoli and walk through the castle and Sempione park: about \
fifteen minutes."""

_MIXED = (
    (
        "Marlin 是什么？",
        "Marlin 是一个 FP16×INT4 的 GEMM kernel，batch 在 16 到 32 之间时仍接近"
        "理想的 4× 加速。它把权重预先重排，让每个 warp 用 `ldmatrix` 一次取满。",
    ),
    (
        "Say that in one English sentence.",
        "Marlin is a mixed-precision kernel that keeps INT4 "
        "weights close to their ideal “4×” speed-up for small batches.",
    ),
    ("翻译：It’s not the years, it’s the mileage.", "“要紧的不是年头，是里程。”"),
    ("Write 你好 in pinyin.", "nǐ hǎo"),
)

_FAULT_DETAIL = """\
worker rank 0 (pid 4121) ended: signal 9
  last: decode step 215, 1203 of 2048 tokens
supervisor: restarts 0 of 3"""


@dataclass(frozen=True, slots=True)
class TourTexts:
    """One language's texts."""

    language: Language
    title: str
    titles: tuple[str, ...]
    ask: str
    text: str
    draft: str
    rich_title: str
    rich_question: str
    rich: str
    long_title: str
    long_question: str
    long: str
    mixed_title: str
    fault: str
    query: str
    hits: tuple[SearchHit, ...]
    deleted: str
    undo: str

    model = MODEL
    mini = MINI
    mixed = _MIXED
    fault_detail = _FAULT_DETAIL
    examples = (
        ExampleView("zh", "你是谁？"),
        ExampleView("zh", "怎样把模型转换成 INT4？"),
        ExampleView("zh", "填空和聊天有什么不同？"),
        ExampleView("en", "What can you do?"),
        ExampleView("en", "How do I add a larger model?"),
        ExampleView("en", "Where are my conversations kept?"),
    )

    @property
    def model_name(self) -> str:
        """The model's name in this language."""
        return MODEL.name_zh if self.language == "zh" else MODEL.name_en

    def person(self, text: str) -> MessageView:
        """A message of the person."""
        return MessageView(1, 1, "user", text, "done", 0.0)

    def reply(self, text: str) -> MessageView:
        """A finished answer."""
        return MessageView(2, 1, "assistant", text, "done", 0.0, facts=FACTS)

    def numbered(self, message: MessageView, message_id: int) -> MessageView:
        """The message with another id."""
        return replace(message, id=message_id)

    def question(self) -> MessageView:
        """What the first conversation asks."""
        return self.person(self.ask)

    def answer(self, *, state: AnswerState = "done", open_end: bool = False) -> MessageView:
        """The first conversation's answer, with three versions."""
        text = self.text if open_end else self.text.rsplit("\n", 1)[0]
        facts = None if open_end else FACTS
        return MessageView(
            2,
            1,
            "assistant",
            text,
            state,
            0.0,
            2,
            3,
            facts,
        )

    def broken_answer(self) -> MessageView:
        """The answer as far as it came before the engine died."""
        text = self.text[: self.text.index("```")].rstrip()
        return MessageView(
            2,
            1,
            "assistant",
            text,
            "interrupted",
            0.0,
            failure=self.fault,
            detail=_FAULT_DETAIL,
            can_continue=True,
        )

    def queued(self) -> MessageView:
        """A message that waits."""
        return MessageView(3, 1, "user", self.draft, "queued", 0.0)

    def conversations(self, now: float) -> tuple[ListRow, ...]:
        """The list: three today, two yesterday, one earlier."""
        first, *others = self.titles
        return (
            ListRow(1, self.title, now),
            ListRow(2, first, now - 60),
            ListRow(3, others[0], now - 90, has_draft=True),
            ListRow(4, others[1], now - DAY_S),
            ListRow(5, others[2], now - DAY_S - 5),
            ListRow(6, others[3], now - 4 * DAY_S),
        )


_ZH = TourTexts(
    language="zh",
    title="冬天去哪座城市避寒",
    titles=("Marlin 内核的布局", "给妈妈的信", "显存分布怎么算", "李白与杜甫", "凯旋门的历史"),
    ask="冬天，中国哪座城市最适合避寒？顺便写一段 Python 统计平均气温。",
    text=_ANSWER_ZH,
    draft="那二月呢？",
    rich_title="三种放法",
    rich_question="张量并行、按层切分和单卡，列个表比较一下",
    rich=_RICH_ZH,
    long_title="凯旋门的历史",
    long_question="讲讲米兰的凯旋门",
    long=_LONG_ZH,
    mixed_title="Marlin 内核的布局",
    fault="引擎被系统从外部结束；内存用尽时系统会这样做。",
    query="显存",
    hits=(
        SearchHit(4, 0, "显存分布怎么算", "", (), DAY_S, ((0, 2),)),
        SearchHit(1, 7, "冬天去哪座城市避寒", "…四张卡的显存各剩多少…", ((5, 7),), 0.0),
        SearchHit(2, 9, "Marlin 内核的布局", "…权重常驻显存，只读一次…", ((5, 7),), 0.0),
    ),
    deleted="已删除：李白与杜甫",
    undo="撤销",
)

_EN = TourTexts(
    language="en",
    title="Pipeline or tensor parallel?",
    titles=(
        "凯旋门的历史",
        "A letter to mother",
        "How placement is computed",
        "Li Bai and Du Fu",
        "A very long title that cannot fit into the list",
    ),
    ask="On four 3090s, should I split by layer or by tensor? Show the arithmetic.",
    text=_ANSWER_EN,
    draft="And with NVLink?",
    rich_title="Three placements",
    rich_question="Compare tensor parallel, layer split and one GPU in a table",
    rich=_RICH_EN,
    long_title="凯旋门的历史",
    long_question="Tell me about the Arch of Peace in Milan",
    long=_LONG_EN,
    mixed_title="Marlin, in two languages",
    fault="The engine was killed from outside; when memory runs out, the system does that.",
    query="memory",
    hits=(
        SearchHit(4, 0, "Memory of four cards", "", (), DAY_S, ((0, 6),)),
        SearchHit(1, 7, "Pipeline or tensor parallel?", "…free memory of each…", ((6, 12),), 0.0),
    ),
    deleted="Deleted: Li Bai and Du Fu",
    undo="Undo",
)

TEXTS: dict[Language, TourTexts] = {"zh": _ZH, "en": _EN}
