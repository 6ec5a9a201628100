// Accepts connections and does their TLS handshakes. Handshakes that are under way stand in a list by age: each has a
// deadline, and at the bound the oldest makes room, so that silent connections cannot keep others out.
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <list>

#include "runtime/http/tls.hpp"
#include "runtime/http/tls_context.hpp"
#include "runtime/http/tls_stream.hpp"

namespace postern::runtime {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

/// Without descriptors accept() fails at once, again and again: wait for some to come back.
constexpr std::chrono::milliseconds kAcceptPause{100};

asio::ip::address to_asio(const IpAddress& ip) {
  return asio::ip::make_address(ip.to_string());
}

std::string remote_name(const tcp::endpoint& endpoint) {
  auto address = endpoint.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  }
  const std::string text = address.to_string();
  return (address.is_v6() ? '[' + text + ']' : text) + ':' + std::to_string(endpoint.port());
}

ListenError listen_error(const boost::system::error_code& error, const SocketAddress& address) {
  const std::string where = address.to_string();
  if (error == asio::error::address_in_use) {
    return {ListenError::Kind::AddressInUse,
            "another program listens on " + where + "/tcp; stop it or choose another address with --listen"};
  }
  if (error == asio::error::access_denied) {
    return {ListenError::Kind::NotPermitted,
            "listening on " + where +
                "/tcp is not permitted; run as root, grant CAP_NET_BIND_SERVICE or choose a port above 1023"};
  }
  return {ListenError::Kind::Other, "cannot listen on " + where + "/tcp: " + error.message()};
}

struct Handshake {
  Handshake(IoLoop& loop, std::shared_ptr<TlsStream> with) : stream(std::move(with)), deadline(loop) {}
  std::shared_ptr<TlsStream> stream;
  Timer deadline;
};

}  // namespace

class TlsListener::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(IoLoop& loop, TlsListenerConfig config, Accepted accepted)
      : config_(std::move(config)),
        loop_(loop),
        acceptor_(loop.context()),
        pause_(loop),
        accepted_(std::move(accepted)) {}

  std::expected<void, ListenError> start() {
    if (auto made = replace_certificate(config_.certificate_pem, config_.private_key_pem); !made) {
      return std::unexpected(ListenError{ListenError::Kind::BadCertificate, made.error()});
    }
    boost::system::error_code error = open_socket({to_asio(config_.listen.ip), config_.listen.port});
    const bool any_v6 = config_.listen.ip == *IpAddress::parse("::");
    if (any_v6 && error == asio::error::address_family_not_supported) {
      error = open_socket({tcp::v4(), config_.listen.port});  // a host without IPv6
    }
    if (error) return std::unexpected(listen_error(error, config_.listen));
    accept_next();
    return {};
  }

  std::expected<void, std::string> replace_certificate(const std::string& certificate, const std::string& key) {
    auto made = make_server_context(certificate, key);
    if (!made) return std::unexpected(made.error());
    context_ = std::move(*made);
    return {};
  }

  std::uint16_t port() const {
    boost::system::error_code error;
    return acceptor_.local_endpoint(error).port();
  }

  void stop() {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
    for (Handshake& one : handshakes_) one.stream->abort();
    handshakes_.clear();
  }

  TlsListenerCounters counters;

 private:
  using Place = std::list<Handshake>::iterator;

  boost::system::error_code open_socket(const tcp::endpoint& endpoint) {
    boost::system::error_code error;
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error && endpoint.protocol() == tcp::v6()) acceptor_.set_option(asio::ip::v6_only(false), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(tcp::acceptor::max_listen_connections, error);
    return error;
  }

  void accept_next() {
    acceptor_.async_accept([self = shared_from_this()](const boost::system::error_code& error, tcp::socket socket) {
      if (!self->acceptor_.is_open()) return;
      if (error) {
        self->pause_.start(kAcceptPause, [self] { self->accept_next(); });
        return;
      }
      self->begin(std::move(socket));
      self->accept_next();
    });
  }

  void begin(tcp::socket socket) {
    ++counters.accepted;
    boost::system::error_code error;
    const std::string remote = remote_name(socket.remote_endpoint(error));
    if (error) return;  // gone already
    const int descriptor = socket.release(error);
    if (error) return;
    make_room();
    auto stream = std::make_shared<TlsStream>(loop_, descriptor, new_server_connection(context_), remote);
    const Place place = handshakes_.emplace(handshakes_.end(), loop_, stream);
    place->deadline.start(config_.handshake_max, [this, place] {
      ++counters.handshake_timed_out;
      drop(place);
    });
    stream->handshake(TlsStream::Side::Server, [weak = weak_from_this(), stream, place](std::error_code failure) {
      // A stream that was dropped ends with an error too, and its place is gone by then.
      if (const auto self = weak.lock(); self && self->is_waiting(stream)) self->finish(place, failure);
    });
  }

  bool is_waiting(const std::shared_ptr<TlsStream>& stream) const {
    return std::ranges::any_of(handshakes_, [&](const Handshake& one) { return one.stream == stream; });
  }

  void make_room() {
    if (handshakes_.size() < config_.handshakes_max) return;
    ++counters.handshake_displaced;
    drop(handshakes_.begin());
  }

  void drop(Place place) {
    place->stream->abort();
    handshakes_.erase(place);
  }

  void finish(Place place, std::error_code failure) {
    auto stream = place->stream;
    handshakes_.erase(place);
    if (failure) {
      ++counters.handshake_failed;
      stream->abort();
      return;
    }
    accepted_(std::move(stream));
  }

  TlsListenerConfig config_;
  IoLoop& loop_;
  tcp::acceptor acceptor_;
  Timer pause_;
  Accepted accepted_;
  TlsContext context_;
  std::list<Handshake> handshakes_;  // oldest first
};

TlsListener::TlsListener(IoLoop& loop, TlsListenerConfig config, Accepted accepted)
    : impl_(std::make_shared<Impl>(loop, std::move(config), std::move(accepted))) {}
TlsListener::~TlsListener() {
  impl_->stop();
}
std::expected<void, ListenError> TlsListener::start() {
  return impl_->start();
}
std::expected<void, std::string> TlsListener::replace_certificate(const std::string& certificate_pem,
                                                                  const std::string& private_key_pem) {
  return impl_->replace_certificate(certificate_pem, private_key_pem);
}
std::uint16_t TlsListener::port() const {
  return impl_->port();
}
const TlsListenerCounters& TlsListener::counters() const {
  return impl_->counters;
}
void TlsListener::stop() {
  impl_->stop();
}

}  // namespace postern::runtime
