// A server on loopback in a thread of its own, with a CA of its own, for tests.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "base/random.hpp"
#include "identity/keys.hpp"
#include "runtime/http/http_server.hpp"
#include "runtime/http/io_loop.hpp"
#include "runtime/http/tls.hpp"

namespace postern::runtime {

inline WallTime test_time() {
  return WallTime{std::chrono::sys_days{std::chrono::year{2026} / 1 / 1}};
}

/// A root, and leaves under it.
struct TestCa {
  SeededRandom random{7};
  identity::PrivateKey root = identity::PrivateKey::generate(random);
  std::string root_pem = identity::make_root_certificate(root, "test", test_time());
  identity::PrivateKey leaf = identity::PrivateKey::generate(random);

  [[nodiscard]] Digest pin() const { return root.public_key().digest(); }
  [[nodiscard]] std::string chain(const std::string& uri) {
    identity::CertificateRequest request;
    request.common_name = "127.0.0.1";
    request.ip_addresses = {"127.0.0.1"};
    request.uris = {uri};
    request.not_before = test_time();
    request.not_after = test_time() + std::chrono::days(1);  // over long ago: pins do not look at dates
    return *identity::issue_certificate(root, root_pem, leaf.public_key(), request, random) + root_pem;
  }
};

class TestServer {
 public:
  explicit TestServer(TestCa& ca, HttpServerConfig config = {}, const std::string& uri = "postern:controller")
      : server_(loop_, with_tls(std::move(config), ca, uri)) {}
  ~TestServer() { stop(); }

  void stop() {
    if (!thread_.joinable()) return;
    loop_.post([this] {
      server_.stop();
      loop_.stop();
    });
    thread_.join();
  }

  HttpServer& http() { return server_; }
  IoLoop& loop() { return loop_; }

  void start() {
    const auto started = server_.start();
    if (!started) throw std::runtime_error(started.error().message);
    port_ = server_.port();
    thread_ = std::thread([this] { loop_.run(); });
  }
  [[nodiscard]] ServerAddress address() const { return {.host = "127.0.0.1", .port = port_}; }

  /// Runs on the server's thread and gives back what it returns.
  template <typename Function>
  auto ask(Function function) {
    std::promise<decltype(function())> promise;
    loop_.post([&] { promise.set_value(function()); });
    return promise.get_future().get();
  }

 private:
  static HttpServerConfig with_tls(HttpServerConfig config, TestCa& ca, const std::string& uri) {
    config.tls.listen = {IpAddress::v4(127, 0, 0, 1), 0};
    config.tls.certificate_pem = ca.chain(uri);
    config.tls.private_key_pem = ca.leaf.to_pem();
    return config;
  }

  IoLoop loop_;
  HttpServer server_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

/// Sends `text` over TLS and gives everything that comes until the server closes, or until `enough` is in it. With an
/// `answer`, that is sent when `enough` has come, and then the server closes.
inline std::string talk(const TestServer& server, const TestCa& ca, std::string text,
                        const std::string& enough = "\x01", const std::string& answer = {}) {
  IoLoop loop;
  std::string received;
  std::shared_ptr<ByteStream> stream;
  std::array<std::uint8_t, 4096> buffer{};
  std::size_t sent = 0;
  bool is_answered = false;
  std::function<void()> write;
  std::function<void()> read = [&] {
    stream->read_some(buffer, [&](std::error_code error, std::size_t size) {
      received.append(as_text(ByteView(buffer).first(size)));
      if (error) return loop.stop();
      if (is_answered || !received.contains(enough)) return read();
      if (answer.empty()) return loop.stop();
      is_answered = true;
      text += answer;
      write();
    });
  };
  write = [&] {
    if (sent == text.size()) return read();
    stream->write_some(as_bytes(std::string_view(text).substr(sent)), [&](std::error_code error, std::size_t size) {
      sent += size;
      error ? read() : write();
    });
  };
  TlsConnect connect(loop, server.address(), {.root_pin = ca.pin()}, std::chrono::seconds(10), [&](auto connected) {
    if (!connected) return loop.stop();
    stream = std::move(*connected);
    write();
  });
  Timer deadline(loop);
  deadline.start(std::chrono::seconds(20), [&] { loop.stop(); });
  loop.run();
  if (stream) stream->abort();
  return received;
}

}  // namespace postern::runtime
