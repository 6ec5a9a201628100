// Forms against requests that another site made: a random cookie (SameSite=Strict), and in the form a MAC over it.
#pragma once

#include <string>

#include "base/bytes.hpp"
#include "base/random.hpp"
#include "runtime/http/http_message.hpp"
#include "services/server/form.hpp"
#include "services/server/pages.hpp"

namespace postern::server {

class Csrf {
 public:
  explicit Csrf(RandomSource& random) : random_(random), key_(random.make<Digest>()) {}

  struct Issued {
    FormGuard guard{};
    std::string cookie{};  ///< value of Set-Cookie, empty when the browser has one already
  };
  [[nodiscard]] Issued issue(const runtime::HttpRequest& request);
  [[nodiscard]] bool check(const runtime::HttpRequest& request, const Form& form) const;

 private:
  [[nodiscard]] std::string token_of(std::string_view cookie) const;

  RandomSource& random_;
  Digest key_;
};

}  // namespace postern::server
