// A connected stream of bytes with its TLS inside, as HTTP and WebSocket see it. The type is erased on purpose: Beast's
// composed operations are compiled once over this interface instead of once per layer of TLS.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <system_error>

#include "base/bytes.hpp"

namespace postern::runtime {

class ByteStream {
 public:
  using Done = std::function<void(std::error_code, std::size_t)>;

  virtual ~ByteStream() = default;
  /// At most one read and one write at a time. `done` is called once, later, on the loop's thread; the buffer lives
  /// until then. An error is also the peer's end of the stream.
  virtual void read_some(MutableBytes into, Done done) = 0;
  virtual void write_some(ByteView from, Done done) = 0;
  /// Says goodbye (TLS close_notify) within a second, then closes.
  virtual void shutdown() = 0;
  /// Closes now; pending operations end with an error.
  virtual void abort() = 0;
  /// "192.0.2.1:4711"
  [[nodiscard]] virtual const std::string& remote() const = 0;
};

}  // namespace postern::runtime
