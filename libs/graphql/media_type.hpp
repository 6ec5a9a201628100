// The media types of requests and responses (RFC 9110 §8.3, §12.5.1; GraphQL over HTTP).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace postern::graphql {

enum class MediaType : std::uint8_t {
  Json,             ///< application/json: 200 whatever the document was
  GraphqlResponse,  ///< application/graphql-response+json: the status says whether anything was executed
};

/// With its charset, for the Content-Type of a response.
[[nodiscard]] std::string_view content_type(MediaType type);

/// The one of ours that the client likes best; JSON without an Accept or for any wildcard; nothing when it takes
/// neither.
[[nodiscard]] std::optional<MediaType> negotiate(std::string_view accept);

/// `application/json`, in UTF-8 when it says anything of its charset.
[[nodiscard]] bool is_json_body(std::string_view content_type);

}  // namespace postern::graphql
