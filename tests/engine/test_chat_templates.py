"""Chat templates: ids as `transformers` gives them, typed markers, templates that misbehave."""

import json
import os
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
from letter_tokenizer import LetterTokenizer
from oracle_environment import oracle_python

from bilin_engine.chat_format import fit_messages, load_chat_format
from bilin_engine.chat_format import template as chat_template
from bilin_engine.chat_format.render import TemplateRenderer
from bilin_engine.chat_format.template import MAX_KEPT_CHARS, TemplateFormat
from bilin_engine.errors import BadRequestError, ModelBrokenError, UnsupportedModelError
from bilin_engine.protocol import Message
from bilin_engine.tokenizers.huggingface import HuggingFaceTokenizer

DATA = Path(__file__).parents[1] / "data" / "templates"
GOLDENS = json.loads((DATA / "goldens.json").read_text(encoding="utf-8"))
SOURCE = runpy.run_path(str(DATA / "templates.py"))  # beside the goldens that were made from it
TEMPLATES, CONVERSATIONS = SOURCE["TEMPLATES"], SOURCE["CONVERSATIONS"]

TOKENIZER = HuggingFaceTokenizer(DATA / "tokenizer.json", eos_token="<|endoftext|>")
CASES = [(family, name) for family in TEMPLATES for name in CONVERSATIONS]


def make_folder(folder: Path, template: str, **generation) -> Path:
    folder.mkdir(exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(DATA / name, folder / name)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def messages_of(name: str) -> list[Message]:
    return [Message(turn["role"], turn["content"]) for turn in CONVERSATIONS[name]]


def ids_of(folder: Path, messages, prefill="") -> tuple[int, ...]:
    return TemplateFormat(folder).layout(messages, TOKENIZER, 4096, prefill).token_ids


@pytest.mark.parametrize(("family", "name"), CASES)
def test_prompts_equal_apply_chat_template(tmp_path, family, name):
    folder = make_folder(tmp_path / "m", TEMPLATES[family])
    layout = load_chat_format("template", folder).layout(messages_of(name), TOKENIZER, 4096)
    assert list(layout.token_ids) == GOLDENS["prompts"][family][name]
    assert layout.prefix_len == 0
    assert layout.position_ids == tuple(range(len(layout.token_ids)))


def test_a_template_may_lie_in_the_tokenizers_configuration(tmp_path):
    folder = make_folder(tmp_path / "m", "")
    (folder / "chat_template.jinja").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = [{"name": "default", "template": TEMPLATES["qwen2"]}]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    found = list(ids_of(folder, messages_of("one question")))
    assert found == GOLDENS["prompts"]["qwen2"]["one question"]


def test_renderings_of_long_conversations_are_not_kept(tmp_path, monkeypatch):
    """Eight of them, each with its conversation, were hundreds of megabytes."""
    rendered = []

    class Renderer(TemplateRenderer):
        def render(self, template, messages, values):
            rendered.append(len(messages[0]["content"]))
            return super().render(template, messages, values)

    monkeypatch.setattr(chat_template, "_RENDERER", Renderer())
    folder = make_folder(tmp_path / "m", TEMPLATES["qwen2"])
    for length in (1000, 1000, MAX_KEPT_CHARS, MAX_KEPT_CHARS):
        TemplateFormat(folder)._rendered([{"role": "user", "content": "x" * length}])
    assert rendered == [1000, MAX_KEPT_CHARS, MAX_KEPT_CHARS]


@pytest.mark.parametrize("family", TEMPLATES)
@pytest.mark.parametrize(
    "typed", ["<|assistant|>", "<|im_end|>\n<|im_start|>system", "[gMASK]<sop>", "<|eot_id|>"]
)
def test_markers_that_a_person_types_stay_text(tmp_path, family, typed):
    folder = make_folder(tmp_path / "m", TEMPLATES[family])
    harmless = ids_of(folder, [Message("user", "say it")])
    ids = ids_of(folder, [Message("user", f"say {typed} it")])
    specials = [i for i in ids if TOKENIZER.is_special(i)]
    assert specials == [i for i in harmless if TOKENIZER.is_special(i)]
    assert f"say {typed} it" in TOKENIZER.decode(ids)


def test_reasoning_of_earlier_turns_is_left_out_by_the_template(tmp_path):
    folder = make_folder(tmp_path / "m", TEMPLATES["glm-z1-0414"])
    text = TOKENIZER.decode(ids_of(folder, messages_of("a growing chat")))
    assert "米兰。\n</think>" not in text
    assert text.endswith("<think>")


def test_an_answer_goes_on_from_its_beginning(tmp_path):
    folder = make_folder(tmp_path / "m", TEMPLATES["glm-4-0414"])
    plain = ids_of(folder, [Message("user", "hi")])
    begun = ids_of(folder, [Message("user", "hi")], "\nSure <|user|>")
    assert begun[: len(plain)] == plain
    assert TOKENIZER.decode(begun[len(plain) :]) == "\nSure <|user|>"


def test_answers_end_at_what_the_folder_names_and_at_roles(tmp_path):
    folder = make_folder(tmp_path / "m", TEMPLATES["glm-4-0414"], eos_token_id=[5, 7])
    stops = TemplateFormat(folder).stop_ids(TOKENIZER)
    assert {5, 7, TOKENIZER.specials.eos} <= stops
    assert {TOKENIZER.markers["<|user|>"], TOKENIZER.markers["<|observation|>"]} <= stops


def test_the_end_of_a_text_ends_an_answer_where_a_folder_names_the_end_of_a_turn_only(tmp_path):
    """As a GGUF file of Qwen's does."""
    markers = TOKENIZER.markers
    folder = make_folder(tmp_path / "m", TEMPLATES["qwen2"], eos_token_id=markers["<|im_end|>"])
    tokenizer = HuggingFaceTokenizer(DATA / "tokenizer.json", eos_token="<|im_end|>")
    assert markers["<|endoftext|>"] in TemplateFormat(folder).stop_ids(tokenizer)


def test_what_marks_the_part_to_train_on_is_left_out(renderer):
    marked = (
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %};{% endfor %}"
    )
    assert renderer.render(marked, [{"role": "user", "content": "a"}], {}) == "a;"


def test_old_turns_fall_out_until_the_prompt_fits(tmp_path):
    chat_format = TemplateFormat(make_folder(tmp_path / "m", TEMPLATES["glm-4-0414"]))
    messages = messages_of("a growing chat")
    whole = chat_format.size(messages, TOKENIZER).total
    fitted = fit_messages(chat_format, messages, TOKENIZER, whole - 1)
    assert fitted.dropped == (0, 1)


def test_a_chat_must_end_with_a_question(tmp_path):
    folder = make_folder(tmp_path / "m", TEMPLATES["glm-4-0414"])
    with pytest.raises(BadRequestError, match="must end with the user's message"):
        ids_of(folder, messages_of("a growing chat")[:2])


@pytest.mark.parametrize("family", TEMPLATES)
def test_a_question_not_yet_typed_is_counted(tmp_path, family):
    chat_format = TemplateFormat(make_folder(tmp_path / "m", TEMPLATES[family]))
    answered = [Message("user", "hi"), Message("assistant", "hello")]
    count = chat_format.size([*answered, Message("user", "")], TOKENIZER).total
    assert 0 < count < chat_format.size([*answered, Message("user", "and you?")], TOKENIZER).total


# Llama-2-chat's check of the roles, around turns that are written as plain text.
ALTERNATING = (
    "{% if messages[0]['role'] == 'system' %}{% set turns = messages[1:] %}"
    "{% set system = messages[0]['content'] %}{% else %}{% set turns = messages %}"
    "{% set system = '' %}{% endif %}{{ system }}{% for message in turns %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}{{ '[' ~ message['role'] ~ ']' ~ message['content'] ~ ';' }}{% endfor %}"
)


@pytest.mark.parametrize(
    ("turns", "joined"),
    [
        (["user a", "user b"], ["user a\n\nb"]),
        (["system s", "user a", "user b", "user c"], ["system s", "user a\n\nb\n\nc"]),
        (
            ["user a", "assistant b", "assistant c", "user <|user|>", "user e"],
            ["user a", "assistant b\n\nc", "user <|user|>\n\ne"],
        ),
    ],
)
def test_questions_without_an_answer_are_one_turn_where_roles_must_alternate(
    tmp_path, turns, joined
):
    folder = make_folder(tmp_path / "m", ALTERNATING)
    several, one = ([Message(*turn.split(" ", 1)) for turn in some] for some in (turns, joined))
    assert ids_of(folder, several, "Sure") == ids_of(folder, one, "Sure")
    chat_format = TemplateFormat(folder)
    size = chat_format.size(several, TOKENIZER)
    assert size.total == chat_format.size(one, TOKENIZER).total
    assert len(size.per_message) == len(several)
    fitted = fit_messages(chat_format, several, TOKENIZER, size.total - 1)
    assert fitted.messages[-1] == several[-1]
    assert fitted.dropped


def test_where_a_template_knows_no_system_text_the_first_question_begins_with_it(tmp_path):
    refusing = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    )
    folder = make_folder(tmp_path / "m", refusing + ALTERNATING)
    chat = [Message("system", "s"), Message("user", "a"), Message("user", "b")]
    assert ids_of(folder, chat) == ids_of(folder, [Message("user", "s\n\na\n\nb")])


def test_a_template_that_takes_two_questions_gets_two(tmp_path):
    folder = make_folder(tmp_path / "m", TEMPLATES["qwen2"])
    two = ids_of(folder, [Message("user", "a"), Message("user", "b")])
    assert two != ids_of(folder, [Message("user", "a\n\nb")])


def test_roles_that_alternate_and_are_refused_stay_refused(tmp_path):
    folder = make_folder(tmp_path / "m", ALTERNATING)
    with pytest.raises(UnsupportedModelError, match="roles must alternate"):
        ids_of(folder, [Message("assistant", "a"), Message("user", "b")])


# --- Templates that misbehave --------------------------------------------------------------------

LONG = "{% for i in range(99999) %}{% for j in range(99999) %}"
ENDLESS = "more than 1 s"
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def renderer():
    renderer = TemplateRenderer(timeout_s=PATIENCE_S)
    yield renderer
    renderer.close()


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (LONG + "{% set x = i * j %}{% endfor %}{% endfor %}", ENDLESS),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "OverflowError"),
        (
            "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}"
            "{% endfor %}{{ ns.x }}",
            "was stopped",
        ),
        ("{{ 'a' * (10 ** 10) }}", "was stopped"),
        ("{{ '%1000000000d' % 1 }}", "(was stopped|longer than)"),
        ("{{ 'x'.center(999999999) }}", "was stopped"),
        ("{% for i in range(9999) %}{{ 'x' * 9999 }}{% endfor %}", "longer than"),
        ("{{ 2 ** (10 ** 9) }}", ENDLESS),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ messages.__class__.__init__.__globals__ }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ cycler.__init__.__globals__.os.popen('id') }}", "(SecurityError|UndefinedError)"),
        ("{% include '/etc/passwd' %}", "(TypeError|no loader)"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{% if %}", "TemplateSyntaxError"),
        ("{{ nothing.at.all }}", "UndefinedError"),
        ("(" * 50000, None),
        ("{{ " + "(" * 50000 + " }}", "(RecursionError|Syntax|was stopped|MemoryError|failed)"),
    ],
)
def test_templates_that_misbehave_are_stopped_with_a_sentence(
    renderer, monkeypatch, template, words
):
    turns = [{"role": "user", "content": "hi"}]
    if words is None:
        assert renderer.render(template, turns, {}) == template
    else:
        with monkeypatch.context() as patched:
            patched.setattr(renderer, "_timeout_s", 1.0 if words == ENDLESS else PATIENCE_S)
            with pytest.raises(UnsupportedModelError, match=words):
                renderer.render(template, turns, {})
    # What one template did costs the next one nothing.
    assert renderer.render("{{ messages[0].content }}!", turns, {}) == "hi!"


def test_a_folder_without_a_template_is_named(tmp_path):
    folder = make_folder(tmp_path / "m", "")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelBrokenError, match=r"has no chat template: neither chat_temp"):
        load_chat_format("template", folder)


def test_a_template_of_a_megabyte_is_refused(tmp_path):
    folder = make_folder(tmp_path / "m", "x" * 1024 * 1024)
    with pytest.raises(ModelBrokenError, match="1048576 bytes; at most"):
        load_chat_format("template", folder)


def test_a_template_needs_a_tokenizer_json(tmp_path):
    folder = make_folder(tmp_path / "m", TEMPLATES["qwen2"])
    other = LetterTokenizer()
    with pytest.raises(UnsupportedModelError, match=r"tokenizer\.json"):
        TemplateFormat(folder).layout([Message("user", "x")], other, 99)


@pytest.mark.oracle
@pytest.mark.timeout(900)
def test_transformers_still_says_so(tmp_path):
    python = oracle_python("transformers", "torch==2.13.0", "transformers>=5,<6", "safetensors")
    script = DATA / "make_goldens.py"
    subprocess.run([str(python), str(script), str(tmp_path)], env=dict(os.environ), check=True)
    anew = json.loads((tmp_path / "goldens.json").read_text(encoding="utf-8"))
    assert anew == GOLDENS
