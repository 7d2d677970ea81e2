"""Attention over a slot's cache: a bidirectional prefix, then causal (glm.md 3.5)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from bilin_engine.layers.kv_cache import Int8Block, Int8Layer
from bilin_engine.layers.split_cache import LayerBlocks

# Queries of a long prompt attended at a time on the processor, where thousands take seconds: at
# 2,048 that takes a fifth longer than all at once.
QUERY_ROWS = 512
# Values of a mask at a time on a GPU, up to 5 bytes each: as booleans, and as numbers for a kernel.
MASKED = 1 << 25


@dataclass(frozen=True, slots=True)
class Span:
    """The new tokens of one slot in a forward pass over tokens of several slots.

    first, count: rows first..first+count of the pass. start: tokens the slot held before.
    prefix_len: positions of the slot that every token sees. block: the slot's cache
    [num_layers, 2, G, max_length, D], with room for start + count tokens.
    """

    first: int
    count: int
    start: int
    prefix_len: int
    block: torch.Tensor | Int8Block | LayerBlocks


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    span: Span,
    layer: int,
    poll: Callable[[], None] = lambda: None,
) -> torch.Tensor:
    """Appends key and value to the span's cache and attends to all it holds.

    query: [count, H, D], key and value: [count, G, D], rotated; query heads i * H / G and on share
    key head i. Returns [count, H * D]. Token i of the slot sees token j if j <= i or
    j < prefix_len. Softmax in float32; GLM-130B's layer-wise score scaling
    cancels out in exact arithmetic and is dropped (glm.md 1.5). `poll` is called between blocks
    of queries.
    """
    end = span.start + span.count
    cache = span.block[layer]
    if isinstance(cache, Int8Layer):
        cache.write(span.start, key, value)
        shared = query.shape[1] // key.shape[1]  # query heads of one key head
        query = query.transpose(0, 1).float()  # [H, count, D]
        parts = [
            _seen(query[heads.start * shared : heads.stop * shared], keys, values, span, poll)
            for heads, keys, values in cache.widened(end)
        ]
        out = torch.cat(parts)
    else:
        cache[0, :, span.start : end] = key.transpose(0, 1)
        cache[1, :, span.start : end] = value.transpose(0, 1)
        query = query.transpose(0, 1).to(cache.dtype)
        out = _seen(query, cache[0, :, :end], cache[1, :, :end], span, poll)
    return out.transpose(0, 1).flatten(1).float()


def attend_spans(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    spans: Sequence[Span],
    layer: int,
    poll: Callable[[], None],
) -> torch.Tensor:
    """`attend` of each span's rows: query [T, H, D], key and value [T, G, D] -> [T, H * D]."""
    context = [
        attend(query[rows], key[rows], value[rows], span, layer, poll)
        for span in spans
        for rows in (slice(span.first, span.first + span.count),)
    ]
    return context[0] if len(context) == 1 else torch.cat(context)


def rows_at_once(span: Span, *, is_cpu: bool) -> int:
    """How many of the span's queries are attended at a time."""
    if is_cpu:
        return QUERY_ROWS if span.count > 2 * QUERY_ROWS else span.count
    if not span.start and not span.prefix_len:
        return span.count  # all causal: no mask
    return max(1, min(span.count, MASKED // (span.start + span.count)))


def _seen(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    span: Span,
    poll: Callable[[], None],
) -> torch.Tensor:
    """What each query takes of what it sees. query [H, count, D], keys [G, length, D]."""
    # Rows inside the prefix see the prefix and no more; no mask is needed for them.
    num_prefix = min(max(span.prefix_len - span.start, 0), span.count)
    size = rows_at_once(span, is_cpu=query.device.type == "cpu")
    parts = []
    for rows in (*_blocks(0, num_prefix, size), *_blocks(num_prefix, span.count, size)):
        if rows.start:
            poll()
        if rows.start < num_prefix:
            seen = slice(span.prefix_len)
            parts.append(_softmax_qkv(query[:, rows], keys[:, seen], values[:, seen]))
        else:
            seen = slice(span.start + rows.stop)
            parts.append(_causal(query[:, rows], keys[:, seen], values[:, seen]))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _blocks(start: int, stop: int, size: int) -> Iterator[slice]:
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))


def _causal(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The queries are the last tokens of `keys`; each sees itself and all before it."""
    count, total = query.shape[1], keys.shape[1]
    if count == 1:
        return _softmax_qkv(query, keys, values)
    if count == total:
        return _softmax_qkv(query, keys, values, is_causal=True)
    visible = torch.ones(count, total, dtype=torch.bool, device=query.device)
    return _softmax_qkv(query, keys, values, visible=visible.tril_(total - count))


def _softmax_qkv(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    visible: torch.Tensor | None = None,
    *,
    is_causal: bool = False,
) -> torch.Tensor:
    """softmax(q k^T / sqrt(D)) v for [H, T, D] and [G, S, D], H a multiple of G."""
    num_heads, count, _ = query.shape
    num_kv_heads = keys.shape[0]
    if count == 1 and num_heads != num_kv_heads:
        # One token: the heads of a group are rows of one product, and keys are read once for all.
        rows = query.view(num_kv_heads, -1, query.shape[2])
        return _softmax_qkv(rows, keys, values).view(num_heads, 1, -1)
    if query.is_cuda and num_heads != num_kv_heads:
        return _by_groups(query, keys, values, visible, is_causal=is_causal)
    # Four dimensions, or torch takes a slow unfused path on the CPU.
    return F.scaled_dot_product_attention(
        query.unsqueeze(0),
        keys.unsqueeze(0),
        values.unsqueeze(0),
        attn_mask=visible,
        is_causal=is_causal,
        enable_gqa=num_heads != num_kv_heads,
    ).squeeze(0)


def _by_groups(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    visible: torch.Tensor | None,
    *,
    is_causal: bool,
) -> torch.Tensor:
    """As `_softmax_qkv`, groups as the batch and each key head named once for every query head.

    Nothing is copied, and any of torch's GPU kernels can take it. With `enable_gqa` the
    memory-efficient one cannot (torch 2.13): a mask, or sm_75, then leaves the plain one, which
    holds all scores at once: 9 GB for 2,000 tokens behind 16,000 in 32 heads.
    """
    num_groups = keys.shape[0]
    shared = query.shape[0] // num_groups
    found = F.scaled_dot_product_attention(
        query.unflatten(0, (num_groups, shared)),
        keys.unsqueeze(1).expand(-1, shared, -1, -1),
        values.unsqueeze(1).expand(-1, shared, -1, -1),
        attn_mask=visible,
        is_causal=is_causal,
    )
    return found.flatten(0, 1)
