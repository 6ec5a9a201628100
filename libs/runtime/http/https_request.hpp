// One HTTPS request, with the kind of its failure.
#pragma once

#include <expected>
#include <string_view>

#include "base/time.hpp"
#include "runtime/http/http_message.hpp"
#include "runtime/http/tls.hpp"

namespace postern::runtime {

struct OutgoingRequest {
  std::string_view method = "GET";
  std::string_view target = "/";
  std::string_view body = {};
  std::string_view content_type = {};
  HttpHeaders headers = {};
};

/// Blocks the caller for at most `timeout`. Like https_request (control_client.hpp), but tells a server that is not the
/// promised one from a server that does not answer.
[[nodiscard]] std::expected<HttpResponse, ConnectError> https_exchange(const ServerAddress& server,
                                                                       const ServerTrust& trust,
                                                                       const OutgoingRequest& request,
                                                                       Duration timeout);

/// "host:port" as the Host header wants it: brackets around IPv6, no port when it is 443.
[[nodiscard]] std::string host_header(const ServerAddress& server);

}  // namespace postern::runtime
