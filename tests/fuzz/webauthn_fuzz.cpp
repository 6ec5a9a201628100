// What a browser sends of a passkey: JSON of the page's script, client data, CBOR of the authenticator, keys,
// signatures.
//
// Holds: nothing that was parsed lies outside of its input; an answer that nobody signed with the registered key is
// never taken; what is registered can be parsed again as a key.
#include "fuzz.hpp"
#include "signin/authenticator_test_util.hpp"
#include "signin/cbor.hpp"

using namespace postern;
using namespace postern::signin;

namespace {

const RelyingParty kParty{"postern.test", "https://postern.test"};
const Bytes kChallenge(32, 7);

Authenticator authenticator() {
  SeededRandom random(1);
  return {.key = identity::PrivateKey::generate(random)};
}

bool inside(ByteView part, ByteView whole) {
  return part.empty() || (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  const Authenticator device = authenticator();
  using fuzz::Script;
  return {Script().u8(0).raw(form_text(device.create(kChallenge))).bytes(),
          Script().u8(1).raw(form_text(device.get(kChallenge))).bytes(),
          Script().u8(2).raw(device.data(device.credential())).bytes(),
          Script().u8(3).raw(device.cose_key()).bytes(),
          Script().u8(4).raw(device.create(kChallenge).attestation).bytes(),
          Script().u8(5).raw(device.client_data("webauthn.get", kChallenge)).bytes()};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Authenticator device = authenticator();
  fuzz::Choices choices({data, size});
  const std::size_t kind = choices.below(6);
  const ByteView rest = choices.rest();
  Passkey stranger{.id = device.id, .key = device.cose_key()};
  if (kind == 0) {
    if (const auto answer = parse_registration(as_text(rest))) {
      const auto made = verify_registration(*answer, kParty, kChallenge, UserCheck::Verified);
      FUZZ_CHECK(!made || parse_cose_key(made->key));
    }
  } else if (kind == 1) {
    if (const auto answer = parse_assertion(as_text(rest))) {
      // The one answer that the device gave, whatever stands around it in the JSON.
      const Assertion given = device.get(kChallenge);
      const bool known =
          answer->client_data == given.client_data && answer->authenticator_data == given.authenticator_data;
      const auto taken = verify_assertion(*answer, kParty, kChallenge, UserCheck::Verified, stranger);
      FUZZ_CHECK(!taken || known);
    }
  } else if (kind == 2) {
    if (const auto parsed = parse_authenticator_data(rest)) {
      FUZZ_CHECK(inside(parsed->credential_id, rest) && inside(parsed->key, rest));
      (void)parse_cose_key(parsed->key);
    }
  } else if (kind == 3) {
    if (const auto key = parse_cose_key(rest)) FUZZ_CHECK(!key->verify(kChallenge, rest));
  } else if (kind == 4) {
    const Registration answer{device.client_data("webauthn.create", kChallenge), to_bytes(rest)};
    (void)verify_registration(answer, kParty, kChallenge, UserCheck::Present);
    CborReader reader(rest);
    reader.skip();
    FUZZ_CHECK(!reader.ok() || reader.offset() <= rest.size());
  } else {
    if (const auto challenge = challenge_of(as_text(rest))) FUZZ_CHECK(!challenge->empty());
    (void)decode_factors(as_text(rest));
  }
  return 0;
}
