// Everything that is signed or sealed: leases, access tokens, knocks, relay tickets, and the JSON inside them.
//
// Holds: nothing that was not signed or sealed by our key is accepted, however it is cut or changed; JSON that parses
// is written and parsed again to the same value; what is accepted is within its times.
#include "fuzz.hpp"
#include "identity/json.hpp"
#include "identity/jwt.hpp"
#include "identity/tokens.hpp"

namespace {

using namespace postern;
using namespace postern::identity;

constexpr WallTime kNow = from_unix_ms(1'780'000'000'000);
constexpr SealKey kSealKey = {1, 2, 3};
constexpr std::string_view kRelay = "relay-1";

/// The same keys and tokens for all inputs: made once, never changed.
struct Signed {
  SeededRandom random{1};
  PrivateKey key = PrivateKey::generate(random);
  KeySet keys{{key_id(key.public_key()), key.public_key()}};
  std::string lease;
  std::string access;
  Bytes knock;
  Bytes ticket;

  Signed() {
    Lease content;
    content.issuer = "home";
    content.remote_network_id = 3;
    content.user_id = 7;
    content.email = "a@b.c";
    content.resources = {{1, to_unix_seconds(kNow) + 100}};
    content.issued_at = to_unix_seconds(kNow);
    content.expires_at = to_unix_seconds(kNow) + 100;
    lease = sign_lease(content, key);
    AccessToken token;
    token.network = "home";
    token.url = "https://example.org";
    token.issued_at = to_unix_seconds(kNow);
    token.expires_at = to_unix_seconds(kNow) + 100;
    access = sign_access_token(token, key);
    knock = make_knock({{}, 9, to_unix_seconds(kNow) + 100}, as_bytes("key"));
    RelayTicket sealed;
    sealed.not_before = to_unix_seconds(kNow);
    sealed.lifetime_s = 100;
    ticket = seal_ticket(sealed, kSealKey, kRelay, random);
  }
};

const Signed& made() {
  static const Signed all;
  return all;
}

void check_json(std::string_view text) {
  const auto value = json::parse(text);
  if (!value) return;
  const std::string written = json::write(*value);
  const auto again = json::parse(written, {.bytes = SIZE_MAX, .depth = 64});
  FUZZ_CHECK(again.has_value());
  FUZZ_CHECK(json::write(*again) == written);
}

/// The claims as the input has them, signed by our key: verification goes on to judge every claim.
void check_claims(std::string_view text) {
  const auto value = json::parse(text);
  if (!value || value->as_object() == nullptr) return;
  const Signed& all = made();
  for (const char* type : {"postern-lease+jwt", "postern-access+jwt"}) {
    const std::string jwt = sign_jwt(type, *value, all.key);
    const auto lease = verify_lease(jwt, all.keys, {"home", 3, Digest{}}, kNow);
    if (lease) {
      FUZZ_CHECK(lease->issuer == "home" && lease->remote_network_id == 3 && lease->device_key == Digest{});
      FUZZ_CHECK(lease->expires_at + kClockTolerance.count() > to_unix_seconds(kNow));
    }
    const auto access = verify_access_token(jwt, all.keys, "home", kNow);
    if (access) FUZZ_CHECK(access->network == "home");
    (void)read_access_token_unverified(jwt);
  }
}

void check_signed(std::string_view text) {
  const Signed& all = made();
  // A signature can be changed into another valid one only with the key; the text decides, base64 has one spelling.
  if (verify_lease(text, all.keys, {"home", 3, Digest{}}, kNow)) FUZZ_CHECK(text == all.lease);
  if (verify_access_token(text, all.keys, "home", kNow)) FUZZ_CHECK(text == all.access);
  (void)read_access_token_unverified(text);
  (void)is_refresh_token_shaped(text);
}

void check_sealed(ByteView bytes) {
  const Signed& all = made();
  if (verify_knock(bytes, as_bytes("key"), 9, kNow))
    FUZZ_CHECK(std::equal(bytes.begin(), bytes.end(), all.knock.begin()));
  if (open_ticket(bytes, kSealKey, kRelay, kNow)) FUZZ_CHECK(bytes.size() == all.ticket.size());
  FUZZ_CHECK(!open_sealed(bytes, kSealKey, as_bytes("another table")).has_value());
  (void)PublicKey::from_spki(bytes);
}

/// A cut or changed byte in something that was valid.
void check_damaged(fuzz::Choices choices) {
  const Signed& all = made();
  const std::size_t at = choices.u16();
  const std::uint8_t change = choices.u8();
  const auto damaged = [&](Bytes bytes) {
    const std::size_t index = at % bytes.size();
    if (change == 0) {
      bytes.resize(index);
    } else {
      bytes[index] ^= change;
    }
    return bytes;
  };
  check_signed(as_text(damaged(to_bytes(as_bytes(all.lease)))));
  check_signed(as_text(damaged(to_bytes(as_bytes(all.access)))));
  FUZZ_CHECK(!verify_knock(damaged(all.knock), as_bytes("key"), 9, kNow));
  FUZZ_CHECK(!open_ticket(damaged(all.ticket), kSealKey, kRelay, kNow));
}

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  const Signed& all = made();
  const auto with = [](std::uint8_t kind, ByteView bytes) { return Script().u8(kind).raw(bytes).bytes(); };
  std::vector<Bytes> list;
  list.push_back(
      with(0, as_bytes(R"({"a":[1,-2.5e3,true,null,"\u00e4\ud83d\ude00"],"b":{"c":18446744073709551615}})")));
  for (const std::string& token : {all.lease, all.access}) {
    const auto claims =
        from_base64url(std::string_view(token).substr(token.find('.') + 1, token.rfind('.') - token.find('.') - 1));
    list.push_back(with(1, *claims));
    list.push_back(with(2, as_bytes(token)));
  }
  list.push_back(with(3, all.knock));
  list.push_back(with(3, all.ticket));
  list.push_back(with(3, all.key.public_key().spki()));
  list.push_back(with(4, Bytes{0, 40, 1}));
  return list;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const ByteView bytes(data + 1, size - 1);
  switch (data[0] % 5) {
    case 0:
      check_json(as_text(bytes));
      break;
    case 1:
      check_claims(as_text(bytes));
      break;
    case 2:
      check_signed(as_text(bytes));
      break;
    case 3:
      check_sealed(bytes);
      break;
    default:
      check_damaged(fuzz::Choices(bytes));
  }
  return 0;
}
