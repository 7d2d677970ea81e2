// A decode step on the processor: one token for each of T slots, any number of layers in one call.
//
//   s = alpha * stream + inner_norm(delta);  x = norm(s);  stream = s, or x     (norm.cu says why)
//   x -> QKV -> rotary positions, append, attention -> output = delta -> norm -> up, gated -> down
//
// Threads are those of the OpenMP runtime that torch has started already: a second set of threads
// would fight the first for the processors. Its functions come in as addresses, so this file needs
// no OpenMP to be compiled. Threads meet five times a layer; what is less work than a meeting,
// every thread does for itself. Whatever their number, the bits are the same: who computes a value
// has no part in how it is computed.
#include <stdlib.h>

#include "attention.h"
#include "linear.h"

enum { ACTIVATION_NONE = 0, ACTIVATION_GELU = 1, ACTIVATION_GELU_TANH = 2, ACTIVATION_SILU = 3 };
enum { GATING_NONE = 0, GATING_GATE_UP = 1, GATING_UP_GATE = 2 };

struct team {
  void (*parallel)(void (*)(void*), void*, unsigned, unsigned);  // GOMP_parallel
  void (*barrier)(void);                                         // GOMP_barrier
  int (*thread)(void);                                           // omp_get_thread_num
  int (*count)(void);                                            // omp_get_num_threads
};

struct norm {
  const float* weight;
  const float* bias;          // null for RMSNorm
  const float* inner_weight;  // RMSNorm of what is added, or null
};

struct head_norms {  // RMSNorm of each query and key head before it turns (Qwen3), or null
  const float *query, *key;
  float epsilon;
};

struct layer {
  struct norm input, post;
  struct head_norms heads;
  struct linear query_key_value, output, up, down;
};

struct model {
  struct heads heads;
  i64 width, inner;  // of the stream; of what `down` reads
  i64 max_length, kv_kind;
  i64 is_rms, keeps_sum, activation, gating;
  float epsilon, alpha;
};

// What a step works on, all of T rows. has_stream: 0 before the first layer. streams: a norm reads
// one and writes the other, since threads are not equally fast. own: memory that each thread has
// for itself, own_bytes apart.
struct state {
  i64 tokens, has_stream;
  float* streams[2];       // [T, width]
  float *delta, *x;        // [T, width]
  float *mixed, *context;  // [T, QKV], [T, H * D]
  float* inner;            // [T, inner]
  const float *cos, *sin;  // [T, D]
  char** blocks;           // of each slot, memory [num_layers, 2, G, max_length, D]
  const i64* lengths;      // tokens that each holds already
  char* own;
  i64 own_bytes;
};

struct work {
  const struct team* team;
  // For layers first .. first + count of a model.
  const struct model* model;
  const struct layer* layers;
  const struct state* state;
  i64 first, count;
  // For a product alone.
  const struct linear* linear;
  const float* x;
  float* y;
  i64 rows;
  struct quantized quantized;
};

// --- threads
// --------------------------------------------------------------------------------------

struct part {
  i64 first, last;
};

// Thread `thread` of `count` has items first..last of `total`.
INLINE struct part part_of(i64 total, i64 thread, i64 count) {
  return (struct part){total * thread / count, total * (thread + 1) / count};
}

// Who computes what, inside a parallel region.
struct place {
  i64 thread, count;
  void (*barrier)(void);
};

INLINE struct place enter(const struct team* team) {
  struct place place = {0, 1, 0};
  if (team->parallel) {
    place.thread = team->thread();
    place.count = team->count();
    place.barrier = team->barrier;
  }
  return place;
}

INLINE void meet(const struct place* place) {
  if (place->count > 1) place->barrier();
}

static void run(const struct team* team, i64 threads, void (*region)(void*), struct work* work) {
  static const struct team alone = {0, 0, 0, 0};
  work->team = team->parallel && threads > 1 ? team : &alone;
  if (work->team == &alone)
    region(work);
  else
    team->parallel(region, work, (unsigned)threads, 0);
}

// --- norm
// -----------------------------------------------------------------------------------------

INLINE float mean_of(const float* x, i64 width) {
  __m256 a = _mm256_setzero_ps(), b = a;
  i64 i = 0;
  for (; i + 16 <= width; i += 16) {
    a = _mm256_add_ps(a, _mm256_loadu_ps(x + i));
    b = _mm256_add_ps(b, _mm256_loadu_ps(x + i + 8));
  }
  float sum = sum_lanes(_mm256_add_ps(a, b));
  for (; i < width; ++i) sum += x[i];
  return sum / (float)width;
}

// 1 / sqrt(mean of (x - mean)^2 + epsilon)
INLINE float inverse_deviation(const float* x, i64 width, float mean, float epsilon) {
  __m256 a = _mm256_setzero_ps(), b = a;
  const __m256 m = _mm256_set1_ps(mean);
  i64 i = 0;
  for (; i + 16 <= width; i += 16) {
    const __m256 u = _mm256_sub_ps(_mm256_loadu_ps(x + i), m);
    const __m256 v = _mm256_sub_ps(_mm256_loadu_ps(x + i + 8), m);
    a = _mm256_fmadd_ps(u, u, a);
    b = _mm256_fmadd_ps(v, v, b);
  }
  float sum = sum_lanes(_mm256_add_ps(a, b));
  for (; i < width; ++i) sum += (x[i] - mean) * (x[i] - mean);
  return 1.0f / sqrtf(sum / (float)width + epsilon);
}

// Row `row` of norm(alpha * stream + delta) to y, and to `stream`, if given, the stream after it.
static void norm_row(const struct model* model, const struct norm* norm, const struct state* state,
                     int from, i64 row, float* restrict y, float* restrict stream) {
  const i64 width = model->width;
  const float* before = state->streams[from] + row * width;
  const float* delta = state->delta + row * width;
  const float* inner = norm->inner_weight;
  if (inner) {
    const float by = inverse_deviation(delta, width, 0.0f, model->epsilon);
    for (i64 i = 0; i < width; ++i) y[i] = delta[i] * by * inner[i];
  } else {
    memcpy(y, delta, width * sizeof *y);
  }
  if (state->has_stream)
    for (i64 i = 0; i < width; ++i) y[i] += model->alpha * before[i];
  if (stream && model->keeps_sum) memcpy(stream, y, width * sizeof *y);
  const float mean = model->is_rms ? 0.0f : mean_of(y, width);
  const float by = inverse_deviation(y, width, mean, model->epsilon);
  for (i64 i = 0; i < width; ++i) y[i] = (y[i] - mean) * by * norm->weight[i];
  if (norm->bias)
    for (i64 i = 0; i < width; ++i) y[i] += norm->bias[i];
  if (stream && !model->keeps_sum) memcpy(stream, y, width * sizeof *y);
}

// --- rows of x in 16 bits
// -------------------------------------------------------------------------

INLINE void quantize_row(const float* x, const struct linear* w, i64 row,
                         const struct quantized* out) {
  const i64 chunks = w->k / w->chunk;
  for (i64 c = 0; c < chunks; ++c)
    quantize_chunk(x + c * w->chunk, w->chunk, out->values + row * w->k + c * w->chunk,
                   out->scales + row * chunks + c, out->sums + row * chunks + c);
}

// Where a thread keeps the step's rows for `w`: in its own memory, behind so many floats.
INLINE struct quantized own_rows(const struct place* place, const struct state* state,
                                 const struct linear* w, i64 floats) {
  char* own = state->own + place->thread * state->own_bytes + floats * 4;
  const i64 chunks = state->tokens * (w->k / w->chunk);
  return (struct quantized){(int16_t*)(own + 8 * chunks), (float*)own,
                            (int32_t*)(own + 4 * chunks)};
}

static struct quantized quantize_rows(const struct place* place, const struct state* state,
                                      const float* x, const struct linear* w) {
  const struct quantized out = own_rows(place, state, w, 0);
  for (i64 row = 0; row < state->tokens; ++row) quantize_row(x + row * w->k, w, row, &out);
  return out;
}

// The norm's rows; reads streams[from], and the first thread writes the other.
static struct quantized norm_rows(const struct place* place, const struct model* model,
                                  const struct norm* norm, const struct state* state, int from,
                                  const struct linear* w) {
  const struct quantized out = own_rows(place, state, w, model->width);
  float* y = (float*)(state->own + place->thread * state->own_bytes);
  for (i64 row = 0; row < state->tokens; ++row) {
    float* stream = place->thread ? 0 : state->streams[!from] + row * model->width;
    norm_row(model, norm, state, from, row, y, stream);
    quantize_row(y, w, row, &out);
  }
  return out;
}

// --- linears
// --------------------------------------------------------------------------------------

INLINE void add_bias(const struct linear* w, i64 block, i64 count, float* y) {
  if (!w->bias) return;
  const float* bias = w->bias + block * BLOCK_ROWS;
  for (i64 m = 0; m < count; ++m)
    for (int i = 0; i < BLOCK_ROWS; ++i) y[m * BLOCK_ROWS + i] += bias[i];
}

static void multiply(const struct place* place, const struct linear* w, const struct quantized* x,
                     i64 rows, float* y) {
  const struct part blocks = part_of(w->n / BLOCK_ROWS, place->thread, place->count);
  float tile[MAX_ROWS * BLOCK_ROWS];
  for (i64 block = blocks.first; block < blocks.last; ++block)
    for (i64 first = 0; first < rows; first += MAX_ROWS) {
      const i64 count = rows - first < MAX_ROWS ? rows - first : MAX_ROWS;
      multiply_block(w, block, x, first, count, tile);
      add_bias(w, block, count, tile);
      for (i64 m = 0; m < count; ++m)
        memcpy(y + (first + m) * w->n + block * BLOCK_ROWS, tile + m * BLOCK_ROWS,
               BLOCK_ROWS * sizeof *y);
    }
}

INLINE __m256 activated(__m256 v, i64 activation) {
  const __m256 half = _mm256_mul_ps(v, _mm256_set1_ps(0.5f));
  if (activation == ACTIVATION_SILU) return silu(v);
  if (activation == ACTIVATION_GELU)
    return _mm256_fmadd_ps(half, error_function(_mm256_mul_ps(v, _mm256_set1_ps(0.70710678f))),
                           half);
  if (activation == ACTIVATION_GELU_TANH) {
    // 0.5 v (1 + tanh(u)) = v / (1 + e^-2u)
    const __m256 cubic = _mm256_mul_ps(_mm256_mul_ps(v, v), _mm256_set1_ps(0.044715f));
    const __m256 u = _mm256_mul_ps(_mm256_fmadd_ps(cubic, v, v), _mm256_set1_ps(0.79788456f));
    const __m256 below = exponential(_mm256_mul_ps(u, _mm256_set1_ps(-2.0f)));
    return _mm256_div_ps(v, _mm256_add_ps(_mm256_set1_ps(1.0f), below));
  }
  return v;
}

static void multiply_gated(const struct place* place, const struct model* model,
                           const struct linear* w, const struct quantized* x, i64 rows, float* y) {
  const i64 inner = model->inner, half = inner / BLOCK_ROWS;
  const struct part blocks = part_of(half, place->thread, place->count);
  float tile[MAX_ROWS * BLOCK_ROWS], other[MAX_ROWS * BLOCK_ROWS];
  for (i64 block = blocks.first; block < blocks.last; ++block)
    for (i64 first = 0; first < rows; first += MAX_ROWS) {
      const i64 count = rows - first < MAX_ROWS ? rows - first : MAX_ROWS;
      multiply_block(w, block, x, first, count, tile);
      add_bias(w, block, count, tile);
      if (model->gating != GATING_NONE) {
        multiply_block(w, block + half, x, first, count, other);
        add_bias(w, block + half, count, other);
      }
      for (i64 m = 0; m < count; ++m) {
        float* v = tile + m * BLOCK_ROWS;
        float* u = other + m * BLOCK_ROWS;
        float* out = y + (first + m) * inner + block * BLOCK_ROWS;
        const float* gate = model->gating == GATING_UP_GATE ? u : v;
        const float* up = model->gating == GATING_UP_GATE ? v : u;
        for (int i = 0; i < BLOCK_ROWS; i += 8) {
          const __m256 g = activated(_mm256_loadu_ps(gate + i), model->activation);
          _mm256_storeu_ps(out + i, model->gating == GATING_NONE
                                        ? g
                                        : _mm256_mul_ps(g, _mm256_loadu_ps(up + i)));
        }
      }
    }
}

// --- attention
// ------------------------------------------------------------------------------------

// A head turned by its position, normalized before where there is a weight.
static void turn_head(const float* x, const float* weight, float epsilon, const float* cos,
                      const float* sin, i64 dim, i64 pair, float* restrict y) {
  float normed[MAX_HEAD_DIM];
  if (weight) {
    const float by = inverse_deviation(x, dim, 0.0f, epsilon);
    for (i64 d = 0; d < dim; ++d) normed[d] = x[d] * by * weight[d];
    x = normed;
  }
  rotate(x, cos, sin, dim, pair, y);
}

#define ATTEND(dim, kind) attend(query, count, cache, keys, values, length, own, dim, kind, out)

// Heads are shared out one by one; whoever has the first of a group appends its key and value. All
// who have others of the group turn the key once more for themselves.
static void attend_heads(const struct place* place, const struct model* model,
                         const struct head_norms* norms, const struct state* state, i64 layer) {
  const struct heads* h = &model->heads;
  const i64 dim = h->head_dim, groups = h->num_kv_heads, shared = h->num_heads / groups;
  const i64 row_width = (h->num_heads + 2 * groups) * dim;
  const int kind = (int)model->kv_kind;
  const struct part part = part_of(state->tokens * h->num_heads, place->thread, place->count);
  float query[MAX_SHARED * MAX_HEAD_DIM], key[MAX_HEAD_DIM], own[2 * MAX_HEAD_DIM];
  i64 at = part.first;
  while (at < part.last) {
    const i64 token = at / h->num_heads, first = at % h->num_heads, group = first / shared;
    i64 count = (group + 1) * shared - first;  // the rest of the group, or of what is ours
    if (count > part.last - at) count = part.last - at;
    if (count > MAX_SHARED) count = MAX_SHARED;
    const float* row = state->mixed + token * row_width;
    const float *cos = state->cos + token * dim, *sin = state->sin + token * dim;
    for (i64 i = 0; i < count; ++i)
      turn_head(row + (first + i) * h->q_stride, norms->query, norms->epsilon, cos, sin, dim,
                h->pair, query + i * dim);
    turn_head(row + h->k_offset + group * h->k_stride, norms->key, norms->epsilon, cos, sin, dim,
              h->pair, key);
    const float* value = row + h->v_offset + group * h->v_stride;
    kv_store(own, 0, key, dim, kind);
    kv_store(own, dim, value, dim, kind);
    char* cache = state->blocks[token];
    const i64 length = state->lengths[token];
    const i64 keys = (layer * 2 * groups + group) * model->max_length * dim;
    const i64 values = keys + groups * model->max_length * dim;
    if (first == group * shared) {
      kv_store(cache, keys + length * dim, key, dim, kind);
      kv_store(cache, values + length * dim, value, dim, kind);
    }
    float* out = state->context + (token * h->num_heads + first) * dim;
    if (kind == KV_F16)
      ATTEND((int)dim, KV_F16);
    else if (kind == KV_BF16)
      ATTEND((int)dim, KV_BF16);
    else if (dim == 64)
      ATTEND(64, KV_F32);
    else if (dim == 128)
      ATTEND(128, KV_F32);
    else
      ATTEND((int)dim, KV_F32);
    at += count;
  }
}

// --- what is called
// -------------------------------------------------------------------------------

static void pass_layer(const struct place* place, const struct model* model,
                       const struct layer* layer, i64 index, struct state* state) {
  const i64 rows = state->tokens;
  struct quantized q = norm_rows(place, model, &layer->input, state, 0, &layer->query_key_value);
  multiply(place, &layer->query_key_value, &q, rows, state->mixed);
  meet(place);
  attend_heads(place, model, &layer->heads, state, index);
  meet(place);
  q = quantize_rows(place, state, state->context, &layer->output);
  multiply(place, &layer->output, &q, rows, state->delta);
  meet(place);
  state->has_stream = 1;
  q = norm_rows(place, model, &layer->post, state, 1, &layer->up);
  multiply_gated(place, model, &layer->up, &q, rows, state->inner);
  meet(place);
  q = quantize_rows(place, state, state->inner, &layer->down);
  multiply(place, &layer->down, &q, rows, state->delta);
  meet(place);
}

static void layers_region(void* argument) {
  const struct work* work = argument;
  const struct place place = enter(work->team);
  struct state state = *work->state;
  for (i64 i = work->first; i < work->first + work->count; ++i)
    pass_layer(&place, work->model, work->layers + i, i, &state);
}

// Layers first .. first + count. state->own has memory for so many threads.
void bilin_step_layers(const struct team* team, i64 threads, const struct model* model,
                       const struct layer* layers, i64 first, i64 count,
                       const struct state* state) {
  struct work work = {
      .model = model, .layers = layers, .first = first, .count = count, .state = state};
  run(team, threads, layers_region, &work);
}

// The last norm: into state->x.
void bilin_step_norm(const struct model* model, const struct norm* norm,
                     const struct state* state) {
  for (i64 row = 0; row < state->tokens; ++row)
    norm_row(model, norm, state, 0, row, state->x + row * model->width, 0);
}

static void linear_region(void* argument) {
  const struct work* work = argument;
  const struct linear* w = work->linear;
  const struct place place = enter(work->team);
  const struct part rows = part_of(work->rows, place.thread, place.count);
  for (i64 row = rows.first; row < rows.last; ++row)
    quantize_row(work->x + row * w->k, w, row, &work->quantized);
  meet(&place);
  multiply(&place, w, &work->quantized, work->rows, work->y);
}

// y[rows, n] = x[rows, k] dequant(w)^T + bias. Returns 1 if there is no memory for x in 16 bits.
int bilin_linear(const struct team* team, i64 threads, const struct linear* w, const float* x,
                 float* y, i64 rows) {
  const i64 chunks = rows * (w->k / w->chunk);
  struct work work = {.linear = w, .x = x, .y = y, .rows = rows};
  char* memory = malloc((size_t)(rows * w->k * 2 + chunks * 8));
  if (!memory) return 1;
  work.quantized.scales = (float*)memory;
  work.quantized.sums = (int32_t*)(memory + chunks * 4);
  work.quantized.values = (int16_t*)(memory + chunks * 8);
  run(team, threads, linear_region, &work);
  free(memory);
  return 0;
}

static void read_region(void* argument) {
  const struct work* work = argument;
  const struct place place = enter(work->team);
  const struct part own = part_of(work->rows / (2 * CACHE_LINE), place.thread, place.count);
  const char* at = (const char*)work->x;
  __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
  for (i64 i = own.first; i < own.last; ++i) {
    const char* lines = at + 2 * CACHE_LINE * i;
    const __m256i* v = (const __m256i*)lines;
    fetch_ahead(lines);
    fetch_ahead(lines + CACHE_LINE);
    a = _mm256_or_si256(a, _mm256_loadu_si256(v));
    b = _mm256_or_si256(b, _mm256_loadu_si256(v + 1));
    c = _mm256_or_si256(c, _mm256_loadu_si256(v + 2));
    d = _mm256_or_si256(d, _mm256_loadu_si256(v + 3));
  }
  const __m256i all = _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d));
  work->y[place.thread] = (float)_mm256_testz_si256(all, all);
}

// Reads `bytes` and does no more: what memory delivers. sink: one float for each thread.
void bilin_read(const struct team* team, i64 threads, const void* bytes, i64 count, float* sink) {
  struct work work = {.x = bytes, .y = sink, .rows = count};
  run(team, threads, read_region, &work);
}
