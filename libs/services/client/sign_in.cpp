#include "services/client/sign_in.hpp"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/http/https_request.hpp"
#include "runtime/udp/socket_address.hpp"
#include "services/client/json_fields.hpp"

namespace postern::client {

namespace {

using config::ExitCode;

constexpr Duration kRequestTime = std::chrono::seconds(15);
constexpr const char* kFormType = "application/x-www-form-urlencoded";
constexpr const char* kClientId = "postern";

std::string encode(std::string_view text) {
  constexpr std::string_view kPlain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (kPlain.find(c) != std::string_view::npos) {
      out += c;
    } else {
      const auto byte = static_cast<std::uint8_t>(c);
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

std::string form(std::initializer_list<std::pair<std::string_view, std::string_view>> fields) {
  std::string out;
  for (const auto& [name, value] : fields) out += (out.empty() ? "" : "&") + std::string(name) + "=" + encode(value);
  return out;
}

struct Reply {
  int status = 0;
  nlohmann::json json;
};

std::expected<Reply, runtime::ConnectError> post(const ServerTarget& to, std::string_view path,
                                                 const std::string& body) {
  const runtime::OutgoingRequest request{.method = "POST", .target = path, .body = body, .content_type = kFormType};
  const auto response = runtime::https_exchange(to.server, to.trust, request, kRequestTime);
  if (!response) return std::unexpected(response.error());
  return Reply{response->status, nlohmann::json::parse(response->body, nullptr, false)};
}

/// The request failed before there was an answer. A server that is not the promised one is told apart, because a person
/// must not just try again.
Problem transport_problem(const runtime::ConnectError& error) {
  const bool is_distrust = error.kind == runtime::ConnectError::Kind::NotTrusted;
  return {is_distrust ? ExitCode::ServerNotTrusted : ExitCode::Unreachable, error.message};
}

Problem refusal(const Reply& reply, const std::string& what) {
  std::string why = text_field(reply.json, "error_description");
  if (why.empty()) why = text_field(reply.json, "error");
  if (why.empty()) why = "HTTP status " + std::to_string(reply.status);
  return {ExitCode::Failure, "the server refused " + what + ": " + why.substr(0, 300)};
}

std::string sign(const identity::PrivateKey& key, const std::string& message) {
  return to_base64url(key.sign(as_bytes(message)));
}

std::expected<std::pair<Invitation, std::string>, Problem> ask_for_code(const ServerTarget& to,
                                                                        const identity::PrivateKey& key,
                                                                        const std::string& device_name,
                                                                        int& interval_s) {
  const Bytes& spki = key.public_key().spki();
  const std::string signature = sign(key, "postern-device-v1" + std::string(as_text(spki)) + device_name);
  const auto reply = post(to, "/oauth/device_authorization",
                          form({{"client_id", kClientId},
                                {"device_key", to_base64url(spki)},
                                {"device_name", device_name},
                                {"signature", signature}}));
  if (!reply) return std::unexpected(transport_problem(reply.error()));
  if (reply->status != 200) return std::unexpected(refusal(*reply, "to start a sign-in"));
  Invitation invitation{text_field(reply->json, "verification_uri"),
                        text_field(reply->json, "verification_uri_complete"), text_field(reply->json, "user_code"),
                        static_cast<int>(number_field(reply->json, "expires_in", 300))};
  const std::string device_code = text_field(reply->json, "device_code");
  if (device_code.empty() || invitation.code.empty() || invitation.url.empty()) {
    return std::unexpected(Problem{ExitCode::Failure,
                                   "the server's answer is no device authorization: is it a Postern "
                                   "server?"});
  }
  interval_s = static_cast<int>(std::clamp<std::int64_t>(number_field(reply->json, "interval", 5), 1, 60));
  return std::pair(std::move(invitation), device_code);
}

enum class Poll : std::uint8_t { Pending, SlowDown, Done };

std::expected<Poll, Problem> poll_token(const ServerTarget& to, const std::string& device_code, SignIn& result) {
  const auto reply = post(to, "/oauth/token",
                          form({{"grant_type", "urn:ietf:params:oauth:grant-type:device_code"},
                                {"device_code", device_code},
                                {"client_id", kClientId}}));
  if (!reply) {
    const Problem problem = transport_problem(reply.error());
    if (problem.code == ExitCode::Unreachable) return Poll::Pending;  // it may come back before the code ends
    return std::unexpected(problem);
  }
  if (reply->status == 200) {
    result.device_id = text_field(reply->json, "device_id");
    result.account = text_field(reply->json, "account");
    result.network = text_field(reply->json, "network");
    return Poll::Done;
  }
  const std::string error = text_field(reply->json, "error");
  if (error == "authorization_pending") return Poll::Pending;
  if (error == "slow_down" || reply->status == 429 || reply->status >= 500) return Poll::SlowDown;
  if (error == "access_denied") {
    return std::unexpected(Problem{ExitCode::SignInNeeded, "the sign-in was refused in the browser"});
  }
  if (error == "expired_token") {
    return std::unexpected(Problem{ExitCode::SignInNeeded, "the code has expired: run `postern login` again"});
  }
  return std::unexpected(refusal(*reply, "the sign-in"));
}

/// Says at the end of a thread that joining it will not block.
struct EndMark {
  std::atomic<bool>& finished;
  ~EndMark() { finished = true; }
};

}  // namespace

std::vector<std::string> look_up(const std::string& host) {
  if (IpAddress::parse(host)) return {host};
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return {};
  std::vector<std::string> addresses;
  for (const addrinfo* entry = found; entry != nullptr && addresses.size() < 8; entry = entry->ai_next) {
    sockaddr_storage storage{};
    std::memcpy(&storage, entry->ai_addr, std::min<std::size_t>(entry->ai_addrlen, sizeof storage));
    if (const auto address = runtime::from_kernel(storage)) addresses.push_back(address->ip.to_string());
  }
  ::freeaddrinfo(found);
  return addresses;
}

bool SignInWorker::Run::wait(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  woken_.wait_for(lock, cancellation.get_token(), time, [] { return false; });
  return !cancellation.stop_requested();
}

SignInWorker::~SignInWorker() {
  cancel();
  for (const auto& run : old_) run->thread.join();
}

void SignInWorker::cancel() {
  if (!run_) return;
  run_->cancellation.request_stop();
  // Its thread may be in a request; it is joined when it has ended, at the next start or at the end.
  old_.push_back(std::move(run_));
  run_.reset();
}

std::shared_ptr<SignInWorker::Run> SignInWorker::begin() {
  cancel();
  std::erase_if(old_, [](const std::shared_ptr<Run>& run) {
    if (!run->finished) return false;
    run->thread.join();
    return true;
  });
  run_ = std::make_shared<Run>();
  return run_;
}

void SignInWorker::deliver(const std::shared_ptr<Run>& run, std::function<void()> task, bool last) {
  const auto checked = [this, run, task = std::move(task), last] {
    if (run->cancellation.stop_requested()) return;
    if (last) {
      old_.push_back(run);
      run_.reset();
    }
    task();
  };
  // The mailbox is full only while the loop is busy; nobody tells when there is room.
  while (!loop_.post(checked) && run->wait(std::chrono::milliseconds(20))) {
  }
}

void SignInWorker::start(ServerTarget target, identity::PrivateKey key, std::string device_name,
                         SignInCallbacks callbacks) {
  const auto run = begin();
  run->thread = std::thread([this, run, target = std::move(target), key = std::move(key),
                             device_name = std::move(device_name), callbacks = std::move(callbacks)]() mutable {
    const EndMark mark{run->finished};
    const auto finish = [&](std::expected<SignIn, Problem> result) {
      deliver(
          run, [done = callbacks.done, result = std::move(result)] { done(result); }, true);
    };
    const auto& proxies = target.server.proxies;
    const bool is_proxied = proxies && proxies->proxy_for(target.server.host) != nullptr;
    if (!is_proxied) target.server.fixed_addresses = look_up(target.server.host);
    int interval_s = 5;
    auto asked = ask_for_code(target, key, device_name, interval_s);
    if (!asked) return finish(std::unexpected(asked.error()));
    const int expires_in_s = asked->first.expires_in_s;
    deliver(
        run, [invited = callbacks.invited, invitation = asked->first] { invited(invitation); }, false);
    SignIn result{target.server, target.trust, "", "", "", false};
    for (int waited = 0; waited < expires_in_s; waited += interval_s) {
      if (!run->wait(std::chrono::seconds(interval_s))) return;
      const auto polled = poll_token(target, asked->second, result);
      if (!polled) return finish(std::unexpected(polled.error()));
      if (*polled == Poll::Done) return finish(result);
      if (*polled == Poll::SlowDown) interval_s = std::min(interval_s + 5, 60);
    }
    finish(std::unexpected(Problem{ExitCode::SignInNeeded, "nobody signed in in time: run `postern login` again"}));
  });
}

void SignInWorker::start_sign_out(SignIn sign_in, identity::PrivateKey key, std::function<void(std::string)> done) {
  const auto run = begin();
  run->thread = std::thread([this, run, sign_in = std::move(sign_in), key = std::move(key), done = std::move(done)] {
    const EndMark mark{run->finished};
    const ServerTarget to{sign_in.server, sign_in.trust};
    std::string failure;
    const auto nonce = runtime::https_request(to.server, to.trust, "GET", "/oauth/nonce", "", "", kRequestTime);
    if (!nonce) {
      failure = nonce.error();
    } else {
      const std::string text = text_field(nlohmann::json::parse(nonce->body, nullptr, false), "nonce");
      const auto reply = post(to, "/oauth/revoke",
                              form({{"device_key", to_base64url(key.public_key().spki())},
                                    {"nonce", text},
                                    {"signature", sign(key, "postern-logout-v1" + text)}}));
      if (!reply) failure = reply.error().message;
      if (reply && reply->status != 200) failure = refusal(*reply, "to sign out").text;
    }
    deliver(
        run, [done, failure] { done(failure); }, true);
  });
}

}  // namespace postern::client
