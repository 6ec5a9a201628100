// Candidates and checks: a hostile peer that holds the session's keys, and strangers who do not, against one Checker.
//
// Holds: nothing forbidden, private without cause, or our own is ever checked; at most 16 remotes, each at most ten
// times (five, and five more for its own requests), 20 ms apart; no answer is larger than its request and none goes
// where no request with a right MAC came from; what was not asked proves nothing; the machine ends.
#include <map>
#include <set>

#include "fuzz.hpp"
#include "identity/keys.hpp"
#include "path/candidate_message.hpp"
#include "path/checker.hpp"
#include "path/choice.hpp"

namespace {

using namespace postern;
using namespace postern::path;

const Digest kOwn{1};
const Digest kPeers{2};
const CheckKeys kKeys = make_check_keys(kOwn, kPeers, Digest{9});
const CheckKeys kPeerKeys = make_check_keys(kPeers, kOwn, Digest{9});

LocalView make_local() {
  LocalView local;
  local.port = 4000;
  local.interfaces = {{*IpAddress::parse("192.168.77.10"), 24}, {*IpAddress::parse("2001:db8:77::10"), 64}};
  local.reflexive = {*SocketAddress::parse("203.0.113.20:41000")};
  return local;
}

class World {
 public:
  explicit World(ByteView input) : choices_(input), random_(1), checker_(kKeys, &identity::hmac_sha256, random_) {}

  void run() {
    for (int step = 0; step < 200 && !choices_.empty(); ++step) {
      act();
      drain();
    }
    // Left alone it comes to rest.
    for (int i = 0; i < 2000 && checker_.next_timeout(); ++i) {
      now_ = std::max(now_, *checker_.next_timeout());
      drain();
    }
    FUZZ_CHECK(!checker_.next_timeout());
    FUZZ_CHECK(!checker_.is_running());
  }

 private:
  void act() {
    switch (choices_.below(6)) {
      case 0:
        return start_round();
      case 1:
        return give(address(), request(kPeerKeys));
      case 2:
        return give(address(), request(kKeys));  // our own comes back, or a stranger's guess
      case 3:
        return answer();
      case 4:
        now_ += std::chrono::milliseconds(choices_.u8());
        return;
      default:
        return give(address(), to_bytes(choices_.block()));
    }
  }
  void start_round() {
    wire::Candidates message;
    const ByteView bytes = choices_.block();
    if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
    const auto candidates = from_message(message);
    FUZZ_CHECK(candidates.size() <= kCandidatesMax);
    const auto remotes = checkable(local_, candidates, excluded_);
    const bool is_same_router = std::ranges::any_of(candidates, [&](const Candidate& each) {
      return each.kind == CandidateKind::Reflexive && each.address.ip == local_.reflexive.front().ip;
    });
    for (const SocketAddress& remote : remotes) {
      FUZZ_CHECK(!is_forbidden(remote));
      FUZZ_CHECK(!excluded_.front().contains(remote.ip));
      const bool is_near = IpPrefix::containing(local_.interfaces[0].address, 24).contains(remote.ip);
      FUZZ_CHECK(!is_private(remote.ip) || is_near || is_same_router);
      named_.insert(remote);
    }
    checks_.clear();
    asked_.clear();
    checker_.start_round(now_, remotes);
  }
  [[nodiscard]] SocketAddress address() {
    return {IpAddress::v4(198, 51, 100, static_cast<std::uint8_t>(choices_.below(8))),
            static_cast<std::uint16_t>(choices_.below(64))};
  }
  [[nodiscard]] Bytes request(const CheckKeys& keys) {
    std::array<std::uint8_t, kCheckSizeMax> buffer{};
    const auto transaction = random_.make<wire::TransactionId>();
    return to_bytes(write_request(buffer, keys, &identity::hmac_sha256, transaction, choices_.below(200)));
  }
  void answer() {
    if (sent_.empty()) return;
    const auto& [to, datagram] = sent_[choices_.below(sent_.size())];
    const bool is_right = choices_.flag();
    const SocketAddress from = choices_.flag() ? to : address();
    std::array<std::uint8_t, kCheckSizeMax> buffer{};
    const auto transaction = wire::StunView::parse(datagram)->transaction();
    give(from, to_bytes(write_answer(buffer, is_right ? kPeerKeys : kKeys, &identity::hmac_sha256, transaction, to)));
    if (is_right && from == to) provable_.insert(to);
  }
  void give(const SocketAddress& from, const Bytes& datagram) {
    const auto message = wire::StunView::parse(datagram);
    if (!message) return;
    if (read_request(*message, kKeys, &identity::hmac_sha256)) asked_[from] = datagram.size();
    (void)checker_.handle_message(now_, from, *message);
  }
  void drain() {
    checker_.handle_timeout(now_);
    while (auto transmit = checker_.poll_transmit(now_)) {
      const auto message = wire::StunView::parse(transmit->datagram);
      FUZZ_CHECK(message.has_value());
      FUZZ_CHECK(!is_forbidden(transmit->to));
      if (message->type() == wire::StunType::BindingSuccess) {
        FUZZ_CHECK(asked_.contains(transmit->to) && transmit->datagram.size() <= asked_[transmit->to]);
        continue;
      }
      FUZZ_CHECK(named_.contains(transmit->to) || asked_.contains(transmit->to));
      FUZZ_CHECK(++checks_[transmit->to] <= 2 * Checker::kChecksMax);
      FUZZ_CHECK(checks_.size() <= kCandidatesMax);
      FUZZ_CHECK(now_ >= next_check_);
      next_check_ = now_ + Checker::kSpacing;
      if (sent_.size() < 64) sent_.emplace_back(transmit->to, std::move(transmit->datagram));
    }
    while (const auto event = checker_.poll_event()) {
      const auto* proven = std::get_if<RemoteProven>(&*event);
      FUZZ_CHECK(proven == nullptr || provable_.contains(proven->remote));
    }
  }

  fuzz::Choices choices_;
  SeededRandom random_;
  Checker checker_;
  const LocalView local_ = make_local();
  const std::vector<IpPrefix> excluded_ = {*IpPrefix::parse("198.18.0.0/15")};
  Instant now_{std::chrono::seconds(100)};
  Instant next_check_;
  std::set<SocketAddress> named_;
  std::set<SocketAddress> provable_;
  std::map<SocketAddress, std::size_t> asked_;
  std::map<SocketAddress, unsigned> checks_;
  std::vector<std::pair<SocketAddress, Bytes>> sent_;
};

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  LocalView peer;
  peer.port = 5000;
  peer.interfaces = {{*IpAddress::parse("192.168.77.11"), 24}, {*IpAddress::parse("2001:db8:1::10"), 64}};
  peer.reflexive = {*SocketAddress::parse("203.0.113.30:5000")};
  const std::string candidates = to_message(1, peer).SerializeAsString();
  wire::Candidates victims;
  for (std::uint32_t i = 0; i < 20; ++i) {
    wire::Candidate& entry = *victims.add_candidates();
    entry.set_address(std::string{'\x7f', '\0', '\0', static_cast<char>(i)});
    entry.set_port(53);
  }
  std::array<std::uint8_t, kCheckSizeMax> buffer{};
  const ByteView request = write_request(buffer, kPeerKeys, &identity::hmac_sha256, {}, 1);
  return {
      Script().u8(0).block(candidates).u8(4).u8(30).u8(3).u8(0).u8(1).u8(1).u8(4).u8(200).bytes(),
      Script().u8(0).block(candidates).u8(4).u8(30).u8(3).u8(0).u8(0).u8(1).u8(3).u8(0).u8(1).u8(0).bytes(),
      Script().u8(0).block(victims.SerializeAsString()).u8(4).u8(255).bytes(),
      Script().u8(1).u8(1).u8(9).u8(5).u8(1).u8(1).u8(9).u8(5).u8(2).u8(1).u8(9).u8(7).bytes(),
      Script().u8(5).u8(1).u8(9).block(request).u8(4).u8(20).u8(5).u8(1).u8(9).block(request).bytes(),
  };
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  World(ByteView(data, size)).run();
  return 0;
}
