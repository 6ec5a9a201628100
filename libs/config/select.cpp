#include <algorithm>
#include <span>

#include "config/parser.hpp"

namespace postern::config {
namespace {

std::vector<std::string> words_of(std::string_view name) {
  std::vector<std::string> words;
  while (!name.empty()) {
    const std::size_t end = std::min(name.find(' '), name.size());
    words.emplace_back(name.substr(0, end));
    name.remove_prefix(std::min(end + 1, name.size()));
  }
  return words;
}

bool asks_for_help(const std::string& word) {
  return word == "--help" || word == "-h";
}

const Command* best_match(const Program& program, const std::vector<std::string>& arguments, std::size_t& length) {
  const Command* best = nullptr;
  for (const Command& command : program.commands) {
    const auto words = words_of(command.name);
    if (words.size() > arguments.size() || !std::ranges::equal(words, std::span(arguments).first(words.size())))
      continue;
    if (best != nullptr && words.size() <= length) continue;
    best = &command;
    length = words.size();
  }
  return best;
}

/// True when help was asked for among the command's own words (not behind "--", nor in the rest that it hands on).
bool help_wanted(const Command& command, const std::vector<std::string>& arguments) {
  for (const std::string& word : arguments) {
    if (asks_for_help(word)) return true;
    if (word == "--" || (command.takes_rest && !word.starts_with('-'))) return false;
  }
  return false;
}

/// "user" of "user add" and "user list": the words that exist behind the ones given.
std::string known_commands(const Program& program, const std::string& first) {
  std::string of_noun;
  std::string all;
  for (const Command& command : program.commands) {
    all += (all.empty() ? "" : ", ") + command.name;
    if (command.name.starts_with(first + ' ')) of_noun += (of_noun.empty() ? "" : ", ") + command.name;
  }
  return of_noun.empty() ? all : of_noun;
}

}  // namespace

std::expected<Selection, UsageError> select(const Program& program, std::vector<std::string> arguments) {
  std::size_t length = 0;
  const Command* command = best_match(program, arguments, length);
  const bool nothing_more = command == nullptr || command->name.empty();
  if (nothing_more && !arguments.empty() && (arguments.front() == "--version" || arguments.front() == "version")) {
    return Selection{.kind = Selection::Kind::Version, .command = nullptr, .arguments = {}};
  }
  if (command == nullptr) {
    if (!arguments.empty() && (asks_for_help(arguments.back()) || arguments.front() == "help")) {
      return Selection{.kind = Selection::Kind::Help, .command = nullptr, .arguments = {}};
    }
    const std::string first = arguments.empty() ? std::string() : arguments.front();
    const std::string problem = arguments.empty() ? "a command is missing" : "there is no command \"" + first + '"';
    return std::unexpected(UsageError{problem + "; use one of: " + known_commands(program, first)});
  }
  arguments.erase(arguments.begin(), arguments.begin() + static_cast<std::ptrdiff_t>(length));
  const auto kind = help_wanted(*command, arguments) ? Selection::Kind::Help : Selection::Kind::Run;
  return Selection{.kind = kind, .command = command, .arguments = std::move(arguments)};
}

}  // namespace postern::config
