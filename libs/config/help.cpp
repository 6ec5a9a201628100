#include <algorithm>

#include "config/describe.hpp"
#include "config/exit_code.hpp"
#include "config/option.hpp"

namespace postern::config {
namespace {

constexpr std::size_t kColumns = 100;
constexpr std::size_t kIndent = 6;

/// Appends `text` in lines of at most kColumns, each behind `indent` blanks.
void append_wrapped(std::string& page, std::string_view text, std::size_t indent) {
  std::string line;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.empty() && indent + line.size() + 1 + word.size() > kColumns) {
      page += std::string(indent, ' ') + line + '\n';
      line.clear();
    }
    if (!line.empty()) line += ' ';
    line += word;
  }
  if (!line.empty()) page += std::string(indent, ' ') + line + '\n';
}

}  // namespace

std::string help(const Program& program, const Command& command) {
  std::string page = "Usage: " + synopsis(program, command) + "\n\n";
  append_wrapped(page, command.sentence, 0);
  if (!command.arguments.empty()) page += "\nArguments:\n";
  for (const Argument& argument : command.arguments) {
    page += "  " + argument.name + '\n';
    append_wrapped(page, argument.sentence, kIndent);
  }
  if (!command.options.empty()) page += "\nOptions:\n";
  for (const Option& option : command.options) {
    page += "  " + heading_of(option) + '\n';
    append_wrapped(page, described(option), kIndent);
  }
  return page;
}

std::string help(const Program& program) {
  if (program.commands.size() == 1 && program.commands.front().name.empty()) {
    return help(program, program.commands.front());
  }
  std::string page = "Usage: " + program.name + " COMMAND [OPTION]…\n\n";
  append_wrapped(page, program.sentence, 0);
  page += "\nCommands:\n";
  std::size_t width = 0;
  for (const Command& command : program.commands) width = std::max(width, command.name.size());
  for (const Command& command : program.commands) {
    page += "  " + command.name + std::string(width - command.name.size() + 2, ' ') + command.sentence + '\n';
  }
  page += "\n" + program.name + " COMMAND --help tells more about one of them.\n";
  return page;
}

std::string reference_page(const Program& program) {
  std::string page = "# " + program.name + "\n\n" + program.sentence + '\n';
  for (const Command& command : program.commands) {
    page += "\n## " + (command.name.empty() ? program.name : program.name + ' ' + command.name) + "\n\n" +
            command.sentence + "\n\n    " + synopsis(program, command) + '\n';
    if (command.arguments.empty() && command.options.empty()) continue;
    page += "\n| option | file key | meaning |\n|---|---|---|\n";
    for (const Argument& argument : command.arguments) {
      page += "| `" + argument.name + "` | | " + argument.sentence + " |\n";
    }
    for (const Option& option : command.options) {
      page += "| " + (option.secret ? std::string("(none)") : '`' + flag_of(option) + '`') + " | `" + file_key(option) +
              "` | " + described(option) + " |\n";
    }
  }
  return page;
}

std::string exit_code_page() {
  std::string page =
      "# Exit codes\n\nThe same for every Postern program (`libs/config/exit_code.hpp`).\n\n"
      "| code | name | meaning |\n|---|---|---|\n";
  for (const ExitCodeMeaning& row : kExitCodes) {
    page += "| " + std::to_string(to_status(row.code)) + " | " + std::string(row.name) + " | " +
            std::string(row.meaning) + " |\n";
  }
  return page;
}

}  // namespace postern::config
