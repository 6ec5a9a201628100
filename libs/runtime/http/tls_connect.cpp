// Finds the server's addresses, tries them one after the other, and does the TLS handshake with the first that answers.
// Somebody who answers but is not trusted ends the attempt: trying the next address would hide it.
#include <boost/asio/ip/tcp.hpp>
#include <deque>

#include "runtime/http/tls.hpp"
#include "runtime/http/tls_context.hpp"
#include "runtime/http/tls_stream.hpp"

namespace postern::runtime {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {
constexpr std::chrono::seconds kOneAddressMax{5};
}

class TlsConnect::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(IoLoop& loop, const ServerAddress& server, const ServerTrust& trust, Connected done)
      : loop_(loop),
        server_(server),
        trust_(trust),
        done_(std::move(done)),
        resolver_(loop.context()),
        socket_(loop.context()),
        deadline_(loop),
        one_address_(loop) {}

  void start(Duration deadline) {
    deadline_.start(deadline, [self = shared_from_this()] { self->fail("gave no answer in time"); });
    for (const std::string& text : server_.fixed_addresses) add_address(text);
    if (addresses_.empty()) add_address(server_.host);
    if (!addresses_.empty()) return try_next();
    resolver_.async_resolve(server_.host, std::to_string(server_.port),
                            [self = shared_from_this()](const boost::system::error_code& error, const auto& results) {
                              if (error) return self->fail("its name cannot be resolved: " + error.message());
                              for (const auto& result : results) self->addresses_.push_back(result.endpoint());
                              self->try_next();
                            });
  }

  void cancel() {
    done_ = nullptr;
    release();
  }

 private:
  void add_address(const std::string& text) {
    boost::system::error_code error;
    const auto address = asio::ip::make_address(text, error);
    if (!error) addresses_.emplace_back(address, server_.port);
  }

  void try_next() {
    if (!done_) return;
    if (addresses_.empty()) return fail(problem_.empty() ? "it has no address" : problem_);
    const tcp::endpoint endpoint = addresses_.front();
    addresses_.pop_front();
    one_address_.start(kOneAddressMax, [self = shared_from_this()] {
      boost::system::error_code ignored;
      self->socket_.close(ignored);
      if (self->stream_) self->stream_->abort();
    });
    boost::system::error_code ignored;
    socket_.close(ignored);
    socket_.async_connect(endpoint, [self = shared_from_this(), endpoint](const boost::system::error_code& error) {
      if (!self->done_) return;
      if (!error) return self->shake_hands(endpoint);
      self->problem_ = error == asio::error::operation_aborted ? "gave no answer in time" : error.message();
      self->try_next();
    });
  }

  void shake_hands(const tcp::endpoint& endpoint) {
    auto context = make_client_context(trust_);
    if (!context) return report({ConnectError::Kind::NotTrusted, context.error()});
    boost::system::error_code error;
    const int descriptor = socket_.release(error);
    if (error) return fail(error.message());
    const std::string remote = endpoint.address().to_string() + ' ' + std::to_string(endpoint.port());
    stream_ =
        std::make_shared<TlsStream>(loop_, descriptor, new_client_connection(*context, trust_, server_.host), remote);
    stream_->handshake(TlsStream::Side::Client,
                       [self = shared_from_this(), context = *context](std::error_code failure) {
                         if (self->done_) self->judge(failure);
                       });
  }

  void judge(std::error_code failure) {
    if (!failure) {
      const auto stream = std::exchange(stream_, nullptr);
      const Connected done = std::exchange(done_, nullptr);
      release();
      return done(stream);
    }
    const std::string distrust = distrust_reason(stream_->connection(), trust_, server_.host);
    stream_ = nullptr;
    if (!distrust.empty()) return report({ConnectError::Kind::NotTrusted, distrust});
    problem_ = "the TLS handshake failed: " + failure.message();
    try_next();
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
    one_address_.cancel();
    resolver_.cancel();
    boost::system::error_code ignored;
    socket_.close(ignored);
    if (stream_) stream_->abort();
    stream_ = nullptr;
  }

  IoLoop& loop_;
  ServerAddress server_;
  ServerTrust trust_;
  Connected done_;  // empty: over
  tcp::resolver resolver_;
  tcp::socket socket_;
  Timer deadline_;
  Timer one_address_;
  std::deque<tcp::endpoint> addresses_;
  std::shared_ptr<TlsStream> stream_;
  std::string problem_;
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
