// softmax(q k^T / sqrt(D)) v for one new token a slot, over everything the slot has cached.
//
// Tensor cores do both products, also for a single query head: their rows are the heads that share
// a key head (GQA ratio 1 to 16; more take another block, whose reads the L2 serves). Sixteen
// positions a step and warp:
//
//   S = q k^T   A: 16 heads x 16 dims of q, kept in registers; B: 16 dims x 8 positions of k.
//               The order of dims does not matter to a sum, so a lane takes 8 successive ones:
//               16-byte loads of k and q in their own order are operands as they are.
//   O += p v    A: 16 heads x 16 positions of p: S's result is that operand, lane by lane.
//               B: 16 positions x 8 dims of v; a lane holds 8 successive dims of 4 positions and
//               pairs positions by byte permutation. No shared memory, no transposed copy of v.
//
// Softmax in float32 with a running maximum; p is rounded to float16 for the second product only.
// No mask: a token sees all that its slot holds. Only the last step of a slot has positions that do
// not exist; they repeat the last one (never memory that was not written) and count for nothing.
//
// Work: a block owns one token, up to 16 heads and a split of the positions; its warps take steps
// in turn and are added up in shared memory in the order of the warps, splits by the last block to
// arrive in the order of the splits. How a slot is split depends on its own length alone (read on
// the device: one captured graph serves all lengths), so the result does not depend on timing.
//
// Memory model: a split's sums are stored, fenced (every thread its own), and only then counted by
// the atomic, behind a block barrier. The block that counts the last one fences again and reads
// past L1. The counter is put back to 0 for the next launch, which the stream orders behind this.
//
// Timings: kernels/README.md.
#include "device.cuh"

constexpr int kWarps = 4;
constexpr int kStep = 16;     // positions a warp takes at once
constexpr int kMinSteps = 8;  // per split: two for each warp, or it is all beginning and end
constexpr int kHeads = 16;    // rows of the tensor cores

template <int D>
struct Frame {
  static constexpr int kPitch = D + 4;  // floats of a head's sums; then its maximum and weight
  static constexpr int kSumBytes = kWarps * kHeads * kPitch * 4;
  static constexpr int kSharedBytes = kSumBytes + 16;
  static_assert(kSharedBytes <= 48 * 1024, "more needs an opt-in at launch");
};

__device__ __forceinline__ float minus_infinity() {
  return __uint_as_float(0xff800000u);
}

// Adds up `count` partial results of one head, four dims of it, in order. Each is D sums, the
// maximum they are relative to, and their weight; Read fetches floats.
template <int D, class Read4, class Read2>
__device__ __forceinline__ float4 merge(int count, Read4 sums, Read2 maximum_and_weight,
                                        float& maximum, float& weight) {
  maximum = minus_infinity();
  for (int i = 0; i < count; ++i) maximum = fmaxf(maximum, maximum_and_weight(i).x);
  float4 o = {0.0f, 0.0f, 0.0f, 0.0f};
  weight = 0.0f;
  for (int i = 0; i < count; ++i) {
    const float2 mw = maximum_and_weight(i);
    const float4 part = sums(i);
    const float f = exp2f(mw.x - maximum);  // 0 for a warp that had nothing to do
    weight = fmaf(mw.y, f, weight);
    o = {fmaf(part.x, f, o.x), fmaf(part.y, f, o.y), fmaf(part.z, f, o.z), fmaf(part.w, f, o.w)};
  }
  return o;
}

// partial: [T, gridDim.x, gridDim.y splits, 16 heads, D + 4] float. lengths: tokens before the new
// one, which is cached already. scale_log2: log2(e) / sqrt(D).
template <class T, int D>
__device__ __forceinline__ void attend(const f16* query, const u64* blocks, const i64* lengths,
                                       T* out, float* partial, u32* counters, i64 layer_offset,
                                       int heads, int kv_heads, int max_length, float scale_log2) {
  using F = Frame<D>;
  constexpr int kChunks = D / 32, kHalves = D / 64;
  SHARED_BUFFER(shared, F::kSharedBytes);
  float* sums = reinterpret_cast<float*>(shared);
  u32* arrived = reinterpret_cast<u32*>(shared + F::kSumBytes);

  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  const int ratio = heads / kv_heads, head_blocks = (ratio + kHeads - 1) / kHeads;
  const int kv_head = int(blockIdx.x) / head_blocks;
  const int first = int(blockIdx.x) % head_blocks * kHeads;  // of the heads that share the key head
  const int valid = ratio - first < kHeads ? ratio - first : kHeads;
  const int token = blockIdx.z;
  const i64 out_row = i64(token) * heads + kv_head * ratio + first;

  const int length = int(load(lengths + token)) + 1;
  const int steps = (length + kStep - 1) / kStep, splits = gridDim.y;
  int share = (steps + splits - 1) / splits;
  share = share < kMinSteps ? kMinSteps : share;
  const int active = (steps + share - 1) / share;  // splits with something to do
  if (int(blockIdx.y) >= active) return;
  const int begin = int(blockIdx.y) * share, end = begin + share < steps ? begin + share : steps;

  const f16* keys = reinterpret_cast<const f16*>(load(blocks + token)) + layer_offset +
                    i64(kv_head) * max_length * D;
  const f16* values = keys + i64(kv_heads) * max_length * D;

  uint4 q[kChunks][2];  // rows g and g + 8
#pragma unroll
  for (int c = 0; c < kChunks; ++c)
#pragma unroll
    for (int r = 0; r < 2; ++r)
      q[c][r] = g + 8 * r < valid ? load(reinterpret_cast<const uint4*>(
                                        query + (out_row + g + 8 * r) * D + 32 * c + 8 * t))
                                  : uint4{0, 0, 0, 0};

  float o[8 * kHalves][4] = {};  // heads g, g + 8; dims 64 h + 8 (2t, 2t + 1) + j at [8 h + j]
  float maximum[2] = {minus_infinity(), minus_infinity()}, weight[2] = {0.0f, 0.0f};

  for (int step = begin + warp; step < end; step += kWarps) {
    const int at = step * kStep;
    uint4 k[2][kChunks], v[4][kHalves];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const int position = at + 8 * n + g < length ? at + 8 * n + g : length - 1;
      const f16* row = keys + i64(position) * D + 8 * t;
#pragma unroll
      for (int c = 0; c < kChunks; ++c)
        k[n][c] = load_streaming(reinterpret_cast<const uint4*>(row + 32 * c));
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int wanted = at + 2 * t + (i & 1) + 8 * (i >> 1);
      const int position = wanted < length ? wanted : length - 1;
      const f16* row = values + i64(position) * D + 8 * g;
#pragma unroll
      for (int h = 0; h < kHalves; ++h)
        v[i][h] = load_streaming(reinterpret_cast<const uint4*>(row + 64 * h));
    }

    float s[2][4];
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        const u32 low[4] = {q[c][0].x, q[c][1].x, q[c][0].y, q[c][1].y};
        const u32 high[4] = {q[c][0].z, q[c][1].z, q[c][0].w, q[c][1].w};
        mma<f16>(s[n], low, k[n][c].x, k[n][c].y, c == 0);
        mma<f16>(s[n], high, k[n][c].z, k[n][c].w, false);
      }
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) s[n][e] *= scale_log2;
    if (at + kStep > length) {
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          if (at + 8 * n + 2 * t + e % 2 >= length) s[n][e] = minus_infinity();
    }

    float keep[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float highest =
          fmaxf(fmaxf(s[0][2 * r], s[0][2 * r + 1]), fmaxf(s[1][2 * r], s[1][2 * r + 1]));
      highest = fmaxf(highest, shuffle_xor(highest, 1));
      highest = fmaxf(highest, shuffle_xor(highest, 2));
      highest = fmaxf(highest, maximum[r]);
      keep[r] = exp2f(maximum[r] - highest);
      maximum[r] = highest;
      float added = 0.0f;
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          s[n][2 * r + e] = exp2f(s[n][2 * r + e] - highest);
          added += s[n][2 * r + e];
        }
      weight[r] = fmaf(weight[r], keep[r], added);  // of this lane's positions
    }
    const u32 p[4] = {pack2<f16>(s[0][0], s[0][1]), pack2<f16>(s[0][2], s[0][3]),
                      pack2<f16>(s[1][0], s[1][1]), pack2<f16>(s[1][2], s[1][3])};
#pragma unroll
    for (int h = 0; h < kHalves; ++h)
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        u32 word[4];
#pragma unroll
        for (int i = 0; i < 4; ++i)
          word[i] = w == 0 ? v[i][h].x : w == 1 ? v[i][h].y : w == 2 ? v[i][h].z : v[i][h].w;
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float (&sum)[4] = o[8 * h + 2 * w + e];
          sum[0] *= keep[0], sum[1] *= keep[0], sum[2] *= keep[1], sum[3] *= keep[1];
          const u32 b0 =
              e ? word[0] >> 16 | (word[1] & 0xffff0000u) : (word[0] & 0xffffu) | word[1] << 16;
          const u32 b1 =
              e ? word[2] >> 16 | (word[3] & 0xffff0000u) : (word[2] & 0xffffu) | word[3] << 16;
          mma<f16>(sum, p, b0, b1, false);
        }
      }
  }

  // The warps meet: [warp][head][D sums, maximum, weight].
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    weight[r] += shuffle_xor(weight[r], 1);
    weight[r] += shuffle_xor(weight[r], 2);
    float* row = sums + (warp * kHeads + g + 8 * r) * F::kPitch;
#pragma unroll
    for (int h = 0; h < kHalves; ++h)
#pragma unroll
      for (int j = 0; j < 8; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) row[64 * h + 8 * (2 * t + e) + j] = o[8 * h + j][2 * r + e];
    if (t == 0) row[D] = maximum[r], row[D + 1] = weight[r];
  }
  sync_block();

  const i64 place = i64(token) * gridDim.x + blockIdx.x;
  float* splits_of_place = partial + place * splits * kHeads * F::kPitch;
  for (int j = threadIdx.x; j < valid * (D / 4); j += 32 * kWarps) {
    const int head = j / (D / 4), d = j % (D / 4) * 4;
    float highest, total;
    const float4 sum = merge<D>(
        kWarps,
        [&](int w) {
          return *reinterpret_cast<float4*>(sums + (w * kHeads + head) * F::kPitch + d);
        },
        [&](int w) {
          return *reinterpret_cast<float2*>(sums + (w * kHeads + head) * F::kPitch + D);
        },
        highest, total);
    if (active == 1) {
      const float f = 1.0f / total;
      store(reinterpret_cast<uint2*>(out + (out_row + head) * D + d),
            uint2{pack2<T>(sum.x * f, sum.y * f), pack2<T>(sum.z * f, sum.w * f)});
    } else {
      float* row = splits_of_place + (i64(blockIdx.y) * kHeads + head) * F::kPitch;
      store(reinterpret_cast<float4*>(row + d), sum);
      if (d == 0) store(reinterpret_cast<float2*>(row + D), float2{highest, total});
    }
  }
  if (active == 1) return;

  fence_device();
  sync_block();
  if (threadIdx.x == 0) {
    *arrived = atomic_add(counters + place, 1);
    fence_device();
  }
  sync_block();
  if (*arrived != u32(active - 1)) return;
  if (threadIdx.x == 0) store(counters + place, 0u);  // ready for the next launch
  for (int j = threadIdx.x; j < valid * (D / 4); j += 32 * kWarps) {
    const int head = j / (D / 4), d = j % (D / 4) * 4;
    const float* row = splits_of_place + head * F::kPitch;
    float highest, total;
    const float4 sum = merge<D>(
        active,
        [&](int z) {
          return load_shared_by_blocks(
              reinterpret_cast<const float4*>(row + i64(z) * kHeads * F::kPitch + d));
        },
        [&](int z) {
          return load_shared_by_blocks(
              reinterpret_cast<const float2*>(row + i64(z) * kHeads * F::kPitch + D));
        },
        highest, total);
    const float f = 1.0f / total;
    store(reinterpret_cast<uint2*>(out + (out_row + head) * D + d),
          uint2{pack2<T>(sum.x * f, sum.y * f), pack2<T>(sum.z * f, sum.w * f)});
  }
}

// Blocks an SM must be able to hold bound the registers: 8 (D = 128) or 16 warps of 8 or 4 KB of
// loads under way each, well beyond what the memory of any card needs.
#define INSTANCE(name, T, D)                                                                    \
  extern "C" __global__ void __launch_bounds__(32 * kWarps, D == 64 ? 4 : 2)                    \
      name(const f16* query, const u64* blocks, const i64* lengths, T* out, float* partial,     \
           u32* counters, i64 layer_offset, int heads, int kv_heads, int max_length,            \
           float scale_log2) {                                                                  \
    attend<T, D>(query, blocks, lengths, out, partial, counters, layer_offset, heads, kv_heads, \
                 max_length, scale_log2);                                                       \
  }                                                                                             \
  BILIN_EXPORT(name)

INSTANCE(decode_attention_f16_d64, f16, 64)
INSTANCE(decode_attention_f16_d128, f16, 128)
INSTANCE(decode_attention_bf16_d64, bf16, 64)
INSTANCE(decode_attention_bf16_d128, bf16, 128)
