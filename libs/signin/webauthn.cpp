#include "signin/webauthn.hpp"

#include <algorithm>

#include "base/ip.hpp"
#include "identity/json.hpp"
#include "identity/keys.hpp"
#include "signin/cbor.hpp"

namespace postern::signin {
namespace {

namespace json = identity::json;
using identity::SignatureAlgorithm;
using identity::VerifyKey;

// WebAuthn §6.1
constexpr std::uint8_t kUserPresent = 0x01;
constexpr std::uint8_t kUserVerified = 0x04;
constexpr std::uint8_t kHasCredential = 0x40;
constexpr std::uint8_t kHasExtensions = 0x80;
constexpr std::size_t kAaguidSize = 16;
// RFC 9053 §2, §7
constexpr std::int64_t kKeyType = 1;
constexpr std::int64_t kAlgorithm = 3;
constexpr std::int64_t kCurve = -1;  // RSA: the modulus
constexpr std::int64_t kX = -2;      // RSA: the exponent
constexpr std::int64_t kY = -3;
constexpr std::size_t kAnswerMax = 64 * 1024;
constexpr std::size_t kMembersMax = 16;
constexpr std::size_t kChallengeHead = 16;  // when it ends, and 64 random bits

/// 128 bits.
Bytes challenge_mac(const Digest& key, ByteView head, std::string_view purpose) {
  Bytes message = to_bytes(head);
  message.insert(message.end(), purpose.begin(), purpose.end());
  const Digest mac = identity::hmac_sha256(key, message);
  return to_bytes(ByteView(mac).first(Digest{}.size() - kChallengeHead));
}

/// The parameters of a COSE_Key that count here.
struct CoseKey {
  std::optional<std::int64_t> type{};
  std::optional<std::int64_t> algorithm{};
  std::optional<std::int64_t> curve{};
  ByteView modulus{};
  ByteView x{};
  ByteView y{};
};

/// False when the member is there twice.
template <typename T>
bool put_once(std::optional<T>& to, T value) {
  const bool first = !to;
  to = value;
  return first;
}

bool put_once(ByteView& to, ByteView value) {
  const bool first = to.empty();
  to = value;
  return first;
}

std::optional<CoseKey> read_cose_key(ByteView bytes) {
  CborReader reader(bytes);
  CoseKey key;
  bool once = true;
  const std::uint64_t members = reader.map();
  for (std::uint64_t i = 0; i < members && reader.ok(); ++i) {
    switch (reader.integer()) {
      case kKeyType:
        once = put_once(key.type, reader.integer()) && once;
        break;
      case kAlgorithm:
        once = put_once(key.algorithm, reader.integer()) && once;
        break;
      case kCurve:
        // The type comes first (CTAP2 §8), so it is known what this is.
        if (key.type == 3) {
          once = put_once(key.modulus, reader.bytes()) && once;
        } else {
          once = put_once(key.curve, reader.integer()) && once;
        }
        break;
      case kX:
        once = put_once(key.x, reader.bytes()) && once;
        break;
      case kY:
        once = put_once(key.y, reader.bytes()) && once;
        break;
      default:
        reader.skip();
    }
  }
  if (!reader.ok() || reader.remaining() != 0 || !once) return std::nullopt;
  return key;
}

struct ClientData {
  std::string type{};
  std::string origin{};
  Bytes challenge{};
  bool cross_origin = false;
};

std::string text_of(const json::Value* value) {
  const std::string* text = value == nullptr ? nullptr : value->as_string();
  return text == nullptr ? std::string() : *text;
}

std::optional<ClientData> parse_client_data(std::string_view text) {
  const auto value = json::parse(text, {.bytes = kAnswerMax, .depth = 8});
  if (!value) return std::nullopt;
  auto challenge = from_base64url(text_of(value->find("challenge")));
  if (!challenge || challenge->empty()) return std::nullopt;
  ClientData data{text_of(value->find("type")), text_of(value->find("origin")), std::move(*challenge), false};
  if (const json::Value* cross = value->find("crossOrigin"); cross != nullptr) {
    const auto set = cross->as_bool();
    if (!set) return std::nullopt;
    data.cross_origin = *set;
  }
  return data;
}

std::optional<PasskeyError> check_client_data(std::string_view text, std::string_view type, const RelyingParty& party,
                                              ByteView challenge) {
  const auto data = parse_client_data(text);
  if (!data) return PasskeyError::Malformed;
  if (data->type != type) return PasskeyError::WrongType;
  if (data->origin != party.origin || data->cross_origin) return PasskeyError::WrongOrigin;
  if (!equal_constant_time(data->challenge, challenge)) return PasskeyError::Malformed;
  return std::nullopt;
}

std::optional<PasskeyError> check_authenticator(const AuthenticatorData& data, const RelyingParty& party,
                                                UserCheck wanted) {
  if (data.party != identity::sha256(as_bytes(party.id))) return PasskeyError::WrongParty;
  if (!data.present) return PasskeyError::NotPresent;
  if (wanted == UserCheck::Verified && !data.verified) return PasskeyError::NotVerified;
  return std::nullopt;
}

/// `authData` of an attestation object (§6.5.4); the statement is passed over.
std::optional<ByteView> authenticator_data_in(ByteView attestation) {
  CborReader reader(attestation);
  std::optional<ByteView> found;
  bool once = true;
  const std::uint64_t members = reader.map();
  if (members > kMembersMax) return std::nullopt;
  for (std::uint64_t i = 0; i < members && reader.ok(); ++i) {
    if (reader.text() == "authData") {
      once = put_once(found, reader.bytes()) && once;
    } else {
      reader.skip();
    }
  }
  return reader.ok() && reader.remaining() == 0 && once ? found : std::nullopt;
}

std::optional<json::Value> parse_answer(std::string_view text) {
  auto value = json::parse(text, {.bytes = kAnswerMax, .depth = 2});
  if (!value || value->as_object() == nullptr) return std::nullopt;
  return std::move(*value);
}

std::optional<Bytes> member(const json::Value& value, std::string_view name) {
  const std::string* text = value.find(name) == nullptr ? nullptr : value.find(name)->as_string();
  return text == nullptr ? std::nullopt : from_base64url(*text);
}

}  // namespace

std::string_view to_string(PasskeyError error) {
  switch (error) {
    case PasskeyError::Malformed:
      return "the browser's answer cannot be read";
    case PasskeyError::WrongType:
      return "the browser's answer is for something else";
    case PasskeyError::WrongOrigin:
      return "the passkey was used on another site";
    case PasskeyError::WrongParty:
      return "the passkey is of another site";
    case PasskeyError::NotPresent:
      return "the authenticator was not touched";
    case PasskeyError::NotVerified:
      return "the authenticator has not checked who you are (PIN, fingerprint, face)";
    case PasskeyError::UnknownAlgorithm:
      return "the authenticator uses a kind of key that is not known here";
    case PasskeyError::BadSignature:
      return "the signature is wrong";
    case PasskeyError::CounterWentBack:
      return "the authenticator's counter went back, as that of a copy does";
  }
  return "";
}

std::optional<RelyingParty> RelyingParty::of_url(std::string_view url) {
  constexpr std::string_view kScheme = "https://";
  if (!url.starts_with(kScheme)) return std::nullopt;
  const std::string_view authority = url.substr(kScheme.size());
  const std::string_view host = authority.substr(0, authority.find_first_of(":/"));
  if (host.empty() || host.starts_with('[') || IpAddress::parse(host)) return std::nullopt;
  const std::string_view place = authority.substr(0, authority.find('/'));
  return RelyingParty{std::string(host), std::string(kScheme) + std::string(place)};
}

std::optional<AuthenticatorData> parse_authenticator_data(ByteView bytes) {
  ByteReader reader(bytes);
  AuthenticatorData data;
  data.party = reader.array<32>();
  const std::uint8_t flags = reader.u8();
  data.present = (flags & kUserPresent) != 0;
  data.verified = (flags & kUserVerified) != 0;
  data.counter = reader.u32();
  if ((flags & kHasCredential) != 0) {
    (void)reader.view(kAaguidSize);
    data.credential_id = reader.view(reader.u16());
    const ByteView rest = bytes.subspan(reader.offset());
    CborReader key(rest);
    key.skip();
    if (!reader.ok() || !key.ok() || data.credential_id.empty()) return std::nullopt;
    data.key = reader.view(key.offset());
  }
  if ((flags & kHasExtensions) != 0) {
    CborReader extensions(bytes.subspan(reader.offset()));
    extensions.skip();
    if (!extensions.ok()) return std::nullopt;
    (void)reader.view(extensions.offset());
  }
  if (!reader.ok() || reader.remaining() != 0) return std::nullopt;
  return data;
}

std::optional<VerifyKey> parse_cose_key(ByteView bytes) {
  const auto key = read_cose_key(bytes);
  if (!key) return std::nullopt;
  // Type, algorithm and curve: EC2, ES256, P-256; OKP, EdDSA, Ed25519; RSA, RS256 (RFC 9053, RFC 8230, RFC 8812).
  if (key->type == 2 && key->algorithm == -7 && key->curve == 1) return VerifyKey::from_p256(key->x, key->y);
  if (key->type == 1 && key->algorithm == -8 && key->curve == 6) return VerifyKey::from_ed25519(key->x);
  if (key->type == 3 && key->algorithm == -257) return VerifyKey::from_rsa(key->modulus, key->x);
  return std::nullopt;
}

std::optional<Bytes> challenge_of(std::string_view client_data) {
  auto data = parse_client_data(client_data);
  if (!data) return std::nullopt;
  return std::move(data->challenge);
}

std::expected<Passkey, PasskeyError> verify_registration(const Registration& answer, const RelyingParty& party,
                                                         ByteView challenge, UserCheck wanted) {
  if (const auto wrong = check_client_data(answer.client_data, "webauthn.create", party, challenge)) {
    return std::unexpected(*wrong);
  }
  const auto bytes = authenticator_data_in(answer.attestation);
  const auto data = bytes ? parse_authenticator_data(*bytes) : std::nullopt;
  if (!data) return std::unexpected(PasskeyError::Malformed);
  if (const auto wrong = check_authenticator(*data, party, wanted)) return std::unexpected(*wrong);
  if (data->credential_id.empty() || data->credential_id.size() > kCredentialIdMax || data->key.size() > kCoseKeyMax) {
    return std::unexpected(PasskeyError::Malformed);
  }
  if (!parse_cose_key(data->key)) return std::unexpected(PasskeyError::UnknownAlgorithm);
  Passkey passkey;
  passkey.id = to_bytes(data->credential_id);
  passkey.key = to_bytes(data->key);
  passkey.counter = data->counter;
  return passkey;
}

std::expected<void, PasskeyError> verify_assertion(const Assertion& answer, const RelyingParty& party,
                                                   ByteView challenge, UserCheck wanted, Passkey& passkey) {
  if (const auto wrong = check_client_data(answer.client_data, "webauthn.get", party, challenge)) {
    return std::unexpected(*wrong);
  }
  const auto data = parse_authenticator_data(answer.authenticator_data);
  if (!data) return std::unexpected(PasskeyError::Malformed);
  if (const auto wrong = check_authenticator(*data, party, wanted)) return std::unexpected(*wrong);
  const auto key = parse_cose_key(passkey.key);
  if (!key) return std::unexpected(PasskeyError::UnknownAlgorithm);
  Bytes message = answer.authenticator_data;
  const Digest client_digest = identity::sha256(as_bytes(answer.client_data));
  message.insert(message.end(), client_digest.begin(), client_digest.end());
  if (!key->verify(message, answer.signature)) return std::unexpected(PasskeyError::BadSignature);
  // §7.2 step 22; authenticators that keep no counter say 0 for ever.
  const bool counts = data->counter != 0 || passkey.counter != 0;
  if (counts && data->counter <= passkey.counter) return std::unexpected(PasskeyError::CounterWentBack);
  passkey.counter = data->counter;
  return {};
}

std::optional<Registration> parse_registration(std::string_view text) {
  const auto value = parse_answer(text);
  if (!value) return std::nullopt;
  const auto client_data = member(*value, "clientData");
  auto attestation = member(*value, "attestation");
  if (!client_data || !attestation) return std::nullopt;
  return Registration{std::string(as_text(*client_data)), std::move(*attestation)};
}

std::optional<Assertion> parse_assertion(std::string_view text) {
  const auto value = parse_answer(text);
  if (!value) return std::nullopt;
  auto id = member(*value, "id");
  const auto client_data = member(*value, "clientData");
  auto data = member(*value, "authenticatorData");
  auto signature = member(*value, "signature");
  auto handle = member(*value, "userHandle");
  if (!id || !client_data || !data || !signature || !handle) return std::nullopt;
  return Assertion{std::move(*id), std::string(as_text(*client_data)), std::move(*data), std::move(*signature),
                   std::move(*handle)};
}

Digest Challenges::issue(std::string_view purpose, Instant now) {
  Digest challenge{};
  ByteWriter writer(challenge);
  writer.u64(to_nanoseconds(now + kLife));
  writer.view(random_.make<std::array<std::uint8_t, 8>>());
  writer.view(challenge_mac(key_, ByteView(challenge).first(kChallengeHead), purpose));
  return challenge;
}

bool Challenges::check(ByteView challenge, std::string_view purpose, Instant now) const {
  if (challenge.size() != Digest{}.size()) return false;
  const Bytes mac = challenge_mac(key_, challenge.first(kChallengeHead), purpose);
  if (!equal_constant_time(mac, challenge.subspan(kChallengeHead))) return false;
  return to_nanoseconds(now) < ByteReader(challenge).u64() && !used_.contains(to_bytes(challenge));
}

bool Challenges::use(ByteView challenge, Instant now) {
  if (used_.size() >= kUsedMax) std::erase_if(used_, [&](const auto& each) { return each.second <= now; });
  if (used_.size() >= kUsedMax) return false;
  return used_.emplace(to_bytes(challenge), from_nanoseconds(ByteReader(challenge).u64())).second;
}

}  // namespace postern::signin
