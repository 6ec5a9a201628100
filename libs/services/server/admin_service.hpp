// The server's side of `postern-server admin`: one JSON line asks, one JSON line answers.
//
// Whoever may open the socket is the administrator of the machine (mode 0600).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "services/server/admin_context.hpp"

namespace postern::server {

class AdminService {
 public:
  using Responder = std::function<void(std::string)>;

  explicit AdminService(AdminContext context);
  ~AdminService();
  void handle(const std::string& line, const Responder& answer);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace postern::server
