// budget show, lift. With --url they ask any of the daemons: both have the same routes.
#include <CLI/CLI.hpp>

#include "base/table.h"
#include "kms/kmsctl.h"

namespace kms {
namespace {

constexpr const char* budgets_path = "/v1/budgets";

// For a query: everything but letters, digits and -._~ (RFC 3986 2.3).
std::string percent_encoded(const std::string& text) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    constexpr std::string_view unreserved = "-._~";
    std::string out;
    for (const char c : text) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           (c >= '0' && c <= '9') || unreserved.find(c) != std::string_view::npos;
        if (plain) {
            out += c;
            continue;
        }
        const auto byte = static_cast<unsigned char>(c);
        out += '%';
        out += digits[byte >> 4U];
        out += digits[byte & 0xFU];
    }
    return out;
}

int show_suspended(const Tool& tool) {
    const auto answer = tool.client().call("GET", budgets_path, {});
    if (tool.json) {
        print(base::to_json(answer));
        return 0;
    }
    base::Table table({"SUSPENDED CALLER", "SINCE", "LIMIT", "OVERRUNS"});
    const auto* list = answer.find("suspended");
    if (list != nullptr && list->array() != nullptr && !list->array()->empty()) {
        for (const auto& one : *list->array()) {
            table.add({cell(one, "caller"), cell(one, "since"), cell(one, "limit"),
                       cell(one, "overruns")});
        }
        print(table.to_string());
    } else {
        print("nobody is suspended");
    }
    return 0;
}

int show_budget(const Tool& tool, const std::string& caller) {
    if (caller.empty()) return show_suspended(tool);
    const auto answer = tool.client().call(
        "GET", std::string(budgets_path) + "?caller=" + percent_encoded(caller), {});
    if (tool.json) {
        print(base::to_json(answer));
        return 0;
    }
    base::Table head;
    head.add({"caller", cell(answer, "caller")});
    const auto* suspended = answer.find("suspended");
    if (suspended != nullptr && suspended->object() != nullptr) {
        head.add({"suspended since", cell(*suspended, "since")});
        head.add({"for overruns of", cell(*suspended, "limit")});
    }
    base::Table usage({"LIMIT", "COUNTED", "USED", "FROM", "TO"});
    const auto* list = answer.find("usage");
    if (list != nullptr && list->array() != nullptr) {
        for (const auto& one : *list->array()) {
            usage.add({cell(one, "limit"), cell(one, "counted"), cell(one, "used"),
                       cell(one, "from"), cell(one, "to")});
        }
    }
    print(head.to_string() + "\n" + usage.to_string());
    return 0;
}

int lift_budget(const Tool& tool, const std::string& caller) {
    base::JsonWriter body;
    body.begin_object().field("caller", caller).end_object();
    const auto answer = tool.client().call("POST", std::string(budgets_path) + "/lift", body.text(),
                                           ordered_once(tool));
    if (tool.json) {
        print(base::to_json(answer));
    } else {
        print("lifted the suspension of " + base::printable(caller));
    }
    return 0;
}

}  // namespace

void add_budget_commands(CLI::App& app, Tool& tool) {
    CLI::App* family = app.add_subcommand(
        "budget", "What callers have used, and who is suspended (--url asks another daemon)");
    family->require_subcommand(1);
    const auto caller = std::make_shared<std::string>();
    CLI::App* show =
        family->add_subcommand("show", "What a caller has used; without CALLER, who is suspended");
    show->add_option("CALLER", *caller, "A caller's id");
    show->callback(
        [&tool, caller] { tool.command = [&tool, caller] { return show_budget(tool, *caller); }; });
    CLI::App* lift = family->add_subcommand("lift", "Lift a caller's suspension");
    lift->add_option("CALLER", *caller, "A caller's id")->required();
    lift->callback(
        [&tool, caller] { tool.command = [&tool, caller] { return lift_budget(tool, *caller); }; });
}

}  // namespace kms
