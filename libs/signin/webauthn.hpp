// Passkeys: what a browser sends after navigator.credentials.create() and get(), verified (WebAuthn Level 3 §7.1,
// §7.2).
//
// Nobody is asked to prove the make of his authenticator: the attestation statement is passed over, whatever its
// format. What counts is the key, and that it signs for this server's name and origin, over a challenge that was given
// out once. Everything that comes in is hostile until the signature holds.
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/random.hpp"
#include "base/time.hpp"
#include "identity/verify_key.hpp"
#include "signin/factors.hpp"

namespace postern::signin {

enum class PasskeyError : std::uint8_t {
  Malformed,    ///< not what a browser sends
  WrongType,    ///< of a registration where a sign-in is wanted, or the other way round
  WrongOrigin,  ///< made for another site, or inside a frame of another one
  WrongParty,   ///< the authenticator signed for another name
  NotPresent,   ///< nobody has touched it
  NotVerified,  ///< no PIN or biometric, where that is wanted
  UnknownAlgorithm,
  BadSignature,
  CounterWentBack,  ///< the key was copied, or an old answer is sent again
};
[[nodiscard]] std::string_view to_string(PasskeyError error);

/// What a passkey is bound to.
struct RelyingParty {
  std::string id{};      ///< "postern.example.org"
  std::string origin{};  ///< "https://postern.example.org"

  /// Of the server's URL. Nothing when its host is an IP address, for which there are no passkeys (§5.1.2).
  [[nodiscard]] static std::optional<RelyingParty> of_url(std::string_view url);
};

enum class UserCheck : std::uint8_t { Present, Verified };

struct AuthenticatorData {
  Digest party{};
  bool present = false;
  bool verified = false;
  std::uint32_t counter = 0;
  ByteView credential_id{};  ///< with a registration
  ByteView key{};            ///< COSE_Key, with a registration
};
[[nodiscard]] std::optional<AuthenticatorData> parse_authenticator_data(ByteView bytes);
/// ES256, EdDSA with Ed25519, RS256.
[[nodiscard]] std::optional<identity::VerifyKey> parse_cose_key(ByteView bytes);

/// The challenge that a browser says it answers; the caller looks whether it gave that out. Proves nothing.
[[nodiscard]] std::optional<Bytes> challenge_of(std::string_view client_data);

struct Registration {
  std::string client_data{};
  Bytes attestation{};
};
[[nodiscard]] std::expected<Passkey, PasskeyError> verify_registration(const Registration& answer,
                                                                       const RelyingParty& party, ByteView challenge,
                                                                       UserCheck wanted);

struct Assertion {
  Bytes credential_id{};
  std::string client_data{};
  Bytes authenticator_data{};
  Bytes signature{};
  Bytes user_handle{};  ///< empty when the authenticator gave none
};
/// Moves the counter of `passkey` on.
[[nodiscard]] std::expected<void, PasskeyError> verify_assertion(const Assertion& answer, const RelyingParty& party,
                                                                 ByteView challenge, UserCheck wanted,
                                                                 Passkey& passkey);

/// JSON of the page's script, with base64url members.
[[nodiscard]] std::optional<Registration> parse_registration(std::string_view text);
[[nodiscard]] std::optional<Assertion> parse_assertion(std::string_view text);

/// Challenges: each is good once, for one purpose, for five minutes.
///
/// One that is given out is remembered by nobody: it carries its end and a MAC over that and its purpose, so that a
/// flood of open pages pushes no other page's challenge out. Only an answer whose signature held is remembered until
/// then.
class Challenges {
 public:
  static constexpr std::size_t kUsedMax = 100'000;  ///< at the bound answers are refused until old ones have ended
  static constexpr std::chrono::minutes kLife{5};

  explicit Challenges(RandomSource& random) : random_(random), key_(random.make<Digest>()) {}

  [[nodiscard]] Digest issue(std::string_view purpose, Instant now);
  /// One that was given out for this, and is not too old.
  [[nodiscard]] bool check(ByteView challenge, std::string_view purpose, Instant now) const;
  /// After check(), once the signature holds: true the first time.
  [[nodiscard]] bool use(ByteView challenge, Instant now);
  [[nodiscard]] std::size_t used() const { return used_.size(); }

 private:
  RandomSource& random_;
  Digest key_;
  std::map<Bytes, Instant> used_;  // until when they could be used again
};

}  // namespace postern::signin
