#include "server/daemon.h"

#include <pthread.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <ctime>
#include <future>
#include <iostream>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "server/hardening.h"

namespace server {
namespace {

// What runs has so long for its answer to be taken, and a moment more to be recorded.
constexpr std::chrono::milliseconds edge_stop_bound{4700};
constexpr std::chrono::milliseconds gate_drain_bound{5000};
// From the signal to the end of the process, whatever hangs: a database, a peer, the token.
constexpr std::chrono::milliseconds stop_bound{5900};
constexpr std::chrono::milliseconds time_to_tell{100};
// What waits for other services is broken off then, so that it is answered.
constexpr std::chrono::milliseconds break_off_after{4000};
// Between two looks at the files that reload steps watch; a change is read at the second look.
constexpr std::chrono::milliseconds watch_interval{500};

// A stop that can't be recorded is still a stop.
void record_stop(const DaemonParts& parts, bool drained) {
    try {
        parts.audit.event("stop", {{"drained", drained ? "true" : "false"}});
    } catch (const base::Error& error) {
        parts.log.error("the stop could not be recorded", {{"reason", error.what()}});
    }
    parts.log.info("stopped", {{"drained", drained}});
}

// The same for its last checkpoint, which has what is left until the process ends, and a moment to
// say that it could not be made. A thread that still signs then ends with the process.
void seal_stop(const DaemonParts& parts, std::chrono::steady_clock::time_point begun) {
    if (!parts.seal) return;
    std::string reason = "the signer or the disk took too long";
    try {
        std::packaged_task<void()> sealing(parts.seal);
        auto sealed = sealing.get_future();
        std::thread(std::move(sealing)).detach();
        if (sealed.wait_until(begun + stop_bound - time_to_tell) == std::future_status::ready) {
            sealed.get();
            return;
        }
    } catch (const std::exception& error) {
        reason = error.what();
    }
    parts.log.error("the audit log ends without a last checkpoint; the next start makes it",
                    {{"reason", reason}});
}

void say_ready(const DaemonParts& parts) {
    const auto fact = [&parts](const std::string& name) {
        const auto found = parts.facts.find(name);
        return found == parts.facts.end() ? std::string() : found->second;
    };
    std::string places;
    for (const auto& place : parts.edge.places()) places += (places.empty() ? "" : ", ") + place;
    parts.log.info("ready", {{"address", parts.address},
                             {"port", static_cast<std::int64_t>(parts.edge.port())},
                             {"places", places},
                             {"version", fact("version")},
                             {"policy_hash", fact("policy_hash")}});
}

// Ends the process at the bound unless it has ended before. The thread outlives all objects, so it
// knows none; what was answered has its records on disk by then.
void limit_stop() {
    const auto bound = std::chrono::steady_clock::now() + stop_bound;
    std::thread([bound] {
        std::this_thread::sleep_until(bound);
        std::_Exit(1);
    }).detach();
}

// Calls `work` at its time, unless it ends before.
class BreakOff {
public:
    explicit BreakOff(const std::function<void()>& work) {
        if (!work) return;
        const auto at = std::chrono::steady_clock::now() + break_off_after;
        thread_ = std::jthread([this, &work, at](const std::stop_token& stop) {
            std::unique_lock lock(mutex_);
            changed_.wait_until(lock, stop, at, [] { return false; });
            if (!stop.stop_requested()) work();
        });
    }

private:
    std::mutex mutex_;
    std::condition_variable_any changed_;
    std::jthread thread_;  // the last: it uses the others
};

std::string_view name_of(DaemonSignals::Signal signal) {
    switch (signal) {
        case DaemonSignals::Signal::terminate:
            return "SIGTERM";
        case DaemonSignals::Signal::interrupt:
            return "SIGINT";
        case DaemonSignals::Signal::hang_up:
            return "SIGHUP";
    }
    return {};
}

// The edge's own files come first: who may come in, before what they may do.
std::vector<ReloadStep> all_steps(const DaemonParts& parts) {
    std::vector<ReloadStep> steps = {{"certificates", parts.edge.certificate_files(),
                                      [&parts] { return parts.edge.reload_certificates(); }}};
    steps.insert(steps.end(), parts.reload_steps.begin(), parts.reload_steps.end());
    return steps;
}

// Reloads at every SIGHUP and change of a watched file; the name of the signal that ends the run.
std::string_view reload_until_stopped(const DaemonParts& parts, const DaemonSignals& signals) {
    Reloader reloader(all_steps(parts), parts.audit, parts.log);
    for (;;) {
        const auto signal = signals.wait(watch_interval);
        if (!signal) {
            reloader.run_changed();
        } else if (*signal == DaemonSignals::Signal::hang_up) {
            reloader.run_all("SIGHUP");
        } else {
            return name_of(*signal);
        }
    }
}

void run_program(const DaemonProgram& program, const std::filesystem::path& config,
                 bool check_only) {
    const DaemonSignals signals;
    base::Log log(program.name, base::LogLevel::info);
    harden_process(log);
    if (check_only) {
        program.check(config);
        std::cout << "the configuration is in order\n";
    } else {
        program.serve(config, signals);
    }
}

}  // namespace

void refuse_unsafe_start(int argument_count, char** arguments) {
    refuse_root();
    refuse_secret_environment(environ);
    std::vector<std::string_view> given;
    for (int i = 1; i < argument_count; ++i) given.emplace_back(arguments[i]);
    refuse_secret_arguments(given);
}

DaemonSignals::DaemonSignals() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGTERM);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    std::signal(SIGPIPE, SIG_IGN);  // NOLINT(cert-err33-c): ignoring a signal can't fail here
}

std::optional<DaemonSignals::Signal> DaemonSignals::wait(std::chrono::milliseconds bound) const {
    timespec wait{};
    wait.tv_sec = static_cast<std::time_t>(bound.count() / 1000);
    wait.tv_nsec = static_cast<long>(bound.count() % 1000) * 1'000'000;
    switch (::sigtimedwait(&signals_, nullptr, &wait)) {
        case SIGTERM:
            return Signal::terminate;
        case SIGINT:
            return Signal::interrupt;
        case SIGHUP:
            return Signal::hang_up;
        default:
            return std::nullopt;  // time is up, or a debugger interrupted the wait
    }
}

std::string_view DaemonSignals::wait_for_stop() const {
    for (;;) {
        const auto signal = wait(std::chrono::hours(1));
        if (signal && *signal != Signal::hang_up) return name_of(*signal);
    }
}

void serve_until_stopped(const DaemonParts& parts, const DaemonSignals& signals) {
    parts.edge.start();
    parts.audit.event("start", parts.facts);
    say_ready(parts);
    const std::string_view signal = reload_until_stopped(parts, signals);
    const auto begun = std::chrono::steady_clock::now();
    limit_stop();
    const BreakOff break_off(parts.break_off);
    parts.log.info("stopping", {{"signal", std::string(signal)}});
    parts.edge.stop(edge_stop_bound);
    const auto took =
        std::chrono::ceil<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begun);
    const bool drained =
        parts.gate.drain(std::max(gate_drain_bound - took, std::chrono::milliseconds(0)));
    record_stop(parts, drained);
    // What still runs hangs, in the token or in a peer, and the gate's destructor would wait for
    // it: the process ends here, with its records written and sealed and nobody's answer given.
    if (drained) return;
    seal_stop(parts, begun);
    std::_Exit(1);
}

int run_daemon(int argument_count, char** arguments, const DaemonProgram& program) {
    try {
        refuse_unsafe_start(argument_count, arguments);
        CLI::App app(program.name + ", " + program.purpose);
        std::filesystem::path config;
        bool check_only = false;
        app.add_option("--config", config, "the configuration file")->required();
        app.add_flag("--check-config", check_only,
                     "check the configuration and the files it names, then exit");
        app.set_version_flag("--version", program.name + " " + program.version);
        try {
            app.parse(argument_count, arguments);
        } catch (const CLI::ParseError& error) {
            return app.exit(error) == 0 ? 0 : 1;
        }
        run_program(program, config, check_only);
        return 0;
    } catch (const std::exception& error) {
        // A start-up refusal is one plain sentence: what is wrong and what to do.
        std::cerr << program.name << ": " << error.what() << '\n';
        return 1;
    }
}

}  // namespace server
