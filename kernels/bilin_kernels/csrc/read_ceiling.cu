// Reads a buffer once, 16 bytes a lane and load, as fast as the card can: the ceiling every other
// kernel is measured against. Each warp keeps eight loads under way.
#include "device.cuh"

extern "C" __global__ void __launch_bounds__(256)
    read_ceiling(const uint4* data, u32* sink, i64 count) {
  constexpr int kLoads = 8;
  const i64 stride = i64(gridDim.x) * blockDim.x;
  u32 sum = 0;
  i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
  for (; i + (kLoads - 1) * stride < count; i += kLoads * stride) {
    uint4 v[kLoads];
#pragma unroll
    for (int j = 0; j < kLoads; ++j) v[j] = load_streaming(data + i + j * stride);
#pragma unroll
    for (int j = 0; j < kLoads; ++j) sum ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
  }
  for (; i < count; i += stride) {
    const uint4 v = load_streaming(data + i);
    sum ^= v.x ^ v.y ^ v.z ^ v.w;
  }
  // The caller's data never sums up to this, but the compiler cannot know.
  if (sum == 0xdeadbeefu) store(sink, sum);
}
BILIN_EXPORT(read_ceiling)
