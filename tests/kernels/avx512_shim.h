// Stands in for the AVX-512 instructions that csrc/cpu/vector.h uses, on two AVX2 registers each:
// its AVX-512 side is compiled and run on processors that have none. Included before the source.
#include <immintrin.h>

typedef struct {
  __m256i a, b;
} shim_i;
typedef struct {
  __m256 a, b;
} shim_f;
#define __m512i shim_i
#define __m512 shim_f
#define __AVX512BW__ 1
#define __AVX512VNNI__ 1

#define SHIM static inline __attribute__((always_inline))
SHIM shim_i shim_set1_32(int v) {
  return (shim_i){_mm256_set1_epi32(v), _mm256_set1_epi32(v)};
}
SHIM shim_i shim_set1_16(short v) {
  return (shim_i){_mm256_set1_epi16(v), _mm256_set1_epi16(v)};
}
SHIM shim_i shim_load(const void* at) {
  const __m256i* v = (const __m256i*)at;
  return (shim_i){_mm256_loadu_si256(v), _mm256_loadu_si256(v + 1)};
}
SHIM shim_i shim_and(shim_i x, shim_i y) {
  return (shim_i){_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)};
}
SHIM shim_i shim_shift(shim_i v, int by) {
  return (shim_i){_mm256_srli_epi16(v.a, by), _mm256_srli_epi16(v.b, by)};
}
SHIM shim_i shim_widen8(__m256i v) {
  return (shim_i){_mm256_cvtepi8_epi16(_mm256_castsi256_si128(v)),
                  _mm256_cvtepi8_epi16(_mm256_extracti128_si256(v, 1))};
}
SHIM shim_i shim_dot(shim_i sum, shim_i x, shim_i y) {
  return (shim_i){_mm256_add_epi32(sum.a, _mm256_madd_epi16(x.a, y.a)),
                  _mm256_add_epi32(sum.b, _mm256_madd_epi16(x.b, y.b))};
}
SHIM shim_f shim_zero(void) {
  return (shim_f){_mm256_setzero_ps(), _mm256_setzero_ps()};
}
SHIM shim_f shim_set1_f(float v) {
  return (shim_f){_mm256_set1_ps(v), _mm256_set1_ps(v)};
}
SHIM shim_f shim_load_f(const float* at) {
  return (shim_f){_mm256_loadu_ps(at), _mm256_loadu_ps(at + 8)};
}
SHIM shim_f shim_half(__m256i v) {
  return (shim_f){_mm256_cvtph_ps(_mm256_castsi256_si128(v)),
                  _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1))};
}
SHIM shim_i shim_widen16(__m256i v) {
  return (shim_i){_mm256_cvtepu16_epi32(_mm256_castsi256_si128(v)),
                  _mm256_cvtepu16_epi32(_mm256_extracti128_si256(v, 1))};
}
SHIM shim_i shim_left(shim_i v, int by) {
  return (shim_i){_mm256_slli_epi32(v.a, by), _mm256_slli_epi32(v.b, by)};
}
SHIM shim_f shim_as_f(shim_i v) {
  return (shim_f){_mm256_castsi256_ps(v.a), _mm256_castsi256_ps(v.b)};
}
SHIM shim_f shim_to_f(shim_i v) {
  return (shim_f){_mm256_cvtepi32_ps(v.a), _mm256_cvtepi32_ps(v.b)};
}
SHIM shim_f shim_mul(shim_f x, shim_f y) {
  return (shim_f){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
SHIM shim_f shim_fma(shim_f x, shim_f y, shim_f z) {
  return (shim_f){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
SHIM void shim_store(float* at, shim_f v) {
  _mm256_storeu_ps(at, v.a);
  _mm256_storeu_ps(at + 8, v.b);
}

#define _mm512_set1_epi32 shim_set1_32
#define _mm512_set1_epi16 shim_set1_16
#define _mm512_loadu_si512 shim_load
#define _mm512_and_si512 shim_and
#define _mm512_srli_epi16 shim_shift
#define _mm512_cvtepi8_epi16 shim_widen8
#define _mm512_dpwssd_epi32 shim_dot
#define _mm512_setzero_ps shim_zero
#define _mm512_set1_ps shim_set1_f
#define _mm512_loadu_ps shim_load_f
#define _mm512_cvtph_ps shim_half
#define _mm512_cvtepu16_epi32 shim_widen16
#define _mm512_slli_epi32 shim_left
#define _mm512_castsi512_ps shim_as_f
#define _mm512_cvtepi32_ps shim_to_f
#define _mm512_mul_ps shim_mul
#define _mm512_fmadd_ps shim_fma
#define _mm512_storeu_ps shim_store
