// kmsctl as a process, against a real kmsd on a real token.
#pragma once

#include <gtest/gtest.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "tests/support/kms_house.h"

namespace tests {

using Arguments = std::vector<std::string>;

struct Outcome {
    int exit_code = -1;
    std::string output;  // standard output and standard error
};

inline Outcome run_program(const std::filesystem::path& program, const Arguments& arguments,
                           std::map<std::string, std::string> environment = {}) {
    DaemonOptions options;
    options.program = program;
    options.arguments = arguments;
    options.environment = std::move(environment);
    options.keep_user = true;
    Daemon tool(options);
    Outcome outcome;
    outcome.exit_code = tool.wait_exit();
    outcome.output = tool.output();
    return outcome;
}

inline Outcome run(const Arguments& arguments,
                   std::map<std::string, std::string> environment = {}) {
    return run_program(built_program("kmsctl"), arguments, std::move(environment));
}

// The same with a terminal as standard input and output, where `typed` is typed.
inline Outcome run_on_terminal(const Arguments& arguments, const std::string& typed = {}) {
    std::string program = built_program("kmsctl").string();
    std::vector<std::string> texts = arguments;
    std::vector<char*> argv = {program.data()};
    for (std::string& text : texts) argv.push_back(text.data());
    argv.push_back(nullptr);
    int terminal = -1;
    const pid_t child = ::forkpty(&terminal, nullptr, nullptr, nullptr);
    if (child == 0) {
        ::execv(program.c_str(), argv.data());
        ::_exit(127);
    }
    // The terminal keeps it until it is read.
    static_cast<void>(!::write(terminal, typed.data(), typed.size()));
    Outcome outcome;
    std::array<char, 4096> room{};
    for (ssize_t size = 0; (size = ::read(terminal, room.data(), room.size())) > 0;) {
        outcome.output.append(room.data(), static_cast<std::size_t>(size));
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    ::close(terminal);
    outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    return outcome;
}

inline bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

class KmsctlRunner : public testing::Test {
protected:
    void SetUp() override {
        if (!policy().empty()) house_.write("policy-kms.json", policy());
        daemon_ = house_.start();
        port_ = daemon_->wait_ready();
        // Made after the start, so that they belong to who runs the test.
        operator_ = house_.pki().client("tool-operator", "spiffe://strongroom/operator");
        app_ = house_.pki().client("tool-app", "spiffe://strongroom/app");
        stranger_ = house_.pki().client("tool-stranger", "spiffe://strongroom/stranger");
    }
    // Another policy than the house's; empty: the house's.
    virtual std::string policy() const { return {}; }

    Arguments connection(const CertificateFiles& who) {
        return {"--url",         "https://127.0.0.1:" + std::to_string(port_),
                "--ca",          house_.pki().ca().string(),
                "--certificate", who.certificate.string(),
                "--key-file",    who.key.string()};
    }
    Arguments command_as(const CertificateFiles& who, const Arguments& command) {
        Arguments all = connection(who);
        all.insert(all.end(), command.begin(), command.end());
        return all;
    }
    Outcome as(const CertificateFiles& who, const Arguments& command) {
        return run(command_as(who, command));
    }
    std::string file(std::string_view name) const { return (files_ / name).string(); }

    KmsHouse house_;
    TemporaryDirectory files_;
    std::unique_ptr<Daemon> daemon_;
    int port_ = 0;
    CertificateFiles operator_, app_, stranger_;
};

}  // namespace tests
