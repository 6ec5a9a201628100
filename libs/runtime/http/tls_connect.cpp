// Connects, and does the TLS handshake with the first address that answers. Somebody who answers but is not trusted
// ends the attempt: trying the next address would hide it.
#include <unistd.h>

#include <utility>

#include "runtime/http/tcp_connect.hpp"
#include "runtime/http/tls.hpp"
#include "runtime/http/tls_context.hpp"
#include "runtime/http/tls_stream.hpp"

namespace postern::runtime {

namespace {
constexpr std::chrono::seconds kHandshakeMax{5};
}

class TlsConnect::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(IoLoop& loop, const ServerAddress& server, const ServerTrust& trust, Connected done)
      : loop_(loop),
        server_(server),
        trust_(trust),
        done_(std::move(done)),
        connect_(loop, server,
                 [this](std::expected<TcpConnected, std::string> connected) {
                   connected ? shake_hands(*connected) : fail(connected.error());
                 }),
        deadline_(loop),
        handshake_(loop) {}

  void start(Duration deadline) {
    deadline_.start(deadline, [self = shared_from_this()] { self->fail("gave no answer in time"); });
    connect_.start();
  }

  void cancel() {
    done_ = nullptr;
    release();
  }

 private:
  void shake_hands(const TcpConnected& connected) {
    if (!done_) return;
    auto context = make_client_context(trust_);
    if (!context) {
      ::close(connected.descriptor);
      return report({ConnectError::Kind::NotTrusted, context.error()});
    }
    stream_ = std::make_shared<TlsStream>(loop_, connected.descriptor,
                                          new_client_connection(*context, trust_, server_.host), connected.remote);
    handshake_.start(kHandshakeMax, [self = shared_from_this()] {
      if (self->stream_) self->stream_->abort();
    });
    stream_->handshake(TlsStream::Side::Client,
                       [self = shared_from_this(), context = *context](std::error_code failure) {
                         if (self->done_) self->judge(failure);
                       });
  }

  void judge(std::error_code failure) {
    handshake_.cancel();
    if (!failure) {
      const auto stream = std::exchange(stream_, nullptr);
      const Connected done = std::exchange(done_, nullptr);
      release();
      return done(stream);
    }
    const std::string distrust = distrust_reason(stream_->connection(), trust_, server_.host);
    stream_ = nullptr;
    if (!distrust.empty()) return report({ConnectError::Kind::NotTrusted, distrust});
    connect_.next("the TLS handshake failed: " + failure.message());
  }

  void fail(const std::string& what) {
    report({ConnectError::Kind::Unreachable,
            "cannot reach " + server_.host + " port " + std::to_string(server_.port) + "/tcp: " + what});
  }

  void report(ConnectError error) {
    const Connected done = std::exchange(done_, nullptr);
    release();
    if (done) done(std::unexpected(std::move(error)));
  }

  void release() {
    deadline_.cancel();
    handshake_.cancel();
    if (stream_) stream_->abort();
    stream_ = nullptr;
  }

  IoLoop& loop_;
  ServerAddress server_;
  ServerTrust trust_;
  Connected done_;  // empty: over
  TcpConnect connect_;
  Timer deadline_;
  Timer handshake_;
  std::shared_ptr<TlsStream> stream_;
};

TlsConnect::TlsConnect(IoLoop& loop, const ServerAddress& server, const ServerTrust& trust, Duration deadline,
                       Connected done)
    : impl_(std::make_shared<Impl>(loop, server, trust, std::move(done))) {
  impl_->start(deadline);
}
TlsConnect::~TlsConnect() {
  impl_->cancel();
}

}  // namespace postern::runtime
