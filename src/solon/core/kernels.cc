// Products for XLA on an x86 CPU, where its own are far from what the machine gives (docs/design/018): one row times a matrix of
// 4-bit codes (core/quantise.py, Int4), and a few dozen rows times a bf16 matrix that lies in the order of reading. Built by
// core/kernels.py on the machine that runs it.

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>

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
  const auto mask = [](int64_t lanes) { return static_cast<__mmask16>((1u << std::clamp<int64_t>(lanes, 0, LANES)) - 1); };
  for (int64_t r = 0; r < COUNT; ++r) {
    float* to = all.out + (from + r) * all.outs + panel * WIDE;
    _mm512_mask_storeu_ps(to, mask(left), sum[r][0]);
    _mm512_mask_storeu_ps(to + LANES, mask(left - LANES), sum[r][1]);
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
#endif
