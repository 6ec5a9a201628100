#include "runtime/http/http_server.hpp"

#include <array>
#include <cstdio>
#include <ctime>
#include <list>
#include <map>
#include <utility>

#include "runtime/http/http_parser.hpp"
#include "runtime/loop/event_loop.hpp"

namespace postern::runtime {
namespace {

constexpr unsigned kRequestsPerConnectionMax = 1000;

HttpResponse refusal(int status, std::string text, HttpHeaders headers = {}) {
  return {.status = status, .body = std::move(text), .headers = std::move(headers)};
}

/// RFC 9110 §5.6.7: an agent that asks learns how far its clock is off.
std::string http_date() {
  const auto now = static_cast<std::time_t>(to_unix_seconds(wall_now()));
  std::tm parts{};
  std::array<char, 40> text{};
  if (::gmtime_r(&now, &parts) == nullptr) return {};
  // Not strftime's %a and %b: they follow the locale.
  constexpr std::array kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr std::array kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::snprintf(text.data(), text.size(), "%s, %02d %s %04d %02d:%02d:%02d GMT",
                kDays[static_cast<std::size_t>(parts.tm_wday)], parts.tm_mday,
                kMonths[static_cast<std::size_t>(parts.tm_mon)], parts.tm_year + 1900, parts.tm_hour, parts.tm_min,
                parts.tm_sec);
  return text.data();
}

class HttpConnection;

/// What a connection needs of its server.
class ConnectionOwner {
 public:
  virtual ~ConnectionOwner() = default;
  virtual void handle(const std::shared_ptr<HttpConnection>& connection, HttpRequest request) = 0;
  virtual bool is_upgrade_path(std::string_view path) = 0;
  virtual void upgrade(const std::shared_ptr<HttpConnection>& connection, const HttpRequest& request) = 0;
  virtual void forget(const std::shared_ptr<HttpConnection>& connection) = 0;
  virtual void count_malformed() = 0;
  virtual void count_timed_out() = 0;
};

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(IoLoop& loop, const HttpServerConfig& config, ConnectionOwner& owner,
                 std::shared_ptr<ByteStream> stream)
      : config_(config), owner_(&owner), stream_(std::move(stream)), deadline_(loop) {}

  void start() { next_request({}); }

  void respond(HttpResponse response) {
    if (!std::exchange(answer_due_, false)) return;  // late or a second time
    write(response);
  }

  std::shared_ptr<ByteStream> take_stream() {
    deadline_.cancel();
    return std::exchange(stream_, nullptr);
  }

  void close() {
    deadline_.cancel();
    answer_due_ = false;
    if (const auto stream = std::exchange(stream_, nullptr)) stream->shutdown();
    leave();
  }

  /// The server goes away: it is not called any more.
  void disown() {
    owner_ = nullptr;
    close();
  }

 private:
  void leave() {
    if (ConnectionOwner* owner = std::exchange(owner_, nullptr)) owner->forget(shared_from_this());
  }

  void arm(Duration after) {
    deadline_.start(after, [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (!self) return;
      if (self->owner_ != nullptr) self->owner_->count_timed_out();
      if (self->stream_) self->stream_->abort();
      self->close();
    });
  }

  void next_request(ByteView bytes) {
    arm(config_.request_max);
    take(bytes);
  }

  void read() {
    stream_->read_some(buffer_, [self = shared_from_this()](std::error_code error, std::size_t size) {
      if (!self->stream_) return;
      if (error) return self->close();
      self->take(ByteView(self->buffer_).first(size));
    });
  }

  void take(ByteView bytes) {
    if (const auto fed = parser_.feed(bytes); !fed) {
      if (owner_ != nullptr) owner_->count_malformed();
      keep_alive_ = false;
      return write(refusal(fed.error().status, "The request is malformed or too large.\n"));
    }
    if (!parser_.complete()) return read();
    keep_alive_ = parser_.keep_alive() && ++requests_ < kRequestsPerConnectionMax;
    const bool upgrade = parser_.wants_upgrade();
    HttpRequest request = parser_.take_request();
    request.remote = stream_->remote();
    head_only_ = request.method == "HEAD";
    if (upgrade && owner_->is_upgrade_path(request.path())) {
      if (!parser_.idle()) return close();  // nothing may be sent before the upgrade is answered
      owner_->upgrade(shared_from_this(), request);
      return leave();
    }
    answer_due_ = true;
    arm(config_.answer_max);
    owner_->handle(shared_from_this(), std::move(request));
  }

  void write(const HttpResponse& response) {
    if (!stream_) return;
    HttpResponse dated = response;
    dated.headers.emplace_back("Date", http_date());
    outgoing_ = serialize_response(dated, keep_alive_, head_only_);
    written_ = 0;
    arm(config_.write_max);
    write_some();
  }

  void write_some() {
    const ByteView rest = as_bytes(std::string_view(outgoing_).substr(written_));
    stream_->write_some(rest, [self = shared_from_this()](std::error_code error, std::size_t size) {
      if (!self->stream_) return;
      if (error) return self->close();
      self->written_ += size;
      if (self->written_ < self->outgoing_.size()) return self->write_some();
      self->outgoing_.clear();
      if (!self->keep_alive_) return self->close();
      self->next_request({});
    });
  }

  const HttpServerConfig& config_;
  ConnectionOwner* owner_;  // nothing: the connection is over for the server
  std::shared_ptr<ByteStream> stream_;
  Timer deadline_;
  HttpParser parser_{HttpParser::Role::Server};
  std::array<std::uint8_t, 8192> buffer_{};
  std::string outgoing_;
  std::size_t written_ = 0;
  unsigned requests_ = 0;
  bool keep_alive_ = true;
  bool head_only_ = false;
  bool answer_due_ = false;
};

}  // namespace

class HttpServer::Impl final : public ConnectionOwner {
 public:
  Impl(IoLoop& loop, HttpServerConfig config)
      : config_(std::move(config)),
        loop_(loop),
        listener_(loop, config_.tls, [this](std::shared_ptr<ByteStream> stream) { begin(std::move(stream)); }) {}
  ~Impl() override { stop(); }

  void stop() {
    listener_.stop();
    const auto connections = std::exchange(connections_, {});
    for (const auto& connection : connections) connection->disown();
  }

  void handle(const std::shared_ptr<HttpConnection>& connection, HttpRequest request) override {
    ++counters.requests;
    const Responder responder = [weak = std::weak_ptr(connection), &loop = loop_](HttpResponse response) {
      loop.post([weak, response = std::move(response)]() mutable {
        if (const auto alive = weak.lock()) alive->respond(std::move(response));
      });
    };
    const std::string method = request.method == "HEAD" ? "GET" : request.method;
    const auto path = routes.find(request.path());
    if (path == routes.end()) return responder(refusal(404, "There is no such page.\n"));
    const auto route = path->second.find(method);
    if (route != path->second.end()) return route->second(request, responder);
    std::string allowed;
    for (const auto& [name, handler] : path->second) allowed += (allowed.empty() ? "" : ", ") + name;
    responder(refusal(405, "This page does not take " + request.method + ".\n", {{"Allow", allowed}}));
  }

  bool is_upgrade_path(std::string_view path) override { return upgraders.find(path) != upgraders.end(); }

  void upgrade(const std::shared_ptr<HttpConnection>& connection, const HttpRequest& request) override {
    ++counters.upgrades;
    upgraders.find(request.path())->second(connection->take_stream(), request);
  }

  void forget(const std::shared_ptr<HttpConnection>& connection) override { connections_.remove(connection); }
  void count_malformed() override { ++counters.malformed; }
  void count_timed_out() override { ++counters.timed_out; }

  TlsListener& listener() { return listener_; }

  std::map<std::string, std::map<std::string, Handler>, std::less<>> routes;
  std::map<std::string, Upgrader, std::less<>> upgraders;
  HttpServerCounters counters;

 private:
  void begin(std::shared_ptr<ByteStream> stream) {
    if (connections_.size() >= config_.connections_max) {
      ++counters.displaced;
      const auto oldest = connections_.front();
      oldest->close();
    }
    connections_.push_back(std::make_shared<HttpConnection>(loop_, config_, *this, std::move(stream)));
    connections_.back()->start();
  }

  HttpServerConfig config_;
  IoLoop& loop_;
  TlsListener listener_;
  std::list<std::shared_ptr<HttpConnection>> connections_;  // oldest first
};

HttpServer::HttpServer(IoLoop& loop, HttpServerConfig config)
    : impl_(std::make_shared<Impl>(loop, std::move(config))) {}
HttpServer::~HttpServer() {
  impl_->stop();
}
void HttpServer::route(const std::string& method, const std::string& path, Handler handler) {
  impl_->routes[path][method] = std::move(handler);
}
void HttpServer::upgrade(const std::string& path, Upgrader upgrader) {
  impl_->upgraders[path] = std::move(upgrader);
}
std::expected<void, ListenError> HttpServer::start() {
  return impl_->listener().start();
}
std::expected<void, std::string> HttpServer::replace_certificate(const std::string& certificate_pem,
                                                                 const std::string& private_key_pem) {
  return impl_->listener().replace_certificate(certificate_pem, private_key_pem);
}
std::uint16_t HttpServer::port() const {
  return impl_->listener().port();
}
const HttpServerCounters& HttpServer::counters() const {
  return impl_->counters;
}
const TlsListenerCounters& HttpServer::tls_counters() const {
  return impl_->listener().counters();
}
void HttpServer::stop() {
  impl_->stop();
}

}  // namespace postern::runtime
