// policy check, explain, test, diff. They read files; none of them needs the service.
#include <CLI/CLI.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/table.h"
#include "kms/kmsctl.h"
#include "kms/policy_words.h"
#include "server/policy_cases.h"
#include "server/policy_diff.h"
#include "server/policy_explain.h"
#include "server/policy_rules.h"

namespace kms {
namespace {

struct PolicyOptions {
    std::vector<std::string> files;
    std::string daemon = "kmsd";
    // of explain
    std::string caller;
    std::string action;
    std::string resource;
    std::string owner;
    std::string method = "client_certificate";
    std::string address;
    std::string time;
    std::vector<std::string> aliases;
    std::vector<std::string> tags;
    std::vector<std::string> context;
    std::vector<std::string> claims;
};

std::string policy_text(const std::string& file) {
    return base::read_file(file, server::max_policy_bytes);
}

// Runs `work` on a file's text; its complaints name the file.
template <typename Work>
auto on_policy(const std::string& file, Work work) {
    const std::string text = policy_text(file);
    try {
        return work(text);
    } catch (const base::Error& error) {
        throw base::Error(error.code(), file + ": " + error.message());
    }
}

int check_policies(const Tool& tool, const PolicyOptions& options) {
    base::Table table({"FILE", "ROLES", "RULES", "BINDINGS", "BOUND TO NOBODY", "HASH"});
    base::JsonWriter out;
    out.begin_array();
    for (const std::string& file : options.files) {
        const auto summary = on_policy(file, [&options](const std::string& text) {
            return server::summarize_policy(text, policy_words(options.daemon));
        });
        std::string unbound;
        for (const auto& role : summary.unbound) unbound += (unbound.empty() ? "" : ",") + role;
        table.add({file, std::to_string(summary.roles), std::to_string(summary.rules),
                   std::to_string(summary.bindings), unbound, summary.hash});
        out.begin_object().field("file", file).field("policy_hash", summary.hash);
        out.field("roles", static_cast<std::uint64_t>(summary.roles));
        out.field("rules", static_cast<std::uint64_t>(summary.rules));
        out.field("bindings", static_cast<std::uint64_t>(summary.bindings));
        out.name("unbound").begin_array();
        for (const auto& role : summary.unbound) out.string(role);
        out.end_array().end_object();
    }
    out.end_array();
    print(tool.json ? std::string_view(out.text()) : table.to_string());
    return 0;
}

server::StoredQuestion question_of(const PolicyOptions& options) {
    server::StoredQuestion question;
    question.caller.id = options.caller;
    const auto method = server::parse_authentication_method(options.method);
    if (!method)
        throw UsageError("--authentication takes a method, not \"" + options.method + "\"");
    question.caller.method = *method;
    question.caller.address = options.address;
    for (const std::string& claim : options.claims) {
        for (auto& [name, value] : parse_pairs({claim}, "--claim"))
            question.caller.claims[name].push_back(value);
    }
    question.action = options.action;
    const std::size_t colon = options.resource.find(':');
    if (colon == std::string::npos) throw UsageError("--resource takes kind:id, like key:*");
    question.resource.kind = options.resource.substr(0, colon);
    question.resource.id = options.resource.substr(colon + 1);
    question.resource.owner = options.owner;
    question.resource.aliases = options.aliases;
    question.resource.tags = parse_pairs(options.tags, "--tag");
    question.context = parse_pairs(options.context, "--context");
    question.now = base::SystemClock().now();
    if (!options.time.empty()) {
        const auto time = base::parse_rfc3339(options.time);
        if (!time) throw UsageError("--time takes a time like 2026-11-25T10:00:00Z");
        question.now = *time;
    }
    return question;
}

std::string explanation_json(const server::Explanation& explanation) {
    base::JsonWriter out;
    out.begin_object().field("decision", explanation.decision.allowed ? "allow" : "deny");
    out.field("rule", explanation.decision.rule);
    out.field("policy_hash", explanation.decision.policy_hash);
    out.name("roles").begin_array();
    for (const auto& held : explanation.held) {
        out.begin_object().field("role", held.role).field("binding", held.binding).end_object();
    }
    out.end_array().name("rules").begin_array();
    for (const auto& rule : explanation.rules) {
        out.begin_object().field("rule", rule.rule).field("role", rule.role);
        out.field("effect", rule.effect).field("decides", rule.decides).field("why", rule.why);
        out.end_object();
    }
    out.end_array().end_object();
    return std::string(out.text());
}

std::string explanation_text(const server::Explanation& explanation) {
    base::Table head;
    head.add({"decision", explanation.decision.allowed ? "allow" : "deny"});
    head.add({"rule", explanation.decision.rule});
    for (const auto& held : explanation.held) {
        head.add({"role " + held.role, "by " + held.binding});
    }
    if (explanation.held.empty()) head.add({"roles", "none"});
    base::Table rules({"RULE", "ROLE", "EFFECT", "WHY"});
    for (const auto& rule : explanation.rules) {
        rules.add({rule.rule, rule.role, rule.effect, rule.why});
    }
    return head.to_string() + "\n" + rules.to_string();
}

int explain_command(const Tool& tool, const PolicyOptions& options) {
    const auto question = question_of(options);
    const auto explanation = on_policy(options.files.front(), [&](const std::string& text) {
        return server::explain_policy(text, policy_words(options.daemon), question.view());
    });
    print(tool.json ? explanation_json(explanation) : explanation_text(explanation));
    return 0;
}

int test_policies(const Tool& tool, const PolicyOptions& options) {
    std::size_t passed = 0;
    base::Table failures({"SUITE", "CASE", "QUESTION", "EXPECTED", "DECIDED"});
    base::JsonWriter out;
    out.begin_object().name("failed").begin_array();
    std::size_t failed = 0;
    for (const std::string& file : options.files) {
        for (const auto& result : server::run_policy_cases(file, policy_words)) {
            if (result.passed()) {
                ++passed;
                continue;
            }
            ++failed;
            failures.add({result.suite, std::to_string(result.number), result.question,
                          result.expected, result.decided});
            out.begin_object().field("suite", result.suite);
            out.field("case", static_cast<std::uint64_t>(result.number));
            out.field("question", result.question).field("expected", result.expected);
            out.field("decided", result.decided).end_object();
        }
    }
    out.end_array().field("passed", static_cast<std::uint64_t>(passed)).end_object();
    const std::string summary =
        std::to_string(passed) + " cases passed, " + std::to_string(failed) + " failed";
    if (tool.json) {
        print(out.text());
    } else {
        print((failed == 0 ? "" : failures.to_string() + "\n") + summary);
    }
    return failed == 0 && passed > 0 ? 0 : 1;
}

int diff_command(const Tool& tool, const PolicyOptions& options) {
    const auto changes =
        server::diff_policies(policy_text(options.files.at(0)), policy_text(options.files.at(1)),
                              policy_words(options.daemon));
    base::Table table({"", "WHO", "EFFECT", "ACTION", "RESOURCE", "CONDITION"});
    base::JsonWriter out;
    out.begin_array();
    for (const auto& change : changes) {
        table.add({change.added ? "+" : "-", change.who, change.effect, change.action,
                   change.resource, change.condition});
        out.begin_object().field("change", change.added ? "added" : "removed");
        out.field("who", change.who).field("effect", change.effect);
        out.field("action", change.action).field("resource", change.resource);
        out.field("condition", change.condition).end_object();
    }
    out.end_array();
    if (tool.json) {
        print(out.text());
    } else {
        print(changes.empty() ? "no permission changes" : table.to_string());
    }
    return changes.empty() ? 0 : 1;
}

using Command = int (*)(const Tool&, const PolicyOptions&);

CLI::App* add_policy_command(CLI::App& family, Tool& tool, const char* name, const char* what,
                             const std::shared_ptr<PolicyOptions>& options, Command run) {
    CLI::App* command = family.add_subcommand(name, what);
    command->callback([&tool, options, run] {
        tool.command = [&tool, options, run] { return run(tool, *options); };
    });
    return command;
}

void add_daemon(CLI::App& command, PolicyOptions& options) {
    command.add_option("--daemon", options.daemon, "Whose policy it is")
        ->check(CLI::IsMember({"kmsd", "vaultd"}))
        ->capture_default_str();
}

void add_question(CLI::App& command, PolicyOptions& options) {
    command.add_option("--caller", options.caller, "Who asks")->required()->type_name("ID");
    command.add_option("--action", options.action, "To do what")->required()->type_name("WORD");
    command.add_option("--resource", options.resource, "With what, as kind:id")
        ->required()
        ->type_name("KIND:ID");
    command.add_option("--alias", options.aliases, "An alias of it; may be given many times")
        ->type_name("NAME");
    command.add_option("--tag", options.tags, "A tag of it; may be given many times")
        ->type_name("NAME=VALUE");
    command.add_option("--owner", options.owner, "Its owner")->type_name("NAME");
    command.add_option("--context", options.context, "Encryption context; may be given many times")
        ->type_name("NAME=VALUE");
    command.add_option("--claim", options.claims, "A claim of the caller; may be given many times")
        ->type_name("NAME=VALUE");
    command.add_option("--authentication", options.method, "How the caller proved who it is")
        ->type_name("METHOD")
        ->capture_default_str();
    command.add_option("--address", options.address, "The caller's network address")
        ->type_name("ADDRESS");
    command.add_option("--time", options.time, "When; without it, now")->type_name("TIME");
}

}  // namespace

void add_policy_commands(CLI::App& app, Tool& tool) {
    CLI::App* family = app.add_subcommand("policy", "Check, explain, test and compare policies");
    family->require_subcommand(1);
    const auto options = std::make_shared<PolicyOptions>();
    CLI::App* check = add_policy_command(*family, tool, "check", "Would a daemon take these files?",
                                         options, check_policies);
    check->add_option("FILE", options->files, "Policies")->required();
    add_daemon(*check, *options);
    CLI::App* explain = add_policy_command(
        *family, tool, "explain", "How a policy decides a question, and which rule does it",
        options, explain_command);
    explain->add_option("FILE", options->files, "The policy")->required()->expected(1);
    add_daemon(*explain, *options);
    add_question(*explain, *options);
    CLI::App* test = add_policy_command(*family, tool, "test",
                                        "Do policies answer their cases? Exit code 1: some do not",
                                        options, test_policies);
    test->add_option("FILE", options->files, "Cases, like policies/cases.json")->required();
    CLI::App* diff = add_policy_command(
        *family, tool, "diff", "Which permissions another policy changes. Exit code 1: some",
        options, diff_command);
    diff->add_option("FILES", options->files, "The policy of today, then the other one")
        ->required()
        ->expected(2);
    add_daemon(*diff, *options);
}

}  // namespace kms
