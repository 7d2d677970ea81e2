"""The engine's sentences in the window's language: a table of those that people meet.

The engine, and what reads files here, write English with values in it. Each common sentence stands
once as a template; one that matches is translated and gets the values back, each of which may be
such a template, too. A test finds every template in the sources, so that a sentence changed there
cannot go stale here. The rest is shown as it is.
"""

import re
from functools import cache, lru_cache

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
    QT_TRANSLATE_NOOP("EngineSentences", "the model \"{}\" sees only what stands before a word; proofreading needs a model that fills blanks by mask or by fill-in-the-middle tokens"),
    QT_TRANSLATE_NOOP("EngineSentences", "a {} of {} bytes is too large; the limit is {}"),
    # Memory and processes
    QT_TRANSLATE_NOOP("EngineSentences", "beam search over {} candidates needs room for as many texts; as this model is loaded there is room for {}: use fewer or sampling, or load it with a shorter context"),
    QT_TRANSLATE_NOOP("EngineSentences", "there is too little free memory for this; use a shorter context or free some memory"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} ({}) needs {} MiB more: {} GiB needed at context {} and prompts of {} tokens, {} GiB free"),
    QT_TRANSLATE_NOOP("EngineSentences", "the self-test of these GPUs failed ({}), so they are not used together; {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "no device is switched on; at least one is needed"),
    QT_TRANSLATE_NOOP("EngineSentences", "tensor parallel needs 2 or more GPUs; {} is switched on"),
    QT_TRANSLATE_NOOP("EngineSentences", "device \"{}\" is not there; there are {} GPUs, from cuda:0"),
    QT_TRANSLATE_NOOP("EngineSentences", "device \"{}\": this torch sees no GPU; use \"cpu\" or \"auto\""),
    QT_TRANSLATE_NOOP("EngineSentences", "{} cannot be used now ({}); another program may hold its memory"),
    QT_TRANSLATE_NOOP("EngineSentences", "The model's process did not answer within {} s."),
    QT_TRANSLATE_NOOP("EngineSentences", "The model's process hung: for {} s it neither answered nor used the processor, so it was ended."),
    QT_TRANSLATE_NOOP("EngineSentences", "The model did not stop within {} s of being asked, so its process was ended."),
    QT_TRANSLATE_NOOP("EngineSentences", "The model's process gave up: {}."),
    QT_TRANSLATE_NOOP("EngineSentences", "The {} ended unexpectedly: {}. The log has its last words."),
    QT_TRANSLATE_NOOP("EngineSentences", "The {} sent something that is no message: {}."),
    QT_TRANSLATE_NOOP("EngineSentences", "The {} can no longer be read: {}."),
    QT_TRANSLATE_NOOP("EngineSentences", "the {} cannot be started: {}: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "model's process (rank {})"),
    QT_TRANSLATE_NOOP("EngineSentences", "job's process"),
    QT_TRANSLATE_NOOP("EngineSentences", "signal {} ({})"),
    QT_TRANSLATE_NOOP("EngineSentences", "exit code {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "the engine is not running"),
    # What a plan's figures rest on
    QT_TRANSLATE_NOOP("EngineSentences", "{}: {} GB/s {}, {} of it reached{}"),
    QT_TRANSLATE_NOOP("EngineSentences", "measured"),
    QT_TRANSLATE_NOOP("EngineSentences", "by its data sheet"),
    QT_TRANSLATE_NOOP("EngineSentences", "as given"),
    QT_TRANSLATE_NOOP("EngineSentences", ", as measured of this model"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} us per all-reduce, not measured"),
    # Models and their files
    QT_TRANSLATE_NOOP("EngineSentences", "the model \"{}\" is not loaded; load it first"),
    QT_TRANSLATE_NOOP("EngineSentences", "the model \"{}\" is not loaded; \"{}\" is"),
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
    # Hubs and downloads
    QT_TRANSLATE_NOOP("EngineSentences", "{} is busy (HTTP {}, {})"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} does not give out {} (HTTP {}): there is no such repository, or it is private or asks for its terms to be accepted. Enter a token of an account that may read it"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} refuses the token that it is sent (HTTP 401): it is mistyped, has expired or was withdrawn. Enter another, or have it forgotten"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} has no {} (HTTP 404); check how it is written, and the source"),
    QT_TRANSLATE_NOOP("EngineSentences", "{}{} cannot be reached: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{}{} does not answer ({})"),
    QT_TRANSLATE_NOOP("EngineSentences", "the proxy does not let through to {}: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "the connection to {}{} broke ({}): {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} redirects {} in circles, by way of {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} redirects {} to {}://{}, which is not encrypted; nothing was fetched from there"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} answers {} with something that is no JSON ({}); is {} the address of a hub?"),
    QT_TRANSLATE_NOOP("EngineSentences", "the repository \"{}\" is none; write owner/name, as zai-org/GLM-4-9B-0414"),
    QT_TRANSLATE_NOOP("EngineSentences", "the revision \"{}\" is none; write a branch, a tag or a commit"),
    QT_TRANSLATE_NOOP("EngineSentences", "the proxy \"{}\" is none; write it as http://host:port ({})"),
    QT_TRANSLATE_NOOP("EngineSentences", "the address \"{}\" is none; write it as https://hf-mirror.com, without a user name, a question mark or a hash sign"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} names no commit of {}: it is no such hub"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} lists no files of {}: it is no such hub"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} does not give out {}: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} has weights but no config.json, so nothing says what they are"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} has its weights as pickles only ({}), which can run code when they are read; take a repository with safetensors"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} holds no weights: neither safetensors nor GGUF files"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is not whole: {} is missing"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} has {} free; the download and the model made of it need {} more. Free some space, then resume"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} arrives changed from {}: {}. It was fetched twice and thrown away; try another source, or later"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} ended {} after {} of {} bytes"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} sends more than the {} bytes that the hub lists of {}; it was thrown away"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is being downloaded by another process of Bilin's"),
    # Making models of files
    QT_TRANSLATE_NOOP("EngineSentences", "{} exists already; choose another name or remove it first"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} exists already; rename or remove it first"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} exists already; choose another name"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is a model of Bilin's already"),
    QT_TRANSLATE_NOOP("EngineSentences", "a GGUF file becomes INT4 or INT8 in groups; use 32, 64, 128 or row, or leave the group size out: then what the file has in 4-bit groups of 32 is kept"),
    QT_TRANSLATE_NOOP("EngineSentences", "a Hugging Face folder becomes INT4 or INT8 in groups; use 128, 64, 32 or row"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} holds no mp_rank_XX_model_states.pt files"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} lacks mp_rank_{}_model_states.pt (it has ranks up to {})"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is no file; it should be icetk's"),
    QT_TRANSLATE_NOOP("EngineSentences", "{}: no shard holds the tensor {}, which config.json asks for"),
    QT_TRANSLATE_NOOP("EngineSentences", "{}: no shard holds the tensor {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{}: two shards hold {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{}: {} has shape {}; config.json asks for {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{}: quant_method {} cannot be imported: {}; take the original weights, GPTQ (symmetric) or compressed-tensors (pack-quantized, symmetric)"),
    QT_TRANSLATE_NOOP("EngineSentences", "{}: asymmetric GPTQ (sym false) cannot be kept"),
    QT_TRANSLATE_NOOP("EngineSentences", "{}: GPTQ with desc_act reorders columns and cannot be kept"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is no GGUF file: it does not begin with GGUF"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} has the architecture {}; GGUF can be imported of {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{}: {} holds {}; {} can be imported. Take another file of the same model, Q8_0 or F16 where there is one"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is missing in {}: all parts are needed"),
    QT_TRANSLATE_NOOP("EngineSentences", "{}: its tensors end at byte {} and the file at {}: it was cut short"),
    QT_TRANSLATE_NOOP("EngineSentences", "{}: its tensors take {} bytes and {} are there: the file was cut short or changed"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is no PyTorch file: it begins with {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} wants to use \"{}\"{}. A checkpoint needs tensors only, so it was refused and nothing was run"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is damaged or was cut short: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} holds {} at {}: the weights are damaged; every value must be finite"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} holds the unfinished work of another conversion; finish that one with the same settings, or remove the folder"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is being written by another conversion"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} cannot be written ({}); copy it to where it can"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is a link out of its folder, to {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} has {} free; {} are needed. Free some space, then resume"),
    QT_TRANSLATE_NOOP("EngineSentences", "The disk is full. Free some space, then resume: what is done stays."),
    QT_TRANSLATE_NOOP("EngineSentences", "the work failed unexpectedly: {}: {}"),
    # Verifying, moving and the queue
    QT_TRANSLATE_NOOP("EngineSentences", "{} is missing: there are no hashes to compare"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} names no files; verify cannot be done"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} was changed since it was written (sha256 {}… instead of {}…)"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is missing: the folder was not written or imported by Bilin"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is missing: the model cannot read text without it"),
    QT_TRANSLATE_NOOP("EngineSentences", "models cannot be moved from {} to {}: one is inside the other"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} exists already and is another one; rename it, then try again"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} reads back differently: the disk is not to be trusted"),
    QT_TRANSLATE_NOOP("EngineSentences", "this is in the queue already"),
    QT_TRANSLATE_NOOP("EngineSentences", "the queue has other work that makes {}; choose another name"),
    QT_TRANSLATE_NOOP("EngineSentences", "the queue holds {} jobs; clear some first"),
    QT_TRANSLATE_NOOP("EngineSentences", "the queue holds unfinished work on these models; finish or cancel it first"),
    QT_TRANSLATE_NOOP("EngineSentences", "the models are being moved; wait until that is done, or cancel it"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is damaged: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} holds no model: neither bilin.json, nor config.json with safetensors, nor mp_rank_XX_model_states.pt or GGUF files"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} holds {} GGUF files; choose one of them instead of the folder"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is missing in {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} exists again; rename it first"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is no tokenizer of GLM-130B: take its ice_text.model"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is no tokenizer file; GLM-130B's is ice_text.model"),
    QT_TRANSLATE_NOOP("EngineSentences", "the trash holds no {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} cannot be deleted: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} cannot be restored: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} cannot be emptied: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{}: group_size {} does not divide its {} columns; use a multiple of 64 that does, or \"row\""),
    # Files that people open: the app's own readers
    QT_TRANSLATE_NOOP("EngineSentences", "it is no text in UTF-8, UTF-16 or GB 18030; it begins with {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "not a file"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} bytes; the editor opens files up to {} bytes"),
    QT_TRANSLATE_NOOP("EngineSentences", "this is no document of Bilin: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "this is {} version {}; this Bilin reads {} up to version {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "this is no JSON: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "format {} is not known; this Bilin reads {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "neither a conversation of Bilin nor ChatGPT's conversations.json"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} bytes; conversations are read up to {} bytes"),
    QT_TRANSLATE_NOOP("EngineSentences", "the zip holds no conversations.json"),
    QT_TRANSLATE_NOOP("EngineSentences", "the zip cannot be read: {}"),
    # The disk: last, for the first that fits is taken, and these fit much
    QT_TRANSLATE_NOOP("EngineSentences", "{} has {} free; {} are needed. Free some space or choose another disk; nothing was written"),
    QT_TRANSLATE_NOOP("EngineSentences", "the disk of {} is full; free some space and go on: nothing that was converted so far is lost"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} is not valid JSON: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} cannot be read: {}"),
    QT_TRANSLATE_NOOP("EngineSentences", "{} cannot be written: {}"),
)  # fmt: skip


def engine_sentence(message: str) -> str:
    """A sentence of the engine's in the window's language; one that is not known, as it is."""
    if not message:
        return ""
    found = _found(message)
    if found is None:
        return message
    template, values = found
    told = QCoreApplication.translate("EngineSentences", template)
    return message if told == template else told.format(*map(engine_sentence, values))


@lru_cache(maxsize=1024)  # the same models and jobs are told of many times a second
def _found(message: str) -> tuple[str, tuple[str, ...]] | None:
    """The template that a message was made of, and its values."""
    for pattern, template in _patterns():
        match = pattern.fullmatch(message)
        if match is not None:
            return template, match.groups()
    return None


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    templates = [str(template) for template in SENTENCES]
    return tuple(
        (re.compile("(.*?)".join(map(re.escape, template.split("{}"))), re.DOTALL), template)
        for template in templates
    )
