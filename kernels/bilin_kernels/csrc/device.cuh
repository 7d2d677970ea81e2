// What every kernel here may ask of the machine: 16-bit types, memory accesses, tensor-core steps,
// warp collectives. Nothing else in csrc/ contains inline assembly, and nothing includes a CUDA
// header, so NVRTC needs no header package.
//
// The same names exist in the SIMT shim (tests/kernels/simt/simt.h, selected by BILIN_SIMT), where
// every access asserts its bounds and its alignment. So: global memory is only touched through
// load/store functions of this file, shared memory is claimed through SHARED_BUFFER.
//
// BILIN_TURING selects, on any architecture, what sm_75 needs: two m16n8k8 for one m16n8k16, loads
// into registers for cp.async, and no bfloat16.
#pragma once

using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i64 = long long;

struct f16 {
  u16 bits;
};
struct bf16 {
  u16 bits;
};

#if !defined(BILIN_SIMT) && __CUDA_ARCH__ < 800 && !defined(BILIN_TURING)
#define BILIN_TURING
#endif

#ifdef BILIN_SIMT
#include "simt.h"
#else

#define BILIN_EXPORT(name)  // the shim builds a launcher here

// A 16-byte aligned block of shared memory; `bytes` is a constant.
#define SHARED_BUFFER(name, bytes) __shared__ __align__(16) unsigned char name[bytes]

// --- 16-bit floats -------------------------------------------------------------------------------

__device__ __forceinline__ float to_float(f16 v) {
  float r;
  asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(v.bits));
  return r;
}
__device__ __forceinline__ float to_float(bf16 v) {
  return __uint_as_float(u32(v.bits) << 16);
}
__device__ __forceinline__ float to_float(float v) {
  return v;
}

template <class T>
__device__ __forceinline__ T from_float(float v);
template <>
__device__ __forceinline__ f16 from_float<f16>(float v) {
  f16 r;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r.bits) : "f"(v));
  return r;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float v) {
  bf16 r;
#if __CUDA_ARCH__ >= 800
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r.bits) : "f"(v));
#else
  const u32 b = __float_as_uint(v);  // round to nearest even; NaN keeps a set bit
  r.bits = v != v ? u16(0x7fff) : u16((b + 0x7fffu + ((b >> 16) & 1u)) >> 16);
#endif
  return r;
}
template <>
__device__ __forceinline__ float from_float<float>(float v) {
  return v;
}

// --- global memory -------------------------------------------------------------------------------

// Read once and never again: kept out of L1.
__device__ __forceinline__ uint4 load_streaming(const uint4* p) {
  uint4 v;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(p));
  return v;
}
// Read-only for the whole kernel, through L1: 1, 2, 4, 8 or 16 bytes.
template <class V>
__device__ __forceinline__ V load(const V* p) {
  return __ldg(p);
}
__device__ __forceinline__ f16 load(const f16* p) {
  return f16{__ldg(&p->bits)};
}
__device__ __forceinline__ bf16 load(const bf16* p) {
  return bf16{__ldg(&p->bits)};
}
// Written by another block of this launch, or by this one: through L2.
template <class V>
__device__ __forceinline__ V load_shared_by_blocks(const V* p) {
  return __ldcg(p);
}
template <class V>
__device__ __forceinline__ void store(V* p, V v) {
  *p = v;
}
// Returns the value before.
__device__ __forceinline__ u32 atomic_add(u32* p, u32 v) {
  return atomicAdd(p, v);
}

// --- asynchronous copies into shared memory (sm_80 and later) ------------------------------------

#ifndef BILIN_TURING
// Policy for data that is read once: the first to leave L2.
__device__ __forceinline__ u64 policy_evict_first() {
  u64 policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ __forceinline__ void copy_async(void* shared, const uint4* global, u64 policy) {
  const u32 address = u32(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2;" ::"r"(address),
               "l"(global), "l"(policy)
               : "memory");
}
__device__ __forceinline__ void copy_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Waits until at most `pending` of this thread's groups are under way.
template <int pending>
__device__ __forceinline__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}
#endif

// --- shared memory -------------------------------------------------------------------------------

__device__ __forceinline__ uint4 load_shared(const uint4* p) {
  return *p;
}

// --- one warp ------------------------------------------------------------------------------------

__device__ __forceinline__ float shuffle_xor(float v, int mask) {
  return __shfl_xor_sync(0xffffffffu, v, mask);
}
__device__ __forceinline__ float shuffle(float v, int lane) {
  return __shfl_sync(0xffffffffu, v, lane);
}
__device__ __forceinline__ void sync_warp() {
  __syncwarp();
}
__device__ __forceinline__ void sync_block() {
  __syncthreads();
}
__device__ __forceinline__ void fence_device() {
  __threadfence();
}

// d = a b + d on the tensor cores, or d = a b if `first` (a constant, where it is inlined).
// a: 16 rows x 16 k (weights), b: 16 k x 8 columns, d: float. Lane l = 4 g + t holds a rows g and
// g + 8, k 2t, 2t+1 (a[0], a[1]) and 2t+8, 2t+9 (a[2], a[3]); b column g at the same k (b0, b1);
// d rows g, g + 8, columns 2t, 2t+1.
#define BILIN_MMA_K16(type)                                                                 \
  asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type                                \
      ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"                      \
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])                                      \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), \
        "f"(c[2]), "f"(c[3]))
#define BILIN_MMA_K8(c, a0, a1, b)                                                      \
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, " \
      "{%7,%8,%9,%10};"                                                                 \
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])                                  \
      : "r"(a0), "r"(a1), "r"(b), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]))

template <class T>
__device__ __forceinline__ void mma(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1, bool first);
template <>
__device__ __forceinline__ void mma<f16>(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1,
                                         bool first) {
  const float c[4] = {first ? 0.0f : d[0], first ? 0.0f : d[1], first ? 0.0f : d[2],
                      first ? 0.0f : d[3]};
#ifdef BILIN_TURING
  BILIN_MMA_K8(c, a[0], a[1], b0);
  BILIN_MMA_K8(d, a[2], a[3], b1);
#else
  BILIN_MMA_K16("f16");
#endif
}
#ifndef BILIN_TURING
template <>
__device__ __forceinline__ void mma<bf16>(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1,
                                          bool first) {
  const float c[4] = {first ? 0.0f : d[0], first ? 0.0f : d[1], first ? 0.0f : d[2],
                      first ? 0.0f : d[3]};
  BILIN_MMA_K16("bf16");
}
#endif

#endif  // BILIN_SIMT

// --- both ----------------------------------------------------------------------------------------

// The two 16-bit floats of a word, the lower half first.
template <class T>
__device__ __forceinline__ void unpack2(u32 word, float (&v)[2]) {
  v[0] = to_float(T{u16(word & 0xffffu)});
  v[1] = to_float(T{u16(word >> 16)});
}
template <class T>
__device__ __forceinline__ u32 pack2(float a, float b) {
  return u32(from_float<T>(a).bits) | u32(from_float<T>(b).bits) << 16;
}
