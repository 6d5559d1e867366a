// The flow simulator against ns-3, which moves every packet, over the same small fat trees along
// the same static routes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cluster/net/flow_builder.h"
#include "cluster/net/flow_simulator.h"
#include "ns3/boolean.h"
#include "ns3/bulk-send-helper.h"
#include "ns3/config.h"
#include "ns3/internet-stack-helper.h"
#include "ns3/ipv4-address-generator.h"
#include "ns3/ipv4-address-helper.h"
#include "ns3/ipv4-static-routing-helper.h"
#include "ns3/node-container.h"
#include "ns3/on-off-helper.h"
#include "ns3/packet-sink-helper.h"
#include "ns3/packet.h"
#include "ns3/point-to-point-helper.h"
#include "ns3/simulator.h"
#include "ns3/string.h"
#include "ns3/tcp-congestion-ops.h"
#include "ns3/type-id.h"
#include "ns3/uinteger.h"

namespace fathom::net {
namespace {

struct Message {
  int64_t from, to;
  double bytes;
};
using Pattern = std::vector<Message>;

constexpr int kSegment = 4096, kHeaders = 20 + 20 + 2;  // TCP's (UDP's are shorter), IP's, PPP's
constexpr double kMessage = 1000 * kSegment;

// What packets add to the flow simulator's time, as parts of it: headers; acknowledgements, where
// they share a link with data; and, since every link stores a packet before it sends it on, one
// packet a link, on 6 links at most, as much again for TCP's handshake and for its first round
// trips. The rest of 5% is for unequal shares of a bottleneck.
constexpr double kExplained = 1.0 * kHeaders / kSegment + 1.0 * kHeaders / (kSegment + kHeaders) +
                              3 * 6 * kSegment / kMessage;
constexpr double kTolerance = 0.05;
static_assert(kExplained < kTolerance);

enum class Transport {
  kTcp,  ///< senders hold back: equal windows, no losses
  kUdp,  ///< every message is sent at full rate into queues without limit
};

/// Nodes of one GPU and one NIC of 1 GB/s. Neither headers nor latencies are taken off.
NetworkSpec fat_tree(TopologyKind kind, int64_t radix, int64_t nodes) {
  NetworkSpec spec;
  spec.topology.kind = kind;
  spec.topology.radix = radix;
  spec.nodes = nodes;
  spec.node.gpus = spec.node.nics = 1;
  spec.node.nic_gb_s = 1;
  spec.efficiency = 1;
  spec.latency = {0, 0, 0};
  return spec;
}

FlowBuilder built(const Network& network, const Pattern& pattern) {
  FlowBuilder builder(network, {.policy = RoutingPolicy::kStatic}, false,
                      std::vector<std::string>(static_cast<size_t>(network.spec().nodes)));
  for (const Message& m : pattern) {
    Transfer t;
    t.from = builder.group_of(m.from);
    t.to = builder.group_of(m.to);
    t.pairs = 1;
    t.bytes = m.bytes;
    t.sources = t.targets = {{0, 1}};
    t.nics = {0};
    builder.send(t);
  }
  return builder;
}

Pattern all_pairs(int64_t nodes, double bytes) {
  Pattern out;
  for (int64_t a = 0; a < nodes; ++a)
    for (int64_t b = 0; b < nodes; ++b)
      if (a != b) out.push_back({a, b, bytes});
  return out;
}

/// Arrival of a message's last byte, filled in by its sink.
struct Arrival {
  double missing, seconds = -1;
};
void receive(Arrival* arrival, ns3::Ptr<const ns3::Packet> packet, const ns3::Address&) {
  arrival->missing -= packet->GetSize();
  if (arrival->missing <= 0) arrival->seconds = ns3::Simulator::Now().GetSeconds();
}

/// The same switches, cables and static routes in ns-3. Queues hold whatever the windows let in, so
/// nothing is lost and every busy link stays busy.
class PacketNetwork {
 public:
  explicit PacketNetwork(const Network& network) {
    set_up_tcp();
    ns3::Ipv4StaticRoutingHelper routing;
    ns3::InternetStackHelper stack;
    stack.SetRoutingHelper(routing);
    hosts_.Create(static_cast<uint32_t>(network.spec().nodes));
    switches_.Create(static_cast<uint32_t>(network.graph().switches.size()));
    stack.Install(hosts_);
    stack.Install(switches_);
    link_.SetDeviceAttribute("DataRate", ns3::StringValue("8Gbps"));
    link_.SetDeviceAttribute("Mtu", ns3::UintegerValue(kSegment + 20 + 20));
    link_.SetQueue("ns3::DropTailQueue", "MaxSize", ns3::StringValue("1000000p"));
    link_.DisableFlowControl();  // no queue discipline above the link's own queue
    addresses_.SetBase("10.0.0.0", "255.255.255.252");
    attach_hosts(network);
    add_routes(network);
  }
  ~PacketNetwork() {
    ns3::Simulator::Destroy();
    ns3::Ipv4AddressGenerator::Reset();
  }
  PacketNetwork(const PacketNetwork&) = delete;
  PacketNetwork& operator=(const PacketNetwork&) = delete;

  std::vector<double> run(const Pattern& pattern, Transport transport) {
    std::vector<Arrival> arrivals;
    for (const Message& m : pattern) arrivals.push_back({m.bytes});
    for (size_t i = 0; i < pattern.size(); ++i) start(pattern[i], i, transport, arrivals[i]);
    ns3::Simulator::Stop(ns3::Seconds(10));
    ns3::Simulator::Run();
    std::vector<double> seconds;
    for (const Arrival& a : arrivals) seconds.push_back(a.seconds);
    return seconds;
  }

 private:
  static ns3::Ptr<ns3::Ipv4StaticRouting> routes_of(ns3::Ptr<ns3::Node> node) {
    return ns3::Ipv4StaticRoutingHelper().GetStaticRouting(node->GetObject<ns3::Ipv4>());
  }

  /// Windows far above what a path without queues holds, reached within a few round trips.
  static void set_up_tcp() {
    using ns3::Config::SetDefault;
    SetDefault("ns3::TcpL4Protocol::SocketType", ns3::TypeIdValue(ns3::TcpNewReno::GetTypeId()));
    SetDefault("ns3::TcpSocketBase::Timestamp", ns3::BooleanValue(false));
    SetDefault("ns3::TcpSocket::SegmentSize", ns3::UintegerValue(kSegment));
    SetDefault("ns3::TcpSocket::SndBufSize", ns3::UintegerValue(32 * kSegment));
    SetDefault("ns3::TcpSocket::RcvBufSize", ns3::UintegerValue(32 * kSegment));
    SetDefault("ns3::TcpSocket::DelAckCount", ns3::UintegerValue(1));
  }

  ns3::Ipv4InterfaceContainer connect(ns3::Ptr<ns3::Node> a, ns3::Ptr<ns3::Node> b) {
    addresses_.NewNetwork();
    return addresses_.Assign(link_.Install(a, b));
  }

  void attach_hosts(const Network& network) {
    for (uint32_t h = 0; h < hosts_.GetN(); ++h) {
      const auto leaf = static_cast<uint32_t>(network.attachment(h, 0, 0));
      const ns3::Ipv4InterfaceContainer ends = connect(hosts_.Get(h), switches_.Get(leaf));
      address_.push_back(ends.GetAddress(0));
      routes_of(hosts_.Get(h))->SetDefaultRoute(ends.GetAddress(1), ends.Get(0).second);
    }
  }

  /// A link for each direction of a cable, since the routing graph has an edge for each.
  void add_routes(const Network& network) {
    const Pattern pairs = all_pairs(network.spec().nodes, 1);
    const FlowBuilder builder = built(network, pairs);
    std::vector<uint32_t> way_out;
    for (const Edge& e : builder.graph().edges())
      way_out.push_back(connect(switches_.Get(static_cast<uint32_t>(e.from)),
                                switches_.Get(static_cast<uint32_t>(e.to)))
                            .Get(0)
                            .second);
    std::set<std::pair<size_t, int64_t>> known;  // many messages share a part of their way
    for (size_t f = 0; f < pairs.size(); ++f)
      for (const Use& u : builder.table().uses_of(static_cast<int64_t>(f))) {
        const Resource& r = builder.resources()[static_cast<size_t>(u.resource)];
        if (r.kind != Resource::Kind::kCable) continue;
        const auto edge = static_cast<size_t>(r.owner);
        if (!known.emplace(edge, pairs[f].to).second) continue;
        const auto from = static_cast<uint32_t>(builder.graph().edges()[edge].from);
        routes_of(switches_.Get(from))
            ->AddHostRouteTo(address_[static_cast<size_t>(pairs[f].to)], way_out[edge]);
      }
  }

  void start(const Message& m, size_t index, Transport transport, Arrival& arrival) {
    const bool tcp = transport == Transport::kTcp;
    const std::string protocol = tcp ? "ns3::TcpSocketFactory" : "ns3::UdpSocketFactory";
    const auto port = static_cast<uint16_t>(1024 + index);
    const ns3::InetSocketAddress any(ns3::Ipv4Address::GetAny(), port);
    const ns3::InetSocketAddress to(address_[static_cast<size_t>(m.to)], port);
    const ns3::Ptr<ns3::Node> sender = hosts_.Get(static_cast<uint32_t>(m.from));
    const ns3::UintegerValue bytes(static_cast<uint64_t>(m.bytes));
    ns3::ApplicationContainer sinks =
        ns3::PacketSinkHelper(protocol, any).Install(hosts_.Get(static_cast<uint32_t>(m.to)));
    sinks.Get(0)->TraceConnectWithoutContext("Rx", ns3::MakeBoundCallback(&receive, &arrival));
    if (tcp) {
      ns3::BulkSendHelper bulk(protocol, to);
      bulk.SetAttribute("MaxBytes", bytes);
      bulk.SetAttribute("SendSize", ns3::UintegerValue(kSegment));
      bulk.Install(sender);
      return;
    }
    ns3::OnOffHelper stream(protocol, to);
    stream.SetConstantRate(ns3::DataRate("8Gbps"), kSegment);
    stream.SetAttribute("MaxBytes", bytes);
    stream.Install(sender);
  }

  ns3::NodeContainer hosts_, switches_;
  ns3::PointToPointHelper link_;
  ns3::Ipv4AddressHelper addresses_;
  std::vector<ns3::Ipv4Address> address_;  // by host
};

enum class Compare { kEveryMessage, kLastMessage };

std::vector<double> flow_ends(const Network& network, const Pattern& pattern) {
  const FlowBuilder builder = built(network, pattern);
  std::vector<double> seconds;
  for (const Picoseconds end : run_flows(builder.table(), builder.demands()).end)
    seconds.push_back(static_cast<double>(end) / kPicosecondsPerSecond);
  return seconds;
}

void keep_last(std::vector<double>& seconds) {
  seconds = {*std::max_element(seconds.begin(), seconds.end())};
}

/// ns-3 takes longer, by no more than 5%.
void expect_equal_times(const NetworkSpec& spec, const Pattern& pattern, Transport transport,
                        Compare compare) {
  const Network network(spec, {});
  std::vector<double> ours = flow_ends(network, pattern);
  std::vector<double> theirs = PacketNetwork(network).run(pattern, transport);
  ASSERT_GT(*std::min_element(theirs.begin(), theirs.end()), 0) << "a message did not arrive";
  if (compare == Compare::kLastMessage) {
    keep_last(ours);
    keep_last(theirs);
  }
  double most = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    const double more = theirs[i] / ours[i] - 1;
    EXPECT_GT(more, 0) << "message " << i;
    EXPECT_LT(more, kTolerance) << "message " << i;
    most = std::max(most, more);
  }
  std::printf("ns-3 takes at most %.2f%% longer\n", 100 * most);
}

/// Node i to node i + shift.
Pattern permutation(int64_t nodes, int64_t shift) {
  Pattern out;
  for (int64_t i = 0; i < nodes; ++i) out.push_back({i, (i + shift) % nodes, kMessage});
  return out;
}

const NetworkSpec kTwoLayers = fat_tree(TopologyKind::kFatTree2, 8, 16);    // leaves of 4
const NetworkSpec kThreeLayers = fat_tree(TopologyKind::kFatTree3, 4, 16);  // leaves of 2

TEST(Ns3Test, PermutationInsideALeaf) {
  expect_equal_times(kTwoLayers, permutation(4, 1), Transport::kUdp, Compare::kEveryMessage);
}

TEST(Ns3Test, PermutationsAcrossLeaves) {
  for (const NetworkSpec& tree : {kTwoLayers, kThreeLayers})
    expect_equal_times(tree, permutation(16, 4), Transport::kUdp, Compare::kEveryMessage);
}

// Half of the nodes send to the other half. (In a whole permutation TCP's acknowledgements wait
// behind data, come in bunches, and leave links idle: Zhang, Shenker and Clark, SIGCOMM'91.)
TEST(Ns3Test, HalvesUnderTcp) {
  Pattern halves = permutation(16, 8);
  halves.resize(8);
  for (const NetworkSpec& tree : {kTwoLayers, kThreeLayers})
    expect_equal_times(tree, halves, Transport::kTcp, Compare::kEveryMessage);
}

// Nodes 0, 1 and 2 of leaf 0 send to the first node of three other leaves, all up one cable.
TEST(Ns3Test, SharedUplink) {
  const Pattern collision = {{0, 4, kMessage}, {1, 8, kMessage}, {2, 12, kMessage}};
  for (const Transport transport : {Transport::kTcp, Transport::kUdp})
    expect_equal_times(kTwoLayers, collision, transport, Compare::kEveryMessage);
  EXPECT_NEAR(flow_ends(Network(kTwoLayers, {}), collision)[0], 3 * kMessage / 1e9, 1e-9);
}

// Seven to one. Who arrives first, or over fewer shared queues, ends earlier than under max-min;
// the last byte's time does not depend on it.
TEST(Ns3Test, Incast) {
  Pattern even, uneven;
  for (int64_t i = 1; i <= 7; ++i) {
    even.push_back({2 * i, 0, kMessage});
    uneven.push_back({2 * i, 0, kMessage * static_cast<double>(i)});
  }
  for (const Pattern& incast : {even, uneven})
    for (const Transport transport : {Transport::kTcp, Transport::kUdp})
      expect_equal_times(kTwoLayers, incast, transport, Compare::kLastMessage);
}

// Equal windows give proportional fairness, so what crosses two bottlenecks gets less than under
// max-min (1/4 of a link here, not 1/3); the last byte arrives at the same time.
TEST(Ns3Test, TwoBottlenecks) {
  const Pattern pattern = {{0, 4, kMessage}, {1, 8, kMessage}, {5, 4, kMessage}, {6, 4, kMessage}};
  expect_equal_times(kTwoLayers, pattern, Transport::kTcp, Compare::kLastMessage);
}

TEST(Ns3Test, AllToAll) {
  expect_equal_times(kThreeLayers, all_pairs(8, kMessage / 4), Transport::kUdp,
                     Compare::kLastMessage);
}

}  // namespace
}  // namespace fathom::net
