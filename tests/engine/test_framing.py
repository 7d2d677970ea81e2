import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bilin_engine.channel import Channel
from bilin_engine.protocol import (
    FRAME_HEADER_BYTES,
    MAX_FRAME_BYTES,
    Chat,
    FrameBuffer,
    FrameError,
    ListModels,
    Message,
    Sampling,
    TextDelta,
    decode_event,
    encode_frame,
)

texts = st.text(max_size=40)
deltas = st.builds(
    TextDelta,
    id=st.integers(1, 2**53),
    text=texts,
    num_tokens=st.integers(0, 100),
    blank=st.integers(0, 9),
    candidate=st.integers(0, 9),
)


@pytest.fixture
def pipe():
    read_fd, write_fd = os.pipe()
    fds = [read_fd, write_fd]
    yield fds
    for fd in fds:
        os.close(fd)


@given(st.lists(deltas, max_size=8), st.data())
def test_messages_survive_any_cut_of_the_stream(messages, data):
    stream = b"".join(map(encode_frame, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    buffer = FrameBuffer()
    found = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += [decode_event(body) for body in buffer.feed(stream[start:stop])]
    assert found == messages
    assert not buffer.has_partial_frame


def test_frames_split_at_every_byte_come_out_whole():
    messages = [TextDelta(id=1, text="你好，"), TextDelta(id=2, text="hello")]
    stream = b"".join(map(encode_frame, messages))
    for cut in range(len(stream) + 1):
        buffer = FrameBuffer()
        bodies = [*buffer.feed(stream[:cut]), *buffer.feed(stream[cut:])]
        assert [decode_event(body) for body in bodies] == messages
    buffer = FrameBuffer()
    bodies = [body for byte in stream for body in buffer.feed(bytes([byte]))]
    assert [decode_event(body) for body in bodies] == messages


def test_header_that_announces_too_much_is_refused_before_the_body_comes():
    buffer = FrameBuffer()
    with pytest.raises(FrameError, match=str(MAX_FRAME_BYTES + 1)):
        list(buffer.feed((MAX_FRAME_BYTES + 1).to_bytes(FRAME_HEADER_BYTES, "little")))


def test_channel_delivers_what_came_before_a_broken_frame(pipe):
    read_fd, write_fd = pipe
    message = TextDelta(id=1, text="a")
    os.write(write_fd, encode_frame(message) + b"Loading shards: 100%\n")
    channel = Channel(read_fd, -1, decode_event)
    assert channel.receive() == message
    for _ in range(2):
        with pytest.raises(FrameError, match="not a frame was written"):
            channel.receive()


def test_message_over_the_limit_is_not_sent():
    message = Chat(id=1, model="m", messages=(Message("user", "x" * MAX_FRAME_BYTES),))
    with pytest.raises(FrameError, match=r"Chat of .* too large"):
        encode_frame(message)


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
def test_a_number_over_64_bits_is_not_sent(seed):
    message = Chat(id=1, model="m", messages=(), sampling=Sampling(seed=seed))
    with pytest.raises(FrameError, match="a number in a Chat is too large"):
        encode_frame(message)


def test_channel_carries_a_frame_larger_than_a_pipe(pipe):
    channel = Channel(pipe[0], pipe[1], decode_event)
    message = TextDelta(id=1, text="比邻" * 400_000)
    sender = threading.Thread(target=channel.send, args=(message,))
    sender.start()
    assert channel.receive() == message
    sender.join()


def test_channel_keeps_frames_of_many_threads_apart(pipe):
    channel = Channel(pipe[0], pipe[1], decode_event)
    threads = [
        threading.Thread(
            target=lambda n=n: [channel.send(TextDelta(id=n, text="x" * 3000)) for _ in range(50)]
        )
        for n in range(1, 5)
    ]
    for thread in threads:
        thread.start()
    received = [channel.receive() for _ in range(200)]
    for thread in threads:
        thread.join()
    deltas = [event for event in received if isinstance(event, TextDelta)]
    assert all(delta.text == "x" * 3000 for delta in deltas)
    assert sorted(delta.id for delta in deltas) == sorted([1, 2, 3, 4] * 50)


def test_channel_tells_an_end_between_frames_from_one_inside(pipe):
    frame = encode_frame(ListModels(1))
    read_fd, write_fd = pipe
    whole = encode_frame(TextDelta(id=1, text="a"))
    os.write(write_fd, whole + frame[:3])
    os.close(write_fd)
    pipe.remove(write_fd)
    channel = Channel(read_fd, -1, decode_event)
    assert channel.receive() == TextDelta(id=1, text="a")
    with pytest.raises(FrameError, match="in the middle of a frame"):
        channel.receive()
