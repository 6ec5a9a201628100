// How fast the relay forwards in memory: what is left when sockets and kernel are taken away. Prints as JSON what a
// full table of idle bindings takes, and packets/s and Gb/s for single packets and for trains to receivers that change
// with every train.
//
// Usage: relay_bench [bindings]
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "identity/keys.hpp"
#include "relay_core/relay.hpp"

namespace {

using namespace postern;

constexpr identity::SealKey kTokenKey = {1};
constexpr WallTime kWall = from_unix_ms(1'780'000'000'000);

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Of this process; 0 where /proc does not say.
long rss_anon_kb() {
  std::FILE* status = std::fopen("/proc/self/status", "re");
  if (status == nullptr) return 0;
  long value = 0;
  std::array<char, 256> line;
  while (std::fgets(line.data(), line.size(), status) != nullptr) {
    if (std::sscanf(line.data(), "RssAnon: %ld", &value) == 1) break;
  }
  std::fclose(status);
  return value;
}

struct Peer {
  RouteId route;
  SocketAddress address;
};

class Bench {
 public:
  explicit Bench(std::size_t bindings) : relay_({"bench", kTokenKey, bindings}, random_) {
    const long before = rss_anon_kb();
    const double start = seconds_now();
    for (std::size_t i = 0; i < bindings; ++i) peers_.push_back(bind(static_cast<std::uint32_t>(i)));
    const double taken = seconds_now() - start;
    const long rss = rss_anon_kb() - before;
    std::printf(R"({"bindings": %zu, "binds_per_s": %.0f, "rss_anon_kb": %ld, "ways": {)", bindings,
                static_cast<double>(bindings) / taken, rss);
  }

  void forward(const char* name, std::size_t packet, std::size_t packets) {
    const std::size_t flows = 1024;
    std::vector<Bytes> trains;
    for (std::size_t i = 0; i < flows; ++i) trains.push_back(train_to(receiver(i), packet, packets));
    const double start = seconds_now();
    std::uint64_t count = 0;
    double taken = 0;
    while ((taken = seconds_now() - start) < 1.0) {
      for (std::size_t i = 0; i < flows; ++i) {
        output_.clear();
        relay_.handle_train(now_, kWall, sender(i).address, trains[i], packet, output_);
        count += output_.trains().size();
      }
    }
    const double packets_per_s = static_cast<double>(count) / taken * static_cast<double>(packets);
    std::printf(R"(%s"%s": {"packets_per_s": %.0f, "gbps": %.2f})", std::exchange(separator_, ", "), name,
                packets_per_s, packets_per_s * static_cast<double>(packet) * 8 / 1e9);
  }

 private:
  // Even peers are clients, odd ones connectors; the stride spreads the flows over the whole table.
  const Peer& sender(std::size_t flow) const { return peers_[pair(flow)]; }
  const Peer& receiver(std::size_t flow) const { return peers_[pair(flow) + 1]; }
  std::size_t pair(std::size_t flow) const { return flow * 7919 % (peers_.size() / 2) * 2; }

  static Bytes train_to(const Peer& peer, std::size_t packet, std::size_t packets) {
    Bytes bytes(packet * packets);
    for (std::size_t at = 0; at < bytes.size(); at += packet) {
      bytes[at] = 0x41;
      std::copy(peer.route.bytes.begin(), peer.route.bytes.end(), bytes.begin() + static_cast<long>(at) + 2);
    }
    return bytes;
  }

  /// The nonce of the relay's 401.
  Bytes nonce(const SocketAddress& from) {
    Bytes buffer(256);
    wire::StunBuilder ask(buffer, wire::StunType::BindRequest, {});
    ask.pad_to(wire::kBindRequestSizeMin);
    output_.clear();
    relay_.handle_train(now_, kWall, from, ask.finish(), 0, output_);
    return to_bytes(*wire::StunView::parse(output_.trains().at(0).bytes)->find(wire::StunAttribute::Nonce));
  }

  Peer bind(std::uint32_t number) {
    Peer peer;
    random_.fill(peer.route.bytes);
    peer.address = {IpAddress::v4(0x0a000000 + number), 4433};
    identity::RelayTicket ticket;
    ticket.network_id = 1;
    ticket.route = peer.route;
    ticket.role = number % 2 == 0 ? identity::RelayRole::Client : identity::RelayRole::Connector;
    ticket.not_before = to_unix_seconds(kWall);
    ticket.lifetime_s = 14'400;
    Bytes buffer(512);
    const Bytes fresh = nonce(peer.address);
    wire::StunBuilder request(buffer, wire::StunType::BindRequest, {});
    request.add(wire::StunAttribute::Nonce, fresh);
    request.add(wire::StunAttribute::AccessToken, identity::seal_ticket(ticket, kTokenKey, "bench", random_));
    request.add_u64(wire::StunAttribute::BindSeq, 1);
    output_.clear();
    relay_.handle_train(now_, kWall, peer.address, request.finish_with_integrity(ticket.mac_key, identity::hmac_sha256),
                        0, output_);
    if (!relay_.is_bound(peer.route, now_)) std::abort();
    return peer;
  }

  SeededRandom random_{1};
  Instant now_ = from_nanoseconds(1);
  relay_core::Relay relay_;
  relay_core::RelayOutput output_;
  std::vector<Peer> peers_;
  const char* separator_ = "";
};

}  // namespace

int main(int argc, char** argv) {
  const std::size_t bindings = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 100'000;
  if (bindings < 2) {
    std::fprintf(stderr, "relay_bench: at least two bindings are needed\n");
    return 1;
  }
  Bench bench(bindings);
  bench.forward("single_100", 100, 1);
  bench.forward("single_1452", 1452, 1);
  bench.forward("train_10x1452", 1452, 10);
  bench.forward("train_44x1452", 1452, 44);
  std::puts("}}");
  return 0;
}
