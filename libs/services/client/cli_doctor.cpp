#include "services/client/cli_doctor.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>

#include "services/client/observe.hpp"
#include "services/client/text_table.hpp"

namespace postern::client {

std::string checks_text(const std::vector<Check>& checks) {
  std::string text;
  for (const Check& check : checks) {
    std::string word(to_string(check.level));
    word.resize(5, ' ');
    text += word + check.id + ": " + printable(check.text + (check.fix.empty() ? "" : ". Fix: " + check.fix)) + "\n";
  }
  return text;
}

int run_doctor(const CliWorld& world, const config::Settings& settings) {
  const std::string url = settings.arguments().empty() ? "" : settings.arguments().front();
  const auto seen = observe({settings.text("socket"), settings.text("state"), url});
  if (!seen) return fail(world, seen.error());
  const std::vector<Check> checks = diagnose(*seen);
  const bool is_well = std::ranges::none_of(checks, [](const Check& check) { return check.level == CheckLevel::Fail; });
  if (settings.enabled("json")) {
    nlohmann::json body = {{"ok", is_well}, {"checks", nlohmann::json::array()}};
    for (const Check& check : checks) {
      body["checks"].push_back(
          {{"id", check.id}, {"level", to_string(check.level)}, {"text", check.text}, {"fix", check.fix}});
    }
    world.out << body.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
  } else {
    world.out << checks_text(checks) << std::flush;
  }
  return config::to_status(is_well ? config::ExitCode::Ok : config::ExitCode::Failure);
}

}  // namespace postern::client
