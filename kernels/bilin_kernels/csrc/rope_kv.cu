// Turns queries and keys by their position and appends keys and values to the tokens' slots.
//
//   x = RMSNorm(x) * weight                              each head, where a model has it (Qwen3)
//   y[d] = x[d] * cos[d] + x[d ^ pair] * sin[d]          sin carries the sign of its place
//
// pair says who turns with whom: 1 neighbours (GLM-4), head_dim / 2 half-split (GLM-130B, LLaMA),
// head_dim / 4 half-split within each half (ChatGLM-6B). Dimensions that do not turn have cos 1 and
// sin 0. So the tables [P, head_dim] say all that models differ in; `rows` picks a row for each
// token: its position id, or its place where the angles were made for this step.
//
// The KV cache is float16: a slot is a block of memory [num_layers, 2, G, max_length, head_dim] of
// its own, given by its address, so that a captured graph serves slots that come, go and change
// places. `lengths` says how many tokens each slot holds: the new one is written behind them.
// Slots of one launch are different ones, so no two threads write the same place.
#include "device.cuh"

// x[0..8) *= scale * weight[0..8)
__device__ __forceinline__ void scale_by(float (&x)[8], float scale, const float* weight) {
#pragma unroll
  for (int i = 0; i < 8; i += 4) {
    const float4 w = load(reinterpret_cast<const float4*>(weight + i));
    x[i] *= scale * w.x;
    x[i + 1] *= scale * w.y;
    x[i + 2] *= scale * w.z;
    x[i + 3] *= scale * w.w;
  }
}

// A thread takes eight successive dimensions of one head of one token.
template <class T>
__device__ __forceinline__ void rope_append(const T* qkv, const float* cos, const float* sin,
                                            const i64* rows, const float* query_norm,
                                            const float* key_norm, float epsilon, f16* query,
                                            const u64* blocks, const i64* lengths, i64 layer_offset,
                                            int heads, int kv_heads, int head_dim, int max_length,
                                            int pair, int q_stride, int k_offset, int k_stride,
                                            int v_offset, int v_stride, int width) {
  const int token = blockIdx.y, per_head = head_dim >> 3;
  const int item = blockIdx.x * blockDim.x + threadIdx.x;
  const int own_head = item / per_head, d = (item - own_head * per_head) * 8;
  // Threads behind the last head read it once more: a whole warp adds up its squares together.
  const bool is_there = own_head < heads + 2 * kv_heads;
  const int head = is_there ? own_head : heads + 2 * kv_heads - 1;

  const bool is_query = head < heads, is_value = head >= heads + kv_heads;
  const int kv_head = head - heads - (is_value ? kv_heads : 0);
  const int offset = is_query   ? head * q_stride
                     : is_value ? v_offset + kv_head * v_stride
                                : k_offset + kv_head * k_stride;
  const T* from = qkv + i64(token) * width + offset;
  const uint4 own = load(reinterpret_cast<const uint4*>(from + d));
  float x[8];
  unpack2<T>(own.x, reinterpret_cast<float (&)[2]>(x[0]));
  unpack2<T>(own.y, reinterpret_cast<float (&)[2]>(x[2]));
  unpack2<T>(own.z, reinterpret_cast<float (&)[2]>(x[4]));
  unpack2<T>(own.w, reinterpret_cast<float (&)[2]>(x[6]));
  const float* norm = is_query ? query_norm : key_norm;
  float scale = 1.0f;
  if (query_norm) {
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) squares = fmaf(x[i], x[i], squares);
    // The 8 or 16 threads of a head are neighbours within a warp.
    for (int mask = per_head >> 1; mask; mask >>= 1) squares += shuffle_xor(squares, mask);
    scale = rsqrtf(squares / float(head_dim) + epsilon);
    if (!is_value) scale_by(x, scale, norm + d);
  }
  if (!is_there) return;
  float y[8];
  if (is_value) {
#pragma unroll
    for (int i = 0; i < 8; ++i) y[i] = x[i];
  } else {
    float other[8];
    if (pair == 1) {
#pragma unroll
      for (int i = 0; i < 8; ++i) other[i] = x[i ^ 1];
    } else {
      const uint4 far = load(reinterpret_cast<const uint4*>(from + (d ^ pair)));
      unpack2<T>(far.x, reinterpret_cast<float (&)[2]>(other[0]));
      unpack2<T>(far.y, reinterpret_cast<float (&)[2]>(other[2]));
      unpack2<T>(far.z, reinterpret_cast<float (&)[2]>(other[4]));
      unpack2<T>(far.w, reinterpret_cast<float (&)[2]>(other[6]));
      if (query_norm) scale_by(other, scale, norm + (d ^ pair));
    }
    const i64 row = load(rows + token) * head_dim + d;
#pragma unroll
    for (int i = 0; i < 8; i += 4) {
      const float4 c = load(reinterpret_cast<const float4*>(cos + row + i));
      const float4 s = load(reinterpret_cast<const float4*>(sin + row + i));
      y[i] = fmaf(other[i], s.x, x[i] * c.x);
      y[i + 1] = fmaf(other[i + 1], s.y, x[i + 1] * c.y);
      y[i + 2] = fmaf(other[i + 2], s.z, x[i + 2] * c.z);
      y[i + 3] = fmaf(other[i + 3], s.w, x[i + 3] * c.w);
    }
  }
  f16* to;
  if (is_query) {
    to = query + (i64(token) * heads + head) * head_dim + d;
  } else {
    to =
        reinterpret_cast<f16*>(load(blocks + token)) + layer_offset +
        ((i64(is_value ? kv_heads : 0) + kv_head) * max_length + load(lengths + token)) * head_dim +
        d;
  }
  store(reinterpret_cast<uint4*>(to), uint4{pack2<f16>(y[0], y[1]), pack2<f16>(y[2], y[3]),
                                            pack2<f16>(y[4], y[5]), pack2<f16>(y[6], y[7])});
}

#define INSTANCE(name, T)                                                                         \
  extern "C" __global__ void __launch_bounds__(256) name(                                         \
      const T* qkv, const float* cos, const float* sin, const i64* rows, const float* query_norm, \
      const float* key_norm, float epsilon, f16* query, const u64* blocks, const i64* lengths,    \
      i64 layer_offset, int heads, int kv_heads, int head_dim, int max_length, int pair,          \
      int q_stride, int k_offset, int k_stride, int v_offset, int v_stride, int width) {          \
    rope_append<T>(qkv, cos, sin, rows, query_norm, key_norm, epsilon, query, blocks, lengths,    \
                   layer_offset, heads, kv_heads, head_dim, max_length, pair, q_stride, k_offset, \
                   k_stride, v_offset, v_stride, width);                                          \
  }                                                                                               \
  BILIN_EXPORT(name)

INSTANCE(rope_append_f16, f16)
INSTANCE(rope_append_bf16, bf16)
