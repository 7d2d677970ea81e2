import json
from pathlib import Path

import msgspec
import pytest

from bilin_engine.protocol import (
    PROTOCOL_VERSION,
    BlankSegment,
    Chat,
    Fill,
    FrameError,
    Hello,
    ListModels,
    Message,
    TextSegment,
    check_hello,
    decode_event,
    decode_request,
    encode_frame,
    message_schema,
)

GOLDEN = Path(__file__).parents[1] / "data" / "protocol.schema.json"


def body_of(message):
    return encode_frame(message)[4:]


def test_schema_of_all_messages_is_the_golden_one():
    """Changed on purpose? Raise PROTOCOL_VERSION, then write the file anew:

    python tests/data/write_protocol_schema.py
    """
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    now = json.loads(json.dumps(message_schema()))
    if now == golden:
        return
    assert golden["protocol"] != PROTOCOL_VERSION, (
        f"the messages changed but PROTOCOL_VERSION is still {PROTOCOL_VERSION}: raise it, "
        "then run tests/data/write_protocol_schema.py"
    )
    pytest.fail("PROTOCOL_VERSION was raised: run tests/data/write_protocol_schema.py")


def test_request_comes_back_as_it_was_sent():
    request = Fill(
        id=7,
        model="bilin-mini",
        segments=(TextSegment("凯旋门"), BlankSegment("short"), TextSegment("而建")),
        num_candidates=3,
    )
    assert decode_request(body_of(request)) == request


def test_mask_text_in_a_message_stays_text():
    request = Chat(id=1, model="m", messages=(Message("user", "[MASK] <n> 答："),))
    assert decode_request(body_of(request)) == request


def test_unknown_field_of_a_request_is_named():
    body = msgspec.msgpack.encode({"type": "list_models", "id": 1, "colour": "red"})
    with pytest.raises(FrameError, match="colour"):
        decode_request(body)


def test_event_is_no_request():
    with pytest.raises(FrameError, match="list_models"):
        decode_event(body_of(ListModels(1)))


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x80", b"hello", b"\xa5\xff\xff\xff\xff\xff"])
def test_bytes_that_are_no_message_are_refused(body):
    with pytest.raises(FrameError, match="is not a message"):
        decode_request(body)


def test_hello_of_another_version_names_both_numbers():
    with pytest.raises(FrameError, match=rf"protocol 999, this side {PROTOCOL_VERSION}"):
        check_hello(Hello(999, "9.9", "app"), "app")


def test_anything_before_hello_is_refused():
    with pytest.raises(FrameError, match="ListModels before its Hello"):
        check_hello(ListModels(1), "app")
