#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

namespace fathom::cluster {

/// Work of one micro-batch that occupies a GPU or its network.
struct LayerWork {
  std::string_view name;
  int micro_batch = 0;
  double seconds = 0;
};

struct LayerSpan {
  LayerWork work;
  bool exchange = false;  ///< of the network, else of the GPU
  double start = 0;
};

/// A layer of serving as the published pipelines run it: in steps, each a row of computations with
/// at most one exchange beside them; a step ends when both have.
class LayerTimeline {
 public:
  void step(std::initializer_list<LayerWork> computations);
  void step(std::initializer_list<LayerWork> computations, const LayerWork& exchange);
  double end() const { return end_; }
  const std::vector<LayerSpan>& spans() const { return spans_; }

 private:
  std::vector<LayerSpan> spans_;
  double end_ = 0;
};

}  // namespace fathom::cluster
