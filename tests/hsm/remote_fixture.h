// The tokens of tests/support/token_fixture.h, opened by a token worker: a process of its own.
#pragma once

#include "tests/support/token_fixture.h"

namespace tests {

template <typename Fixture>
class Remote final : public Fixture {
public:
    hsm::WorkerConfig worker_config() const {
        hsm::WorkerConfig config;
        config.token = this->config();
        config.program = STRONGROOM_TOKEN_WORKER;
        config.pin_file = this->directory_.write("user.pin", this->pin().expose_text());
        config.log_level = base::LogLevel::error;
        // The sanitizers and a busy machine take their time.
        config.deadline = std::chrono::seconds(20);
        return config;
    }
    std::unique_ptr<hsm::Token> open(base::Log& log) const override {
        return hsm::open_remote_token(worker_config(), {}, log);
    }
};

}  // namespace tests
