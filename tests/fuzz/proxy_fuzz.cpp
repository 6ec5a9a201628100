// What local programs say to the SOCKS5 and HTTP port.
//
// Holds: the bytes cut anywhere give the same step, destination, output and stream as in one piece; a request has a
// host, and a port where it connects; a refusal is never empty; nothing before the stream is kept beyond the bound. The
// same bytes as a datagram of SOCKS5: what is taken names a host and a port, and its header is read back as it was.
#include "client_core/proxy_handshake.hpp"
#include "client_core/socks_datagram.hpp"
#include "fuzz.hpp"

namespace {

using namespace postern;
using namespace postern::client;

struct Outcome {
  ProxyHandshake::Step step = ProxyHandshake::Step::More;
  std::string output;
  std::string stream;
  std::optional<Destination> destination;
  bool operator==(const Outcome&) const = default;
};

Outcome run(const ProxyLogin* login, ByteView bytes, std::size_t piece) {
  ProxyHandshake handshake(login);
  Outcome outcome;
  std::size_t at = 0;
  while (at < bytes.size() && outcome.step == ProxyHandshake::Step::More) {
    const std::size_t size = std::min(piece, bytes.size() - at);
    outcome.step = handshake.feed(bytes.subspan(at, size));
    outcome.output += handshake.take_output();
    at += size;
  }
  if (outcome.step != ProxyHandshake::Step::Ready) return outcome;
  outcome.destination = handshake.destination();
  FUZZ_CHECK(outcome.destination->port.has_value());
  FUZZ_CHECK(*outcome.destination->port != 0 || handshake.command() == ProxyCommand::UdpAssociate);
  FUZZ_CHECK(!outcome.destination->host_text().empty());
  const FlowDenial denial{FlowRefusal::NoResource, tcp::Refusal::AdminProhibited};
  FUZZ_CHECK(!handshake.refused(denial, describe(denial, *outcome.destination)).empty());
  outcome.stream = handshake.take_stream() + std::string(as_text(bytes.subspan(at)));
  return outcome;
}

void run_datagram(ByteView bytes) {
  const auto datagram = parse_socks_datagram(bytes);
  if (!datagram) return;
  FUZZ_CHECK(datagram->to.port.value_or(0) != 0);
  std::string again = build_socks_header(datagram->to);
  again += as_text(datagram->payload);
  const auto back = parse_socks_datagram(as_bytes(again));
  FUZZ_CHECK(back.has_value() && back->to == datagram->to);
  FUZZ_CHECK(as_text(back->payload) == as_text(datagram->payload));
}

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  return {text_seed(std::string("0\x05\x01\x00\x05\x01\x00\x03\x07nas.lan\x00\x50hello", 21)),
          text_seed(std::string("0\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00", 14)),
          text_seed(std::string("1\x05\x01\x02\x01\x01u\x01p\x05\x01\x00\x01\x0a\x00\x00\x01\x01\xbb", 19)),
          text_seed(std::string("0\0\0\0\3\7nas.lan\0\x35question", 21)),
          text_seed(std::string("0\0\0\1\1\x0a\0\0\1\0\x35part", 15)),
          text_seed("0CONNECT nas.lan:443 HTTP/1.1\r\nHost: nas.lan\r\n\r\nhello"),
          text_seed("1CONNECT nas.lan:443 HTTP/1.1\r\nProxy-Authorization: Basic dTpw\r\n\r\n"),
          text_seed("0GET http://[2001:db8::1]:81/a?b#c HTTP/1.1\r\nConnection: x\r\nHost: nas\r\n\r\n"),
          text_seed("0GET / HTTP/1.1\r\n\r\n")};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > ProxyHandshake::kHeadMax) return 0;
  const ProxyLogin login{"u", "p"};
  const ProxyLogin* wanted = data[0] % 2 == 0 ? nullptr : &login;
  const ByteView bytes(data + 1, size - 1);
  run_datagram(bytes);
  const Outcome whole = run(wanted, bytes, bytes.size() + 1);
  FUZZ_CHECK(run(wanted, bytes, 1) == whole);
  FUZZ_CHECK(run(wanted, bytes, 7) == whole);
  return 0;
}
