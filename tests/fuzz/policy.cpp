// A policy file: refused, or a policy that answers any question, the same each time.
#include "server/policy.h"
#include "tests/fuzz/only.h"

namespace {

void ask(const server::Policy& policy) {
    server::Caller caller;
    caller.id = "spiffe://strongroom/app";
    caller.method = server::AuthenticationMethod::client_certificate;
    caller.claims["roles"] = {"operator", "application"};
    caller.address = "10.0.0.1";
    server::Resource resource;
    resource.kind = "key";
    resource.id = "alias/credentials";
    resource.owner = "acme";
    const std::map<std::string, std::string> context = {{"tenant", "acme"}};
    for (const std::string_view action : {"unwrap_data_key", "list_keys"}) {
        const server::PolicyQuestion question{caller, server::Action{action}, resource, context,
                                              base::from_milliseconds(1'800'000'000'000)};
        const server::Decision first = policy.decide(question);
        const server::Decision second = policy.decide(question);
        fuzz::require(first.allowed == second.allowed && first.rule == second.rule);
        // What is allowed here may be allowed at all.
        fuzz::require(!first.allowed || policy.may_ever(caller, question.action, question.now));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    server::PolicyWords words({"unwrap_data_key"});
    words.add("key", {"list_keys"}).add("service", {"observe"}).add_owned_and_tagged("credential");
    fuzz::allow(base::ErrorCode::invalid_argument,
                [&] { ask(*server::parse_policy(fuzz::text_of(data, size), words)); });
    return 0;
}
