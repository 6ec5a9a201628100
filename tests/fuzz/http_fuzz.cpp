// HTTP/1.1 as our server and our agents read it: requests and responses from a stream in any pieces.
//
// Holds: the same messages whatever pieces the bytes come in; methods, targets and header values have no line breaks in
// them; no body and no header section is larger than its bound; what we serialise, our own client reads back with the
// same status, headers and body, and with nothing left over.
#include "fuzz.hpp"
#include "runtime/http/http_parser.hpp"

namespace {

using namespace postern;
using namespace postern::runtime;

struct Reading {
  std::vector<HttpRequest> requests;
  int error = 0;
};

bool same(const HttpRequest& a, const HttpRequest& b) {
  return a.method == b.method && a.target == b.target && a.headers == b.headers && a.body == b.body;
}

Reading read(ByteView bytes, std::size_t piece) {
  HttpParser parser(HttpParser::Role::Server);
  Reading reading;
  while (true) {
    const ByteView part = bytes.first(std::min(piece, bytes.size()));
    bytes = bytes.subspan(part.size());
    auto fed = parser.feed(part);
    while (fed && parser.complete()) {
      (void)parser.keep_alive();
      (void)parser.wants_upgrade();
      reading.requests.push_back(parser.take_request());
      fed = parser.feed({});
      if (parser.idle()) break;
    }
    if (!fed) {
      reading.error = fed.error().status;
      return reading;
    }
    if (bytes.empty()) return reading;
  }
}

void check_requests(ByteView bytes) {
  const Reading whole = read(bytes, SIZE_MAX);
  const Reading single = read(bytes, 1);
  FUZZ_CHECK(whole.error == 0 || whole.error == 400 || whole.error == 413 || whole.error == 431);
  // (a message that is not complete may be found wrong earlier in small pieces)
  FUZZ_CHECK(whole.requests.size() == single.requests.size());
  for (std::size_t i = 0; i < whole.requests.size(); ++i) {
    const HttpRequest& request = whole.requests[i];
    FUZZ_CHECK(same(request, single.requests[i]));
    FUZZ_CHECK(request.target.find_first_of("\r\n ") == std::string::npos && request.body.size() <= kHttpBodyMax);
    std::size_t size = 0;
    for (const auto& [name, value] : request.headers) {
      FUZZ_CHECK(value.find_first_of("\r\n") == std::string::npos && !name.empty());
      size += name.size() + value.size();
    }
    FUZZ_CHECK(size <= kHttpHeaderMax);
    FUZZ_CHECK(request.path().size() + request.query().size() <= request.target.size());
  }
}

void check_response(ByteView bytes) {
  HttpParser parser(HttpParser::Role::Client);
  if (!parser.feed(bytes)) return;
  if (!parser.complete()) parser.end();
  if (!parser.complete()) return;
  const HttpResponse response = parser.take_response();
  FUZZ_CHECK(response.body.size() <= kHttpBodyMax);
}

/// An answer of ours: any status that has a body, any body.
void check_own(fuzz::Choices choices) {
  HttpResponse response;
  response.status = 200 + static_cast<int>(choices.below(300));
  if (response.status == 204 || response.status == 205 || response.status == 304) return;
  const bool keep_alive = choices.flag();
  response.headers = {{"Content-Type", "text/plain"}};
  response.body = std::string(as_text(choices.rest()));
  const std::string text = serialize_response(response, keep_alive, false);
  HttpParser parser(HttpParser::Role::Client);
  FUZZ_CHECK(parser.feed(as_bytes(text)).has_value() && parser.complete());
  FUZZ_CHECK(parser.keep_alive() == keep_alive);
  const HttpResponse again = parser.take_response();
  FUZZ_CHECK(again.status == response.status && again.body == response.body && parser.idle());
}

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  return {text_seed("0GET /login?next=%2F HTTP/1.1\r\nHost: example.org\r\nCookie: a=b\r\n\r\n"),
          text_seed("0POST /api HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n"),
          text_seed("0POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
          text_seed("0GET /control/v1 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"),
          text_seed("1HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
          text_seed("1HTTP/1.0 404 Not Found\r\n\r\nrest"),
          text_seed("2ab<html>")};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const ByteView bytes(data + 1, size - 1);
  switch (data[0] % 3) {
    case 0:
      check_requests(bytes);
      break;
    case 1:
      check_response(bytes);
      break;
    default:
      check_own(fuzz::Choices(bytes));
  }
  return 0;
}
