// What a person types after `postern login`, with a fingerprint.
//
// Holds: never plain http; a server that was taken has a host without blanks, brackets, slashes or control characters
// and a port; an error is one line; host and port written again lead to the same server; a pin comes only from a digest
// that was given.
#include "fuzz.hpp"
#include "services/client/server_url.hpp"

using namespace postern;
using namespace postern::client;

std::vector<Bytes> postern::fuzz::seeds() {
  const std::string digest = to_base64url(Bytes(32, 7));
  return {text_seed("https://postern.example.org:8443/#ca=" + digest),
          text_seed("postern.example.org"),
          text_seed("[2001:db8::1]:443"),
          text_seed("192.0.2.1\n" + to_hex(Bytes(32, 9))),
          text_seed("http://x/"),
          text_seed("https://x/#ca=short")};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text({data, size});
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view fingerprint = text.substr(std::min(end + 1, text.size()));
  const auto target = parse_server_target(text.substr(0, end), fingerprint);
  if (!target) {
    FUZZ_CHECK(!target.error().empty() && target.error().find('\n') == std::string::npos);
    return 0;
  }
  const std::string& host = target->server.host;
  FUZZ_CHECK(!host.empty() && target->server.port != 0);
  for (const char c : host)
    FUZZ_CHECK(c > ' ' && c != '/' && c != '[' && c != ']' && c != '#' && c != '@' && c != 0x7f);
  FUZZ_CHECK(!text.starts_with("http://"));
  if (target->trust.root_pin) FUZZ_CHECK(!fingerprint.empty() || text.find("#ca=") != std::string_view::npos);
  const bool is_v6 = host.find(':') != std::string::npos;
  const std::string again = (is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(target->server.port);
  const auto back = parse_server_target(again, "");
  FUZZ_CHECK(back && back->server.host == host && back->server.port == target->server.port);
  return 0;
}
