// An authenticator of software, with every lie that one can tell.
#pragma once

#include <string>

#include "identity/json.hpp"
#include "identity/keys.hpp"
#include "signin/webauthn.hpp"

namespace postern::signin {

/// CBOR as an authenticator writes it.
class Cbor {
 public:
  Cbor& head(unsigned major, std::uint64_t argument) {
    const auto type = static_cast<std::uint8_t>(major << 5);
    if (argument < 24) {
      bytes_.push_back(static_cast<std::uint8_t>(type | argument));
    } else if (argument < 256) {
      bytes_.push_back(static_cast<std::uint8_t>(type | 24));
      bytes_.push_back(static_cast<std::uint8_t>(argument));
    } else {
      bytes_.push_back(static_cast<std::uint8_t>(type | 25));
      bytes_.push_back(static_cast<std::uint8_t>(argument >> 8));
      bytes_.push_back(static_cast<std::uint8_t>(argument));
    }
    return *this;
  }
  Cbor& map(std::uint64_t pairs) { return head(5, pairs); }
  Cbor& integer(std::int64_t value) {
    return value >= 0 ? head(0, static_cast<std::uint64_t>(value)) : head(1, static_cast<std::uint64_t>(-1 - value));
  }
  Cbor& bytes(ByteView value) { return head(2, value.size()).raw(value); }
  Cbor& text(std::string_view value) { return head(3, value.size()).raw(as_bytes(value)); }
  Cbor& raw(ByteView value) {
    bytes_.insert(bytes_.end(), value.begin(), value.end());
    return *this;
  }
  [[nodiscard]] const Bytes& done() const { return bytes_; }

 private:
  Bytes bytes_;
};

struct Authenticator {
  identity::PrivateKey key;
  Bytes id = {0xc0, 0xff, 0xee};
  std::string party = "postern.test";
  std::string origin = "https://postern.test";
  std::uint8_t flags = 0x05;  // present, verified
  std::uint32_t counter = 1;
  bool cross_origin = false;

  [[nodiscard]] std::string client_data(std::string_view type, ByteView challenge) const {
    return "{\"type\":\"" + std::string(type) + "\",\"challenge\":\"" + to_base64url(challenge) + "\",\"origin\":\"" +
           origin + "\",\"crossOrigin\":" + (cross_origin ? "true" : "false") + ",\"other\":{\"x\":[1]}}";
  }
  [[nodiscard]] Bytes cose_key() const {
    const ByteView point = ByteView(key.public_key().spki()).last(64);
    return Cbor()
        .map(5)
        .integer(1)
        .integer(2)
        .integer(3)
        .integer(-7)
        .integer(-1)
        .integer(1)
        .integer(-2)
        .bytes(point.first(32))
        .integer(-3)
        .bytes(point.last(32))
        .done();
  }
  [[nodiscard]] Bytes data(ByteView credential = {}) const {
    Bytes result = to_bytes(identity::sha256(as_bytes(party)));
    result.push_back(static_cast<std::uint8_t>(flags | (credential.empty() ? 0 : 0x40)));
    Bytes count(4);
    store_u32(count.data(), counter);
    result.insert(result.end(), count.begin(), count.end());
    result.insert(result.end(), credential.begin(), credential.end());
    return result;
  }
  /// aaguid, length, id, key
  [[nodiscard]] Bytes credential() const {
    Bytes result;
    result.reserve(256);
    result.assign(16, 0);
    result.push_back(static_cast<std::uint8_t>(id.size() >> 8));
    result.push_back(static_cast<std::uint8_t>(id.size()));
    result.insert(result.end(), id.begin(), id.end());
    const Bytes cose = cose_key();
    result.insert(result.end(), cose.begin(), cose.end());
    return result;
  }
  [[nodiscard]] Registration create(ByteView challenge) const {
    const Bytes object =
        Cbor().map(3).text("fmt").text("none").text("attStmt").map(0).text("authData").bytes(data(credential())).done();
    return {client_data("webauthn.create", challenge), object};
  }
  [[nodiscard]] Assertion get(ByteView challenge, Bytes handle = {}) const {
    Assertion answer{id, client_data("webauthn.get", challenge), data(), {}, std::move(handle)};
    answer.signature = key.sign(signed_bytes(answer));
    return answer;
  }
  [[nodiscard]] static Bytes signed_bytes(const Assertion& answer) {
    Bytes message = answer.authenticator_data;
    const Digest digest = identity::sha256(as_bytes(answer.client_data));
    message.insert(message.end(), digest.begin(), digest.end());
    return message;
  }
};

/// As the page's script sends it.
[[nodiscard]] inline std::string form_text(const Registration& answer) {
  return "{\"clientData\":\"" + to_base64url(as_bytes(answer.client_data)) + "\",\"attestation\":\"" +
         to_base64url(answer.attestation) + "\"}";
}
[[nodiscard]] inline std::string form_text(const Assertion& answer) {
  return "{\"id\":\"" + to_base64url(answer.credential_id) + "\",\"clientData\":\"" +
         to_base64url(as_bytes(answer.client_data)) + "\",\"authenticatorData\":\"" +
         to_base64url(answer.authenticator_data) + "\",\"signature\":\"" + to_base64url(answer.signature) +
         "\",\"userHandle\":\"" + to_base64url(answer.user_handle) + "\"}";
}

}  // namespace postern::signin
