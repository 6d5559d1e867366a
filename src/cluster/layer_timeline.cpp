#include "cluster/layer_timeline.h"

#include <algorithm>

namespace fathom::cluster {

void LayerTimeline::step(std::initializer_list<LayerWork> computations) {
  for (const LayerWork& work : computations) {
    spans_.push_back({work, false, end_});
    end_ += work.seconds;
  }
}

void LayerTimeline::step(std::initializer_list<LayerWork> computations, const LayerWork& exchange) {
  const double start = end_;
  step(computations);
  spans_.push_back({exchange, true, start});
  end_ = std::max(end_, start + exchange.seconds);
}

}  // namespace fathom::cluster
