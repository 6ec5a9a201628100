#include "runtime/http/websocket.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/websocket.hpp>
#include <deque>
#include <utility>

namespace postern::runtime {
namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace ws = beast::websocket;
using boost::system::error_code;

namespace {

/// One TLS record: frame header and payload leave together.
constexpr std::size_t kGatherMax = 16 * 1024;

/// ByteStream as Beast wants its next layer.
class BeastStream {
 public:
  using executor_type = asio::any_io_executor;

  BeastStream(std::shared_ptr<ByteStream> stream, executor_type executor)
      : stream_(std::move(stream)), executor_(std::move(executor)), gathered_(std::make_unique<Bytes>()) {}

  executor_type get_executor() const { return executor_; }
  ByteStream& bytes() { return *stream_; }

  template <typename Buffers, typename Handler>
  auto async_read_some(const Buffers& buffers, Handler&& handler) {
    asio::mutable_buffer into;
    for (auto at = asio::buffer_sequence_begin(buffers); at != asio::buffer_sequence_end(buffers) && into.size() == 0;
         ++at) {
      into = *at;
    }
    return asio::async_initiate<Handler, void(error_code, std::size_t)>(
        [this, into](auto&& done) {
          stream_->read_some({static_cast<std::uint8_t*>(into.data()), into.size()}, erase(std::move(done)));
        },
        handler);
  }

  template <typename Buffers, typename Handler>
  auto async_write_some(const Buffers& buffers, Handler&& handler) {
    const ByteView from = gather(asio::buffer_sequence_begin(buffers), asio::buffer_sequence_end(buffers));
    return asio::async_initiate<Handler, void(error_code, std::size_t)>(
        [this, from](auto&& done) { stream_->write_some(from, erase(std::move(done))); }, handler);
  }

 private:
  template <typename Handler>
  static ByteStream::Done erase(Handler handler) {
    // Beast's handlers move only; std::function copies.
    auto shared = std::make_shared<Handler>(std::move(handler));
    return [shared](std::error_code error, std::size_t size) { (*shared)(error_code(error), size); };
  }

  template <typename Iterator>
  ByteView gather(Iterator at, Iterator end) {
    asio::const_buffer first;
    for (; at != end && first.size() == 0; ++at) first = *at;
    if (at == end || first.size() >= kGatherMax) return {static_cast<const std::uint8_t*>(first.data()), first.size()};
    gathered_->assign(static_cast<const std::uint8_t*>(first.data()),
                      static_cast<const std::uint8_t*>(first.data()) + first.size());
    for (; at != end && gathered_->size() < kGatherMax; ++at) {
      const asio::const_buffer next = *at;
      const auto* data = static_cast<const std::uint8_t*>(next.data());
      gathered_->insert(gathered_->end(), data, data + std::min(next.size(), kGatherMax - gathered_->size()));
    }
    return *gathered_;
  }

  std::shared_ptr<ByteStream> stream_;
  executor_type executor_;
  std::unique_ptr<Bytes> gathered_;
};

template <typename Handler>
void async_teardown(beast::role_type, BeastStream& stream, Handler&& handler) {
  stream.bytes().shutdown();
  asio::post(stream.get_executor(), [done = std::forward<Handler>(handler)]() mutable { done(error_code()); });
}
void beast_close_socket(BeastStream& stream) {
  stream.bytes().abort();
}

/// What a reader or writer sees when the other side's process is gone.
bool is_cut(const error_code& error) {
  return error == asio::error::eof || error == asio::error::connection_reset || error == asio::error::broken_pipe ||
         error == asio::ssl::error::stream_truncated;
}

class WebSocketImpl final : public WebSocket, public std::enable_shared_from_this<WebSocketImpl> {
 public:
  WebSocketImpl(IoLoop& loop, std::shared_ptr<ByteStream> stream, const WebSocketLimits& limits, Events events)
      : limits_(limits),
        events_(std::move(events)),
        remote_(stream->remote()),
        socket_(BeastStream(std::move(stream), loop.context().get_executor())) {
    socket_.binary(true);
    socket_.read_message_max(limits.message_max);
    ws::stream_base::timeout timeout{};
    timeout.handshake_timeout = std::chrono::duration_cast<std::chrono::steady_clock::duration>(limits.handshake_max);
    timeout.idle_timeout = std::chrono::duration_cast<std::chrono::steady_clock::duration>(limits.silence_max);
    timeout.keep_alive_pings = true;
    socket_.set_option(timeout);
  }

  void accept(const HttpRequest& upgrade) {
    request_.method(http::verb::get);
    request_.target(upgrade.target);
    request_.version(11);
    for (const auto& [name, value] : upgrade.headers) request_.insert(name, value);
    socket_.async_accept(request_, [self = shared_from_this()](const error_code& error) { self->opened(error); });
  }

  void connect(const std::string& host, const std::string& target) {
    socket_.async_handshake(host, target,
                            [self = shared_from_this()](const error_code& error) { self->opened(error); });
  }

  bool send(Bytes message) override {
    if (state_ == State::Closed || closing_) return false;
    if (queue_.size() >= limits_.queued_messages_max || queued_bytes_ + message.size() > limits_.queued_bytes_max) {
      end("the peer reads too slowly");
      return false;
    }
    queued_bytes_ += message.size();
    queue_.push_back(std::move(message));
    write_next();
    return true;
  }

  void close() override {
    if (closing_) return;
    closing_ = true;
    write_next();
  }

  void abort() override { end("aborted"); }
  void forget() override { forgotten_ = true; }
  void pause() override { paused_ = true; }
  void resume() override {
    if (!std::exchange(paused_, false)) return;
    const auto self = shared_from_this();  // the handler may let go of this connection
    deliver();
  }
  [[nodiscard]] const std::string& remote() const override { return remote_; }
  [[nodiscard]] bool was_cut() const override { return was_cut_; }

 private:
  enum class State : std::uint8_t { Opening, Open, Closed };

  void opened(const error_code& error) {
    if (state_ == State::Closed) return;
    if (error) return end("the WebSocket handshake failed: " + error.message());
    state_ = State::Open;
    if (!forgotten_ && events_.opened) events_.opened();
    read_next();
    write_next();
  }

  void read_next() {
    if (state_ != State::Open) return;
    socket_.async_read(incoming_, [self = shared_from_this()](const error_code& error, std::size_t) {
      if (self->state_ == State::Closed) return;
      if (error) return self->fail(error);
      self->arrived_ = true;
      self->deliver();
    });
  }

  void deliver() {
    if (paused_ || !arrived_ || state_ != State::Open) return;
    arrived_ = false;
    // Taken out first: the handler may close this connection.
    const auto data = incoming_.cdata();
    const Bytes message(static_cast<const std::uint8_t*>(data.data()),
                        static_cast<const std::uint8_t*>(data.data()) + data.size());
    incoming_.consume(incoming_.size());
    if (incoming_.capacity() > kGatherMax) incoming_.shrink_to_fit();
    if (!closing_ && !forgotten_ && events_.message) events_.message(message);
    read_next();
  }

  void write_next() {
    if (state_ != State::Open || writing_) return;
    if (queue_.empty()) {
      if (closing_) say_goodbye();
      return;
    }
    writing_ = true;
    const Bytes& message = queue_.front();
    socket_.async_write(asio::buffer(message.data(), message.size()),
                        [self = shared_from_this()](const error_code& error, std::size_t) {
                          self->writing_ = false;
                          if (self->state_ == State::Closed) return;
                          self->queued_bytes_ -= self->queue_.front().size();
                          self->queue_.pop_front();
                          if (error) return self->fail(error);
                          self->write_next();
                        });
  }

  void say_goodbye() {
    writing_ = true;  // nothing may be written behind a close frame
    socket_.async_close(ws::close_code::normal,
                        [self = shared_from_this()](const error_code&) { self->end("closed by this side"); });
  }

  void fail(const error_code& error) {
    was_cut_ = state_ == State::Open && is_cut(error);
    end(error == ws::error::closed ? "the peer said goodbye" : error.message());
  }

  void end(const std::string& reason) {
    if (state_ == State::Closed) return;
    state_ = State::Closed;
    socket_.next_layer().bytes().abort();
    // Later, so that whoever is in send() or abort() now is not called from inside of it.
    asio::post(socket_.get_executor(), [self = shared_from_this(), reason] {
      const Events events = std::exchange(self->events_, {});
      if (!self->forgotten_ && events.closed) events.closed(reason);
    });
  }

  WebSocketLimits limits_;
  Events events_;
  std::string remote_;
  ws::stream<BeastStream, false> socket_;
  http::request<http::string_body> request_;
  beast::flat_buffer incoming_;
  std::deque<Bytes> queue_;  // the front is being written
  std::size_t queued_bytes_ = 0;
  State state_ = State::Opening;
  bool writing_ = false;
  bool closing_ = false;
  bool paused_ = false;
  bool was_cut_ = false;
  bool forgotten_ = false;  // events_ stay: one of them may be running
  bool arrived_ = false;    // incoming_ holds a whole message
};

}  // namespace

std::shared_ptr<WebSocket> WebSocket::accept(IoLoop& loop, std::shared_ptr<ByteStream> stream,
                                             const HttpRequest& upgrade, const WebSocketLimits& limits, Events events) {
  auto socket = std::make_shared<WebSocketImpl>(loop, std::move(stream), limits, std::move(events));
  socket->accept(upgrade);
  return socket;
}

std::shared_ptr<WebSocket> WebSocket::connect(IoLoop& loop, std::shared_ptr<ByteStream> stream, const std::string& host,
                                              const std::string& target, const WebSocketLimits& limits, Events events) {
  auto socket = std::make_shared<WebSocketImpl>(loop, std::move(stream), limits, std::move(events));
  socket->connect(host, target);
  return socket;
}

}  // namespace postern::runtime
