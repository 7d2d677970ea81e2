// Kernels with one planted fault each: what the shim must not let pass.
#include "device.cuh"

extern "C" __global__ void copies(const u32* in, u32* out) {
  store(out + threadIdx.x, load(in + threadIdx.x));
}
BILIN_EXPORT(copies)

extern "C" __global__ void reads_behind_the_end(const u32* in, u32* out) {
  store(out + threadIdx.x, load(in + threadIdx.x + 1));
}
BILIN_EXPORT(reads_behind_the_end)

extern "C" __global__ void writes_its_input(const u32* in, u32* out) {
  (void)out;
  store(const_cast<u32*>(in) + threadIdx.x, 1u);
}
BILIN_EXPORT(writes_its_input)

extern "C" __global__ void reads_misaligned(const u32* in, u32* out) {
  const uint4 v = load(reinterpret_cast<const uint4*>(in + 1));
  store(out + threadIdx.x, v.x);
}
BILIN_EXPORT(reads_misaligned)

// Each thread reads its neighbour's value without waiting for it.
extern "C" __global__ void forgets_a_barrier(const u32* in, u32* out) {
  SHARED_BUFFER(shared, 256);
  u32* values = reinterpret_cast<u32*>(shared);
  values[threadIdx.x] = load(in + threadIdx.x);
  store(out + threadIdx.x, values[threadIdx.x ^ 1]);
}
BILIN_EXPORT(forgets_a_barrier)

extern "C" __global__ void half_of_a_warp_shuffles(const u32* in, u32* out) {
  float v = float(load(in + threadIdx.x));
  if (threadIdx.x < 16) v = shuffle_xor(v, 1);
  store(out + threadIdx.x, u32(v));
}
BILIN_EXPORT(half_of_a_warp_shuffles)

extern "C" __global__ void some_threads_skip_the_barrier(const u32* in, u32* out) {
  if (threadIdx.x < 32) sync_block();
  store(out + threadIdx.x, load(in + threadIdx.x));
}
BILIN_EXPORT(some_threads_skip_the_barrier)

// Reads what an asynchronous copy brings before it has been waited for.
extern "C" __global__ void does_not_wait_for_its_copy(const u32* in, u32* out) {
  SHARED_BUFFER(shared, 1024);
  const uint4* from = reinterpret_cast<const uint4*>(in) + threadIdx.x % 16;
  uint4* to = reinterpret_cast<uint4*>(shared) + threadIdx.x;
  copy_async(to, from, policy_evict_first());
  copy_commit();
  store(out + threadIdx.x, load_shared(to).x);
  copy_wait<0>();
}
BILIN_EXPORT(does_not_wait_for_its_copy)

extern "C" __global__ void writes_behind_shared_memory(const u32* in, u32* out) {
  SHARED_BUFFER(shared, 128);
  reinterpret_cast<u32*>(shared)[threadIdx.x] = load(in + threadIdx.x);
  sync_block();
  store(out + threadIdx.x, reinterpret_cast<u32*>(shared)[threadIdx.x]);
}
BILIN_EXPORT(writes_behind_shared_memory)
