// What an API token looks like: the text, its id and its name. Needs no table.
#include <algorithm>

#include "base/encoding.h"
#include "server/api_tokens.h"

namespace server {
namespace {

constexpr std::size_t token_id_digits = 16;
constexpr std::size_t secret_characters = 43;
constexpr std::size_t max_token_name_bytes = 64;
constexpr std::size_t token_characters =
    api_token_start.size() + token_id_digits + 1 + secret_characters;

}  // namespace

bool is_token_name(std::string_view name) {
    return !name.empty() && name.size() <= max_token_name_bytes &&
           std::all_of(name.begin(), name.end(), [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
                      c == '_';
           });
}

bool is_api_token_id(std::string_view id) {
    return id.size() == token_id_digits && base::parse_hex(id).has_value();
}

std::optional<std::string> api_token_id_in(std::string_view credential) {
    if (credential.size() != token_characters || !credential.starts_with(api_token_start))
        return std::nullopt;
    const std::string_view rest = credential.substr(api_token_start.size());
    const std::string_view id = rest.substr(0, token_id_digits);
    if (!is_api_token_id(id) || rest[token_id_digits] != '_') return std::nullopt;
    return std::string(id);
}

}  // namespace server
