#include "train/data.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/thread_pool.h"

namespace fathom::train {
namespace {
namespace fs = std::filesystem;

/// Windows of seq_len tokens such that the last one, too, has its lookahead.
int64_t count_windows(int64_t tokens, int64_t seq_len, int64_t lookahead) {
  return std::max<int64_t>(0, (tokens - lookahead) / seq_len);
}

void check_vocabulary(const DatasetOptions& options, const TextEncoder& encoder) {
  if (encoder.vocab_size > options.vocab_size)
    throw Error(fmt::format("{} has {} tokens, the model's vocab_size is {}", encoder.name,
                            encoder.vocab_size, options.vocab_size),
                "use the tokenizer the model was made for, or raise vocab_size in config.json");
  if (options.data.fim_rate > 0 && !encoder.fim)
    throw Error(fmt::format("data.fim_rate = {}, but {} has no <｜fim▁begin｜>, <｜fim▁hole｜> and "
                            "<｜fim▁end｜> tokens",
                            options.data.fim_rate, encoder.name),
                "set data.fim_rate = 0, or add these tokens to the tokenizer");
}

void check_disjoint(const std::vector<SourceFile>& train, const std::vector<SourceFile>& valid) {
  std::set<fs::path> paths;
  for (const SourceFile& file : train) paths.insert(file.path);
  for (const SourceFile& file : valid)
    if (paths.count(file.path))
      throw Error(fmt::format("{} is in both data.train and data.valid", file.path.string()),
                  "hold out files of their own, or use data.valid_fraction");
}

}  // namespace

PackedStream::PackedStream(const TokenCache& cache, int64_t seq_len, int64_t lookahead,
                           const Permutation* order)
    : cache_(&cache),
      seq_len_(seq_len),
      lookahead_(lookahead),
      windows_(count_windows(cache.tokens(), seq_len, lookahead)),
      starts_{0} {
  for (int64_t i = 0; i < cache.documents(); ++i) {
    const int64_t d = order ? (*order)(i) : i;
    order_.push_back(d);
    starts_.push_back(starts_.back() + cache.document_begin(d + 1) - cache.document_begin(d));
  }
}

void PackedStream::window(int64_t index, int32_t* out) const {
  FATHOM_ASSERT(index >= 0 && index < windows_);
  int64_t at = index * seq_len_;
  const int64_t end = at + seq_len_ + lookahead_;
  auto slot = static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), at) -
                                  starts_.begin() - 1);
  for (; at < end; ++slot) {
    const int64_t count = std::min(end, starts_[slot + 1]) - at;
    cache_->copy(cache_->document_begin(order_[slot]) + at - starts_[slot], count, out);
    out += count;
    at += count;
  }
}

TokenDataset TokenDataset::open(const DatasetOptions& options, const TextEncoder& encoder,
                                ThreadPool& pool) {
  check_vocabulary(options, encoder);
  make_directories(options.cache_dir);
  const TrainConfig::Data& data = options.data;
  const bool split = data.valid.empty() && data.valid_fraction > 0;
  StreamRecipe train{find_source_files(data.train), split ? Part::kTraining : Part::kAll,
                     split ? data.valid_fraction : 0, data.fim_rate, options.seed};
  // Held-out text is never rearranged: its loss stays comparable.
  StreamRecipe valid{train.files, Part::kHeldOut, data.valid_fraction, 0, 0};
  if (!data.valid.empty()) {
    valid = {find_source_files(data.valid), Part::kAll, 0, 0, 0};
    check_disjoint(train.files, valid.files);
  }

  TokenDataset dataset;
  dataset.options_ = options;
  const auto build = [&](const char* name, const StreamRecipe& recipe) {
    return std::make_unique<TokenCache>(
        TokenCache::open_or_build(options.cache_dir / name, recipe, encoder, pool));
  };
  dataset.train_ = build("train.tokens", train);
  dataset.check_size("training", *dataset.train_, "give more text, or lower data.seq_len");
  const int64_t lookahead = 1 + options.mtp_depth;
  dataset.samples_ = count_windows(dataset.train_tokens(), data.seq_len, lookahead);
  if (!split && data.valid.empty()) return dataset;
  dataset.valid_ = build("valid.tokens", valid);
  dataset.check_size("held-out", *dataset.valid_,
                     "raise data.valid_fraction, give data.valid, or lower data.seq_len");
  dataset.valid_stream_.emplace(*dataset.valid_, data.seq_len, lookahead);
  return dataset;
}

void TokenDataset::check_size(const char* what, const TokenCache& cache, const char* hint) const {
  const int64_t needed = options_.data.seq_len + 1 + options_.mtp_depth;
  if (cache.tokens() >= needed) return;
  throw Error(fmt::format("the {} text has {} tokens, one sample needs {} (data.seq_len + 1 + MTP "
                          "depth)",
                          what, cache.tokens(), needed),
              hint);
}

Batch TokenDataset::empty_batch(int64_t count) const {
  Batch batch{count, options_.data.seq_len, 1 + options_.mtp_depth, {}};
  batch.tokens.resize(static_cast<size_t>(count * (batch.seq_len + batch.lookahead)));
  return batch;
}

const PackedStream& TokenDataset::epoch(int64_t number) {
  if (epoch_ && epoch_->number == number) return epoch_->stream;
  const Permutation order(train_->documents(), options_.seed,
                          stream_of(RandomUse::kDocuments, number));
  epoch_ = Epoch{number, PackedStream(*train_, options_.data.seq_len, 1 + options_.mtp_depth,
                                      options_.data.shuffle ? &order : nullptr)};
  return epoch_->stream;
}

Batch TokenDataset::train_batch(int64_t first, int64_t count) {
  Batch batch = empty_batch(count);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t number = (first + i) / samples_;
    int64_t window = (first + i) % samples_;
    if (options_.data.shuffle)
      window = Permutation(samples_, options_.seed, stream_of(RandomUse::kWindows, number))(window);
    epoch(number).window(window, batch.tokens.data() + i * (batch.seq_len + batch.lookahead));
  }
  return batch;
}

Batch TokenDataset::valid_batch(int64_t first, int64_t count) const {
  FATHOM_ASSERT(valid_stream_.has_value());
  Batch batch = empty_batch(count);
  for (int64_t i = 0; i < count; ++i)
    valid_stream_->window(first + i, batch.tokens.data() + i * (batch.seq_len + batch.lookahead));
  return batch;
}

double TokenDataset::valid_bytes_per_token() const {
  FATHOM_ASSERT(valid_ != nullptr);
  return static_cast<double>(valid_->text_bytes()) / static_cast<double>(valid_->tokens());
}

}  // namespace fathom::train
