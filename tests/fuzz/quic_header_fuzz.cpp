// The first bytes of a datagram: which machine gets it, and what of a QUIC packet can be read without keys.
//
// Holds: the relay's view (wire/quic_header), the demultiplexer's (parse_initial_header) and the session's own parser
// agree on class and connection id; tokens lie inside the datagram; nothing but the first packet's header decides.
#include "fuzz.hpp"
#include "session/packet_header.hpp"
#include "wire/quic_header.hpp"

namespace {

using namespace postern;

bool lies_in(ByteView part, ByteView whole) {
  return part.empty() || (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  Bytes initial(1200, 0);
  initial[0] = 0xc3;
  initial[4] = 1;
  initial[5] = 16;
  initial[22] = 16;
  initial[39] = 81;
  Bytes handshake = initial;
  handshake[0] = 0xe1;
  handshake.resize(100);
  Bytes one_rtt(60, 7);
  one_rtt[0] = 0x41;
  return {initial, handshake, one_rtt, {0, 1, 0, 0}, {0xc0, 0, 0, 0, 0}, {0xf0, 0, 0, 0, 1, 16}};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView datagram(data, size);
  const auto kind = wire::classify_datagram(datagram);
  const auto relay = wire::parse_quic_header(datagram);
  const auto initial = wire::parse_initial_header(datagram);
  const auto session = session::parse_packet_header(datagram);
  FUZZ_CHECK(!relay || kind == wire::DatagramClass::Quic);
  FUZZ_CHECK((kind == wire::DatagramClass::Stun) == (size > 0 && data[0] < 4));
  // What a session takes, a relay forwards, and to the same peer.
  if (session) {
    FUZZ_CHECK(relay && relay->destination == session->destination);
    FUZZ_CHECK(relay->is_long == (session->kind != session::PacketKind::Short));
    FUZZ_CHECK(lies_in(session->token, datagram));
  }
  if (initial) {
    FUZZ_CHECK(relay && relay->is_long && relay->destination == initial->destination);
    FUZZ_CHECK(lies_in(initial->token, datagram) && lies_in(initial->source, datagram));
    FUZZ_CHECK(initial->source.size() <= 20);
  }
  if (session && session->kind == session::PacketKind::Initial && initial) {
    FUZZ_CHECK(initial->token.size() == session->token.size());
  }
  if (relay) {
    const std::size_t head = relay->is_long ? 22 : 17;
    FUZZ_CHECK(size >= head);
    const auto again = wire::parse_quic_header(datagram.first(head));
    FUZZ_CHECK(again && again->destination == relay->destination);
  }
  return 0;
}
