#include "runtime/http/tls_stream.hpp"

#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>

namespace postern::runtime {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

constexpr std::chrono::seconds kGoodbyeMax{1};

tcp protocol_of(int descriptor) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  ::getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &size);
  return address.ss_family == AF_INET6 ? tcp::v6() : tcp::v4();
}

}  // namespace

struct TlsStream::Impl {
  Impl(IoLoop& loop, int descriptor, ssl_st* connection)
      : stream(tcp::socket(loop.context(), protocol_of(descriptor), descriptor), connection), goodbye(loop) {}
  asio::ssl::stream<tcp::socket> stream;
  Timer goodbye;
  bool reading = false;
  bool closing = false;
};

TlsStream::TlsStream(IoLoop& loop, int descriptor, ssl_st* connection, std::string remote)
    : impl_(std::make_unique<Impl>(loop, descriptor, connection)), remote_(std::move(remote)) {
  // Messages are small and somebody waits for each: never hold one back for the acknowledgement of the one before.
  boost::system::error_code ignored;
  impl_->stream.next_layer().set_option(tcp::no_delay(true), ignored);
}

TlsStream::~TlsStream() = default;

ssl_st* TlsStream::connection() {
  return impl_->stream.native_handle();
}

void TlsStream::handshake(Side side, std::function<void(std::error_code)> done) {
  const auto role = side == Side::Server ? asio::ssl::stream_base::server : asio::ssl::stream_base::client;
  impl_->stream.async_handshake(role, [self = shared_from_this(), done = std::move(done)](
                                          const boost::system::error_code& error) { done(error); });
}

std::optional<TlsStream::Released> TlsStream::release() {
  SSL* connection = impl_->stream.native_handle();
  if (impl_->reading || impl_->closing || BIO_ctrl_pending(SSL_get_rbio(connection)) > 0) return std::nullopt;
  impl_->closing = true;
  boost::system::error_code error;
  const int descriptor = impl_->stream.next_layer().release(error);
  if (error) return std::nullopt;
  // Asio gave it memory to read from and write to; the socket takes their place, and Asio's own reference ends with it.
  SSL_up_ref(connection);
  SSL_set_fd(connection, descriptor);
  return Released{descriptor, connection};
}

void TlsStream::read_some(MutableBytes into, Done done) {
  impl_->reading = true;
  impl_->stream.async_read_some(
      asio::buffer(into.data(), into.size()),
      [self = shared_from_this(), done = std::move(done)](const boost::system::error_code& error, std::size_t size) {
        self->impl_->reading = false;
        done(error, size);
      });
}

void TlsStream::write_some(ByteView from, Done done) {
  impl_->stream.async_write_some(asio::buffer(from.data(), from.size()),
                                 [self = shared_from_this(), done = std::move(done)](
                                     const boost::system::error_code& error, std::size_t size) { done(error, size); });
}

void TlsStream::shutdown() {
  if (impl_->closing) return;
  impl_->closing = true;
  if (impl_->reading) return abort();  // a read and a goodbye would both want the peer's next record
  impl_->goodbye.start(kGoodbyeMax, [self = shared_from_this()] { self->abort(); });
  impl_->stream.async_shutdown([self = shared_from_this()](const boost::system::error_code&) { self->abort(); });
}

void TlsStream::abort() {
  impl_->closing = true;
  impl_->goodbye.cancel();
  boost::system::error_code ignored;
  impl_->stream.next_layer().close(ignored);
}

}  // namespace postern::runtime
