// out[rows, k] = dequant(weight), for prefill: cuBLAS takes over from there.
//
// Layout: packing.py, version 1. A warp takes one piece of 16 rows and 64 k: 16 bytes a lane in,
// four 16-byte stores a lane out (rows g and g + 8, two halves of 32 k), 64 bytes of a row
// together. Bound by memory: 2.5 bytes per INT4 weight.
#include "device.cuh"

// Values of the 8 nibbles of a word, in the order of k.
__device__ __forceinline__ void nibbles(u32 w, int (&v)[8]) {
  v[0] = int(w & 15u), v[1] = int(w >> 16 & 15u);
  v[2] = int(w >> 8 & 15u), v[3] = int(w >> 24 & 15u);
  v[4] = int(w >> 4 & 15u), v[5] = int(w >> 20 & 15u);
  v[6] = int(w >> 12 & 15u), v[7] = int(w >> 28);
}

template <class T>
__device__ __forceinline__ uint4 scaled(const int (&v)[8], float scale) {
  return {pack2<T>(float(v[0]) * scale, float(v[1]) * scale),
          pack2<T>(float(v[2]) * scale, float(v[3]) * scale),
          pack2<T>(float(v[4]) * scale, float(v[5]) * scale),
          pack2<T>(float(v[6]) * scale, float(v[7]) * scale)};
}

template <class T, int PLANES>
__device__ __forceinline__ void dequantize(const uint4* weight, const u32* scales, T* out,
                                           int first_tile, int tiles, int steps, int groups,
                                           int group_size) {
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  const i64 piece = i64(blockIdx.x) * (blockDim.x / 32) + (threadIdx.x >> 5);
  if (piece >= i64(tiles) * steps) return;
  const int tile = int(piece / steps), step = int(piece % steps);
  const i64 k = i64(steps) * 64;

  const uint4* from = weight + ((i64(first_tile) + tile) * steps + step) * PLANES * 32 + lane;
  uint4 w[PLANES];
#pragma unroll
  for (int p = 0; p < PLANES; ++p) w[p] = load_streaming(from + p * 32);

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int group = (step * 64 + half * 32) / group_size;
    float scale[2];
    unpack2<T>(load(scales + ((i64(first_tile) + tile) * groups + group) * 8 + g), scale);
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      int v[8];
      nibbles(half ? (row ? w[0].w : w[0].z) : (row ? w[0].y : w[0].x), v);
      if constexpr (PLANES == 2) {
        int high[8];
        nibbles(half ? (row ? w[1].w : w[1].z) : (row ? w[1].y : w[1].x), high);
#pragma unroll
        for (int j = 0; j < 8; ++j) v[j] += 16 * high[j] - 128;
      } else {
#pragma unroll
        for (int j = 0; j < 8; ++j) v[j] -= 8;
      }
      T* to = out + (i64(tile) * 16 + g + 8 * row) * k + step * 64 + half * 32 + 8 * t;
      store(reinterpret_cast<uint4*>(to), scaled<T>(v, scale[row]));
    }
  }
}

#define INSTANCE(name, T, PLANES)                                                                \
  extern "C" __global__ void __launch_bounds__(256)                                              \
      name(const uint4* weight, const u32* scales, T* out, int first_tile, int tiles, int steps, \
           int groups, int group_size) {                                                         \
    dequantize<T, PLANES>(weight, scales, out, first_tile, tiles, steps, groups, group_size);    \
  }                                                                                              \
  BILIN_EXPORT(name)

INSTANCE(dequantize_int4_f16, f16, 1)
INSTANCE(dequantize_int8_f16, f16, 2)
INSTANCE(dequantize_int4_bf16, bf16, 1)
INSTANCE(dequantize_int8_bf16, bf16, 2)
