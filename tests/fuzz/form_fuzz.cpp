// What browsers send to the sign-in pages: forms, queries, cookies.
//
// Holds: text that we encode is read back unchanged and encoded text has no byte that means something in a URL; escaped
// text has no character that opens a tag or ends an attribute; a cookie lies inside its header.
#include "fuzz.hpp"
#include "services/server/form.hpp"

using namespace postern;
using namespace postern::server;

std::vector<Bytes> postern::fuzz::seeds() {
  return {text_seed("email=a%40b.c&password=x+y&csrf="), text_seed("a=1&a=2&%zz"),
          text_seed("session=abc; other=\"x\"; b"), text_seed("<script>\"'&")};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text({data, size});
  if (const auto form = Form::parse(text)) (void)form->get("email");
  const std::string encoded = percent_encode(text);
  FUZZ_CHECK(encoded.find_first_of("&=+ ?#\r\n<>\"'") == std::string::npos);
  const auto form = Form::parse("name=" + encoded);
  FUZZ_CHECK(form && form->has("name") && form->get("name") == text);
  FUZZ_CHECK(escape_html(text).find_first_of("<>\"'") == std::string::npos);
  const std::string_view cookie = find_cookie(text, "session");
  FUZZ_CHECK(cookie.empty() || (cookie.data() >= text.data() && cookie.data() + cookie.size() <= text.data() + size));
  return 0;
}
