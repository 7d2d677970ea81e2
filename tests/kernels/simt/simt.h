// Runs the kernels of csrc/ on the CPU, unchanged: one fiber per thread, blocks one after another.
//
// Checked here, because a GPU would not say it: every global access lies inside a tensor that was
// announced (and is writable, for stores), every vector access is aligned to its size, shared
// memory is not written behind its end, all 32 lanes meet in the same collective, no block hangs.
// Shared memory begins as NaN in every block. Asynchronous copies land only when they are waited
// for. Threads run in ascending or descending order (simt_set_descending): a missing barrier gives
// two different results.
//
// Not seen here: races on the memory model, copies still under way at a real GPU's pace, timing.
// The tensor cores' fragment map is the PTX manual's, read by us: a first run on a GPU confirms it.
#pragma once
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define SHARED_BUFFER(name, bytes) unsigned char* name = simt::claim_shared(bytes)
#define BILIN_EXPORT(name)                                                                \
  extern "C" void launch_##name(const unsigned* grid, unsigned block, void** arguments) { \
    simt::launch(grid, block, name, arguments);                                           \
  }

struct uint2 {
  u32 x, y;
};
struct alignas(16) uint4 {
  u32 x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct Dim3 {
  unsigned x, y, z;
};

namespace simt {

inline Dim3 thread_index, block_index, block_size, grid_size;

struct Copy {
  void* to;
  const void* from;
};
struct Fiber {
  ucontext_t context;
  std::vector<char> stack;
  enum State { kReady, kWarpWait, kBlockWait, kDone } state;
  std::vector<std::vector<Copy>> groups;  // committed asynchronous copies, oldest first
  std::vector<Copy> open;
  u32 in[8];   // what this lane brings to a collective
  u32 out[4];  // and takes away
  int kind;
};

constexpr size_t kStackBytes = 128 * 1024;
constexpr size_t kSharedBytes = 100 * 1024;
constexpr int kNoise = 0xff;  // floats of these bytes are NaN

inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline int current;
inline bool descending;
inline std::string error;
inline std::function<void()> body;
alignas(128) inline unsigned char shared_memory[kSharedBytes];
inline size_t shared_claimed;

struct Range {
  uintptr_t end;
  bool writable;
};
inline std::map<uintptr_t, Range> tensors;

inline void yield() {
  swapcontext(&fibers[current].context, &scheduler);
}

// Ends the launch with this message; the fiber is never resumed.
[[noreturn]] inline void fail(const std::string& what) {
  if (error.empty())
    error = what + " (block " + std::to_string(block_index.x) + "," +
            std::to_string(block_index.y) + "," + std::to_string(block_index.z) + " thread " +
            std::to_string(thread_index.x) + ")";
  for (;;) yield();
}

inline void check_global(const void* p, size_t bytes, bool write) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(p);
  if (at % bytes) fail("misaligned access of " + std::to_string(bytes) + " bytes");
  auto it = tensors.upper_bound(at);
  if (it == tensors.begin() || at + bytes > std::prev(it)->second.end)
    fail(std::string(write ? "store" : "load") + " outside every tensor");
  if (write && !std::prev(it)->second.writable) fail("store into a read-only tensor");
}
inline void check_shared(const void* p, size_t bytes) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(p);
  const uintptr_t base = reinterpret_cast<uintptr_t>(shared_memory);
  if (at % bytes) fail("misaligned shared access of " + std::to_string(bytes) + " bytes");
  if (at < base || at + bytes > base + shared_claimed) fail("access outside shared memory");
}
inline unsigned char* claim_shared(size_t bytes) {
  if (bytes + 64 > kSharedBytes) fail("shared memory of " + std::to_string(bytes) + " bytes");
  shared_claimed = bytes;
  return shared_memory;
}

// One warp meets: the last lane to arrive computes for all of them.
template <class Compute>
inline void meet(int kind, Compute compute) {
  Fiber& self = fibers[current];
  const int first = current / 32 * 32;
  self.kind = kind;
  self.state = Fiber::kWarpWait;
  int waiting = 0;
  for (int l = first; l < first + 32; ++l) {
    if (fibers[l].state == Fiber::kDone) fail("a collective misses a lane that has returned");
    waiting += fibers[l].state == Fiber::kWarpWait;
  }
  if (waiting == 32) {
    for (int l = first; l < first + 32; ++l)
      if (fibers[l].kind != kind) fail("lanes of a warp meet in different collectives");
    compute(&fibers[first]);
    for (int l = first; l < first + 32; ++l) fibers[l].state = Fiber::kReady;
  } else {
    yield();
  }
}

inline void enter(int) {
  body();
  fibers[current].state = Fiber::kDone;
  yield();
}

inline void run_block(int threads) {
  memset(shared_memory, kNoise, sizeof shared_memory);
  shared_claimed = 0;
  for (int i = 0; i < threads; ++i) {
    Fiber& f = fibers[i];
    f.state = Fiber::kReady;
    f.groups.clear();
    f.open.clear();
    if (f.stack.empty()) f.stack.resize(kStackBytes);
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.data();
    f.context.uc_stack.ss_size = kStackBytes;
    f.context.uc_link = nullptr;
    makecontext(&f.context, reinterpret_cast<void (*)()>(enter), 1, i);
  }
  for (;;) {
    bool progress = false;
    for (int j = 0; j < threads && error.empty(); ++j) {
      current = descending ? threads - 1 - j : j;
      if (fibers[current].state != Fiber::kReady) continue;
      progress = true;
      thread_index = {unsigned(current), 0, 0};
      swapcontext(&scheduler, &fibers[current].context);
    }
    if (!error.empty()) return;
    if (progress) continue;
    int done = 0, at_barrier = 0;
    for (int i = 0; i < threads; ++i) {
      done += fibers[i].state == Fiber::kDone;
      at_barrier += fibers[i].state == Fiber::kBlockWait;
    }
    if (done == threads) break;
    if (done + at_barrier < threads || done) {
      error = "the block hangs: " + std::to_string(done) + " threads returned, " +
              std::to_string(at_barrier) + " at the barrier, of " + std::to_string(threads);
      return;
    }
    for (int i = 0; i < threads; ++i) fibers[i].state = Fiber::kReady;
  }
  for (size_t i = shared_claimed; i < kSharedBytes; ++i)
    if (shared_memory[i] != kNoise) {
      error = "shared memory written behind its end";
      return;
    }
}

template <class... A, size_t... I>
void bind_arguments(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  body = [=] {
    kernel(*static_cast<std::remove_cv_t<std::remove_reference_t<A>>*>(arguments[I])...);
  };
}

template <class... A>
void launch(const unsigned* grid, unsigned block, void (*kernel)(A...), void** arguments) {
  error.clear();
  if (block % 32 || block > 1024) {
    error = "block of " + std::to_string(block) + " threads";
    return;
  }
  if (fibers.size() < block) fibers.resize(block);
  grid_size = {grid[0], grid[1], grid[2]};
  block_size = {block, 1, 1};
  bind_arguments(kernel, arguments, std::index_sequence_for<A...>{});
  const unsigned blocks = grid[0] * grid[1] * grid[2];
  for (unsigned j = 0; j < blocks && error.empty(); ++j) {
    const unsigned b = descending ? blocks - 1 - j : j;
    block_index = {b % grid[0], b / grid[0] % grid[1], b / grid[0] / grid[1]};
    run_block(int(block));
  }
}

inline float half_to_float(u16 h) {
  _Float16 v;
  memcpy(&v, &h, 2);
  return float(v);
}
inline float bits_to_float(u32 b) {
  float v;
  memcpy(&v, &b, 4);
  return v;
}
inline u32 float_to_bits(float v) {
  u32 b;
  memcpy(&b, &v, 4);
  return b;
}
// Tensor cores cut their sums off instead of rounding them.
inline float truncate(double v) {
  float f = float(v);
  if (std::abs(double(f)) > std::abs(v)) f = std::nextafter(f, 0.0f);
  return f;
}

// d = a b + d, m16n8k(8 * halves). `decode` turns 16 bits into a float.
template <class Decode>
__attribute__((optimize("O2"))) void mma_all(Fiber* lanes, int halves, Decode decode) {
  static thread_local double a[16][16], b[16][8];
  for (int l = 0; l < 32; ++l) {
    const int g = l / 4, t = l % 4;
    for (int h = 0; h < halves; ++h)
      for (int e = 0; e < 2; ++e) {
        const int k = 8 * h + 2 * t + e, shift = 16 * e;
        a[g][k] = decode(u16(lanes[l].in[2 * h] >> shift));
        a[g + 8][k] = decode(u16(lanes[l].in[2 * h + 1] >> shift));
        b[k][g] = decode(u16(lanes[l].in[2 * halves + h] >> shift));
      }
  }
  for (int l = 0; l < 32; ++l) {
    const int g = l / 4, t = l % 4;
    for (int c = 0; c < 4; ++c) {
      const int row = g + 8 * (c / 2), column = 2 * t + c % 2;
      double sum = bits_to_float(lanes[l].out[c]);
      for (int k = 0; k < 8 * halves; ++k) sum += a[row][k] * b[k][column];
      lanes[l].out[c] = float_to_bits(truncate(sum));
    }
  }
}

}  // namespace simt

#define threadIdx simt::thread_index
#define blockIdx simt::block_index
#define blockDim simt::block_size
#define gridDim simt::grid_size

// --- device.cuh's names --------------------------------------------------------------------------

inline u32 __umulhi(u32 a, u32 b) {
  return u32(u64(a) * b >> 32);
}
inline float __uint_as_float(u32 b) {
  return simt::bits_to_float(b);
}
inline u32 __float_as_uint(float v) {
  return simt::float_to_bits(v);
}
inline float rsqrtf(float v) {
  return 1.0f / std::sqrt(v);
}
using std::fmaf;

inline float to_float(f16 v) {
  return simt::half_to_float(v.bits);
}
inline float to_float(bf16 v) {
  return simt::bits_to_float(u32(v.bits) << 16);
}
inline float to_float(float v) {
  return v;
}

template <class T>
T from_float(float v);
template <>
inline f16 from_float<f16>(float v) {
  const _Float16 h = _Float16(v);
  f16 r;
  memcpy(&r.bits, &h, 2);
  return r;
}
template <>
inline bf16 from_float<bf16>(float v) {
  const u32 b = simt::float_to_bits(v);
  return bf16{v != v ? u16(0x7fff) : u16((b + 0x7fffu + ((b >> 16) & 1u)) >> 16)};
}
template <>
inline float from_float<float>(float v) {
  return v;
}

template <class V>
inline V load(const V* p) {
  simt::check_global(p, sizeof(V), false);
  return *p;
}
inline uint4 load_streaming(const uint4* p) {
  return load(p);
}
template <class V>
inline V load_shared_by_blocks(const V* p) {
  return load(p);
}
template <class V>
inline void store(V* p, V v) {
  simt::check_global(p, sizeof(V), true);
  *p = v;
}
inline u32 atomic_add(u32* p, u32 v) {
  simt::check_global(p, 4, true);
  const u32 before = *p;
  *p = before + v;
  return before;
}

inline u64 policy_evict_first() {
  return 0;
}
inline void copy_async(void* to, const uint4* from, u64) {
  simt::check_shared(to, 16);
  simt::check_global(from, 16, false);
  simt::fibers[simt::current].open.push_back({to, from});
}
inline void copy_commit() {
  auto& f = simt::fibers[simt::current];
  f.groups.push_back(std::move(f.open));
  f.open.clear();
}
template <int pending>
inline void copy_wait() {
  auto& f = simt::fibers[simt::current];
  while (f.groups.size() > size_t(pending)) {
    for (const auto& c : f.groups.front()) memcpy(c.to, c.from, 16);
    f.groups.erase(f.groups.begin());
  }
}

inline uint4 load_shared(const uint4* p) {
  simt::check_shared(p, 16);
  return *p;
}

inline float shuffle_by(float v, int kind, int source) {
  auto& self = simt::fibers[simt::current];
  self.in[0] = __float_as_uint(v);
  self.in[1] = u32(source);
  simt::meet(kind, [](simt::Fiber* lanes) {
    for (int l = 0; l < 32; ++l) lanes[l].out[0] = lanes[lanes[l].in[1] & 31].in[0];
  });
  return __uint_as_float(simt::fibers[simt::current].out[0]);
}
inline float shuffle_xor(float v, int mask) {
  return shuffle_by(v, 1, (simt::current % 32) ^ mask);
}
inline float shuffle(float v, int lane) {
  return shuffle_by(v, 2, lane);
}
inline void sync_warp() {
  simt::meet(3, [](simt::Fiber*) {});
}
inline void sync_block() {
  simt::fibers[simt::current].state = simt::Fiber::kBlockWait;
  simt::yield();
}
inline void fence_device() {}

template <class T>
inline void mma(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1, bool first) {
  if (first) d[0] = d[1] = d[2] = d[3] = 0.0f;
  const auto step = [&d](int halves, std::initializer_list<u32> in) {
    auto& self = simt::fibers[simt::current];
    int i = 0;
    for (u32 v : in) self.in[i++] = v;
    for (int c = 0; c < 4; ++c) self.out[c] = __float_as_uint(d[c]);
    simt::meet(10 + halves, [halves](simt::Fiber* lanes) {
      simt::mma_all(lanes, halves, [](u16 bits) { return to_float(T{bits}); });
    });
    for (int c = 0; c < 4; ++c) d[c] = __uint_as_float(simt::fibers[simt::current].out[c]);
  };
#ifdef BILIN_TURING
  step(1, {a[0], a[1], b0});
  step(1, {a[2], a[3], b1});
#else
  step(2, {a[0], a[1], a[2], a[3], b0, b1});
#endif
}

// --- what the tests call -------------------------------------------------------------------------

extern "C" void simt_announce(const void* p, size_t bytes, int writable) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(p);
  simt::tensors[at] = {at + bytes, writable != 0};
}
extern "C" void simt_forget() {
  simt::tensors.clear();
}
extern "C" void simt_set_descending(int on) {
  simt::descending = on != 0;
}
extern "C" const char* simt_error() {
  return simt::error.c_str();
}
