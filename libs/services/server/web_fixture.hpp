// A server with a Network of its own in a temporary folder, without the relay: everything behind its HTTPS port.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "runtime/http/http_fixture.hpp"
#include "runtime/http/https_request.hpp"
#include "runtime/loop/event_loop.hpp"
#include "runtime/os/random.hpp"
#include "services/server/admin_exchange.hpp"
#include "services/server/admin_service.hpp"
#include "services/server/state.hpp"
#include "services/server/web_context.hpp"

namespace postern::server {

inline constexpr std::string_view kAdminPassword = "correct horse battery";

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = ::testing::TempDir() + "posternXXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline InitRequest init_request_in(const std::filesystem::path& folder) {
  return {.folder = folder / "state",
          .slug = "home",
          .display_name = "Home",
          .address = {.host = "127.0.0.1"},
          .admin_email = "admin@example.org",
          .admin_password = std::string(kAdminPassword)};
}

class WebFixture : public ::testing::Test {
 protected:
  explicit WebFixture(std::size_t connections_max = ControllerHost::kConnectionsMax,
                      std::string url = "https://127.0.0.1")
      : state_(make_state()), server_(ca_), connections_max_(connections_max), url_(std::move(url)) {
    controller_.load(runtime::monotonic_now(), runtime::wall_now(), state_.records);
    factors_.load(state_.records, log_);
    add_page_routes(server_.http(), web_);
    add_device_routes(server_.http(), web_);
    add_oauth_routes(server_.http(), web_);
    add_setup_routes(server_.http(), web_);
    add_account_routes(server_.http(), web_);
    server_.http().upgrade("/control/v1", [this](std::shared_ptr<runtime::ByteStream> stream, const auto& request) {
      host_.take_connection(std::move(stream), request);
    });
    server_.start();
  }
  ~WebFixture() override { server_.stop(); }

  runtime::HttpResponse get(const std::string& target, runtime::HttpHeaders headers = {}) {
    return request({.method = "GET", .target = target, .headers = std::move(headers)});
  }
  runtime::HttpResponse post(const std::string& target, const std::string& form, runtime::HttpHeaders headers = {}) {
    return request({.method = "POST",
                    .target = target,
                    .body = form,
                    .content_type = "application/x-www-form-urlencoded",
                    .headers = std::move(headers)});
  }
  AdminResult admin(const AdminRequest& asked) {
    std::promise<std::string> promise;
    server_.loop().post([&] {
      admin_.handle(encode(asked), [&promise](std::string answer) { promise.set_value(std::move(answer)); });
    });
    return decode_result(promise.get_future().get());
  }

  runtime::TestCa ca_;
  runtime::KernelRandom random_;
  TemporaryFolder folder_;
  ServerState state_;
  runtime::TestServer server_;
  std::size_t connections_max_;
  std::string url_;
  runtime::Logger log_{"test", {.level = runtime::LogLevel::Off}};
  controller::Controller controller_{{}, {state_.signing, state_.knock_secret}, random_};
  PasswordPool passwords_{server_.loop()};
  ControllerHost host_{server_.loop(), controller_,           state_.store,    state_.network.id,
                       log_,           [](const RouteId&) {}, connections_max_};
  SetupLinks setup_links_;
  FactorStore factors_{host_, state_.master, random_};
  signin::Sessions sessions_{random_};
  WebContext web_{.host = host_,
                  .passwords = passwords_,
                  .random = random_,
                  .log = log_,
                  .url = url_,
                  .network_name = "Home <&>",
                  .setup_links = setup_links_,
                  .factors = factors_,
                  .sessions = sessions_};
  AdminService admin_{{.host = host_,
                       .passwords = passwords_,
                       .setup_links = setup_links_,
                       .factors = factors_,
                       .sessions = sessions_,
                       .relay = nullptr,
                       .random = random_,
                       .master = state_.master,
                       .url = url_}};

 private:
  ServerState make_state() {
    const auto made = init_state(init_request_in(folder_.path()), runtime::wall_now(), random_);
    if (!made) throw std::runtime_error(made.error().message);
    auto opened = open_state(folder_.path() / "state", runtime::wall_now(), random_);
    if (!opened) throw std::runtime_error(opened.error().message);
    return std::move(*opened);
  }
  runtime::HttpResponse request(const runtime::OutgoingRequest& asked) {
    auto answer = runtime::https_exchange(server_.address(), {.root_pin = ca_.pin()}, asked, std::chrono::seconds(20));
    if (!answer) throw std::runtime_error(answer.error().message);
    return std::move(*answer);
  }
};

/// What a browser keeps between two pages: the form's cookie and its hidden token.
struct Browser {
  std::string cookie{};
  std::string csrf{};

  explicit Browser(const runtime::HttpResponse& page) {
    const std::string_view set = runtime::find_header(page.headers, "Set-Cookie");
    cookie = set.substr(0, set.find(';'));
    constexpr std::string_view kField = "name=\"csrf\" value=\"";
    const std::size_t at = page.body.find(kField);
    if (at == std::string::npos) return;
    const std::size_t start = at + kField.size();
    csrf = page.body.substr(start, page.body.find('"', start) - start);
  }
  [[nodiscard]] runtime::HttpHeaders headers() const { return {{"Cookie", cookie}}; }
};

}  // namespace postern::server
