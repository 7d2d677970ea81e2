// The few vector operations that the linears are written in, once for AVX2 and once for AVX-512.
//
// A tile is a register of 32-bit lanes, one for each row of weights: 16 rows with AVX-512, 8 with
// AVX2. A lane holds two 16-bit values of its row; what it is multiplied with is the same in all.
#pragma once
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef int64_t i64;

#define INLINE static inline __attribute__((always_inline))

enum { CACHE_LINE = 64, AHEAD = 4096 };

// Weights are read once and in order. The processor's own prefetching leaves a quarter of the
// bandwidth unused for one thread; asking for a page ahead does not (figures: kernels/README.md).
INLINE void fetch_ahead(const char* at) {
  _mm_prefetch(at + AHEAD, _MM_HINT_T0);
}

enum { BLOCK_ROWS = 16 };  // rows that lie together, on any processor

#ifdef __AVX512BW__

typedef __m512i tile_i;
typedef __m512 tile_f;

enum { TILE_ROWS = 16 };

INLINE tile_i tile_set(int32_t value) {
  return _mm512_set1_epi32(value);
}
INLINE tile_i tile_load(const void* at) {
  return _mm512_loadu_si512(at);
}
INLINE tile_i tile_low_codes(tile_i v) {  // the lower four bits of 16
  return _mm512_and_si512(v, _mm512_set1_epi16(15));
}
INLINE tile_i tile_shifted(tile_i v, const int by) {
  return _mm512_srli_epi16(v, by);
}
INLINE tile_i tile_widen_bytes(const void* at) {  // two bytes of each row
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i*)at));
}
INLINE tile_i tile_multiply_add(tile_i sum, tile_i v, tile_i x) {
#ifdef __AVX512VNNI__
  return _mm512_dpwssd_epi32(sum, v, x);
#else
  return _mm512_add_epi32(sum, _mm512_madd_epi16(v, x));
#endif
}
INLINE tile_f tile_zero(void) {
  return _mm512_setzero_ps();
}
INLINE tile_f tile_load_f32(const float* at) {
  return _mm512_loadu_ps(at);
}
INLINE tile_f tile_load_f16(const uint16_t* at) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)at));
}
INLINE tile_f tile_load_bf16(const uint16_t* at) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)at));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
// total + v * (scale * by)
INLINE tile_f tile_scale_add(tile_f total, tile_i v, tile_f scale, float by) {
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(v), _mm512_mul_ps(scale, _mm512_set1_ps(by)), total);
}
INLINE void tile_store(float* at, tile_f v) {
  _mm512_storeu_ps(at, v);
}

#else

typedef __m256i tile_i;
typedef __m256 tile_f;

enum { TILE_ROWS = 8 };

INLINE tile_i tile_set(int32_t value) {
  return _mm256_set1_epi32(value);
}
INLINE tile_i tile_load(const void* at) {
  return _mm256_loadu_si256((const __m256i*)at);
}
INLINE tile_i tile_low_codes(tile_i v) {  // the lower four bits of 16
  return _mm256_and_si256(v, _mm256_set1_epi16(15));
}
INLINE tile_i tile_shifted(tile_i v, const int by) {
  return _mm256_srli_epi16(v, by);
}
INLINE tile_i tile_widen_bytes(const void* at) {  // two bytes of each row
  return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)at));
}
INLINE tile_i tile_multiply_add(tile_i sum, tile_i v, tile_i x) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(v, x));
}
INLINE tile_f tile_zero(void) {
  return _mm256_setzero_ps();
}
INLINE tile_f tile_load_f32(const float* at) {
  return _mm256_loadu_ps(at);
}
INLINE tile_f tile_load_f16(const uint16_t* at) {
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)at));
}
INLINE tile_f tile_load_bf16(const uint16_t* at) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)at));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
INLINE tile_f tile_scale_add(tile_f total, tile_i v, tile_f scale, float by) {
  return _mm256_fmadd_ps(_mm256_cvtepi32_ps(v), _mm256_mul_ps(scale, _mm256_set1_ps(by)), total);
}
INLINE void tile_store(float* at, tile_f v) {
  _mm256_storeu_ps(at, v);
}

#endif

// Two 16-bit values, for all lanes.
INLINE tile_i pair_load(const int16_t* at) {
  int32_t pair;
  memcpy(&pair, at, sizeof pair);
  return tile_set(pair);
}

// --- eight floats, for all that is not a linear
// ---------------------------------------------------

INLINE float sum_lanes(__m256 v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

INLINE float largest_lane(__m256 v) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// e^v, within 2 units in the last place; 0 below -87.3. Source of the polynomial: Cephes, expf.
INLINE __m256 exponential(__m256 v) {
  const __m256 is_small = _mm256_cmp_ps(v, _mm256_set1_ps(-87.3f), _CMP_LT_OQ);
  v = _mm256_min_ps(_mm256_max_ps(v, _mm256_set1_ps(-87.3f)), _mm256_set1_ps(88.3f));
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(v, _mm256_set1_ps(1.44269504f)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), v);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
  __m256 p = _mm256_set1_ps(1.9875691500e-4f);
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.3981999507e-3f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.3334519073e-3f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.1665795894e-2f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.6666665459e-1f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.0000001201e-1f));
  p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), _mm256_add_ps(r, _mm256_set1_ps(1.0f)));
  const __m256i power =
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_andnot_ps(is_small, _mm256_mul_ps(p, _mm256_castsi256_ps(power)));
}

// erf(v), off by 1.5e-7 at most. Source: Abramowitz and Stegun, 7.1.26.
INLINE __m256 error_function(__m256 v) {
  const __m256 sign = _mm256_set1_ps(-0.0f), one = _mm256_set1_ps(1.0f);
  const __m256 x = _mm256_andnot_ps(sign, v);
  const __m256 t = _mm256_div_ps(one, _mm256_fmadd_ps(_mm256_set1_ps(0.3275911f), x, one));
  __m256 p = _mm256_set1_ps(1.061405429f);
  p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(-1.453152027f));
  p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(1.421413741f));
  p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(-0.284496736f));
  p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0.254829592f));
  const __m256 tail =
      _mm256_mul_ps(_mm256_mul_ps(p, t), exponential(_mm256_xor_ps(_mm256_mul_ps(x, x), sign)));
  return _mm256_or_ps(_mm256_sub_ps(one, tail), _mm256_and_ps(sign, v));
}

// v / (1 + e^-v)
INLINE __m256 silu(__m256 v) {
  const __m256 below = exponential(_mm256_xor_ps(v, _mm256_set1_ps(-0.0f)));
  return _mm256_div_ps(v, _mm256_add_ps(_mm256_set1_ps(1.0f), below));
}
