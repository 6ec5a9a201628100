// Finds elements in the XML of routers, by name and without their namespace. Not an XML parser: entities but the five
// of XML, attributes and nesting of equal names are not understood, and what is malformed is not found.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace postern::mapping {

/// What stands inside each element `name`, at most `max` of them; an element does not contain one of its own name.
[[nodiscard]] std::vector<std::string_view> elements(std::string_view xml, std::string_view name, std::size_t max);
/// The text of the first one, blanks around it removed, the five entities resolved.
[[nodiscard]] std::optional<std::string> element_text(std::string_view xml, std::string_view name);

}  // namespace postern::mapping
