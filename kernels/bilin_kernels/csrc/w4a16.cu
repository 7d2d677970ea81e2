// y[m, n] = x[m, k] . dequant(weight)[n, k]^T for few rows m (decode), INT4 or INT8 weights.
//
// Layout: packing.py, version 1 ("tile16"). A warp's 16-byte load is the tensor cores' A operand of
// 16 weight rows and 64 k; x is the 8 columns wide B operand, so m = 1..8 cost the same.
//
// Weights become exact floats without any conversion instruction:
//   f16   a nibble q under mask 0x000f is the subnormal q * 2^-24, under 0x00f0 it is 16 q * 2^-24.
//         Tensor cores take subnormals at full speed. The upper nibbles gather in accumulators of
//         their own, which are divided by 16 when they are added to the lower ones.
//   bf16  a nibble moved to bits 3..6 under the exponent of 16 is 16 + q.
// What is then too much (8 in f16, 24 in bf16, for every weight) is the same for all rows: one more
// mma with a constant A computes -8 * sum(x) once for all tiles of the warp, per scale group,
// before the partial sums grow. Cancellation is thus no worse than that of the unsigned codes
// themselves. INT8 weights are two nibble planes, 16 * high + low, in the same frame.
//
// Work: a block owns R tiles of 16 rows and one grid.z-th of k; its warps take units of U * 64 k in
// turn and are added up in shared memory in the order of the warps. Blocks that split k leave their
// sums in a workspace; the last one to arrive adds them up in the order of the splits. So the
// result does not depend on timing.
//
// Timings: kernels/README.md.
#include "device.cuh"

// Template parameters, one place:
//   T       f16 or bf16: x, scales, bias, residual, and y unless it is float
//   R       row tiles of 16 per block and warp: reuse of x
//   WARPS   warps per block; they split k
//   NT      column tiles of 8: m per block is at most 8 * NT
//   FLUSH   k after which the scale may change: 128, 64 or 32
//   PLANES  1: INT4, 2: INT8
template <int R, int WARPS, int NT, int FLUSH, int PLANES>
struct Frame {
  static constexpr int kUnitSteps = NT == 1 && PLANES == 1 ? 2 : 1;  // steps of 64 k per unit
  static constexpr int kStages = kUnitSteps * PLANES == 1 ? 4 : 3;   // copies under way, plus one
  static constexpr int kHalves = (FLUSH < 64 * kUnitSteps ? FLUSH : 64 * kUnitSteps) / 32;
  static constexpr int kFlushes = 2 * kUnitSteps / kHalves;  // per unit
  static constexpr int kRows = 16 * R;                       // weight rows per block
  static constexpr int kColumns = 8 * NT;                    // rows of x per block
  static constexpr int kPitch = kRows + 4;                   // no bank conflicts
  static constexpr int kRingBytes = kStages * WARPS * R * kUnitSteps * PLANES * 512;
  static constexpr int kSumBytes = WARPS * kColumns * kPitch * 4;
#ifdef BILIN_TURING
  static constexpr int kSharedBytes = kSumBytes;
#else
  static constexpr int kSharedBytes = kRingBytes > kSumBytes ? kRingBytes : kSumBytes;
#endif
  static_assert(kSharedBytes <= 48 * 1024, "more needs an opt-in at launch");
};

// How the nibbles of two words (rows g and g + 8, the same 8 k) become two A operands.
template <class T, int PLANES>
struct Nibbles;

template <int PLANES>
struct Nibbles<f16, PLANES> {
  static constexpr bool kHighApart = true;     // upper nibbles are 16 times too large
  static constexpr float kUnit = 16777216.0f;  // 2^24
  static constexpr u32 kOffset = PLANES == 1 ? 0x80088008u : 0x80808080u;  // -8, -128 * 2^-24
  static __device__ __forceinline__ void expand(u32 w0, u32 w8, u32 (&low)[4], u32 (&high)[4]) {
    const u32 s0 = w0 >> 8, s8 = w8 >> 8;
    low[0] = w0 & 0x000f000fu, low[1] = w8 & 0x000f000fu;
    low[2] = s0 & 0x000f000fu, low[3] = s8 & 0x000f000fu;
    high[0] = w0 & 0x00f000f0u, high[1] = w8 & 0x00f000f0u;
    high[2] = s0 & 0x00f000f0u, high[3] = s8 & 0x00f000f0u;
  }
};

template <int PLANES>
struct Nibbles<bf16, PLANES> {
  static constexpr bool kHighApart = false;
  static constexpr float kUnit = 1.0f;
  static constexpr u32 kOffset = PLANES == 1 ? 0xc1c0c1c0u : 0xc3c8c3c8u;  // -24, -400
  static __device__ __forceinline__ u32 at(u32 w) { return (w & 0x00780078u) | 0x41804180u; }
  static __device__ __forceinline__ void expand(u32 w0, u32 w8, u32 (&low)[4], u32 (&high)[4]) {
    low[0] = at(w0 << 3), low[1] = at(w8 << 3), low[2] = at(w0 >> 5), low[3] = at(w8 >> 5);
    high[0] = at(w0 >> 1), high[1] = at(w8 >> 1), high[2] = at(w0 >> 9), high[3] = at(w8 >> 9);
  }
};

// A warp's weights, unit after unit: begin(), then for each unit next(), get() of its pieces,
// done().
template <class F, int R, int WARPS, int PLANES>
struct Pipe {
  static constexpr int kPieces = F::kUnitSteps * PLANES;  // 16-byte pieces per lane, tile and unit
  const uint4* source[R];  // this lane's first piece of the unit to be asked for next
  int unit, end, steps;    // that unit, the first one that is not ours, steps of 64 k in all

  // A unit at the end of k may hold a single step.
  __device__ __forceinline__ bool whole() const {
    return F::kUnitSteps == 1 || (unit + 1) * F::kUnitSteps <= steps;
  }
  __device__ __forceinline__ void advance() {
    unit += WARPS;
#pragma unroll
    for (int r = 0; r < R; ++r) source[r] += WARPS * kPieces * 32;
  }
#ifdef BILIN_TURING
  uint4 now[R][kPieces], coming[R][kPieces];

  __device__ __forceinline__ void ask() {
    if (unit < end) {
      const bool all = whole();
#pragma unroll
      for (int r = 0; r < R; ++r)
#pragma unroll
        for (int p = 0; p < kPieces; ++p)
          if (p < PLANES || all) coming[r][p] = load_streaming(source[r] + p * 32);
    }
    advance();
  }
  __device__ __forceinline__ void begin(unsigned char*, int, int) {
#pragma unroll
    for (int r = 0; r < R; ++r)
#pragma unroll
      for (int p = 0; p < kPieces; ++p) coming[r][p] = {0, 0, 0, 0};
    ask();
  }
  __device__ __forceinline__ void next() {
#pragma unroll
    for (int r = 0; r < R; ++r)
#pragma unroll
      for (int p = 0; p < kPieces; ++p) now[r][p] = coming[r][p];
    ask();
  }
  __device__ __forceinline__ uint4 get(int r, int p) const { return now[r][p]; }
  __device__ __forceinline__ void done() {}
  __device__ __forceinline__ void drain() {}
#else
  static constexpr int kStageBytes = WARPS * R * kPieces * 512;
  unsigned char* ring;    // this lane's place in stage 0; a stage holds a unit of every warp
  int write_at, read_at;  // bytes from there
  u64 policy;

  // A lane reads back only what it copied itself, so no barrier is needed around the ring.
  __device__ __forceinline__ void ask() {
    if (unit < end) {
      const bool all = whole();
#pragma unroll
      for (int p = 0; p < kPieces; ++p) {
        if (p == PLANES && !all) break;
#pragma unroll
        for (int r = 0; r < R; ++r)
          copy_async(ring + write_at + (r * kPieces + p) * 512, source[r] + p * 32, policy);
      }
    }
    copy_commit();
    advance();
    write_at = write_at == (F::kStages - 1) * kStageBytes ? 0 : write_at + kStageBytes;
  }
  __device__ __forceinline__ void begin(unsigned char* shared, int warp, int lane) {
    ring = shared + warp * (kStageBytes / WARPS) + lane * 16;
    write_at = read_at = 0;
    policy = policy_evict_first();
#pragma unroll
    for (int s = 0; s < F::kStages - 1; ++s) ask();
  }
  __device__ __forceinline__ void next() {
    ask();
    copy_wait<F::kStages - 1>();
  }
  // A step beyond k was not copied; whatever lies there meets x = 0.
  __device__ __forceinline__ uint4 get(int r, int p) const {
    return load_shared(reinterpret_cast<const uint4*>(ring + read_at + (r * kPieces + p) * 512));
  }
  __device__ __forceinline__ void done() {
    read_at = read_at == (F::kStages - 1) * kStageBytes ? 0 : read_at + kStageBytes;
  }
  __device__ __forceinline__ void drain() { copy_wait<0>(); }
#endif
};

enum Activation { kNone = 0, kGelu = 1, kGeluTanh = 2, kSilu = 3 };

__device__ __forceinline__ float activate(float v, int activation) {
  switch (activation) {
    case kGelu:
      return 0.5f * v * (1.0f + erff(v * 0.70710678f));
    case kGeluTanh:
      return 0.5f * v * (1.0f + tanhf(0.79788456f * (v + 0.044715f * v * v * v)));
    case kSilu:
      return v / (1.0f + expf(-v));
    default:
      return v;
  }
}

struct Epilogue {
  const void* bias;      // T [n], in the order of the model folder, or null
  const void* residual;  // T [m, outputs], or null
  float alpha;           // y += alpha * residual
  int activation;
  int gate_row;  // gated: where the gate's rows begin in bias; -1: not gated
  int up_row;
  int float_out;  // y is float
};

template <class T>
__device__ __forceinline__ float with_bias(float v, const Epilogue& e, int row) {
  return e.bias ? v + to_float(load(static_cast<const T*>(e.bias) + row)) : v;
}

template <class T, int R, int WARPS, int NT, int FLUSH, int PLANES>
__device__ __forceinline__ void w4a16(const uint4* weight, const u32* scales, const T* x, void* y,
                                      float* workspace, u32* counters, int m, int n, int k,
                                      int groups, u32 group_magic, const Epilogue& e) {
  using F = Frame<R, WARPS, NT, FLUSH, PLANES>;
  using N = Nibbles<T, PLANES>;
  SHARED_BUFFER(shared, F::kSharedBytes);

  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  const int steps = k >> 6, units = (steps + F::kUnitSteps - 1) / F::kUnitSteps;
  const int share = (units + int(gridDim.z) - 1) / int(gridDim.z);
  const int begin = int(blockIdx.z) * share, end = begin + share < units ? begin + share : units;
  const int tiles = n >> 4, first_tile = int(blockIdx.y) * R;
  const int first_row = int(blockIdx.x) * F::kColumns;  // of x

  Pipe<F, R, WARPS, PLANES> pipe;
  pipe.unit = begin + warp;
  pipe.end = end;
  pipe.steps = steps;
  const u32* tile_scales[R];
#pragma unroll
  for (int r = 0; r < R; ++r) {
    // A block at the edge computes the last tile again and does not store it.
    const int tile = first_tile + r < tiles ? first_tile + r : tiles - 1;
    pipe.source[r] = weight + (i64(tile) * steps + pipe.unit * F::kUnitSteps) * PLANES * 32 + lane;
    tile_scales[r] = scales + i64(tile) * groups * 8 + g;
  }
  pipe.begin(shared, warp, lane);
  // Columns of the tensor cores do not mix: those beyond m repeat the last row, to be dropped.
  const T* x_at[NT];
#pragma unroll
  for (int i = 0; i < NT; ++i) {
    const int row = first_row + 8 * i + g < m ? first_row + 8 * i + g : m - 1;
    x_at[i] = x + i64(row) * k + (begin + warp) * F::kUnitSteps * 64 + 8 * t;
  }

  float sum[R][NT][4] = {};
  u32 scale[R][F::kFlushes];
  int group_loaded = -1;

  for (int unit = begin + warp; unit < end; unit += WARPS) {
    // Everything this unit needs beside the weights is asked for before waiting for them.
    const bool whole = F::kUnitSteps == 1 || (unit + 1) * F::kUnitSteps <= steps;
    uint4 b[2 * F::kUnitSteps][NT];
#pragma unroll
    for (int i = 0; i < NT; ++i) {
#pragma unroll
      for (int h = 0; h < 2 * F::kUnitSteps; ++h)
        b[h][i] = h < 2 || whole ? load(reinterpret_cast<const uint4*>(x_at[i] + 32 * h))
                                 : uint4{0, 0, 0, 0};
      x_at[i] += WARPS * F::kUnitSteps * 64;
    }
#pragma unroll
    for (int f = 0; f < F::kFlushes; ++f) {
      const bool behind_k = f * F::kHalves >= 2 && !whole;  // its x is 0: any scale does
      int group = 0;
      if (FLUSH == 32) {
        group = unit * F::kFlushes + (behind_k ? 0 : f);
      } else {
        const int step = unit * F::kUnitSteps + (behind_k ? 0 : f * F::kHalves / 2);
        group = int(__umulhi(2 * step + 1, group_magic));  // step / (group_size / 64)
      }
      if (F::kFlushes > 1 || group != group_loaded) {
        group_loaded = group;
#pragma unroll
        for (int r = 0; r < R; ++r) scale[r][f] = load(tile_scales[r] + group * 8);
      }
    }
    pipe.next();

#pragma unroll
    for (int f = 0; f < F::kFlushes; ++f) {
      constexpr u32 o = N::kOffset;
      const u32 offset[4] = {o, o, o, o};
      float part[R][NT][4];       // worth 1
      float part_high[R][NT][4];  // worth 1/16: upper nibbles of f16
      float part_up[R][NT][4];    // worth 16: the upper plane of INT8
#pragma unroll
      for (int i = 0; i < NT; ++i) {
        float excess[4];
#pragma unroll
        for (int h = f * F::kHalves; h < (f + 1) * F::kHalves; ++h) {
          mma<T>(excess, offset, b[h][i].x, b[h][i].y, h == f * F::kHalves);
          mma<T>(excess, offset, b[h][i].z, b[h][i].w, false);
        }
#pragma unroll
        for (int r = 0; r < R; ++r)
#pragma unroll
          for (int c = 0; c < 4; ++c) part[r][i][c] = excess[c];
      }
#pragma unroll
      for (int r = 0; r < R; ++r)
#pragma unroll
        for (int s = f * F::kHalves / 2; s < ((f + 1) * F::kHalves + 1) / 2; ++s)
#pragma unroll
          for (int p = 0; p < PLANES; ++p) {
            const uint4 w = pipe.get(r, s * PLANES + p);
#pragma unroll
            for (int q = 0; q < 2; ++q) {
              const int h = 2 * s + q;
              if (h < f * F::kHalves || h >= (f + 1) * F::kHalves) continue;
              const bool first = h == f * F::kHalves;
              u32 low[4], high[4];
              N::expand(q ? w.z : w.x, q ? w.w : w.y, low, high);
#pragma unroll
              for (int i = 0; i < NT; ++i) {
                if (N::kHighApart) {
                  mma<T>(p ? part_up[r][i] : part[r][i], low, b[h][i].x, b[h][i].y, p && first);
                  mma<T>(p ? part[r][i] : part_high[r][i], high, b[h][i].z, b[h][i].w, !p && first);
                } else {
                  auto& into = p ? part_up[r][i] : part[r][i];
                  mma<T>(into, low, b[h][i].x, b[h][i].y, p && first);
                  mma<T>(into, high, b[h][i].z, b[h][i].w, false);
                }
              }
            }
          }
#pragma unroll
      for (int r = 0; r < R; ++r) {
        float s[2];
        unpack2<T>(scale[r][f], s);
#pragma unroll
        for (int i = 0; i < NT; ++i)
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            float v = part[r][i][c];
            if (N::kHighApart) v = fmaf(part_high[r][i][c], 0.0625f, v);
            if (PLANES == 2) v = fmaf(part_up[r][i][c], 16.0f, v);
            sum[r][i][c] = fmaf(s[c / 2], v, sum[r][i][c]);
          }
      }
    }
    pipe.done();
  }

  // The ring becomes the place where the warps' sums meet: [warp][column][row].
  pipe.drain();
  sync_block();
  float* sums = reinterpret_cast<float*>(shared);
#pragma unroll
  for (int r = 0; r < R; ++r)
#pragma unroll
    for (int i = 0; i < NT; ++i)
#pragma unroll
      for (int c = 0; c < 4; ++c)
        sums[(warp * F::kColumns + 8 * i + 2 * t + c % 2) * F::kPitch + 16 * r + g + 8 * (c / 2)] =
            sum[r][i][c];
  sync_block();

  constexpr int kValues = F::kColumns * F::kRows, kThreads = 32 * WARPS;
  const i64 block = i64(blockIdx.y) * gridDim.x + blockIdx.x;
  for (int j = threadIdx.x; j < kValues; j += kThreads) {
    const int at = j / F::kRows * F::kPitch + j % F::kRows;
    float v = sums[at];
#pragma unroll
    for (int w = 1; w < WARPS; ++w) v += sums[w * F::kColumns * F::kPitch + at];
    if (gridDim.z == 1)
      sums[at] = v;
    else
      store(workspace + (block * gridDim.z + blockIdx.z) * kValues + j, v);
  }
  if (gridDim.z > 1) {
    u32* arrived = reinterpret_cast<u32*>(shared + F::kColumns * F::kPitch * 4);  // warp 1's place
    fence_device();
    sync_block();
    if (threadIdx.x == 0) {
      *arrived = atomic_add(counters + block, 1);
      fence_device();
    }
    sync_block();
    if (*arrived != gridDim.z - 1) return;
    if (threadIdx.x == 0) store(counters + block, 0u);  // ready for the next launch
    for (int j = threadIdx.x; j < kValues; j += kThreads) {
      float v = 0.0f;
      for (u32 z = 0; z < gridDim.z; ++z)
        v += load_shared_by_blocks(workspace + (block * gridDim.z + z) * kValues + j);
      sums[j / F::kRows * F::kPitch + j % F::kRows] = v;
    }
  }
  sync_block();

  const bool gated = e.gate_row >= 0;
  const int out_rows = gated ? F::kRows / 2 : F::kRows;  // gated: tiles come in pairs gate, up
  const int outputs = gated ? n / 2 : n, first_output = int(blockIdx.y) * out_rows;
  for (int j = threadIdx.x; j < F::kColumns * out_rows; j += kThreads) {
    const int column = j / out_rows, row = j % out_rows;
    const int out_column = first_output + row;
    if (first_row + column >= m || out_column >= outputs) continue;
    const float* from = sums + column * F::kPitch;
    float v;
    if (gated) {
      const int at = row / 16 * 32 + row % 16;
      const float gate = with_bias<T>(from[at] * N::kUnit, e, e.gate_row + out_column);
      v = with_bias<T>(from[at + 16] * N::kUnit, e, e.up_row + out_column) *
          activate(gate, e.activation);
    } else {
      v = activate(with_bias<T>(from[row] * N::kUnit, e, out_column), e.activation);
    }
    const i64 at = i64(first_row + column) * outputs + out_column;
    if (e.residual) v = fmaf(e.alpha, to_float(load(static_cast<const T*>(e.residual) + at)), v);
    if (e.float_out)
      store(static_cast<float*>(y) + at, v);
    else
      store(static_cast<T*>(y) + at, from_float<T>(v));
  }
}

// Blocks an SM must be able to hold: what bounds the registers. Turing's pipe lives in registers.
#ifdef BILIN_TURING
#define WIDE_BLOCKS 3
#else
#define WIDE_BLOCKS 4
#endif

// clang-format off
#define INSTANCE(name, T, R, WARPS, NT, FLUSH, PLANES, BLOCKS_PER_SM)                              \
    extern "C" __global__ void __launch_bounds__(32 * WARPS, BLOCKS_PER_SM)                        \
    name(const uint4* weight, const u32* scales, const T* x, void* y, const void* bias,            \
         const void* residual, float* workspace, u32* counters, int m, int n, int k, int groups,   \
         u32 group_magic, float alpha, int activation, int gate_row, int up_row, int float_out) {  \
        const Epilogue e{bias, residual, alpha, activation, gate_row, up_row, float_out};          \
        w4a16<T, R, WARPS, NT, FLUSH, PLANES>(weight, scales, x, y, workspace, counters, m, n, k,  \
                                              groups, group_magic, e);                             \
    }                                                                                              \
    BILIN_EXPORT(name)

// w4a16_<type>_r<R>_n<NT>_g<FLUSH>; r4 has 4 warps a block, r2 has 8. With more than one column tile
// a unit is 64 k, so a scale for 128 k or more needs no kernel of its own there.
#define INT4(type, T)                                                       \
    INSTANCE(w4a16_##type##_r2_n1_g128, T, 2, 8, 1, 128, 1, 2)              \
    INSTANCE(w4a16_##type##_r2_n1_g64, T, 2, 8, 1, 64, 1, 2)                \
    INSTANCE(w4a16_##type##_r2_n1_g32, T, 2, 8, 1, 32, 1, 2)                \
    INSTANCE(w4a16_##type##_r2_n2_g64, T, 2, 8, 2, 64, 1, 2)                \
    INSTANCE(w4a16_##type##_r2_n2_g32, T, 2, 8, 2, 32, 1, 2)                \
    INSTANCE(w4a16_##type##_r2_n4_g64, T, 2, 8, 4, 64, 1, 1)                \
    INSTANCE(w4a16_##type##_r2_n4_g32, T, 2, 8, 4, 32, 1, 1)                \
    INSTANCE(w4a16_##type##_r4_n1_g128, T, 4, 4, 1, 128, 1, WIDE_BLOCKS)
#define INT8(type, T)                                                  \
    INSTANCE(w8a16_##type##_r2_n1, T, 2, 8, 1, 64, 2, 2)               \
    INSTANCE(w8a16_##type##_r2_n2, T, 2, 8, 2, 64, 2, 1)               \
    INSTANCE(w8a16_##type##_r2_n4, T, 2, 8, 4, 64, 2, 1)
// clang-format on

INT4(f16, f16)
INT8(f16, f16)
#ifndef BILIN_TURING
INT4(bf16, bf16)
INT8(bf16, bf16)
#endif
