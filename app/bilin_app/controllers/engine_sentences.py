"""The engine's sentences in the window's language: a table of those that people meet.

The engine writes English with its values in it. Here each common sentence stands once as a
template; one that matches is translated and gets the values back. A test finds every template in
the engine's sources, so that a sentence changed there cannot go stale here. The rest is shown as
it is.
"""

import re
from functools import cache

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication

SENTENCES: tuple[object, ...] = (  # of str, as QT_TRANSLATE_NOOP is typed
    # The text and the context
    QT_TRANSLATE_NOOP("EngineSentences", "the prompt has {} tokens and this model holds {} with its answer; shorten it by at least {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "the last message takes {} tokens with what must stay; there is room for {}: shorten it by {} tokens"),
    QT_TRANSLATE_NOOP("EngineSentences", "context {} is not possible; this model holds up to {} tokens (0 = all)"),
    QT_TRANSLATE_NOOP("EngineSentences", "there is no text to continue; give some"),
    QT_TRANSLATE_NOOP("EngineSentences", "the text has no blank to fill; put [MASK] where one should be"),
    QT_TRANSLATE_NOOP("EngineSentences", "the model \"{}\" cannot chat; it fills blanks"),
    QT_TRANSLATE_NOOP("EngineSentences", "this model has no {} token: it cannot fill such a blank by mask"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} {} is not possible; it must be {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "no token is left to choose: the bans of this request cover them all"),
    # Memory and processes
    QT_TRANSLATE_NOOP("EngineSentences", "there is too little free memory for this; use a shorter context or free some memory"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} ({}) needs {} MiB more: {} GiB needed at context {} and prompts of {} tokens, {} GiB free"),
    QT_TRANSLATE_NOOP("EngineSentences", "no device is switched on; at least one is needed"),
    QT_TRANSLATE_NOOP("EngineSentences", "device \"{}\" is not there; there are {} GPUs, from cuda:0"),
    QT_TRANSLATE_NOOP("EngineSentences", "device \"{}\": this torch sees no GPU; use \"cpu\" or \"auto\""),
    QT_TRANSLATE_NOOP("EngineSentences", "The model's process did not answer within {} s."),
    QT_TRANSLATE_NOOP("EngineSentences", "The model's process hung: for {} s it neither answered nor used the processor, so it was ended."),
    QT_TRANSLATE_NOOP("EngineSentences", "The model did not stop within {} s of being asked, so its process was ended."),
    QT_TRANSLATE_NOOP("EngineSentences", "The model's process gave up: {}."),
    # Models and their files
    QT_TRANSLATE_NOOP("EngineSentences", "the model \"{}\" is not loaded; load it first"),
    QT_TRANSLATE_NOOP("EngineSentences", "there is no model \"{}\"; known: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "the model's logits are not finite: its weights are damaged or of the wrong kind; verify the model's files"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is missing: the model folder is incomplete; copy or convert it again"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is missing: the model folder is incomplete"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is missing: copy or convert the model again"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} has {} bytes instead of {}: it was cut short or changed; copy or convert the model again"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} was changed since it was written (sha256 {}… instead of {}…); copy or convert the model again"),
    QT_TRANSLATE_NOOP("EngineSentences", "{}: model_type \"{}\" is not one Bilin runs; known: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} has keys that Bilin does not know and that may change what is computed: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is in the library already"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} comes with Bilin and stays as it is"),
    QT_TRANSLATE_NOOP("EngineSentences", "the name {} is not possible; use 1 to {} printable characters"),
    QT_TRANSLATE_NOOP("EngineSentences", "another Bilin works on the models in {}; close it first, or give this one a models folder of its own"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is missing: the model cannot read text without it"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is missing: the folder was not written or imported by Bilin"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is damaged: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} holds no model: neither bilin.json, nor config.json with safetensors, nor mp_rank_XX_model_states.pt or GGUF files"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} holds {} GGUF files; choose one of them instead of the folder"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is missing in {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} exists already; choose another name"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} exists already; rename or remove it first"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} exists again; rename it first"),
    QT_TRANSLATE_NOOP("EngineSentences", "this is in the queue already"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is no tokenizer of GLM-130B: take its ice_text.model"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is no tokenizer file; GLM-130B's is ice_text.model"),
    QT_TRANSLATE_NOOP("EngineSentences", "the trash holds no {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} cannot be deleted: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} cannot be restored: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} cannot be emptied: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{}: group_size {} does not divide its {} columns; use a multiple of 64 that does, or \"row\""),
    # Model hubs
    QT_TRANSLATE_NOOP("EngineSentences", "{}{} cannot be reached: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{}{} does not answer ({})"),
    QT_TRANSLATE_NOOP("EngineSentences", "the connection to {}{} broke ({}): {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is busy (HTTP {}, {})"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} does not give out {} (HTTP {}): there is no such repository, or it is private or asks for its terms to be accepted. Enter a token of an account that may read it"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} has no {} (HTTP 404); check how it is written, and the source"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} arrives changed from {}: {}. It was fetched twice and thrown away; try another source, or later"),
    # The disk
    QT_TRANSLATE_NOOP("EngineSentences", "{} has {} GB free; {} GB are needed. Free some space or choose another disk; nothing was written"),
    QT_TRANSLATE_NOOP("EngineSentences", "the disk of {} is full; free some space and go on: nothing that was converted so far is lost"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is not valid JSON: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} cannot be read: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} cannot be written: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "The disk is full. Free some space, then resume: what is done stays."),
    QT_TRANSLATE_NOOP("EngineSentences", "{} has {} GB free; {} GB are needed. Free some space, then resume"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} has {} GB free; the download and the model made of it need {} GB more. Free some space, then resume"),
)  # fmt: skip


def engine_sentence(message: str) -> str:
    """A sentence of the engine's in the window's language; one that is not known, as it is."""
    for pattern, template in _patterns():
        match = pattern.fullmatch(message)
        if match is not None:
            told = QCoreApplication.translate("EngineSentences", template)
            return message if told == template else told.format(*match.groups())
    return message


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    templates = [str(template) for template in SENTENCES]
    return tuple(
        (re.compile("(.*?)".join(map(re.escape, template.split("{}"))), re.DOTALL), template)
        for template in templates
    )
