#include "runtime/http/tcp_connect.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <charconv>
#include <deque>

namespace postern::runtime {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr std::chrono::seconds kOneAddressMax{5};
constexpr std::size_t kAnswerMax = 8192;

std::string authority(const ServerAddress& server) {
  const std::string host = server.host.contains(':') ? '[' + server.host + ']' : server.host;
  return host + ':' + std::to_string(server.port);
}

/// The status of an answer to CONNECT; 0 when it is none.
int status_of(std::string_view answer) {
  int status = 0;
  if (!answer.starts_with("HTTP/1.") || answer.size() < 12 || answer[8] != ' ') return 0;
  return std::from_chars(answer.data() + 9, answer.data() + 12, status).ptr == answer.data() + 12 ? status : 0;
}

}  // namespace

class TcpConnect::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(IoLoop& loop, const ServerAddress& server, Done done)
      : server_(server),
        proxy_(server.proxies ? server_.proxies->proxy_for(server_.host) : nullptr),
        done_(std::move(done)),
        resolver_(loop.context()),
        socket_(loop.context()),
        one_address_(loop) {}

  void start() {
    if (proxy_ == nullptr) {
      for (const std::string& text : server_.fixed_addresses) add_address(text, server_.port);
    }
    const std::string& host = proxy_ != nullptr ? proxy_->host : server_.host;
    const std::uint16_t port = proxy_ != nullptr ? proxy_->port : server_.port;
    if (addresses_.empty()) add_address(host, port);
    if (!addresses_.empty()) return try_next();
    resolver_.async_resolve(host, std::to_string(port),
                            [self = shared_from_this()](const error_code& error, const auto& results) {
                              if (!self->done_) return;
                              if (error)
                                return self->finish(self->whose() + "name cannot be resolved: " + error.message());
                              for (const auto& result : results) self->addresses_.push_back(result.endpoint());
                              self->try_next();
                            });
  }

  void next(std::string problem) {
    problem_ = std::move(problem);
    try_next();
  }

  void cancel() {
    done_ = nullptr;
    release();
  }

 private:
  [[nodiscard]] std::string whose() const {
    return proxy_ != nullptr ? "the proxy " + proxy_->name() + ": its " : "its ";
  }

  void add_address(const std::string& text, std::uint16_t port) {
    error_code error;
    const auto address = asio::ip::make_address(text, error);
    if (!error) addresses_.emplace_back(address, port);
  }

  void try_next() {
    if (!done_) return;
    if (addresses_.empty()) return finish(problem_.empty() ? "it has no address" : problem_);
    const tcp::endpoint endpoint = addresses_.front();
    addresses_.pop_front();
    one_address_.start(kOneAddressMax, [self = shared_from_this()] { self->close(); });
    close();
    socket_.async_connect(endpoint, [self = shared_from_this(), endpoint](const error_code& error) {
      if (!self->done_) return;
      if (error) return self->failed(error);
      self->proxy_ != nullptr ? self->ask_proxy(endpoint) : self->succeeded(endpoint);
    });
  }

  void failed(const error_code& error) {
    const std::string what = error == asio::error::operation_aborted || error == asio::error::bad_descriptor
                                 ? "gave no answer in time"
                                 : error.message();
    next(proxy_ != nullptr ? "the proxy " + proxy_->name() + ": " + what : what);
  }

  // RFC 9110 §9.3.6
  void ask_proxy(const tcp::endpoint& endpoint) {
    const std::string target = authority(server_);
    text_ = "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\nUser-Agent: postern\r\n";
    if (!proxy_->authorization.empty()) text_ += "Proxy-Authorization: " + proxy_->authorization + "\r\n";
    text_ += "\r\n";
    asio::async_write(socket_, asio::buffer(text_),
                      [self = shared_from_this(), endpoint](const error_code& error, std::size_t) {
                        if (!self->done_) return;
                        if (error) return self->failed(error);
                        self->text_.clear();
                        self->read_answer(endpoint);
                      });
  }

  void read_answer(const tcp::endpoint& endpoint) {
    socket_.async_read_some(asio::buffer(piece_),
                            [self = shared_from_this(), endpoint](const error_code& error, std::size_t size) {
                              if (!self->done_) return;
                              if (error) return self->failed(error);
                              self->text_.append(self->piece_.data(), size);
                              self->judge_answer(endpoint);
                            });
  }

  void judge_answer(const tcp::endpoint& endpoint) {
    const std::size_t end = text_.find("\r\n\r\n");
    if (end == std::string::npos) {
      if (text_.size() <= kAnswerMax) return read_answer(endpoint);
      return next("the proxy " + proxy_->name() + " does not answer as a proxy does");
    }
    const int status = status_of(text_);
    // TLS begins with us: whatever follows the answer is not the server's.
    if (status >= 200 && status < 300 && end + 4 == text_.size()) return succeeded(endpoint);
    next("the proxy " + proxy_->name() + refusal(status));
  }

  [[nodiscard]] std::string refusal(int status) const {
    if (status == 407) {
      return proxy_->authorization.empty()
                 ? " wants a name and a password: give them in its URL, http://NAME:PASSWORD@HOST:PORT"
                 : " does not take the name and password of its URL";
    }
    if (status == 0 || status < 300) return " does not answer as a proxy does";
    return " refuses to connect to " + authority(server_) + " (HTTP " + std::to_string(status) + ")";
  }

  void succeeded(const tcp::endpoint& endpoint) {
    one_address_.cancel();
    text_.clear();
    error_code error;
    const int descriptor = socket_.release(error);
    if (error) return next(error.message());
    const Done done = done_;
    done(TcpConnected{descriptor, endpoint.address().to_string() + ' ' + std::to_string(endpoint.port())});
  }

  void finish(std::string problem) {
    const Done done = std::exchange(done_, nullptr);
    release();
    if (done) done(std::unexpected(std::move(problem)));
  }

  void close() {
    error_code ignored;
    socket_.close(ignored);
  }
  void release() {
    one_address_.cancel();
    resolver_.cancel();
    close();
  }

  const ServerAddress server_;
  const HttpProxy* proxy_;
  Done done_;  // empty: over
  tcp::resolver resolver_;
  tcp::socket socket_;
  Timer one_address_;
  std::deque<tcp::endpoint> addresses_;
  std::string problem_;
  std::string text_;
  std::array<char, 1024> piece_{};
};

TcpConnect::TcpConnect(IoLoop& loop, const ServerAddress& server, Done done)
    : impl_(std::make_shared<Impl>(loop, server, std::move(done))) {}
TcpConnect::~TcpConnect() {
  impl_->cancel();
}
void TcpConnect::start() {
  impl_->start();
}
void TcpConnect::next(std::string problem) {
  impl_->next(std::move(problem));
}

}  // namespace postern::runtime
