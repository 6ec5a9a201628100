// A router, or whoever else answers on the local network, that says anything to the machine that asks it for a port.
//
// Holds: requests over HTTP go to the router's address only, datagrams to the router or the group of SSDP; an outside
// is a public address with a port; what waits is bounded; the machine always comes back to a state in which it asks
// again or is off, and release() ends within its own deadlines.
#include "fuzz.hpp"
#include "mapping/port_mapper.hpp"
#include "path/candidate.hpp"

namespace {

using namespace postern;
using namespace postern::mapping;
using fuzz::Choices;

const IpAddress kRouter = IpAddress::v4(192, 168, 1, 1);
const Place kPlace{kRouter, IpAddress::v4(192, 168, 1, 10), 4000};

class World {
 public:
  explicit World(ByteView input) : choices_(input) { mapper_.set_place(now_, kPlace); }

  void run() {
    for (int i = 0; i < 256 && !choices_.empty(); ++i) {
      step();
      check();
    }
    mapper_.release(now_);
    for (int i = 0; i < 16 && !mapper_.is_released(); ++i) tick();
    FUZZ_CHECK(mapper_.is_released());
    FUZZ_CHECK(!mapper_.outside());
  }

 private:
  void step() {
    switch (choices_.below(8)) {
      case 0:
        return mapper_.handle_datagram(now_, {kRouter, kNatPmpPort}, choices_.block());
      case 1:
        return answer_pmp();
      case 2:
        return mapper_.handle_datagram(now_, {kRouter, 1900}, choices_.block());
      case 3:
        return mapper_.handle_bytes(now_, choices_.block());
      case 4:
        return mapper_.handle_end(now_);
      case 5:
        return mapper_.refresh(now_);
      case 6:
        now_ += std::chrono::milliseconds(choices_.u16());
        return mapper_.handle_timeout(now_);
      default:
        return tick();
    }
  }

  void answer_pmp() {
    std::array<std::uint8_t, 16> bytes{};
    ByteWriter writer(bytes);
    const bool is_map = choices_.flag();
    writer.u8(0);
    writer.u8(is_map ? 129 : 128);
    writer.u16(choices_.flag() ? 0 : choices_.u16());
    writer.u32(choices_.u32());
    if (is_map) writer.u16(choices_.flag() ? kPlace.port : choices_.u16());
    if (is_map) writer.u16(choices_.u16());
    writer.u32(choices_.u32());
    mapper_.handle_datagram(now_, {kRouter, kNatPmpPort}, writer.written());
  }

  void tick() {
    now_ = std::max(now_, mapper_.next_timeout().value_or(now_));
    mapper_.handle_timeout(now_);
  }

  void check() {
    int sent = 0;
    while (const auto next = mapper_.poll_datagram()) {
      FUZZ_CHECK(next->to == ssdp_group() || next->to == (SocketAddress{kRouter, kNatPmpPort}));
      FUZZ_CHECK(++sent <= 16);
    }
    if (const auto& exchange = mapper_.exchange()) {
      FUZZ_CHECK(exchange->to.ip == kRouter && exchange->to.port != 0);
      const std::string_view line = std::string_view(exchange->request).substr(0, exchange->request.find("\r\n"));
      FUZZ_CHECK(line.ends_with(" HTTP/1.1") && std::ranges::count(line, ' ') == 2);
    }
    if (const auto outside = mapper_.outside()) {
      FUZZ_CHECK(outside->port != 0 && !path::is_forbidden(*outside) && !path::is_private(outside->ip));
    }
    FUZZ_CHECK(mapper_.next_timeout());  // it never forgets to go on
  }

  Choices choices_;
  Instant now_{std::chrono::hours(1)};
  SeededRandom random_{1};
  PortMapper mapper_{random_};
};

constexpr std::string_view kDescription =
    "<root><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:2</serviceType>"
    "<controlURL>/ctl</controlURL></service><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1"
    "</serviceType><controlURL>http://10.0.0.1/x</controlURL></service></root>";

std::string http(std::string_view status, std::string_view body) {
  return "HTTP/1.1 " + std::string(status) + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         std::string(body);
}

}  // namespace

std::vector<Bytes> fuzz::seeds() {
  fuzz::Script pmp;
  pmp.u8(1).u8(0).u8(1).u32(7).u32(0xcb007109).u8(1).u8(1).u8(1).u32(7).u8(1).u16(4001).u32(600).u8(7).u8(5).u8(7);
  fuzz::Script upnp;
  for (int i = 0; i < 4; ++i) upnp.u8(7);
  upnp.u8(2).block("HTTP/1.1 200 OK\r\nLOCATION: http://192.168.1.1:5000/root.xml\r\n\r\n");
  upnp.u8(3).block(http("200 OK", kDescription));
  upnp.u8(3).block(http("200 OK", "<Body><NewExternalIPAddress>203.0.113.9</NewExternalIPAddress></Body>"));
  for (const char* code : {"602", "725", "718"}) {
    upnp.u8(3).block(http("500 no", "<errorCode>" + std::string(code) + "</errorCode>"));
  }
  upnp.u8(3).block(http("200 OK", "<Body><NewReservedPort>7777</NewReservedPort></Body>"));
  upnp.u8(7);
  upnp.u8(3).block("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n<a>\r\n0\r\n\r\n");
  return {pmp.bytes(), upnp.bytes()};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  World({data, size}).run();
  return 0;
}
