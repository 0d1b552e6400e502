#include "kms/client/token_tool.h"

#include "base/table.h"

namespace kms {
namespace {

using base::JsonValue;

constexpr std::int64_t seconds_of_a_day = 86'400;
constexpr const char* tokens_path = "/v1/api-tokens";

std::map<std::string, std::vector<std::string>> parse_claims(
    const std::vector<std::string>& pairs) {
    std::map<std::string, std::vector<std::string>> claims;
    for (const std::string& pair : pairs) {
        const auto equals = pair.find('=');
        if (equals == std::string::npos || equals == 0 || equals + 1 == pair.size()) {
            throw UsageError("--claim takes name=value, not \"" + pair + "\"");
        }
        claims[pair.substr(0, equals)].push_back(pair.substr(equals + 1));
    }
    return claims;
}

std::string claims_cell(const JsonValue& token) {
    std::string text;
    const JsonValue* claims = token.find("claims");
    if (claims == nullptr || claims->object() == nullptr) return text;
    for (const auto& member : *claims->object()) {
        if (!text.empty()) text += ' ';
        text += std::string(member.name) + "=" + cell(*claims, member.name);
    }
    return text;
}

std::string state_of(const JsonValue& token) {
    const std::string revoked = cell(token, "revoked_at");
    return revoked.empty() ? "until " + cell(token, "expires_at") : "revoked " + revoked;
}

// The token alone, so that it can be given on; all about it with --json.
void show_made(const Tool& tool, const NewToken& wanted, const JsonValue& answer) {
    const auto* text = answer.find("token")->string();
    if (wanted.out != standard_stream) {
        write_output(wanted.out, *text, private_mode);
        print("API token " + cell(answer, "id") + " of caller " + cell(answer, "caller") +
              " is in " + wanted.out + ", good until " + cell(answer, "expires_at") + ".");
    } else if (tool.json) {
        print(base::to_json(answer));
    } else {
        print(*text);
    }
}

}  // namespace

int create_token(const Tool& tool, const NewToken& wanted) {
    require_new_file(wanted.out);
    base::JsonWriter body;
    body.begin_object().field("name", wanted.name);
    if (wanted.days > 0) body.field("expires_in_seconds", seconds_of_a_day * wanted.days);
    const auto claims = parse_claims(wanted.claims);
    if (!claims.empty()) {
        body.name("claims").begin_object();
        for (const auto& [name, values] : claims) {
            body.name(name).begin_array();
            for (const std::string& value : values) body.string(value);
            body.end_array();
        }
        body.end_object();
    }
    body.end_object();
    const JsonValue answer =
        tool.client().call("POST", tokens_path, body.text(), ordered_once(tool));
    base::JsonReader(answer).required_string("token", 256);
    show_made(tool, wanted, answer);
    return 0;
}

int list_tokens(const Tool& tool) {
    JsonValue::Array tokens = fetch_pages(tool.client(), tokens_path, "api_tokens");
    if (tool.json) {
        base::JsonWriter out;
        out.begin_object().name("api_tokens").value(JsonValue(std::move(tokens))).end_object();
        print(out.text());
        return 0;
    }
    if (tokens.empty()) {
        print("There is no API token.");
        return 0;
    }
    base::Table table({"ID", "CALLER", "CLAIMS", "MADE BY", "STATE"});
    for (const JsonValue& token : tokens) {
        table.add({cell(token, "id"), cell(token, "caller"), claims_cell(token),
                   cell(token, "made_by"), state_of(token)});
    }
    print(table.to_string());
    return 0;
}

int revoke_token(const Tool& tool, const std::string& id) {
    const JsonValue answer = tool.client().call(
        "DELETE", std::string(tokens_path) + "/" + path_segment(id), {}, ordered_once(tool));
    print(tool.json ? std::string(base::to_json(answer))
                    : "API token " + cell(answer, "id") + " of caller " + cell(answer, "caller") +
                          " is revoked since " + cell(answer, "revoked_at") + ".");
    return 0;
}

}  // namespace kms
