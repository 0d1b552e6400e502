// What a decision costs, by how many bindings a policy has: bound by exact ids, by wildcards and by
// claims. Usage: bench_policy_decisions BINDINGS. Prints for each kind its name and nanoseconds per
// decision, the best of several rounds.
#include <algorithm>
#include <chrono>
#include <exception>
#include <iostream>
#include <string>

#include "server/policy.h"

namespace {

constexpr int rounds = 200;  // short ones: the best of them met no other process
constexpr int decisions = 500;

struct Kind {
    std::string name;
    std::string before, after;  // of the number in a binding
};

std::string policy_of(const Kind& kind, int bindings) {
    std::string text = R"({"version":1,"roles":{"r":[{"id":"a","effect":"allow",
        "actions":["unwrap_data_key"],"resources":["key:alias/applications"]}]},"bindings":[)";
    for (int i = 0; i < bindings; ++i) {
        text += (i == 0 ? "{" : ",{") + kind.before + std::to_string(i) + kind.after +
                R"(,"roles":["r"]})";
    }
    return text + "]}";
}

long nanoseconds(const server::Policy& policy, const server::Caller& caller) {
    server::Resource resource;
    resource.kind = "key";
    resource.id = "7d4f5c1e-5b0b-4a39-9d3c-0a5d1b6a2c11";
    resource.aliases = {"applications"};
    const std::map<std::string, std::string> context{{"tenant", "acme"}};
    const server::PolicyQuestion question{caller, {"unwrap_data_key"}, resource, context, {}};
    long best = 0;
    for (int round = 0; round < rounds; ++round) {
        const auto begin = std::chrono::steady_clock::now();
        for (int i = 0; i < decisions; ++i) {
            if (!policy.decide(question).allowed) throw std::logic_error("denied");
        }
        const std::chrono::nanoseconds taken = std::chrono::steady_clock::now() - begin;
        const long each = static_cast<long>(taken.count() / decisions);
        best = round == 0 ? each : std::min(best, each);
    }
    return best;
}

void run(int bindings) {
    const std::string last = std::to_string(bindings - 1);
    for (const Kind& kind : {Kind{"exact", R"("caller":"spiffe://strongroom/app/)", "\""},
                             Kind{"wildcards", R"("caller":"spiffe://strongroom/team-)", R"(/*")"},
                             Kind{"claims", R"("claims":{"group":["group-)", R"("]})"}}) {
        server::Caller caller;
        caller.method = server::AuthenticationMethod::client_certificate;
        caller.id = kind.name == "exact" ? "spiffe://strongroom/app/" + last
                                         : "spiffe://strongroom/team-" + last + "/app";
        caller.claims["group"] = {"group-" + last};
        const auto policy = server::parse_policy(policy_of(kind, bindings), {"unwrap_data_key"});
        std::cout << kind.name << ' ' << nanoseconds(*policy, caller) << '\n';
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::cerr << "usage: bench_policy_decisions BINDINGS\n";
        return 2;
    }
    try {
        run(std::stoi(argv[1]));
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "bench_policy_decisions: " << error.what() << '\n';
        return 1;
    }
}
