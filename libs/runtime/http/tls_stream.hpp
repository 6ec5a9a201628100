// A TLS connection on a TCP socket, before and after its handshake.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "runtime/http/byte_stream.hpp"
#include "runtime/http/io_loop.hpp"

struct ssl_st;

namespace postern::runtime {

class TlsStream final : public ByteStream, public std::enable_shared_from_this<TlsStream> {
 public:
  enum class Side : std::uint8_t { Server, Client };

  /// Takes a connected non-blocking TCP socket and the TLS connection, both owned from now on.
  TlsStream(IoLoop& loop, int descriptor, ssl_st* connection, std::string remote);
  ~TlsStream() override;

  void handshake(Side side, std::function<void(std::error_code)> done);
  [[nodiscard]] ssl_st* connection();

  struct Released {
    int descriptor = -1;
    ssl_st* connection = nullptr;  ///< on that descriptor; the receiver's
  };
  /// Gives the connection away, between two reads and with nothing to be written; nothing when the peer has already
  /// sent more. This object is of no use afterwards.
  [[nodiscard]] std::optional<Released> release();

  void read_some(MutableBytes into, Done done) override;
  void write_some(ByteView from, Done done) override;
  void shutdown() override;
  void abort() override;
  [[nodiscard]] const std::string& remote() const override { return remote_; }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::string remote_;
};

}  // namespace postern::runtime
