#include "kernels/cpu/attention_decode.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/attention_tile.h"

namespace fathom::kernels::cpu {
namespace {

/// (token, head) pairs decoded together: bounds what the sums of a segment occupy.
constexpr int64_t kPairs = 256;
/// Floats a thread merges at least: less is not worth waking it.
constexpr int64_t kMergeGrain = 16384;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/// Cache rows of one partial result. Fixed by the number of heads alone, so that sums are taken in
/// the same order whatever else the call decodes and however many threads there are. More heads
/// make work for threads themselves, and more to merge.
int64_t segment_keys(int64_t heads) {
  return std::clamp<int64_t>(heads / 16 * 512, 512, 2048);
}

/// One head of one token of a [T, H, n] tensor, as a matrix of one row.
template <class View>
View head_row(const View& x_THN, int64_t t, int64_t h) {
  View row = x_THN.slice(0, t, 1).slice(1, h, 1);
  row.rank = 2;
  row.shape = {1, x_THN.shape[2]};
  row.stride = {x_THN.shape[2], 1};
  return row;
}

/// What one thread needs.
struct Space {
  std::byte* rows;    ///< of a chunk, converted
  std::byte* kernel;  ///< LatentTile::space
  int32_t* visible;
};

/// A batch of tokens of one sequence, whose (token, head) pairs are rows of one matrix. Segments of
/// the cache are attended to in waves, one partial result each, and merged in their order. Threads
/// take runs of segments, so that memory is read in long stretches; where there are too few to go
/// round, each run is shared out by groups of pairs.
class Batch {
 public:
  Batch(Context& ctx, const AbsorbedDecode& d, const LatentKernels& kernels, int64_t part_bytes,
        int64_t t_begin, int64_t tokens)
      : ctx_(ctx),
        d_(d),
        k_(kernels),
        layout_(d.cache.layout),
        rows_(attention_rows(ctx.isa)),
        t_begin_(t_begin),
        H_(d.heads()),
        pairs_(tokens * H_),
        C_(layout_.latent),
        latent_(kernels.pad_latent(C_)),
        rope_(kernels.pad_rope(layout_.rope)),
        segment_(segment_keys(H_)) {
    const auto positions = d.position_T.subspan(t_begin, tokens);
    end_ = *std::max_element(positions.begin(), positions.end()) + 1;
    segments_ = ceil_div(end_, segment_);
    const int64_t of_segment = padded_pairs() * (latent_ + 2) * 4, threads = ctx.pool.size();
    wave_ = std::min(segments_, std::max(part_bytes / of_segment, 2 * threads));
    runs_ = threads == 1 ? 1 : std::min(wave_, 4 * threads);
    groups_ =
        threads == 1 ? 1 : std::clamp<int64_t>(ceil_div(4 * threads, runs_), 1, k_.panels(pairs_));
  }

  int64_t pairs() const { return pairs_; }
  /// Bytes of partial results, all of which are kept when there is one wave.
  int64_t part_bytes() const { return wave_ * padded_pairs() * (latent_ + 2) * 4; }
  bool one_wave() const { return wave_ == segments_; }
  /// Memory for a thread that attends to any of its groups.
  Space carve_space(Carve& carve) const {
    const int64_t pairs = most_pairs_of_group();
    const auto row_bytes = k_.takes(layout_) ? 0 : static_cast<size_t>(k_.row_bytes(layout_));
    return {carve.bytes(static_cast<size_t>(k_.chunk) * row_bytes),
            carve.bytes(k_.space_bytes(pairs, width())),
            reinterpret_cast<int32_t*>(carve.floats(pairs))};
  }
  /// Takes memory for partial results and packs the queries. Before anything below.
  void prepare() {
    allocate();
    pack_queries();
  }

  void run(std::span<std::byte* const> spaces) {
    for (int64_t first = 0; first < segments_; first += wave_) {
      const int64_t count = std::min(wave_, segments_ - first);
      ctx_.pool.for_each(items(count), [&](int64_t i, int thread) {
        attend(first, count, i, spaces[static_cast<size_t>(thread)]);
      });
      ctx_.pool.for_range(pairs_, merge_grain(count), [&](int64_t begin, int64_t end, int) {
        merge(first, count, begin, end);
      });
    }
  }

  // The same in steps, when there is one wave.
  int64_t items() const { return items(segments_); }
  void attend(int64_t item, std::byte* space) { attend(0, segments_, item, space); }
  void merge(int64_t begin, int64_t end) const { merge(0, segments_, begin, end); }
  int64_t merge_grain() const { return merge_grain(segments_); }

 private:
  int64_t items(int64_t count) const { return std::min(count, runs_) * groups_; }
  int64_t merge_grain(int64_t count) const { return ceil_div(kMergeGrain, C_ * count); }

  int64_t padded_pairs() const { return k_.panels(pairs_) * k_.lanes; }
  int64_t row_stride() const {
    return d_.cache.pages.empty() ? d_.cache.row_stride : layout_.row_bytes();
  }
  int64_t width() const { return latent_ + rope_; }
  /// The first pair of a group: groups are whole panels.
  int64_t group_begin(int64_t group) const {
    return std::min(pairs_, k_.panels(pairs_) * group / groups_ * k_.lanes);
  }
  int64_t most_pairs_of_group() const { return ceil_div(k_.panels(pairs_), groups_) * k_.lanes; }

  void allocate() {
    Carve count(nullptr);
    carve(count);
    Carve memory(static_cast<std::byte*>(ctx_.arena.alloc_bytes(count.used())));
    carve(memory);
  }

  void carve(Carve& carve) {
    parts_.clear();
    const int64_t parts = segments_ > wave_ ? 1 + wave_ : wave_;
    for (int64_t i = 0; i < parts; ++i)
      parts_.push_back({carve.floats(padded_pairs()), carve.floats(padded_pairs()),
                        carve.matrix(padded_pairs(), latent_)});
    q_ = carve.bytes(static_cast<size_t>(k_.panels(pairs_) * k_.query_panel_bytes(width())));
    q_PX_ = carve.matrix(pairs_, width());
  }

  void pack_queries() {
    const RowOps& ops = ops_table(ctx_.isa).row;
    const auto copy = [&](const ConstTensorView& row, float* to, int64_t room) {
      ops.copy(rows_of(row), {to, room, false}, row.cols());
      std::fill_n(to + row.cols(), room - row.cols(), 0.0f);
    };
    const int64_t panel = k_.query_panel_bytes(width());
    ctx_.pool.for_range(pairs_, k_.lanes, [&](int64_t begin, int64_t end, int) {
      for (int64_t p = begin; p < end; ++p) {
        copy(head_row(d_.q_latent_THC, t_begin_ + p / H_, p % H_), q_PX_.row(p), latent_);
        copy(head_row(d_.q_rope_THR, t_begin_ + p / H_, p % H_), q_PX_.row(p) + latent_, rope_);
      }
      k_.pack_queries(q_PX_.row(begin), q_PX_.stride, end - begin, width(),
                      q_ + begin / k_.lanes * panel);
    });
  }

  /// Work item `i` of a wave of `count` segments from `first` on.
  void attend(int64_t first, int64_t count, int64_t i, std::byte* memory) {
    const int64_t runs = std::min(count, runs_);
    Carve carve(memory);
    const Space space = carve_space(carve);
    attend(first, count * (i / groups_) / runs, count * (i / groups_ + 1) / runs, i % groups_,
           space);
  }

  /// A group of pairs against the segments [begin, end) of the wave that starts with `first`.
  void attend(int64_t first, int64_t begin, int64_t end, int64_t group, const Space& space) {
    const int64_t pair = group_begin(group), pairs = group_begin(group + 1) - pair;
    LatentTile tile{};
    tile.latent = latent_;
    tile.rope = rope_;
    tile.q = q_ + pair / k_.lanes * k_.query_panel_bytes(width());
    tile.pairs = pairs;
    tile.visible = space.visible;
    tile.scale = d_.scale;
    tile.space = space.kernel;
    const int64_t last = std::min((first + end) * segment_, end_);
    for (int64_t key = (first + begin) * segment_; key < last; key += k_.chunk) {
      const int64_t next = std::min(key + k_.chunk, last);
      const SoftmaxState& part = parts_[part_of(first, key / segment_ - first)];
      tile.state = {part.highest + pair, part.sum + pair, block(part.acc, pair, pairs, 0, latent_)};
      tile.first = key % segment_ == 0;
      tile.keys = next - key;
      LatentFetch fetch = bytes_of(next, std::min(next + k_.chunk, last));
      tile.fetch = &fetch;
      set_rows(key, space.rows, tile);
      for (int64_t p = 0; p < k_.panels(pairs) * k_.lanes; ++p)
        space.visible[p] = p < pairs ? seen(pair + p, key, tile.keys) : 0;
      k_.attend(tile);
    }
  }

  /// Where the keys [key, end) lie.
  LatentFetch bytes_of(int64_t key, int64_t end) const {
    LatentFetch fetch;
    for (int64_t n; key < end; key += n) {
      n = std::min(d_.cache.run(key), end - key);
      fetch.add(d_.cache.row(key), (n - 1) * row_stride() + layout_.row_bytes());
    }
    return fetch;
  }

  int32_t seen(int64_t pair, int64_t key, int64_t keys) const {
    const int64_t n = d_.position_T[t_begin_ + pair / H_] + 1 - key;
    return static_cast<int32_t>(std::clamp<int64_t>(n, 0, keys));
  }

  /// The tile's keys, from `key` on: where they lie, or converted.
  void set_rows(int64_t key, std::byte* converted, LatentTile& tile) const {
    const LatentCacheView& cache = d_.cache;
    const int64_t stride = row_stride();
    const bool direct = k_.takes(layout_);
    tile.row_bytes = direct ? stride : k_.row_bytes(layout_);
    if (!direct) tile.runs[0] = {converted, tile.keys};
    LatentRun* run = tile.runs;
    for (int64_t k = 0, n; k < tile.keys; k += n) {
      n = std::min(cache.run(key + k), tile.keys - k);
      const std::byte* rows = cache.row(key + k);
      if (direct)
        *run++ = {rows, n};
      else
        k_.load_rows(layout_, rows, stride, n, converted + k * tile.row_bytes);
    }
  }

  static SoftmaxState state_of(const SoftmaxState& s, int64_t pair, int64_t cols) {
    return {s.highest + pair, s.sum + pair, block(s.acc, pair, 1, 0, cols)};
  }

  /// Where segment `i` of the wave that begins with segment `first` goes. The first entry holds the
  /// first segment's, then the total.
  int64_t part_of(int64_t first, int64_t i) const { return first == 0 ? i : 1 + i; }

  /// Merges a wave for pairs [begin, end); after the last, writes them out.
  void merge(int64_t first, int64_t count, int64_t begin, int64_t end) const {
    for (int64_t pair = begin; pair < end; ++pair) {
      merge(first, count, pair);
      if (first + count == segments_) write(pair);
    }
  }

  /// Adds the results of a wave for one pair to the total, in their order.
  void merge(int64_t first, int64_t count, int64_t pair) const {
    const SoftmaxState total = state_of(parts_[0], pair, C_);
    for (int64_t i = first == 0 ? 1 : 0; i < count; ++i) {
      const SoftmaxState part = state_of(parts_[part_of(first, i)], pair, C_);
      if (*part.sum != 0) rows_.merge(total, part);  // zero: beyond the token's position
    }
  }

  void write(int64_t pair) const {
    rows_.finish(state_of(parts_[0], pair, C_),
                 rows_of(head_row(d_.out_latent_THC, t_begin_ + pair / H_, pair % H_)), nullptr, 0);
  }

  Context& ctx_;
  const AbsorbedDecode& d_;
  const LatentKernels& k_;
  const LatentRowLayout& layout_;
  const AttentionRows& rows_;
  int64_t t_begin_, H_, pairs_, C_, latent_, rope_, segment_;
  int64_t end_, segments_, wave_, runs_, groups_;
  std::vector<SoftmaxState> parts_;
  std::byte* q_;
  MatrixView<float> q_PX_;
};

/// Room for each thread, enough for any of the batches.
std::vector<std::byte*> make_spaces(Context& ctx, std::span<const Batch> batches) {
  size_t bytes = 0;
  for (const Batch& b : batches) {
    Carve count(nullptr);
    b.carve_space(count);
    bytes = std::max(bytes, count.used());
  }
  std::vector<std::byte*> spaces;
  for (int t = 0; t < ctx.pool.size(); ++t)
    spaces.push_back(static_cast<std::byte*>(ctx.arena.alloc_bytes(bytes)));
  return spaces;
}

/// Batches of one wave each, in two parallel regions: short caches of many sequences would leave
/// threads without work one by one.
void run_together(Context& ctx, std::span<Batch> batches, std::span<std::byte* const> spaces) {
  std::vector<int64_t> item{0}, pair{0};
  int64_t grain = 1;
  for (Batch& b : batches) {
    b.prepare();
    item.push_back(item.back() + b.items());
    pair.push_back(pair.back() + b.pairs());
    grain = std::max(grain, b.merge_grain());
  }
  const auto owner = [](const std::vector<int64_t>& offsets, int64_t i) {
    return std::upper_bound(offsets.begin(), offsets.end(), i) - offsets.begin() - 1;
  };
  ctx.pool.for_each(item.back(), [&](int64_t i, int thread) {
    const auto b = owner(item, i);
    batches[b].attend(i - item[b], spaces[static_cast<size_t>(thread)]);
  });
  ctx.pool.for_range(pair.back(), grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t p = begin; p < end;) {
      const auto b = owner(pair, p);
      const int64_t until = std::min(end, pair[b + 1]);
      batches[b].merge(p - pair[b], until - pair[b]);
      p = until;
    }
  });
}

}  // namespace

void absorbed_decode(Context& ctx, std::span<const AbsorbedDecode> parts,
                     const LatentKernels& kernels, int64_t part_bytes) {
  std::vector<Batch> batches;
  for (const AbsorbedDecode& d : parts) {
    const auto T = std::ssize(d.position_T);
    const int64_t tokens = std::max<int64_t>(1, kPairs / d.heads());
    for (int64_t t = 0; t < T; t += tokens)
      batches.emplace_back(ctx, d, kernels, part_bytes, t, std::min(tokens, T - t));
  }
  // As many together as their partial results allow.
  for (size_t begin = 0, end; begin < batches.size(); begin = end) {
    const ArenaScope scope(ctx.arena);
    int64_t bytes = 0;
    for (end = begin; end < batches.size() && batches[end].one_wave(); ++end)
      if ((bytes += batches[end].part_bytes()) > part_bytes) break;
    const bool together = end > begin + 1;
    if (!together) end = begin + 1;
    const auto group = std::span(batches).subspan(begin, end - begin);
    const std::vector<std::byte*> spaces = make_spaces(ctx, group);
    if (together) {
      run_together(ctx, group, spaces);
    } else {
      group.front().prepare();
      group.front().run(spaces);
    }
  }
}

}  // namespace fathom::kernels::cpu
