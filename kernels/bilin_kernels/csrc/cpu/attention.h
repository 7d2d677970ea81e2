// Rotary positions, and one token's attention over all that its slot holds.
//
// Scores, their exponentials and the sums are float32. The maximum follows as positions are read,
// so keys and values come from memory once, a few at a time, for all query heads that share them.
#pragma once
#include <math.h>

#include "vector.h"

enum { KV_F32 = 0, KV_F16 = 1, KV_BF16 = 2 };
enum { MAX_HEAD_DIM = 256, MAX_SHARED = 32, POSITIONS = 32 };

struct heads {  // bilin_kernels.decode_ops.HeadLayout, in elements of a row of the QKV linear
  i64 num_heads, num_kv_heads, head_dim, pair;
  i64 q_stride, k_offset, k_stride, v_offset, v_stride;
};

// y[d] = x[d] cos[d] + x[d ^ pair] sin[d], sin with the sign of its place.
INLINE void rotate(const float* x, const float* cos, const float* sin, i64 dim, i64 pair,
                   float* y) {
  for (i64 d = 0; d < dim; ++d) y[d] = x[d] * cos[d] + x[d ^ pair] * sin[d];
}

INLINE __m256 kv_load(const void* at, i64 element, const int kind) {
  if (kind == KV_F16)
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)((const uint16_t*)at + element)));
  if (kind == KV_BF16) {
    const uint16_t* bits = (const uint16_t*)at + element;
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)bits));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
  }
  return _mm256_loadu_ps((const float*)at + element);
}

INLINE void kv_store(void* at, i64 element, const float* x, i64 count, const int kind) {
  if (kind == KV_F16) {
    for (i64 i = 0; i < count; i += 8)
      _mm_storeu_si128((__m128i*)((uint16_t*)at + element + i),
                       _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
  } else if (kind == KV_BF16) {
    for (i64 i = 0; i < count; ++i) {
      uint32_t bits;
      memcpy(&bits, x + i, sizeof bits);
      const int is_nan = x[i] != x[i];
      const uint32_t nearest_even = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
      ((uint16_t*)at)[element + i] = is_nan ? 0x7fc0 : (uint16_t)nearest_even;
    }
  } else {
    memcpy((float*)at + element, x, count * sizeof *x);
  }
}

// q times four keys that lie `dim` apart.
INLINE __m128 four_products(const float* q, const void* cache, i64 key, const int dim,
                            const int kind) {
  __m256 sum[4];
  for (int j = 0; j < 4; ++j) sum[j] = _mm256_setzero_ps();
  for (int d = 0; d < dim; d += 8) {
    const __m256 x = _mm256_loadu_ps(q + d);
    for (int j = 0; j < 4; ++j)
      sum[j] = _mm256_fmadd_ps(x, kv_load(cache, key + j * dim + d, kind), sum[j]);
  }
  const __m256 pairs =
      _mm256_hadd_ps(_mm256_hadd_ps(sum[0], sum[1]), _mm256_hadd_ps(sum[2], sum[3]));
  return _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
}

INLINE float one_product(const float* q, const void* cache, i64 key, const int dim,
                         const int kind) {
  __m256 sum = _mm256_setzero_ps();
  for (int d = 0; d < dim; d += 8)
    sum = _mm256_fmadd_ps(_mm256_loadu_ps(q + d), kv_load(cache, key + d, kind), sum);
  return sum_lanes(sum);
}

// softmax(q k^T / sqrt(D)) v for `count` query heads of one key head, D apart in query and out.
// The slot's `length` keys and values lie in `cache` from element `keys` and `values` on, D apart;
// the new token's own lie in `own`, key first: nobody need have stored them yet.
INLINE void attend(const float* query, i64 count, const void* cache, i64 keys, i64 values,
                   i64 length, const void* own, const int dim, const int kind, float* out) {
  float scores[POSITIONS] __attribute__((aligned(32)));
  float largest[MAX_SHARED], total[MAX_SHARED];
  const float factor = 1.0f / sqrtf((float)dim);
  for (i64 h = 0; h < count; ++h) {
    largest[h] = factor * one_product(query + h * dim, own, 0, dim, kind);
    total[h] = 1.0f;
    for (int d = 0; d < dim; d += 8)
      _mm256_storeu_ps(out + h * dim + d, kv_load(own, dim + d, kind));
  }
  for (i64 first = 0; first < length; first += POSITIONS) {
    const i64 here = length - first < POSITIONS ? length - first : POSITIONS;
    for (i64 h = 0; h < count; ++h) {
      const float* q = query + h * dim;
      float* o = out + h * dim;
      i64 p = 0;
      for (; p + 4 <= here; p += 4)
        _mm_store_ps(scores + p,
                     _mm_mul_ps(_mm_set1_ps(factor),
                                four_products(q, cache, keys + (first + p) * dim, dim, kind)));
      for (; p < here; ++p)
        scores[p] = factor * one_product(q, cache, keys + (first + p) * dim, dim, kind);
      for (; p < POSITIONS; ++p) scores[p] = -INFINITY;
      __m256 top = _mm256_load_ps(scores);
      for (p = 8; p < POSITIONS; p += 8) top = _mm256_max_ps(top, _mm256_load_ps(scores + p));
      const float highest = largest_lane(top);
      if (highest > largest[h]) {
        const float shrink = expf(largest[h] - highest);
        largest[h] = highest;
        total[h] *= shrink;
        const __m256 by = _mm256_set1_ps(shrink);
        for (int d = 0; d < dim; d += 8)
          _mm256_storeu_ps(o + d, _mm256_mul_ps(_mm256_loadu_ps(o + d), by));
      }
      const __m256 offset = _mm256_set1_ps(largest[h]);
      __m256 sum = _mm256_setzero_ps();
      for (p = 0; p < POSITIONS; p += 8) {
        const __m256 e = exponential(_mm256_sub_ps(_mm256_load_ps(scores + p), offset));
        _mm256_store_ps(scores + p, e);
        sum = _mm256_add_ps(sum, e);
      }
      total[h] += sum_lanes(sum);
      // Up to 64 dimensions stay in registers over all positions.
      for (int part = 0; part < dim; part += 64) {
        const int vectors = (dim - part < 64 ? dim - part : 64) / 8;
        __m256 sums[8];
        for (int i = 0; i < vectors; ++i) sums[i] = _mm256_loadu_ps(o + part + 8 * i);
        for (p = 0; p < here; ++p) {
          const __m256 weight = _mm256_set1_ps(scores[p]);
          const i64 value = values + (first + p) * dim + part;
          for (int i = 0; i < vectors; ++i)
            sums[i] = _mm256_fmadd_ps(weight, kv_load(cache, value + 8 * i, kind), sums[i]);
        }
        for (int i = 0; i < vectors; ++i) _mm256_storeu_ps(o + part + 8 * i, sums[i]);
      }
    }
  }
  for (i64 h = 0; h < count; ++h) {
    const __m256 by = _mm256_set1_ps(1.0f / total[h]);
    float* o = out + h * dim;
    for (int d = 0; d < dim; d += 8)
      _mm256_storeu_ps(o + d, _mm256_mul_ps(_mm256_loadu_ps(o + d), by));
  }
}
