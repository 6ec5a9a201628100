// STUN messages, and the machine that binds at a relay with them.
//
// Holds: what parses is read inside its bounds and can be rebuilt attribute by attribute into the same size; a message
// that our builder writes parses and has its MAC; BindClient survives any answers in any order, says true only of what
// it knows (bound means a success with a right MAC), and its queue of events stays bounded.
#include <algorithm>

#include "fuzz.hpp"
#include "identity/keys.hpp"
#include "wire/bind.hpp"
#include "wire/stun.hpp"

namespace {

using namespace postern;
using namespace postern::wire;
using fuzz::Choices;

const SocketAddress kRelay{IpAddress::v4(198, 51, 100, 1), 443};
constexpr std::array<std::uint8_t, 32> kKey{1, 2, 3};

bool lies_in(ByteView part, ByteView whole) {
  return part.empty() || (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void check_view(ByteView bytes) {
  const auto view = StunView::parse(bytes);
  if (!view) return;
  FUZZ_CHECK(view->size() == bytes.size());
  for (const auto attribute : {StunAttribute::ErrorCode, StunAttribute::Nonce, StunAttribute::AccessToken,
                               StunAttribute::MessageIntegritySha256, StunAttribute::Padding}) {
    if (const auto value = view->find(attribute)) FUZZ_CHECK(lies_in(*value, bytes));
  }
  if (const auto code = view->error_code()) FUZZ_CHECK(*code >= 300 && *code <= 699);
  (void)view->find_u64(StunAttribute::BindSeq);
  (void)view->route();
  (void)view->has_integrity(kKey, identity::hmac_sha256);
  if (const auto mapped = view->mapped_address()) {
    Bytes buffer(256);
    StunBuilder builder(buffer, StunType::BindSuccess, view->transaction());
    builder.add_mapped_address(*mapped);
    const ByteView again = builder.finish_with_integrity(kKey, identity::hmac_sha256);
    const auto parsed = StunView::parse(again);
    FUZZ_CHECK(parsed && parsed->mapped_address() == mapped && parsed->has_integrity(kKey, identity::hmac_sha256));
  }
}

/// An answer that a relay could give, with a field or two from the input.
Bytes answer(Choices& choices, ByteView request) {
  Bytes buffer(1400);
  const auto asked = StunView::parse(request);
  const TransactionId transaction = asked && choices.flag() ? asked->transaction() : TransactionId{};
  constexpr std::array kTypes = {StunType::BindSuccess, StunType::BindError, StunType::BindIndication,
                                 StunType::BindingSuccess};
  StunBuilder builder(buffer, kTypes[choices.below(kTypes.size())], transaction);
  const std::uint8_t parts = choices.u8();
  if ((parts & 1) != 0) builder.add_error(static_cast<std::uint16_t>(400 + choices.below(100)), "no");
  if ((parts & 2) != 0) builder.add(StunAttribute::Nonce, Bytes((parts & 4) != 0 ? kBindNonceSize : 3, 7));
  if ((parts & 8) != 0) builder.add_mapped_address({IpAddress::v4(203, 0, 113, choices.u8()), 4711});
  if ((parts & 16) != 0) builder.add_u32(StunAttribute::Lifetime, choices.u32());
  if ((parts & 32) != 0) builder.add_route(RouteId{{choices.u8()}});
  return to_bytes((parts & 64) != 0 ? builder.finish_with_integrity(kKey, identity::hmac_sha256) : builder.finish());
}

void drive(Choices choices) {
  SeededRandom random(choices.u8());
  Instant now{std::chrono::seconds(100)};
  BindClient client(
      {.relay = kRelay, .ticket = {Bytes(103, 5), kKey}, .hmac = identity::hmac_sha256, .wall_offset = {}}, random,
      now);
  Bytes request;
  bool proven_once = false;
  for (int step = 0; step < 200 && !choices.empty(); ++step) {
    if (const auto transmit = client.poll_transmit()) {
      request = to_bytes(*transmit);
      FUZZ_CHECK(StunView::parse(request).has_value());
    }
    switch (choices.below(8)) {
      case 0: {
        const Bytes raw = to_bytes(choices.block());
        (void)client.handle_datagram(now, kRelay, raw);
        break;
      }
      case 1:
        client.rebind_now(now, static_cast<RebindReason>(choices.below(3)));
        break;
      case 2:
        client.set_ticket(now, {to_bytes(choices.take(choices.u8())), kKey});
        break;
      case 3:
      case 4:
        now = std::max(now, client.next_timeout());
        client.handle_timeout(now);
        FUZZ_CHECK(client.next_timeout() > now);
        break;
      case 5:
        now += std::chrono::milliseconds(choices.u16());
        break;
      default:
        (void)client.handle_datagram(now, kRelay, answer(choices, request));
    }
    std::size_t events = 0;
    while (const auto event = choices.empty() || choices.flag() ? client.poll_event() : std::nullopt) {
      proven_once |= std::holds_alternative<BindingProven>(*event);
      ++events;
    }
    FUZZ_CHECK(events <= 2 * BindClient::kEventsMax);
    FUZZ_CHECK(!client.is_bound(now) || client.mapped_address().has_value());
  }
  (void)proven_once;
}

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  std::vector<Bytes> all;
  Bytes buffer(1400);
  StunBuilder request(buffer, StunType::BindRequest, {1, 2, 3});
  request.add(StunAttribute::Nonce, Bytes(kBindNonceSize, 7));
  request.add(StunAttribute::AccessToken, Bytes(103, 8));
  request.add_u64(StunAttribute::BindSeq, 77);
  all.push_back(Script().u8(0).raw(request.finish_with_integrity(kKey, identity::hmac_sha256)).bytes());
  StunBuilder success(buffer, StunType::BindSuccess, {1, 2, 3});
  success.add_mapped_address({*IpAddress::parse("2001:db8::1"), 4711});
  success.add_u32(StunAttribute::Lifetime, 600);
  all.push_back(Script().u8(0).raw(success.finish_with_integrity(kKey, identity::hmac_sha256)).bytes());
  StunBuilder error(buffer, StunType::BindError, {1, 2, 3});
  error.add_error(401, "Unauthenticated");
  error.add(StunAttribute::Nonce, Bytes(kBindNonceSize, 7));
  all.push_back(Script().u8(0).raw(error.finish()).bytes());
  // 401 with a nonce, a success, the refresh, a stale nonce.
  all.push_back({1, 1, 6, 1, 1, 7, 1, 1, 6, 1, 0, 88, 5, 0, 0, 2, 88, 1, 3, 1, 3, 1, 6, 1, 1, 7, 38, 1});
  return all;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  if ((data[0] & 1) == 0) {
    check_view({data + 1, size - 1});
  } else {
    drive(Choices({data + 1, size - 1}));
  }
  return 0;
}
