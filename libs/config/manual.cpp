// mdoc is line based: a line that starts with '.' is a macro, everything else is text. Text that comes from tables is
// therefore escaped in one place (escaped()), and arguments of macros in another (argument()).
#include "config/manual.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>

#include "config/describe.hpp"
#include "config/exit_code.hpp"

namespace postern::config {
namespace {

/// The code point that starts at `at`, which is moved behind it. A broken sequence gives U+FFFD for its first byte.
std::uint32_t next_code_point(std::string_view text, std::size_t& at) {
  const auto lead = static_cast<std::uint8_t>(text[at++]);
  const int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
  std::uint32_t point = more == 3 ? lead & 0x07U : more == 2 ? lead & 0x0fU : lead & 0x1fU;
  for (int i = 0; i < more; ++i, ++at) {
    if (at >= text.size() || (static_cast<std::uint8_t>(text[at]) & 0xc0U) != 0x80U) return 0xfffd;
    point = point << 6U | (static_cast<std::uint8_t>(text[at]) & 0x3fU);
  }
  return more == 0 ? 0xfffd : point;
}

/// How an ASCII character is written that shall stand for itself: some would be set as typographic signs.
std::string plain(char c) {
  switch (c) {
    case '\\':
      return "\\e";
    case '-':
      return "\\-";
    case '`':
      return "\\(ga";
    case '^':
      return "\\(ha";
    case '~':
      return "\\(ti";
    case '\'':
      return "\\(aq";
    default:
      return std::string(1, c);
  }
}

/// Text without a meaning to mdoc, in ASCII.
std::string escaped(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (static_cast<std::uint8_t>(c) >= 0x80) {
      std::array<char, 16> name{};
      std::snprintf(name.data(), name.size(), "\\[u%04X]", static_cast<unsigned>(next_code_point(text, at)));
      result += name.data();
      continue;
    }
    result += plain(c);
    ++at;
  }
  return result;
}

/// One argument of a macro, quoted, so that neither blanks nor the names of macros mean anything.
std::string argument(std::string_view text) {
  std::string quoted = "\"\\&";
  for (const char c : escaped(text)) quoted += c == '"' ? std::string("\\(dq") : std::string(1, c);
  return quoted + '"';
}

/// Running text, each sentence on a line of its own.
std::string paragraph(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    std::size_t end = text.find(". ");
    end = end == std::string_view::npos ? text.size() : end + 1;
    const std::string line = escaped(text.substr(0, end));
    result += (line.starts_with('.') || line.starts_with('\\') ? "\\&" : "") + line + '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return result;
}

std::string upper(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  return text;
}

/// "Fl Fl state Ar DIR": a flag is everything up to the first blank, its value the rest.
std::string flag_macros(const Option& option) {
  const std::string flag = flag_of(option);
  const std::size_t blank = flag.find(' ');
  const std::string macros = "Fl " + argument(flag.substr(1, blank == std::string::npos ? blank : blank - 1));
  return blank == std::string::npos ? macros : macros + " Ar " + argument(flag.substr(blank + 1));
}

std::string synopsis_lines(const Program& program, const Command& command) {
  std::string page = ".Nm " + argument(program.name) + '\n';
  if (!command.name.empty()) page += ".Cm " + argument(command.name) + '\n';
  bool optional = false;
  for (const Option& option : command.options) {
    if (option.required && !option.secret) page += '.' + flag_macros(option) + '\n';
    optional = optional || !option.required;
  }
  if (optional) page += ".Op Ar option ...\n";
  for (const Argument& one : command.arguments) {
    const std::string name = argument(one.name);
    page += one.presence == Presence::Required ? ".Ar " + name + '\n' : ".Op Ar " + name + '\n';
  }
  return page;
}

std::string option_items(const Command& command) {
  if (command.options.empty() && command.arguments.empty()) return {};
  std::string page = ".Bl -tag -width Ds\n";
  for (const Argument& one : command.arguments) {
    page += ".It Ar " + argument(one.name) + '\n' + paragraph(one.sentence);
  }
  for (const Option& option : command.options) {
    page += ".It " + (option.secret ? "Va " + argument(file_key(option)) : flag_macros(option)) + '\n';
    page += paragraph(option.sentence);
    if (option.secret)
      page += paragraph("It is a secret: it can be given in the environment or in a file, not as a flag.");
    if (const std::string details = details_of(option); !details.empty()) page += paragraph('(' + details + ')');
  }
  return page + ".El\n";
}

std::string commands(const Program& program) {
  const bool single = program.commands.size() == 1 && program.commands.front().name.empty();
  if (single) return ".Sh OPTIONS\n" + option_items(program.commands.front());
  std::string page = ".Sh COMMANDS\n";
  for (const Command& command : program.commands) {
    const std::string name = command.name.empty() ? program.name : program.name + ' ' + command.name;
    page += ".Ss " + argument(name) + '\n' + paragraph(command.sentence) + option_items(command);
  }
  return page;
}

/// Each variable once, with the flags (or file keys of secrets) that it stands for.
std::string environment(const Program& program) {
  std::map<std::string, std::string> meaning;
  for (const Command& command : program.commands) {
    for (const Option& option : command.options) {
      for (const std::string& name : option.environment) {
        meaning.emplace(name, option.secret ? file_key(option) : flag_of(option));
      }
    }
  }
  if (meaning.empty()) return {};
  std::string page = ".Sh ENVIRONMENT\nA flag wins over the environment, and the environment over the file.\n";
  page += ".Bl -tag -width Ds\n";
  for (const auto& [name, stands_for] : meaning) {
    page += ".It Ev " + argument(name) + '\n' + paragraph("The same as " + stands_for + '.');
  }
  return page + ".El\n";
}

std::string files(const Program& program, const Manual& manual) {
  if (manual.files.empty()) return {};
  std::string page = ".Sh FILES\n.Bl -tag -width Ds\n";
  for (const ManualEntry& file : manual.files)
    page += ".It Pa " + argument(file.term) + '\n' + paragraph(file.sentence);
  page += ".El\n";
  const bool configured = std::ranges::any_of(program.commands, [](const Command& command) {
    return std::ranges::any_of(command.options, [](const Option& option) { return option.name == "config"; });
  });
  if (!configured) return page;
  return page + ".Pp\n" +
         paragraph(
             "A line of the configuration file is KEY = VALUE. A key is the name of an option without the leading "
             "dashes and with _ for -, or the name of its environment variable. Text stands in double quotes. "
             "A line that starts with # is a comment.");
}

std::string exit_status() {
  std::string page = ".Sh EXIT STATUS\nThe same for every Postern program.\n.Bl -tag -width Ds\n";
  for (const ExitCodeMeaning& row : kExitCodes) {
    page += ".It " + argument(std::to_string(to_status(row.code)) + "  " + std::string(row.name)) + '\n' +
            paragraph(row.meaning);
  }
  return page + ".El\n";
}

std::string examples(const Manual& manual) {
  std::string page = manual.examples.empty() ? "" : ".Sh EXAMPLES\n";
  for (const ManualEntry& example : manual.examples) {
    page += paragraph(example.term) + ".Bd -literal -offset indent\n";
    std::string line;
    for (const char c : example.sentence + '\n') {
      if (c != '\n') {
        line += c;
        continue;
      }
      page += "\\&" + escaped(line) + '\n';
      line.clear();
    }
    page += ".Ed\n";
    if (&example != &manual.examples.back()) page += ".Pp\n";
  }
  return page;
}

std::string see_also(const Manual& manual) {
  std::string page = manual.see_also.empty() ? "" : ".Sh SEE ALSO\n";
  for (const ManualReference& other : manual.see_also) {
    page +=
        ".Xr " + other.name + ' ' + std::to_string(other.section) + (&other == &manual.see_also.back() ? "\n" : " ,\n");
  }
  return page;
}

}  // namespace

std::string manual_page(const Program& program, const Manual& manual) {
  std::string title = upper(program.name);
  std::ranges::replace(title, ' ', '-');
  std::string page =
      "."
      "\\\" Made from the option tables.\n.Dd " +
      manual.date + "\n.Dt " + title + ' ' + std::to_string(manual.section) + "\n.Os " +
      argument("Postern " + program.version) + '\n';
  std::string sentence = program.sentence.substr(0, program.sentence.find('.'));
  page += ".Sh NAME\n.Nm " + argument(program.name) + "\n.Nd " + argument(sentence) + "\n.Sh SYNOPSIS\n";
  for (const Command& command : program.commands) page += synopsis_lines(program, command);
  page += ".Sh DESCRIPTION\n";
  for (const std::string& text : manual.description) {
    page += (&text == &manual.description.front() ? "" : ".Pp\n") + paragraph(text);
  }
  return page + commands(program) + environment(program) + files(program, manual) + exit_status() + examples(manual) +
         see_also(manual);
}

}  // namespace postern::config
