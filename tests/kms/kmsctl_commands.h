// kmsctl in the hands of an operator who may do everything; all others may do nothing.
#pragma once

#include "base/json.h"
#include "tests/kms/kmsctl_runner.h"

namespace tests {

class KmsctlCommands : public KmsctlRunner {
protected:
    // The operator may do everything, the others nothing.
    std::string policy() const override {
        return R"({"version":1,"roles":{"all":[{"id":"all","effect":"allow","actions":["*"],
            "resources":["*"]}]},
            "bindings":[{"caller":"spiffe://strongroom/operator","roles":["all"]}]})";
    }
    Outcome ctl(const Arguments& command) { return as(operator_, command); }
    Outcome must(const Arguments& command) {
        Outcome outcome = ctl(command);
        EXPECT_EQ(outcome.exit_code, 0) << command.front() << ": " << outcome.output;
        return outcome;
    }
    // A JSON answer.
    base::JsonValue ask(Arguments command) {
        command.emplace_back("--json");
        return base::parse_json(must(command).output, {8UL * 1024 * 1024, 64});
    }
    std::string make_key(const std::string& alias, const std::string& kind) {
        const auto key = ask({"key", "create", "--alias", alias, "--kind", kind});
        return text(key, "id");
    }
    static std::string text(const base::JsonValue& object, std::string_view name) {
        const auto* member = object.find(name);
        if (member == nullptr) return {};
        return member->string() != nullptr ? std::string(*member->string())
                                           : std::string(base::to_json(*member));
    }
    std::string state_of(const std::string& key) {
        return text(ask({"key", "show", key}), "state");
    }
    // Runs `script` (Python) on the closed database, which is sys.argv[1]; `arguments` follow.
    void edit_store(const std::string& script, const Arguments& arguments) {
        EXPECT_EQ(daemon_->stop(), 0) << daemon_->output();
        Arguments all{
            "-c",
            "import sqlite3,sys; d = sqlite3.connect(sys.argv[1]); " + script + "; d.commit()",
            (house_.folder() / "kms.db").string()};
        all.insert(all.end(), arguments.begin(), arguments.end());
        const auto edited = run_program("/usr/bin/python3", all);
        ASSERT_EQ(edited.exit_code, 0) << edited.output;
        daemon_ = house_.start();
        port_ = daemon_->wait_ready();
        // The start gave the other one to the daemon's user.
        operator_ = house_.pki().client("tool-operator-again", "spiffe://strongroom/operator");
    }
    static Outcome openssl(const Arguments& arguments) {
        return run_program("/usr/bin/openssl", arguments);
    }
};

}  // namespace tests
