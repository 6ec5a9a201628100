// OpenSSL contexts of servers and agents, and the agent's judgement of a server's chain.
#pragma once

#include <expected>
#include <memory>
#include <string>

#include "runtime/http/tls.hpp"

struct ssl_ctx_st;
struct ssl_st;

namespace postern::runtime {

using TlsContext = std::shared_ptr<ssl_ctx_st>;

/// TLS 1.2 and later, ALPN http/1.1, no tickets. The error is one sentence for people.
[[nodiscard]] std::expected<TlsContext, std::string> make_server_context(const std::string& certificate_pem,
                                                                         const std::string& private_key_pem);

/// PEM of a DER certificate; empty when it is none.
[[nodiscard]] std::string certificate_to_pem(ByteView der);

/// With a pin of a root: the chain must end in a root with that key digest, and the leaf must carry the URI SAN
/// "postern:controller"; names and dates are not looked at (PROTOCOL.md §5.4). With a pin of a key: the leaf must have
/// that key, nothing else counts. Without: public CAs and the host's name.
[[nodiscard]] std::expected<TlsContext, std::string> make_client_context(const ServerTrust& trust);

/// A connection of the context; SNI and the name to check are set from `host` for agents. The caller owns it.
[[nodiscard]] ssl_st* new_client_connection(const TlsContext& context, const ServerTrust& trust,
                                            const std::string& host);
[[nodiscard]] ssl_st* new_server_connection(const TlsContext& context);

/// After a failed handshake: why the peer was not trusted; empty when trust was not the reason.
[[nodiscard]] std::string distrust_reason(const ssl_st* connection, const ServerTrust& trust, const std::string& host);

}  // namespace postern::runtime
