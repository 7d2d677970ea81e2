// y = x dequant(weight)^T in whole numbers: INT4 or INT8 codes times 16-bit activations.
//
// A row of x is quantized in chunks of columns, each with its own scale: largest / 32767, so what
// is lost is 2^-16 of a chunk's largest value, less than bfloat16 loses of every value. Products
// and sums inside a chunk are exact; each chunk is then scaled and added up in float32.
//
// Weights lie in blocks of 16 rows, and of a block for every eight successive columns k:
//
//   INT4   16 words of 32 bits, one for each row, as in a model folder: column k + i in nibble i
//   INT8   4 times 16 pairs of bytes: columns k + i and k + i + 4 of each row, i = 0..3
//
// Masked with 0x000f'000f a word gives columns k and k + 4, and so on; so x lies in the order
// 0 4 1 5 2 6 3 7 too. INT4 codes are 0..15 and mean code - 8: eight times the sum of x is taken
// away first. A chunk's sum holds in 32 bits: 256 columns * 127 * 32767 < 2^31.
#pragma once
#include <math.h>

#include "vector.h"

enum { SCALE_F32 = 0, SCALE_F16 = 1, SCALE_BF16 = 2 };

enum { MAX_ROWS = 4 };  // of x at a time: their sums stay in registers

struct linear {
  const void* codes;
  const void* scales;  // [n / 16][k / scale_columns][16]
  const float* bias;   // [n], or null
  i64 n;               // rows, a multiple of 16
  i64 k;
  i64 scale_columns;  // columns that share a scale, a multiple of `chunk`
  i64 chunk;          // 32 to 256, a multiple of 8
  i64 bits;           // 4 or 8
  i64 scale_kind;
};

struct quantized {
  int16_t* values;  // [m][k]
  float* scales;    // [m][k / chunk]
  int32_t* sums;    // [m][k / chunk], of the chunk's values
};

INLINE void quantize_chunk(const float* x, i64 count, int16_t* values, float* scale,
                           int32_t* total) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  __m256 largest = _mm256_setzero_ps(), is_nan = largest;  // a maximum loses NaN
  for (i64 i = 0; i < count; i += 8) {
    const __m256 v = _mm256_loadu_ps(x + i);
    largest = _mm256_max_ps(largest, _mm256_andnot_ps(sign, v));
    is_nan = _mm256_or_ps(is_nan, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  }
  const float top = _mm256_movemask_ps(is_nan) ? NAN : largest_lane(largest);
  const float step = top / 32767.0f;
  // A chunk of values too small to divide by is a chunk of zeros.
  const __m256 inverse = _mm256_set1_ps(step >= 1.17549435e-38f ? 1.0f / step : 0.0f);
  __m128i sum = _mm_setzero_si128();
  for (i64 i = 0; i < count; i += 8) {
    const __m256i v = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i), inverse));
    const __m128i eight =
        _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    const __m128i ordered = _mm_unpacklo_epi16(eight, _mm_unpackhi_epi64(eight, eight));
    _mm_storeu_si128((__m128i*)(values + i), ordered);
    sum = _mm_add_epi32(sum, _mm_madd_epi16(ordered, _mm_set1_epi16(1)));
  }
  const __m128i two = _mm_add_epi32(sum, _mm_unpackhi_epi64(sum, sum));
  *total = _mm_cvtsi128_si32(two) + _mm_extract_epi32(two, 1);
  *scale = step;
}

INLINE tile_f load_scale(const char* at, i64 row, i64 kind) {
  if (kind == SCALE_F16) return tile_load_f16((const uint16_t*)at + row);
  if (kind == SCALE_BF16) return tile_load_bf16((const uint16_t*)at + row);
  return tile_load_f32((const float*)at + row);
}

// A block times rows first .. first + M of x: y[M][BLOCK_ROWS].
INLINE void multiply_tiles(const struct linear* w, i64 block, const struct quantized* x, i64 first,
                           const int M, const int bits, float* y) {
  enum { T = BLOCK_ROWS / TILE_ROWS };
  const i64 k = w->k, chunk = w->chunk, chunks = k / chunk, scales = k / w->scale_columns;
  const i64 per_scale = w->scale_columns / chunk, scale_kind = w->scale_kind;
  const i64 stride = bits == 4 ? 4 * BLOCK_ROWS : 8 * BLOCK_ROWS;  // bytes of eight columns
  const i64 pairs = 2 * BLOCK_ROWS;                                // bytes of two columns, INT8
  const char* codes = (const char*)w->codes + block * (k / 8) * stride;
  const char* scale_at = (const char*)w->scales;
  const i64 scale_bytes = scale_kind == SCALE_F32 ? 4 : 2;
  scale_at += block * scales * BLOCK_ROWS * scale_bytes;
  const int16_t* values = x->values + first * k;
  const float* x_scales = x->scales + first * chunks;
  const int32_t* x_sums = x->sums + first * chunks;
  tile_f total[T][MAX_ROWS];
  for (int t = 0; t < T; ++t)
    for (int m = 0; m < M; ++m) total[t][m] = tile_zero();
  for (i64 s = 0; s < scales; ++s, scale_at += BLOCK_ROWS * scale_bytes) {
    tile_f scale[T];
    for (int t = 0; t < T; ++t) scale[t] = load_scale(scale_at, t * TILE_ROWS, scale_kind);
    for (i64 c = 0; c < per_scale; ++c, ++x_scales, ++x_sums) {
      tile_i sum[T][MAX_ROWS];
      for (int t = 0; t < T; ++t)
        for (int m = 0; m < M; ++m) sum[t][m] = tile_set(bits == 4 ? -8 * x_sums[m * chunks] : 0);
      for (const int16_t* end = values + chunk; values != end; values += 8, codes += stride) {
        fetch_ahead(codes);
        if (bits == 8) fetch_ahead(codes + CACHE_LINE);
        for (int t = 0; t < T; ++t) {
          tile_i a, b, d, e;
          if (bits == 4) {
            const tile_i word = tile_load(codes + 4 * t * TILE_ROWS);
            a = tile_low_codes(word), b = tile_low_codes(tile_shifted(word, 4));
            d = tile_low_codes(tile_shifted(word, 8)), e = tile_shifted(word, 12);
          } else {
            const char* of_row = codes + 2 * t * TILE_ROWS;
            a = tile_widen_bytes(of_row), b = tile_widen_bytes(of_row + pairs);
            d = tile_widen_bytes(of_row + 2 * pairs), e = tile_widen_bytes(of_row + 3 * pairs);
          }
          for (int m = 0; m < M; ++m) {
            const int16_t* v = values + m * k;
            sum[t][m] = tile_multiply_add(sum[t][m], a, pair_load(v));
            sum[t][m] = tile_multiply_add(sum[t][m], b, pair_load(v + 2));
            sum[t][m] = tile_multiply_add(sum[t][m], d, pair_load(v + 4));
            sum[t][m] = tile_multiply_add(sum[t][m], e, pair_load(v + 6));
          }
        }
      }
      for (int t = 0; t < T; ++t)
        for (int m = 0; m < M; ++m)
          total[t][m] = tile_scale_add(total[t][m], sum[t][m], scale[t], x_scales[m * chunks]);
    }
  }
  for (int t = 0; t < T; ++t)
    for (int m = 0; m < M; ++m) tile_store(y + m * BLOCK_ROWS + t * TILE_ROWS, total[t][m]);
}

INLINE void multiply_rows_of(const struct linear* w, i64 block, const struct quantized* x,
                             i64 first, i64 count, const int bits, float* y) {
  if (count == 1) multiply_tiles(w, block, x, first, 1, bits, y);
  if (count == 2) multiply_tiles(w, block, x, first, 2, bits, y);
  if (count == 3) multiply_tiles(w, block, x, first, 3, bits, y);
  if (count == 4) multiply_tiles(w, block, x, first, 4, bits, y);
}

// Up to MAX_ROWS rows of x, from `first` on: y[count][BLOCK_ROWS]. Not inlined: it is compiled
// once.
static __attribute__((noinline)) void multiply_block(const struct linear* w, i64 block,
                                                     const struct quantized* x, i64 first,
                                                     i64 count, float* y) {
  if (w->bits == 4)
    multiply_rows_of(w, block, x, first, count, 4, y);
  else
    multiply_rows_of(w, block, x, first, count, 8, y);
}
