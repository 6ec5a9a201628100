#include "runtime/http/line_server.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <cstring>
#include <set>

namespace postern::runtime {
namespace asio = boost::asio;
using asio::local::stream_protocol;
using boost::system::error_code;

namespace {

constexpr std::size_t kConnectionsMax = 64;
constexpr std::chrono::seconds kIdleMax{60};
constexpr std::chrono::milliseconds kAcceptPause{100};

class LineConnection : public std::enable_shared_from_this<LineConnection> {
 public:
  LineConnection(IoLoop& loop, stream_protocol::socket socket, const LineServer::Handler& handler,
                 std::function<void(const std::shared_ptr<LineConnection>&)> closed)
      : loop_(loop), socket_(std::move(socket)), idle_(loop), handler_(handler), closed_(std::move(closed)) {}

  void read() {
    idle_.start(kIdleMax, [weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->close();
    });
    socket_.async_read_some(asio::buffer(buffer_),
                            [self = shared_from_this()](const error_code& error, std::size_t size) {
                              if (error) return self->close();
                              self->text_.append(self->buffer_.data(), size);
                              self->take_line();
                            });
  }

  void close() {
    idle_.cancel();
    error_code ignored;
    socket_.close(ignored);
    if (const auto closed = std::exchange(closed_, nullptr)) closed(shared_from_this());
  }

 private:
  void take_line() {
    const std::size_t end = text_.find('\n');
    if (end == std::string::npos) return text_.size() > kLineMax ? close() : read();
    std::string line = text_.substr(0, end);
    text_.erase(0, end + 1);
    idle_.cancel();
    handler_(std::move(line), [weak = weak_from_this(), &loop = loop_](std::string answer) {
      loop.post([weak, answer = std::move(answer)]() mutable {
        if (const auto self = weak.lock()) self->write(std::move(answer));
      });
    });
  }

  void write(std::string answer) {
    outgoing_ = std::move(answer) + '\n';
    asio::async_write(socket_, asio::buffer(outgoing_),
                      [self = shared_from_this()](const error_code& error, std::size_t) {
                        if (error) return self->close();
                        self->text_.find('\n') == std::string::npos ? self->read() : self->take_line();
                      });
  }

  IoLoop& loop_;
  stream_protocol::socket socket_;
  Timer idle_;
  const LineServer::Handler& handler_;
  std::function<void(const std::shared_ptr<LineConnection>&)> closed_;
  std::array<char, 8192> buffer_{};
  std::string text_;
  std::string outgoing_;
};

ListenError listen_error(const error_code& error, const std::string& path) {
  const bool permission = error == asio::error::access_denied || error.value() == EROFS || error.value() == EPERM;
  if (error == asio::error::address_in_use) {
    return {ListenError::Kind::AddressInUse, "another server runs and listens on " + path};
  }
  return {permission ? ListenError::Kind::NotPermitted : ListenError::Kind::Other,
          "cannot make the socket " + path + ": " + error.message()};
}

/// True when a process accepts connections there.
bool is_alive(IoLoop& loop, const std::string& path) {
  stream_protocol::socket probe(loop.context());
  error_code error;
  probe.connect(stream_protocol::endpoint(path), error);
  return !error;
}

}  // namespace

class LineServer::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(IoLoop& loop, std::string path, Handler handler)
      : loop_(loop), path_(std::move(path)), handler_(std::move(handler)), acceptor_(loop.context()), pause_(loop) {}

  std::expected<void, ListenError> start() {
    if (path_.size() >= sizeof(sockaddr_un::sun_path)) {
      return std::unexpected(
          ListenError{ListenError::Kind::Other, "the socket's path is too long (107 bytes): " + path_});
    }
    struct stat info {};
    if (::lstat(path_.c_str(), &info) == 0 && S_ISSOCK(info.st_mode)) {
      if (is_alive(loop_, path_)) return std::unexpected(listen_error(asio::error::address_in_use, path_));
      ::unlink(path_.c_str());
    }
    error_code error;
    acceptor_.open(stream_protocol(), error);
    if (!error) acceptor_.bind(stream_protocol::endpoint(path_), error);
    // Nobody can connect before listen(): the mode is right when the first one can.
    if (!error && ::chmod(path_.c_str(), S_IRUSR | S_IWUSR) != 0) error.assign(errno, boost::system::system_category());
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) return std::unexpected(listen_error(error, path_));
    listening_ = true;
    accept_next();
    return {};
  }

  void stop() {
    error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
    if (std::exchange(listening_, false)) ::unlink(path_.c_str());
    const auto connections = std::exchange(connections_, {});
    for (const auto& connection : connections) connection->close();
  }

 private:
  void accept_next() {
    acceptor_.async_accept([self = shared_from_this()](const error_code& error, stream_protocol::socket socket) {
      if (!self->listening_) return;
      // Without descriptors accept() fails at once, again and again: wait for some to come back.
      if (error) return self->pause_.start(kAcceptPause, [self] { self->accept_next(); });
      if (self->connections_.size() < kConnectionsMax) self->begin(std::move(socket));
      self->accept_next();
    });
  }

  void begin(stream_protocol::socket socket) {
    auto connection = std::make_shared<LineConnection>(loop_, std::move(socket), handler_,
                                                       [this](const auto& gone) { connections_.erase(gone); });
    connections_.insert(connection);
    connection->read();
  }

  IoLoop& loop_;
  std::string path_;
  Handler handler_;
  stream_protocol::acceptor acceptor_;
  Timer pause_;
  bool listening_ = false;
  std::set<std::shared_ptr<LineConnection>> connections_;
};

LineServer::LineServer(IoLoop& loop, std::string path, Handler handler)
    : impl_(std::make_shared<Impl>(loop, std::move(path), std::move(handler))) {}
LineServer::~LineServer() {
  impl_->stop();
}
std::expected<void, ListenError> LineServer::start() {
  return impl_->start();
}
void LineServer::stop() {
  impl_->stop();
}

}  // namespace postern::runtime
