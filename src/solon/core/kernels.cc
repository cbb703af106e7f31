// Work for XLA on an x86 CPU, where its own programs are far from what the machine gives (docs/design/018): one row times a matrix of
// 4-bit codes (core/quantise.py, Int4), a few dozen rows times a bf16 matrix that lies in the order of reading, and attention of one
// new token a row over bf16 keys and values. Built by core/kernels.py on the machine that runs it.

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

constexpr int64_t HALF = 32;               // a byte holds weight i and weight i + 32 of a block of 64
constexpr int64_t ALONE = int64_t{1} << 18;  // fewer codes are left to one thread: a guess, not tuned

#if defined(__AVX512F__)

constexpr int64_t LANES = 16;
using Floats = __m512;
using Codes = __m512i;

struct Table {
  __m512 levels;
  explicit Table(const float* at) : levels(_mm512_loadu_ps(at)) {}
  Floats low(Codes c) const { return _mm512_permutexvar_ps(c, levels); }  // looks at the lowest four bits only
  Floats high(Codes c) const { return _mm512_permutexvar_ps(_mm512_srli_epi32(c, 4), levels); }
};

inline Floats zero() { return _mm512_setzero_ps(); }
inline Floats all(float x) { return _mm512_set1_ps(x); }
inline Floats read(const float* at) { return _mm512_loadu_ps(at); }
inline void write(float* at, Floats x) { _mm512_storeu_ps(at, x); }
inline Floats add_product(Floats x, Floats y, Floats to) { return _mm512_fmadd_ps(x, y, to); }
inline Codes widen(const uint8_t* at) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}

#elif defined(__AVX2__) && defined(__FMA__)

constexpr int64_t LANES = 8;
using Floats = __m256;
using Codes = __m256i;

struct Table {
  __m256 first, second;
  explicit Table(const float* at) : first(_mm256_loadu_ps(at)), second(_mm256_loadu_ps(at + 8)) {}
  Floats chosen(Codes c) const {  // the lowest three bits choose within a half, the fourth, moved to the sign, the half
    const __m256 side = _mm256_castsi256_ps(_mm256_slli_epi32(c, 28));
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(first, c), _mm256_permutevar8x32_ps(second, c), side);
  }
  Floats low(Codes c) const { return chosen(c); }
  Floats high(Codes c) const { return chosen(_mm256_srli_epi32(c, 4)); }
};

inline Floats zero() { return _mm256_setzero_ps(); }
inline Floats all(float x) { return _mm256_set1_ps(x); }
inline Floats read(const float* at) { return _mm256_loadu_ps(at); }
inline void write(float* at, Floats x) { _mm256_storeu_ps(at, x); }
inline Floats add_product(Floats x, Floats y, Floats to) { return _mm256_fmadd_ps(x, y, to); }
inline Codes widen(const uint8_t* at) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
}

#else
#error "no vector unit that this kernel knows: the plain product is used instead"
#endif

constexpr int64_t MOST = 8;              // vectors of one strip: their sums stay in registers
constexpr int64_t STRIP = MOST * LANES;  // outputs that are made together

struct Row {
  const float* x;          // [blocks 64]
  const uint8_t* codes;    // [blocks 32 outs]
  const float* largest;    // [blocks 1 outs]
  const float* levels;     // [16]
  float* out;              // [outs]
  int64_t blocks, outs;
};

// Outputs [from, from + COUNT * LANES).
template <int64_t COUNT>
void strip(const Row& row, int64_t from) {
  const Table table(row.levels);
  Floats total[COUNT];
  for (auto& sum : total) sum = zero();
  for (int64_t block = 0; block < row.blocks; ++block) {
    Floats part[COUNT];
    for (auto& sum : part) sum = zero();
    const float* x = row.x + block * 2 * HALF;
    const uint8_t* codes = row.codes + block * HALF * row.outs + from;
    for (int64_t i = 0; i < HALF; ++i, codes += row.outs) {
      const Floats low = all(x[i]), high = all(x[i + HALF]);
      for (int64_t v = 0; v < COUNT; ++v) {
        const Codes both = widen(codes + v * LANES);
        part[v] = add_product(table.low(both), low, part[v]);
        part[v] = add_product(table.high(both), high, part[v]);
      }
    }
    const float* largest = row.largest + block * row.outs + from;
    for (int64_t v = 0; v < COUNT; ++v) total[v] = add_product(part[v], read(largest + v * LANES), total[v]);
  }
  for (int64_t v = 0; v < COUNT; ++v) write(row.out + from + v * LANES, total[v]);
}

// What is left over behind the last whole vector.
void single(const Row& row, int64_t at) {
  float total = 0;
  for (int64_t block = 0; block < row.blocks; ++block) {
    float part = 0;
    for (int64_t i = 0; i < HALF; ++i) {
      const uint8_t both = row.codes[(block * HALF + i) * row.outs + at];
      part += row.levels[both & 15] * row.x[block * 2 * HALF + i] + row.levels[both >> 4] * row.x[block * 2 * HALF + HALF + i];
    }
    total += part * row.largest[block * row.outs + at];
  }
  row.out[at] = total;
}

void outputs(const Row& row, int64_t from) {
  const int64_t end = std::min(from + STRIP, row.outs);
  if (end - from == STRIP) return strip<MOST>(row, from);
  for (; from + LANES <= end; from += LANES) strip<1>(row, from);
  for (; from < end; ++from) single(row, from);
}

struct Work {
  std::atomic<int64_t> next{0}, done{0};
};

// `part(0)` to `part(parts - 1)`, by this thread and, where the work is worth it, by those of the pool.
template <typename Part>
void share(ffi::ThreadPool& pool, int64_t parts, int64_t worth, Part part) {
  auto work = std::make_shared<Work>();  // a thread that comes too late still looks at it
  auto take = [=]() {
    for (;;) {
      const int64_t mine = work->next.fetch_add(1);
      if (mine >= parts) return;
      part(mine);
      work->done.fetch_add(1, std::memory_order_release);
    }
  };
  if (worth >= ALONE)
    for (int64_t helpers = std::min(pool.num_threads(), parts) - 1; helpers > 0; --helpers) pool.Schedule([take]() { take(); });
  take();
  // Only parts that a helper is at work on are waited for, never one that has not begun: a full pool cannot block it.
  while (work->done.load(std::memory_order_acquire) < parts) _mm_pause();
}

// Each output is summed by one thread in one order, so the result does not depend on who takes which strip.
ffi::Error multiply(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::U8> codes, ffi::Buffer<ffi::F32> largest,
                    ffi::Buffer<ffi::F32> levels, ffi::ResultBuffer<ffi::F32> out) {
  const auto shape = codes.dimensions();
  if (shape.size() != 3) return ffi::Error::InvalidArgument("codes need three axes");
  const Row row{x.typed_data(),   codes.typed_data(), largest.typed_data(), levels.typed_data(),
                out->typed_data(), shape[0],           shape[2]};
  const bool fits = shape[1] == HALF && x.element_count() == static_cast<size_t>(row.blocks * 2 * HALF) &&
                    largest.element_count() == static_cast<size_t>(row.blocks * row.outs) && levels.element_count() == 16 &&
                    out->element_count() == static_cast<size_t>(row.outs);
  if (!fits) return ffi::Error::InvalidArgument("expected x [blocks 64], codes [blocks 32 outs], largest [blocks 1 outs]");
  const int64_t strips = (row.outs + STRIP - 1) / STRIP;
  share(pool, strips, row.blocks * HALF * row.outs, [=](int64_t mine) { outputs(row, mine * STRIP); });
  return ffi::Error::Success();
}

#if defined(__AVX512BF16__)

constexpr int64_t WIDE = 2 * LANES, TALL = 12;  // outputs and rows whose sums stay in registers

// The first so many lanes.
inline __mmask16 first(int64_t lanes) { return static_cast<__mmask16>((1u << std::clamp<int64_t>(lanes, 0, LANES)) - 1); }

struct Rows {
  const uint32_t* x;       // [rows pairs]: two bf16 inputs each
  const uint32_t* panels;  // [panels pairs 32]: two bf16 weights of one output each
  float* out;              // [rows outs]
  int64_t rows, pairs, outs, panels_count;
};

// Rows [from, from + COUNT) times one panel. Sums run over the inputs from first to last, as XLA's own tiles do.
template <int64_t COUNT>
void tile(const Rows& all, int64_t from, int64_t panel) {
  __m512 sum[COUNT][2];
  for (auto& row : sum) row[0] = row[1] = _mm512_setzero_ps();
  const uint32_t* x = all.x + from * all.pairs;
  const uint32_t* weights = all.panels + panel * all.pairs * WIDE;
  for (int64_t k = 0; k < all.pairs; ++k, weights += WIDE) {
    const __m512bh low = (__m512bh)_mm512_loadu_si512(weights), high = (__m512bh)_mm512_loadu_si512(weights + LANES);
    for (int64_t r = 0; r < COUNT; ++r) {
      const __m512bh pair = (__m512bh)_mm512_set1_epi32(x[r * all.pairs + k]);
      sum[r][0] = _mm512_dpbf16_ps(sum[r][0], pair, low);
      sum[r][1] = _mm512_dpbf16_ps(sum[r][1], pair, high);
    }
  }
  const int64_t left = std::min(WIDE, all.outs - panel * WIDE);
  for (int64_t r = 0; r < COUNT; ++r) {
    float* to = all.out + (from + r) * all.outs + panel * WIDE;
    _mm512_mask_storeu_ps(to, first(left), sum[r][0]);
    _mm512_mask_storeu_ps(to + LANES, first(left - LANES), sum[r][1]);
  }
}

using Tile = void (*)(const Rows&, int64_t, int64_t);
constexpr Tile TILES[TALL] = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>, tile<7>, tile<8>, tile<9>, tile<10>, tile<11>, tile<12>};

ffi::Error multiply_rows(ffi::ThreadPool pool, ffi::Buffer<ffi::BF16> x, ffi::Buffer<ffi::BF16> panels, ffi::ResultBuffer<ffi::F32> out) {
  const auto lie = panels.dimensions(), from = x.dimensions(), to = out->dimensions();
  const bool fits = lie.size() == 4 && from.size() == 2 && to.size() == 2 && lie[2] == WIDE && lie[3] == 2 && from[1] == 2 * lie[1] &&
                    from[0] == to[0] && lie[0] == (to[1] + WIDE - 1) / WIDE;
  if (!fits) return ffi::Error::InvalidArgument("expected x [rows 2*pairs], panels [outs/32 pairs 32 2], out [rows outs]");
  const Rows all{reinterpret_cast<const uint32_t*>(x.untyped_data()), reinterpret_cast<const uint32_t*>(panels.untyped_data()),
                 out->typed_data(), to[0], lie[1], to[1], lie[0]};
  share(pool, all.panels_count, all.rows * all.pairs * all.outs, [=](int64_t panel) {
    for (int64_t row = 0; row < all.rows; row += TALL) TILES[std::min(TALL, all.rows - row) - 1](all, row, panel);
  });
  return ffi::Error::Success();
}

constexpr int64_t COLUMNS = 4 * LANES;  // of a head, that are made together
constexpr int64_t HEADS = 4;            // query heads of one key head, that share what was read
constexpr float NEVER = -1e30f;

// Tokens in blocks of WIDE, each key's numbers in pairs [blocks size/2 WIDE 2], values with two tokens side by side
// [blocks WIDE/2 size 2]: products of pairs need no sums across lanes, and both lie in the order of reading.
struct Seen {
  const uint32_t *keys, *values;
  int64_t from, to;  // those that count

  int64_t length() const { return from < to ? (to + WIDE - 1) / WIDE * WIDE - from / WIDE * WIDE : 0; }  // in whole blocks
};

inline uint16_t rounded(float x) {  // to the nearest bf16, ties to the even one
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline __m256i rounded(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, odd), _mm512_set1_epi32(0x7fff));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16));
}

// e^x for x <= 0, to some 2 units in the last place: 2^n times a polynomial (Cephes' coefficients) of what is left.
inline __m512 exponential(__m512 x) {
  x = _mm512_max_ps(x, all(-100.0f));  // nothing, once it is rounded
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, all(1.44269504088896341f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 r = _mm512_fnmadd_ps(n, all(-2.12194440e-4f), _mm512_fnmadd_ps(n, all(0.693359375f), x));
  __m512 y = all(1.9875691500e-4f);
  for (const float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
    y = _mm512_fmadd_ps(y, r, all(c));
  y = _mm512_fmadd_ps(y, _mm512_mul_ps(r, r), _mm512_add_ps(r, all(1.0f)));
  return _mm512_scalef_ps(y, n);
}

// Scores of COUNT queries `[COUNT pairs]` with all keys of whole blocks; those that do not count get none.
template <int64_t COUNT>
void compare(const uint32_t* q, int64_t pairs, const Seen& seen, float* scores, int64_t stride) {
  const int64_t begin = seen.from / WIDE;
  for (int64_t block = begin; block * WIDE < seen.to; ++block) {
    __m512 sum[COUNT][2];
    for (auto& row : sum) row[0] = row[1] = zero();
    const uint32_t* keys = seen.keys + block * pairs * WIDE;
    for (int64_t k = 0; k < pairs; ++k, keys += WIDE) {
      const __m512bh low = (__m512bh)_mm512_loadu_si512(keys), high = (__m512bh)_mm512_loadu_si512(keys + LANES);
      for (int64_t g = 0; g < COUNT; ++g) {
        const __m512bh pair = (__m512bh)_mm512_set1_epi32(q[g * pairs + k]);
        sum[g][0] = _mm512_dpbf16_ps(sum[g][0], pair, low);
        sum[g][1] = _mm512_dpbf16_ps(sum[g][1], pair, high);
      }
    }
    for (int64_t half = 0; half < 2; ++half) {
      const int64_t at = block * WIDE + half * LANES;
      const __mmask16 counts = first(seen.to - at) & ~first(seen.from - at);
      for (int64_t g = 0; g < COUNT; ++g)
        write(scores + g * stride + at - begin * WIDE, _mm512_mask_mov_ps(all(NEVER), counts, sum[g][half]));
    }
  }
}

// Scores into weights in bf16, as in training. `count` is a multiple of LANES.
void soften(float* scores, int64_t count, uint16_t* weights) {
  __m512 top = all(NEVER), total = zero();
  for (int64_t j = 0; j < count; j += LANES) top = _mm512_max_ps(top, read(scores + j));
  const __m512 most = all(_mm512_reduce_max_ps(top));
  for (int64_t j = 0; j < count; j += LANES) {
    const __m512 made = exponential(_mm512_sub_ps(read(scores + j), most));
    total = _mm512_add_ps(total, made);
    write(scores + j, made);
  }
  const __m512 whole = all(_mm512_reduce_add_ps(total));
  for (int64_t j = 0; j < count; j += LANES)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(weights + j), rounded(_mm512_div_ps(read(scores + j), whole)));
}

// Values by weights: `out [COUNT size]`.
template <int64_t COUNT>
void mix(const Seen* seen, const uint16_t* weights, int64_t stride, int64_t size, float* out) {
  for (int64_t c = 0; c < size; c += COLUMNS) {
    __m512 sum[COUNT][4];
    __mmask16 mask[4];
    for (int64_t v = 0; v < 4; ++v) {
      mask[v] = first(size - c - v * LANES);
      for (auto& row : sum) row[v] = zero();
    }
    const uint16_t* by = weights;
    for (const Seen* part : {seen, seen + 1}) {
      for (int64_t pair = part->from / WIDE * WIDE / 2; 2 * pair < part->to; ++pair, by += 2) {
        __m512bh value[4];
        for (int64_t v = 0; v < 4; ++v)
          value[v] = (__m512bh)_mm512_maskz_loadu_epi32(mask[v], part->values + pair * size + c + v * LANES);
        for (int64_t g = 0; g < COUNT; ++g) {
          uint32_t both;
          std::memcpy(&both, by + g * stride, sizeof both);
          const __m512bh weight = (__m512bh)_mm512_set1_epi32(both);
          for (int64_t v = 0; v < 4; ++v) sum[g][v] = _mm512_dpbf16_ps(sum[g][v], weight, value[v]);
        }
      }
      by = weights + part->length();
    }
    for (int64_t g = 0; g < COUNT; ++g)
      for (int64_t v = 0; v < 4; ++v) _mm512_mask_storeu_ps(out + g * size + c + v * LANES, mask[v], sum[g][v]);
  }
}

// Up to HEADS query heads of one slot and one key head.
template <int64_t COUNT>
void look(const float* q, int64_t size, const Seen* seen, float* out) {
  thread_local std::vector<float> scores;
  thread_local std::vector<uint16_t> queries, weights;
  const int64_t before = seen[0].length(), whole = before + seen[1].length();
  scores.resize(COUNT * whole);
  weights.resize(COUNT * whole);
  queries.resize(COUNT * size);
  for (int64_t i = 0; i < COUNT * size; ++i) queries[i] = rounded(q[i]);
  const uint32_t* pairs = reinterpret_cast<const uint32_t*>(queries.data());
  compare<COUNT>(pairs, size / 2, seen[0], scores.data(), whole);
  compare<COUNT>(pairs, size / 2, seen[1], scores.data() + before, whole);
  for (int64_t g = 0; g < COUNT; ++g) soften(scores.data() + g * whole, whole, weights.data() + g * whole);
  mix<COUNT>(seen, weights.data(), whole, size, out);
}

using Look = void (*)(const float*, int64_t, const Seen*, float*);
constexpr Look LOOKS[HEADS] = {look<1>, look<2>, look<3>, look<4>};

// Each slot's one new token against the prefix that all share and the slot's own tokens, after its key and value were put at
// their place. Only what is there is read, not the room.
ffi::Error attend(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> q, ffi::Buffer<ffi::F32> k, ffi::Buffer<ffi::F32> v,
                  ffi::Buffer<ffi::U16> keys, ffi::Buffer<ffi::U16> values, ffi::Buffer<ffi::S32> place,
                  ffi::Buffer<ffi::U16> shared_keys, ffi::Buffer<ffi::U16> shared_values, ffi::Buffer<ffi::S32> shared,
                  ffi::ResultBuffer<ffi::F32> out, ffi::ResultBuffer<ffi::U16> new_keys, ffi::ResultBuffer<ffi::U16> new_values,
                  int64_t window) {
  const auto asked = q.dimensions(), lie = keys.dimensions(), turned = values.dimensions(), before = shared_keys.dimensions();
  if (asked.size() != 4 || lie.size() != 6 || turned.size() != 6 || before.size() != 5)
    return ffi::Error::InvalidArgument("expected q [S k g h], keys [S k B h/2 32 2], values [S k B 16 h 2], shared keys [k B h/2 32 2]");
  const int64_t slots = asked[0], heads = asked[1], group = asked[2], size = asked[3], room = lie[2] * WIDE, shared_room = before[1] * WIDE;
  const auto numbers = [&](int64_t tokens) { return static_cast<size_t>(tokens * heads * size); };
  if (lie[0] != slots || lie[1] != heads || 2 * lie[3] != size || lie[4] != WIDE || turned[4] != size || before[0] != heads ||
      k.element_count() != numbers(slots) || v.element_count() != numbers(slots) || keys.element_count() != numbers(slots * room) ||
      values.element_count() != numbers(slots * room) || shared_keys.element_count() != numbers(shared_room) ||
      shared_values.element_count() != numbers(shared_room) || place.element_count() != static_cast<size_t>(slots) ||
      shared.element_count() != 1 || out->element_count() != q.element_count())
    return ffi::Error::InvalidArgument("the shapes of queries, keys and values do not fit each other");
  if (new_keys->typed_data() != keys.typed_data() || new_values->typed_data() != values.typed_data())
    return ffi::Error::InvalidArgument("keys and values are written where they lie");
  const int64_t prefix = std::clamp<int64_t>(shared.typed_data()[0], 0, shared_room);
  const float *queries = q.typed_data(), *fresh_key = k.typed_data(), *fresh_value = v.typed_data();
  uint16_t *own_keys = new_keys->typed_data(), *own_values = new_values->typed_data();
  const uint16_t *all_keys = shared_keys.typed_data(), *all_values = shared_values.typed_data();
  const int32_t* places = place.typed_data();
  float* made = out->typed_data();
  share(pool, slots * heads, slots * heads * room * size, [=](int64_t part) {
    const int64_t head = part % heads, at = std::clamp<int64_t>(places[part / heads], 0, room - 1);
    uint16_t *mine_k = own_keys + part * room * size, *mine_v = own_values + part * room * size;
    for (int64_t i = 0; i < size; ++i) {
      mine_k[at / WIDE * WIDE * size + i / 2 * 2 * WIDE + at % WIDE * 2 + i % 2] = rounded(fresh_key[part * size + i]);
      mine_v[at / 2 * 2 * size + 2 * i + at % 2] = rounded(fresh_value[part * size + i]);
    }
    const int64_t from = window ? std::max<int64_t>(0, prefix + at + 1 - window) : 0, skipped = std::min(from, prefix);
    const auto words = [](const uint16_t* at) { return reinterpret_cast<const uint32_t*>(at); };
    const int64_t theirs = head * shared_room * size;
    const bool none = skipped == prefix;
    const Seen seen[2] = {{words(all_keys + theirs), words(all_values + theirs), none ? 0 : skipped, none ? 0 : prefix},
                          {words(mine_k), words(mine_v), from - skipped, at + 1}};
    for (int64_t g = 0; g < group; g += HEADS) {
      const int64_t place_of = (part * group + g) * size;
      LOOKS[std::min(HEADS, group - g) - 1](queries + place_of, size, seen, made + place_of);
    }
  });
  return ffi::Error::Success();
}

#endif

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(solon_int4_row, multiply,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::U8>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());

#if defined(__AVX512BF16__)
XLA_FFI_DEFINE_HANDLER_SYMBOL(solon_bf16_rows, multiply_rows,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::BF16>>()
                                  .Arg<ffi::Buffer<ffi::BF16>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(solon_attend, attend,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::U16>>()
                                  .Arg<ffi::Buffer<ffi::U16>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::U16>>()
                                  .Arg<ffi::Buffer<ffi::U16>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::U16>>()
                                  .Ret<ffi::Buffer<ffi::U16>>()
                                  .Attr<int64_t>("window"));
#endif
