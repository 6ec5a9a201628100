// The resolver inside the TUN and the forwarder behind it: questions from applications, answers, refusals and lies from
// name servers, in an order that the input chooses.
//
// Holds: each question is answered once, passed on once or dropped; an answer has the id of its question and fits; a
// virtual address leads back to the name it was given for, and to no other; nobody gets an answer to a question that is
// not his; what is passed on ends in exactly one reply, and the table never holds more than its bound.
#include <algorithm>
#include <map>

#include "fuzz.hpp"
#include "resolver/forwarder.hpp"
#include "resolver/resolver.hpp"

namespace {

using namespace postern;
using namespace postern::resolver;
using fuzz::Choices;

constexpr std::size_t kOutstanding = 4;

/// Everything below home.lan leads to a Resource.
class Names final : public NameDirectory {
 public:
  [[nodiscard]] bool has_resource_for(const model::DnsName& name) const override {
    return name.text().ends_with(".home.lan");
  }
};

class World {
 public:
  World() { forwarder_.set_servers({{IpAddress::v4(192, 0, 2, 1), 53}, {IpAddress::v4(192, 0, 2, 2), 53}}); }

  void step(Choices& choices) {
    switch (choices.below(8)) {
      case 0:
      case 1: {
        const auto transport = choices.flag() ? wire::DnsTransport::Udp : wire::DnsTransport::Tcp;
        return ask(to_bytes(choices.block()), transport);
      }
      case 2: {
        constexpr std::array kNames = {"a.home.lan",
                                       "b.home.lan",
                                       "c.home.lan",
                                       "example.org",
                                       "2.0.96.100.in-addr.arpa",
                                       "1.2.0.192.in-addr.arpa"};
        constexpr std::array kTypes = {wire::DnsType::A, wire::DnsType::Aaaa, wire::DnsType::Https, wire::DnsType::Ptr};
        const char* name = kNames[choices.below(kNames.size())];
        return ask(*wire::build_dns_question(choices.u8(), name, kTypes[choices.below(kTypes.size())]),
                   wire::DnsTransport::Udp);
      }
      case 3:
        return answer(choices);
      case 4:
        return fail(choices);
      case 5:
        now_ += std::chrono::milliseconds(choices.u16());
        forwarder_.handle_timeout(now_);
        FUZZ_CHECK(!forwarder_.next_timeout() || *forwarder_.next_timeout() > now_);
        return drain();
      case 6:
        if (choices.u8() == 0) forwarder_.set_servers({});
        return;
      default:
        now_ += std::chrono::hours(choices.u8());
        forwarder_.handle_timeout(now_);
        return drain();
    }
  }
  /// Everything that is still open ends when its time is over.
  void finish() {
    for (unsigned i = 0; forwarder_.next_timeout(); ++i) {
      FUZZ_CHECK(i < 100);
      now_ = std::max(now_, *forwarder_.next_timeout());
      forwarder_.handle_timeout(now_);
      drain();
    }
    FUZZ_CHECK(waiting_.empty() && open_.empty());
  }

 private:
  void ask(const Bytes& message, wire::DnsTransport transport) {
    Resolution resolution = resolver_.resolve(now_, message, transport);
    if (const auto* reply = std::get_if<Answer>(&resolution)) return check_answer(message, reply->message);
    auto* forward = std::get_if<Forward>(&resolution);
    if (forward == nullptr) return;
    const AskerId asker(++askers_);
    waiting_[asker] = message;
    forwarder_.submit(now_, asker, std::move(forward->query), message, transport);
    drain();
  }
  void check_answer(ByteView question, ByteView reply) {
    FUZZ_CHECK(reply.size() >= wire::kDnsHeaderSize && reply[0] == question[0] && reply[1] == question[1]);
    const auto parsed = wire::parse_dns_message(reply);
    FUZZ_CHECK(parsed.has_value());
    for (const IpAddress& address : wire::addresses_of(*parsed)) {
      FUZZ_CHECK(pool_.network().contains(address));
      const model::DnsName* name = pool_.name_of(now_, address);
      FUZZ_CHECK(name != nullptr && name->text() == parsed->name);
    }
    FUZZ_CHECK(pool_.size() <= 8);
  }
  void answer(Choices& choices) {
    if (open_.empty()) return;
    const auto at = std::next(open_.begin(), static_cast<std::ptrdiff_t>(choices.below(open_.size())));
    const Ticket ticket = at->first;
    Bytes message = at->second;
    const std::uint8_t how = choices.u8();
    if ((how & 1) != 0) {
      message = to_bytes(choices.block());
    } else if (const auto query = wire::parse_dns_query(message)) {
      message = wire::build_dns_answer(*query, {wire::DnsRcode::NoError, {IpAddress::v4(192, 0, 2, 7)}, 60, false},
                                       wire::DnsTransport::Udp);
      if ((how & 2) != 0 && !message.empty()) message[choices.below(message.size())] ^= choices.u8();
    }
    forwarder_.handle_answer(ticket, message);
    drain();
  }
  void fail(Choices& choices) {
    if (open_.empty()) return;
    const auto at = std::next(open_.begin(), static_cast<std::ptrdiff_t>(choices.below(open_.size())));
    const Ticket ticket = at->first;
    forwarder_.handle_failure(now_, ticket);
    drain();
  }
  void drain() {
    while (auto query = forwarder_.poll_query()) {
      FUZZ_CHECK(!open_.contains(query->ticket) && wire::parse_dns_query(query->message).has_value());
      open_[query->ticket] = std::move(query->message);
    }
    while (const auto reply = forwarder_.poll_reply()) {
      const auto asked = waiting_.find(reply->asker);
      FUZZ_CHECK(asked != waiting_.end());
      FUZZ_CHECK(reply->message[0] == asked->second[0] && reply->message[1] == asked->second[1]);
      FUZZ_CHECK(wire::parse_dns_message(reply->message).has_value());
      waiting_.erase(asked);
    }
    while (const auto done = forwarder_.poll_done()) FUZZ_CHECK(open_.erase(*done) == 1);
    FUZZ_CHECK(open_.size() <= kOutstanding && waiting_.size() == open_.size());
  }

  SeededRandom random_{1};
  Instant now_{std::chrono::hours(1)};
  Names names_;
  AddressPool pool_{{*IpPrefix::parse("100.96.0.0/28"), *IpPrefix::parse("fd00:1::/64")}, {.names_max = 8}};
  Resolver resolver_{pool_, names_};
  Forwarder forwarder_{random_, {.outstanding_max = kOutstanding}};
  std::uint64_t askers_ = 0;
  std::map<AskerId, Bytes> waiting_;
  std::map<Ticket, Bytes> open_;
};

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  const Bytes question = *wire::build_dns_question(7, "x.home.lan", wire::DnsType::A);
  const Bytes foreign = *wire::build_dns_question(8, "example.org", wire::DnsType::Txt);
  return {Script().u8(0).u8(1).block(question).u8(0).u8(1).block(foreign).u8(3).u8(0).u8(0).bytes(),
          {2, 1, 0, 0, 2, 2, 3, 0, 3, 0, 0, 2, 3, 3, 0, 4, 0, 4, 0, 4, 0, 5, 8, 0},
          {2, 1, 3, 0, 2, 2, 3, 1, 2, 3, 3, 1, 2, 4, 3, 1, 2, 5, 3, 1, 2, 6, 3, 1, 6, 0, 2, 7, 3, 1, 7, 25}};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Choices choices({data, size});
  World world;
  for (int i = 0; i < 300 && !choices.empty(); ++i) world.step(choices);
  world.finish();
  return 0;
}
