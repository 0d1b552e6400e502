// The tokens of tests/support/token_fixture.h, opened by a token worker: a process of its own.
#pragma once

#include "tests/support/token_fixture.h"

namespace tests {

// How a worker opens the token of a fixture, whose PIN goes into a file in its folder.
inline hsm::WorkerConfig worker_config_of(const TokenFixture& fixture,
                                          const TemporaryDirectory& directory) {
    hsm::WorkerConfig config;
    config.token = fixture.config();
    config.program = STRONGROOM_TOKEN_WORKER;
    config.pin_file = directory.write("user.pin", fixture.pin().expose_text());
    config.log_level = base::LogLevel::error;
    // The sanitizers and a busy machine take their time.
    config.deadline = std::chrono::seconds(20);
    return config;
}

template <typename Fixture>
class Remote final : public Fixture {
public:
    hsm::WorkerConfig worker_config() const { return worker_config_of(*this, this->directory_); }
    std::unique_ptr<hsm::Token> open(base::Log& log) const override {
        return hsm::open_remote_token(worker_config(), {}, log);
    }
};

}  // namespace tests
