"""How people really type: other words for the same thing, keywords alone, slips of the finger.

Applied to questions whose answer is fixed (greetings, how-tos), never to ones whose words come
back in the answer. A small model that has seen each intent in hundreds of wordings must look for
what they share, and so finds it in wordings it has not seen.
"""

import random
import re

from bilin_engine.pretrain.templates.exchange import Lang

# Words that may stand for each other in a question to a program.
# fmt: off
_ZH_SAME = (
    ("怎么", "如何", "怎样", "咋", "咋样", "要怎么", "该怎么", "怎么才能", "怎么样"),
    ("对话", "聊天", "会话", "聊天记录", "聊过的"), ("删除", "删掉", "删", "去掉", "清掉", "干掉", "移除"),
    ("修改", "改", "更改", "改动", "编辑", "改一下"), ("打开", "开", "开启", "进入", "调出"),
    ("回答", "答案", "回复", "答复", "输出"), ("快捷键", "热键", "按键", "组合键", "键盘快捷键"),
    ("显卡", "GPU", "独显", "卡", "显示卡"), ("显存", "GPU 内存", "卡的内存"),
    ("找到", "找", "找找", "翻出", "查到"), ("查看", "看", "看看", "瞧瞧", "瞅瞅", "看一下"),
    ("切换", "换", "换成", "切", "转换"), ("界面", "窗口", "画面", "UI"), ("软件", "程序", "应用", "app"),
    ("设置", "设定", "设", "调", "配置"), ("添加", "加", "加入", "新增", "弄一个", "加一个"),
    ("下载", "下", "拉取", "下一个"), ("保存", "存", "存下来", "留着"), ("导出", "存成文件", "导成文件"),
    ("什么意思", "啥意思", "什么含义", "是干嘛的", "啥"), ("什么", "啥", "什么样"),
    ("在哪里", "在哪", "在哪儿", "在什么地方", "搁哪", "在啥地方"), ("可以", "能", "能够", "行不行"),
    ("停止", "停", "停下", "打断", "中断", "终止"), ("文字", "文本", "内容", "字"), ("消息", "信息", "发言"),
    ("模型", "大模型", "AI 模型", "model"), ("选中", "选", "选好", "圈选", "勾上"), ("插入", "插", "加", "放"),
    ("电脑", "机器", "本机", "笔记本"), ("重新", "再", "再次", "重"), ("按钮", "按键", "键", "图标"),
    ("填空", "填", "补空", "补全"), ("想要", "想", "希望", "要", "打算"), ("没有", "没", "木有"),
    ("怎么办", "咋办", "咋整", "怎么处理", "怎么解决", "如何是好"), ("速度", "快慢", "多快"),
    ("引擎", "后台", "后端", "engine"), ("文档", "文章", "文件", "稿子"), ("恢复", "还原", "找回", "救回"),
)
_EN_SAME = (
    ("delete", "remove", "get rid of", "erase", "trash", "bin"), ("conversation", "chat", "dialogue", "thread", "talk"),
    ("change", "switch", "modify", "alter", "set"), ("find", "look for", "locate", "look up", "get to"),
    ("open", "bring up", "get into", "start"), ("answer", "reply", "response", "output"),
    ("message", "text", "line", "prompt"), ("stop", "halt", "end", "cancel", "interrupt"),
    ("start", "begin", "open", "kick off"), ("make", "create", "get", "do"), ("see", "view", "check", "look at", "show"),
    ("app", "program", "software", "application", "tool"), ("GPU", "graphics card", "video card", "card"),
    ("window", "screen", "interface", "UI"), ("shortcut", "hotkey", "key combination", "keyboard shortcut"),
    ("download", "fetch", "get", "pull", "grab"), ("add", "put in", "get", "include"), ("save", "keep", "store"),
    ("use", "work with", "run"), ("model", "LLM", "AI model", "language model"), ("insert", "put in", "add", "place"),
    ("document", "text", "file", "article"), ("picture", "image"), ("another", "a different", "some other"),
    ("would like", "want", "wish", "'d like"), ("want", "need", "wanna", "would like"),
    ("how do I", "how to", "how can I", "how does one", "how would I", "how should I", "how 2"),
    ("settings", "preferences", "options", "configuration"), ("computer", "machine", "PC", "laptop"),
    ("memory", "RAM", "space"), ("several", "multiple", "a few", "many"), ("fix", "repair", "sort out", "solve"),
    ("engine", "backend", "back end"), ("blank", "gap", "hole", "mask"), ("key", "button", "keystroke"),
    ("is not", "isn't", "is not"), ("cannot", "can't", "can not", "cant"), ("do not", "don't", "dont"),
    ("I am", "I'm", "im"), ("what is", "what's", "whats"),
)
_ZH_FILLER = frozenset((
    "怎么", "怎样", "如何", "请问", "我想", "我要", "想要", "一下", "一个", "可以", "能不能", "应该", "才能", "告诉我", "教我",
    "的", "了", "吗", "呢", "我", "要", "能", "把", "将", "请", "该", "是", "在", "个", "？", "。", "，",
))
_EN_FILLER = frozenset((
    "how", "do", "does", "i", "can", "to", "the", "a", "an", "is", "my", "you", "me", "what", "would", "like", "want",
    "should", "could", "one", "we", "please", "tell", "show", "are", "it", "of", "in", "there", "am", "for",
))
_ZH_BEFORE = (
    "我刚装上，", "急，", "有个小问题，", "哎，", "嗨，", "新手求助：", "问个问题：", "小白问一句，", "不好意思，", "话说", "那个，", "我说，",
    "对了，", "还有，", "另外", "诶", "求问", "求教，", "在比邻里", "这个软件里", "我用的是笔记本，", "试了半天没成功，", "看了一圈没找到，", "老师好，",
)
_ZH_AFTER = (
    "，谢谢", "，急", "，在线等", "，麻烦了", "啊", "呀", "来着", "，求教", "，有人知道吗", "，我不太会", "，怎么弄", "，咋弄", "，该点哪",
    "，按哪里", "，没找到", "，多谢", "哈", "嘛", "？？", "...", "，帮帮忙", "，行吗", "，能做到吗",
)
_EN_BEFORE = (
    "quick question: ", "hey, ", "ok so ", "sorry, ", "umm ", "hi there, ", "new user here, ", "help, ", "one more thing: ",
    "just wondering, ", "by the way, ", "and ", "hmm, ", "good morning, ", "dumb question, ", "in bilin, ", "in this app, ",
    "i just installed it, ", "i tried everything, ", "please help: ", "now ", "next question: ", "yo, ",
)
_EN_AFTER = (
    ", thanks", " please", " pls", ", any idea?", ", is that possible?", " in this thing", " in here", "??", "...", " thx",
    ", can't find it", ", what do I do?", ", where do I click?", ", which key?", " on my laptop", " right now", ", anyone?",
    ", how?", ", can it do that?", " somehow", " quickly",
)
# fmt: on


def _finder(lang: Lang, group: tuple[str, ...]) -> re.Pattern[str]:
    """Finds the words of `group`; a lone Chinese character may be part of another word."""
    words = sorted((word for word in group if len(word) > 1), key=len, reverse=True)
    edge = r"\b" if lang == "en" else ""
    return re.compile(f"{edge}(?:{'|'.join(map(re.escape, words))}){edge}", re.IGNORECASE)


_FIND: dict[Lang, list[tuple[re.Pattern[str], tuple[str, ...]]]] = {
    "zh": [(_finder("zh", group), group) for group in _ZH_SAME],
    "en": [(_finder("en", group), group) for group in _EN_SAME],
}
_WORDS_ZH = re.compile("|".join(sorted(map(re.escape, _ZH_FILLER), key=len, reverse=True)))


def reword(rng: random.Random, lang: Lang, text: str, *, share: float = 0.35) -> str:
    """`text` with some of its words exchanged for others of the same meaning."""
    for pattern, group in _FIND[lang]:
        if pattern.search(text) and rng.random() < share:
            chosen = rng.choice(group)
            text = pattern.sub(lambda _, to=chosen: to, text, count=1)
    return text


def keywords(rng: random.Random, lang: Lang, text: str) -> str:
    """What is left of `text` when it is typed as into a search box; `text` itself if nothing is."""
    if lang == "zh":
        left = _WORDS_ZH.sub(lambda match: match[0] if rng.random() < 0.1 else "", text)
        return left if len(left) >= 2 else text
    words = [w for w in re.sub(r"[?.!,]+", " ", text).split() if w.lower() not in _EN_FILLER]
    if len(words) > 2 and rng.random() < 0.3:
        rng.shuffle(words)
    return " ".join(words).lower() if words else text


def slip(rng: random.Random, lang: Lang, text: str) -> str:
    """One slip: a letter doubled, dropped or swapped with its neighbour; a character left out."""
    at = rng.randrange(max(1, len(text) - 1))
    if lang == "zh":
        if not "\u4e00" <= text[at : at + 1] <= "\u9fff" or len(text) < 5:
            return text
        return (
            text[:at] + text[at + 1 :] if rng.random() < 0.6 else text[:at] + text[at] + text[at:]
        )
    if not text[at : at + 2].isalpha() or len(text) < 8:
        return text
    kind = rng.random()
    if kind < 0.4:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + text[at + 1 :] if kind < 0.7 else text[:at] + text[at] + text[at:]


def colloquial(rng: random.Random, lang: Lang, text: str) -> str:
    """One of the ways above or several, or `text` as it is."""
    if rng.random() < 0.7:
        text = reword(rng, lang, text)
    kind = rng.random()
    if kind < 0.12:
        return keywords(rng, lang, text)
    before, after = (_ZH_BEFORE, _ZH_AFTER) if lang == "zh" else (_EN_BEFORE, _EN_AFTER)
    if kind < 0.32:
        text = rng.choice(before) + text
    if 0.22 < kind < 0.45:
        text = text.rstrip("？?。.") + rng.choice(after)
    if rng.random() < 0.08:
        text = slip(rng, lang, text)
    if lang == "en" and rng.random() < 0.25:
        text = text.lower().rstrip("?." if rng.random() < 0.5 else "")
    return text
