// The tokens of tests/support/token_fixture.h as sets of several, each member opened by workers of
// its own.
#pragma once

#include "hsm/token_set.h"
#include "tests/hsm/remote_fixture.h"

namespace tests {

inline std::unique_ptr<hsm::Token> open_both(const std::vector<hsm::WorkerConfig>& configs,
                                             base::Log& log) {
    std::vector<hsm::RemoteMember> members;
    members.push_back({"first", configs[0], {}});
    members.push_back({"second", configs[1], {}});
    return hsm::open_token_set(members, {}, log);
}

// A second token made from the first by copying its folder, before it had any key: what is made
// later is in the first only. For SoftHSM.
template <typename Fixture>
class Copied final : public Fixture {
public:
    Copied() {
        std::filesystem::copy(this->directory_ / "tokens", this->directory_ / "copied",
                              std::filesystem::copy_options::recursive);
        config_of_copy_ = this->directory_.write(
            "copied.conf", "directories.tokendir = " + (this->directory_ / "copied").string() +
                               "\nobjectstore.backend = file\nlog.level = ERROR\n");
    }
    // Of the first member, and of the second.
    std::vector<hsm::WorkerConfig> worker_configs() const {
        std::vector<hsm::WorkerConfig> both(2, worker_config_of(*this, this->directory_));
        both[1].token.softhsm_config = config_of_copy_;
        return both;
    }
    std::unique_ptr<hsm::Token> open(base::Log& log) const override {
        return open_both(worker_configs(), log);
    }

private:
    std::filesystem::path config_of_copy_;
};

// The same token twice, as a cluster looks from outside: what is made in one member is in the
// other at once. For NSS, which sees what other processes make.
template <typename Fixture>
class Clustered final : public Fixture {
public:
    std::unique_ptr<hsm::Token> open(base::Log& log) const override {
        const hsm::WorkerConfig config = worker_config_of(*this, this->directory_);
        return open_both({config, config}, log);
    }
};

}  // namespace tests
