// What stands between two linears: residual, then LayerNorm or RMSNorm, in one reading.
//
//   d = delta                        or RMSNorm(delta) * inner_weight     (GLM-4's sandwich)
//   s = alpha * residual + d         or d, where there is no residual yet
//   y = norm(s) * weight (+ bias)    LayerNorm, or RMSNorm
//   stream = s                       (pre-norm: LLaMA, GLM-4)
//         or y                       (DeepNorm: GLM-130B carries the normalized value)
//   out = y, rounded to 16 bits: what the next linear reads
//
// A block holds one row in registers, so the variance is that of the deviations (two passes over
// registers), not a difference of large sums. Sums go lane, warp, block in a fixed order.
//
// At batch 1 a single block reads some 250 KB for 12288 columns; everything it needs is asked for
// before the first reduction, so that its time is one latency and not three. Not timed alone yet.
#include "device.cuh"

// The sum over the block, the same bits in every thread: all warps add the same numbers in the same
// order, and a butterfly's two sides differ only in the order of one addition.
__device__ __forceinline__ float block_sum(float v, float* shared) {
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, warps = blockDim.x >> 5;
#pragma unroll
  for (int mask = 16; mask; mask >>= 1) v += shuffle_xor(v, mask);
  sync_block();  // the sum before this one has been read by all
  if (lane == 0) shared[warp] = v;
  sync_block();
  v = lane < warps ? shared[lane] : 0.0f;
#pragma unroll
  for (int mask = 16; mask; mask >>= 1) v += shuffle_xor(v, mask);
  return v;
}

__device__ __forceinline__ float4 plus(float4 v, float alpha, float4 r) {
  return {fmaf(alpha, r.x, v.x), fmaf(alpha, r.y, v.y), fmaf(alpha, r.z, v.z),
          fmaf(alpha, r.w, v.w)};
}

// V: vectors of four columns per thread.
template <class T, int V>
__device__ __forceinline__ void add_norm(const float* delta, const float* inner_weight,
                                         const float* residual, float alpha, const float* weight,
                                         const float* bias, float epsilon, float* stream, T* out,
                                         int width, int is_rms, int keeps_sum) {
  SHARED_BUFFER(shared_bytes, 128);
  float* shared = reinterpret_cast<float*>(shared_bytes);
  const i64 row = i64(blockIdx.x) * width;
  const float4 zero = {0.0f, 0.0f, 0.0f, 0.0f};
  float4 s[V], w[V], b[V];
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const int at = 4 * (i * int(blockDim.x) + int(threadIdx.x));
    const bool own = at < width;
    s[i] = own ? load(reinterpret_cast<const float4*>(delta + row + at)) : zero;
    if (own && residual && !inner_weight)
      s[i] = plus(s[i], alpha, load(reinterpret_cast<const float4*>(residual + row + at)));
    w[i] = own ? load(reinterpret_cast<const float4*>(weight + at)) : zero;
    b[i] = own && bias ? load(reinterpret_cast<const float4*>(bias + at)) : zero;
  }
  const float per_column = 1.0f / float(width);

  if (inner_weight) {
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < V; ++i)
      squares += s[i].x * s[i].x + s[i].y * s[i].y + s[i].z * s[i].z + s[i].w * s[i].w;
    const float scale = rsqrtf(block_sum(squares, shared) * per_column + epsilon);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      const int at = 4 * (i * int(blockDim.x) + int(threadIdx.x));
      if (at >= width) continue;
      const float4 inner = load(reinterpret_cast<const float4*>(inner_weight + at));
      s[i] = {s[i].x * scale * inner.x, s[i].y * scale * inner.y, s[i].z * scale * inner.z,
              s[i].w * scale * inner.w};
      if (residual)
        s[i] = plus(s[i], alpha, load(reinterpret_cast<const float4*>(residual + row + at)));
    }
  }

  float mean = 0.0f;
  if (!is_rms) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < V; ++i) sum += s[i].x + s[i].y + s[i].z + s[i].w;
    mean = block_sum(sum, shared) * per_column;
  }
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    if (4 * (i * int(blockDim.x) + int(threadIdx.x)) >= width) continue;
    const float x = s[i].x - mean, y = s[i].y - mean, z = s[i].z - mean, u = s[i].w - mean;
    squares += x * x + y * y + z * z + u * u;
  }
  const float scale = rsqrtf(block_sum(squares, shared) * per_column + epsilon);

#pragma unroll
  for (int i = 0; i < V; ++i) {
    const int at = 4 * (i * int(blockDim.x) + int(threadIdx.x));
    if (at >= width) continue;
    const float4 y = {fmaf((s[i].x - mean) * scale, w[i].x, b[i].x),
                      fmaf((s[i].y - mean) * scale, w[i].y, b[i].y),
                      fmaf((s[i].z - mean) * scale, w[i].z, b[i].z),
                      fmaf((s[i].w - mean) * scale, w[i].w, b[i].w)};
    store(reinterpret_cast<float4*>(stream + row + at), keeps_sum ? s[i] : y);
    store(reinterpret_cast<uint2*>(out + row + at), uint2{pack2<T>(y.x, y.y), pack2<T>(y.z, y.w)});
  }
}

#define INSTANCE(name, T, V)                                                                  \
  extern "C" __global__ void __launch_bounds__(1024)                                          \
      name(const float* delta, const float* inner_weight, const float* residual, float alpha, \
           const float* weight, const float* bias, float epsilon, float* stream, T* out,      \
           int width, int is_rms, int keeps_sum) {                                            \
    add_norm<T, V>(delta, inner_weight, residual, alpha, weight, bias, epsilon, stream, out,  \
                   width, is_rms, keeps_sum);                                                 \
  }                                                                                           \
  BILIN_EXPORT(name)

// add_norm_<type>_v<V>: up to 4096 V columns
INSTANCE(add_norm_f16_v1, f16, 1)
INSTANCE(add_norm_f16_v2, f16, 2)
INSTANCE(add_norm_f16_v3, f16, 3)
INSTANCE(add_norm_bf16_v1, bf16, 1)
INSTANCE(add_norm_bf16_v2, bf16, 2)
INSTANCE(add_norm_bf16_v3, bf16, 3)
