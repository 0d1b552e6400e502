#include "server/gate.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "base/secret_bytes.h"
#include "base/uuid.h"
#include "server/answer.h"
#include "server/audit_sealer.h"
#include "server/gate_finished.h"
#include "server/gate_queue.h"
#include "server/gate_rules.h"
#include "server/throttle.h"

namespace server {

namespace {

using Done = std::function<void(Response)>;

// What takes longer to begin than this asks somebody over the network.
constexpr std::chrono::milliseconds slow_beginning = GateQueue::usual_patience;

// Requests that a worker keeps until their answers have left, at most: those beyond are ended by
// whoever sends the answer.
constexpr std::size_t most_kept = 64;

constexpr Action unknown_action{"unknown"};
constexpr std::string_view receipt_request = "strongroom-receipt";

}  // namespace

struct Gate::State {
    State(GateConfig the_config, const RouteTable& the_routes,
          const Authenticator& the_authenticator, const Authorizer& the_authorizer,
          AuditLog& the_audit, Metrics& the_metrics, const base::Clock& the_clock,
          base::Log& the_log, LogHead the_log_head)
        : config(the_config),
          routes(the_routes),
          authenticator(the_authenticator),
          authorizer(the_authorizer),
          audit(the_audit),
          metrics(the_metrics),
          clock(the_clock),
          log(the_log),
          log_head(std::move(the_log_head)),
          origin(log_origin(audit.config().node, audit.config().daemon)),
          queue(config.max_queued, routes.routes()) {
        for (const Route& route : routes.routes()) {
            if (route.max_body_bytes <= ordinary_body_bytes) {
                largest_body = std::max(largest_body, route.max_body_bytes);
            }
            every_action.push_back(route.action);
        }
        for (std::size_t i = 0; i < std::max<std::size_t>(config.workers, 1); ++i) {
            workers.emplace_back([this] { run_worker(); });
        }
    }

    ~State() {
        queue.close();
        workers.clear();  // joins
        queue.wait_until_left();
    }

    State(const State&) = delete;
    State& operator=(const State&) = delete;

    // False when there is no place: the request is left as it was.
    bool enqueue(Request& request, Done& done) { return queue.push(request, done); }

    void run_worker() {
        hold_back_signals();
        GateQueue::Work work;
        std::vector<std::shared_ptr<Finished>> kept;
        kept.reserve(most_kept);
        while (queue.next(work)) {
            std::erase_if(kept, [](const auto& finished) { return finished.use_count() == 1; });
            if (work.refused) {
                for (GateJob& job : work.jobs) turn_away(job);
            } else {
                work_on(work, kept);
            }
        }
    }

    void turn_away(GateJob& job) {
        try {
            job.done(refusal(job.request, stopping_error()));
        } catch (const std::exception& error) {
            give_up(job, error);
        }
        queue.leave();
    }

    // Only what fails before there is an operation comes here: no randomness, no memory.
    void give_up(GateJob& job, const std::exception& error) {
        log.error("a request could not be begun", {{"reason", error.what()}});
        job.done(error_answer(internal_error({}), base::Uuid()));
    }

    // All of one route when they are several. What became of them is added to `kept`: it is sent by
    // the audit log's writer, but ended by who made it. Memory that one thread takes and another
    // gives back makes both wait for a lock of the allocator.
    void work_on(GateQueue::Work& work, std::vector<std::shared_ptr<Finished>>& kept) {
        std::array<std::shared_ptr<Finished>, GateQueue::most_together> begun;
        std::array<Ready, GateQueue::most_together> ready{};
        std::size_t admitted = 0;
        auto last = std::chrono::steady_clock::now();
        for (std::size_t i = 0; i < work.jobs.size(); ++i) {
            GateJob& job = work.jobs[i];
            try {
                begun[i] = begin_work(job);
                if (begun[i]->is_admitted) ready[admitted++] = {begun[i].get(), &job.request};
            } catch (const std::exception& error) {
                give_up(job, error);
                queue.leave();
            }
            // Who identifies one caller asked another service: that is no matter of the others.
            const auto now = std::chrono::steady_clock::now();
            if (now - last > slow_beginning) queue.hand_back(work, i + 1);
            last = now;
        }
        handle({ready.data(), admitted});
        work.is_telling = admitted > 0;
        for (const auto& finished : begun) {
            if (finished == nullptr) continue;
            work.is_telling = work.is_telling && finished->outcome.word == "ok";
        }
        finish(std::span(begun).first(work.jobs.size()));
        for (auto& finished : begun) {
            if (finished != nullptr && kept.size() < most_kept) kept.push_back(std::move(finished));
        }
    }

    std::shared_ptr<const Caller> recognize(const Request& request) const {
        return std::make_shared<const Caller>(authenticator.connected(request));
    }

    Operation begin(const Request& request) const {
        auto caller = request.connected ? request.connected : recognize(request);
        Operation operation = begin_operation(request, clock.now(), std::move(caller));
        operation.set_action(unknown_action);
        operation.set_intents(audit);
        return operation;
    }

    // Up to the handler.
    std::shared_ptr<Finished> begin_work(GateJob& job) {
        auto finished =
            std::make_shared<Finished>(Finished{begin(job.request), job.request.received, {}});
        finished->receipt = job.request.header(receipt_request) == "yes";
        try {
            const Route& route = find_route(*finished, job.request);
            if (route.access != Access::open) {
                check_wait(job.queued, config.longest_wait);
                identify(*finished, job.request, route.pattern, route.credential);
            }
            check_body(job.request, route);
            // What can't be recorded must not happen: a handler's work has effects that stay.
            if (route.access == Access::authenticated) audit.check();
            finished->is_admitted = true;
        } catch (const base::Error& error) {
            fail(*finished, judge(*finished, error));
        } catch (const std::exception& error) {
            fail(*finished, internal_error(error.what()));
        }
        finished->done = std::move(job.done);
        return finished;
    }

    // fail() for those who can't bear an exception: what is left then is an answer without a word.
    void conclude(Finished& finished, const base::Error& error) noexcept {
        try {
            fail(finished, judge(finished, error));
        } catch (const std::exception&) {  // no memory
            finished.response = Response();
            finished.response.status = http_status(base::ErrorCode::internal);
            finished.outcome = {"failed", {}, finished.response.status};
        }
    }

    void handle(std::span<const Ready> ready) noexcept {
        if (ready.size() > 1) return handle_together(ready);
        for (const auto& [finished, request] : ready) {
            try {
                Response response = finished->route->handler(finished->operation, *request);
                require_intent(*finished, response);
                succeed(*finished, std::move(response));
            } catch (const base::Error& error) {
                conclude(*finished, error);
            } catch (const std::exception& error) {
                conclude(*finished, internal_error(error.what()));
            }
        }
    }

    void handle_together(std::span<const Ready> ready) noexcept {
        std::vector<JointCall> calls;
        std::optional<base::Error> of_all;
        try {
            calls.reserve(ready.size());
            for (const auto& [finished, request] : ready)
                calls.push_back({finished->operation, *request});
            ready.front().finished->route->together(calls);
        } catch (const base::Error& error) {
            of_all = error;
        } catch (const std::exception& error) {
            of_all = internal_error(error.what());
        }
        for (std::size_t i = 0; i < ready.size(); ++i) {
            Finished& finished = *ready[i].finished;
            // What was found of one of them stands, whatever met the others.
            if (i < calls.size() && calls[i].error) {
                conclude(finished, *calls[i].error);
            } else if (of_all) {
                conclude(finished, *of_all);
            } else if (calls[i].response) {
                succeed(finished, std::move(*calls[i].response));
            } else {
                conclude(finished,
                         internal_error("a joint handler left a request without an answer"));
            }
        }
    }

    // Who is nobody hears 401 from every path that is not open, and not that there is none.
    const Route& find_route(Finished& finished, Request& request) {
        try {
            RouteMatch match = routes.match(request.method, request.path);
            finished.operation.set_action(match.route->action);
            finished.route = match.route;
            finished.access = match.route->access;
            request.path_parameters = std::move(match.parameters);
            return *match.route;
        } catch (const base::Error& error) {
            identify(finished, request, request.path, Credential::any);
            if (error.code() == base::ErrorCode::method_not_allowed) {
                finished.allow = routes.allowed_methods(request.path);
            }
            throw;
        }
    }

    // What the caller hears of a failure that came before the policy was asked. A well-formed
    // request of who may do nothing is refused by the policy, with what he was after in the record;
    // one that is not must not tell more. Where there is no such route, that is for who may do
    // something by any.
    base::Error judge(Finished& finished, const base::Error& error) const {
        Operation& operation = finished.operation;
        if (!finished.is_known || !operation.decided().empty() || is_our_trouble(error))
            return error;
        try {
            if (finished.route == nullptr) {
                authorizer.require_any(operation, every_action);
            } else {
                authorizer.require_any(operation, {&finished.route->action, 1});
            }
            return error;
        } catch (const base::Error& refusal) {
            return refusal;
        }
    }

    // Until then the operation's caller is who connected, which is what a refusal's record names.
    void identify(Finished& finished, const Request& request, std::string_view pattern,
                  Credential credential) {
        try {
            if (credential == Credential::any) {
                auto other =
                    authenticator.authenticate(request, pattern, finished.operation.caller());
                if (other) {
                    finished.operation.caller_ = std::make_shared<const Caller>(std::move(*other));
                }
            } else {
                Identified both = authenticator.authenticate_server(request, pattern);
                finished.operation.caller_ = std::make_shared<const Caller>(std::move(both.caller));
                finished.operation.user_ = std::move(both.user);
            }
            finished.is_known = true;
        } catch (const base::Error& error) {
            if (error.code() == base::ErrorCode::unauthenticated) {
                finished.operation.set_fact("authentication", error.detail());
                finished.challenge = authenticator.challenge(request, pattern);
            }
            throw;
        }
    }

    void fail(Finished& finished, const base::Error& error) {
        drop_body(finished.response);
        finished.audited = finished.access != Access::open ||
                           (finished.route != nullptr && finished.route->recorded);
        finished.response =
            error_answer(error, finished.operation.request_id(), shape_of(finished.route));
        finished.outcome = outcome_of(error, finished.response.status);
        if (!finished.challenge.empty()) {
            finished.response.headers.emplace_back("WWW-Authenticate", finished.challenge);
        }
        if (error.code() == base::ErrorCode::method_not_allowed && !finished.allow.empty()) {
            finished.response.headers.emplace_back("Allow", finished.allow);
        }
        report(finished.operation, error, stranger_lines, log);
    }

    // The answers are sent by whoever knows first that they may be: the audit log's writer, or this
    // thread when there is nothing to record. Null: none.
    void finish(std::span<const std::shared_ptr<Finished>> together) {
        std::vector<AuditLog::Record> records;
        for (const auto& finished : together) {
            if (finished == nullptr) continue;
            if (!finished->audited || !may_record(finished->operation)) {
                send(*finished);
                continue;
            }
            try {
                records.reserve(together.size());
                records.push_back(
                    {finished->operation, finished->outcome,
                     [this, finished](std::uint64_t sequence) { end(*finished, sequence); },
                     was_begun(*finished)});
            } catch (const std::exception& error) {
                log.error("the audit log refused a record", {{"reason", error.what()}});
                end(*finished, 0);
            }
        }
        if (!records.empty()) audit.append_all(records);
    }

    // `sequence` as AuditLog::Done has it.
    void end(Finished& finished, std::uint64_t sequence) {
        try {
            if (sequence == 0) {
                withhold(finished);
            } else if (finished.receipt) {
                give_receipt(finished, sequence - 1);
            }
        } catch (const std::exception&) {  // no memory
            if (sequence == 0) forget_answer(finished.response);
        }
        send(finished);
    }

    // What strangers cause is recorded up to a rate; how many were left out stands in the next one.
    bool may_record(Operation& operation) {
        if (!operation.caller().is_nobody()) return true;
        const auto held_back = strangers.pass(std::chrono::steady_clock::now());
        if (!held_back) {
            metrics.count("refusals_not_recorded");
            return false;
        }
        if (*held_back > 0) operation.set_fact("not_recorded_before", std::to_string(*held_back));
        return true;
    }

    // An answer without its record must not leave, though the work was done: the log broke then. It
    // says in a record of its own, as soon as it can, that the outcome was withheld.
    void withhold(Finished& finished) {
        drop_body(finished.response);
        const base::Error error(base::ErrorCode::unavailable, "the audit log can't be written");
        finished.response =
            error_answer(error, finished.operation.request_id(), shape_of(finished.route));
        metrics.count("answers_withheld");
    }

    // Who was refused as nobody gets none: it is for who can have a record of his own.
    void give_receipt(Finished& finished, std::uint64_t leaf) const {
        if (finished.operation.caller().is_nobody()) return;
        finished.response.headers.emplace_back("Strongroom-Receipt",
                                               origin + ' ' + std::to_string(leaf));
    }

    void send(Finished& finished) {
        const auto request_id = finished.operation.request_id().to_string();
        finished.response.headers.reserve(finished.response.headers.size() + 2);
        finished.response.headers.emplace_back("X-Request-Id", request_id);
        if (log_head && finished.outcome.word == "ok" && !finished.operation.caller().is_nobody()) {
            finished.response.headers.emplace_back("Strongroom-Checkpoint", log_head());
        }
        metrics.request(finished.operation.action(), finished.response.status,
                        std::chrono::steady_clock::now() - finished.received);
        // The connection that is behind it must not be kept.
        std::exchange(finished.done, nullptr)(std::move(finished.response));
        queue.leave();
    }

    // Null when there is none.
    const Route* route_of(const Request& request) const {
        try {
            return routes.match(request.method, request.path).route;
        } catch (const base::Error&) {
            return nullptr;
        }
    }

    // The body bytes of a request, or the refusal of who shows nothing of himself. Bodies of all
    // routes that are not open are taken alike: what a route's own are is told with its answer, to
    // who is known. But for those larger than the others': which takes such is in the API's
    // document, and who sends one elsewhere is not to fill the memory.
    std::variant<std::size_t, Response> admit(const Request& head) {
        const Route* route = route_of(head);
        if (route != nullptr && route->access == Access::open) return route->max_body_bytes;
        const std::size_t most =
            std::max(largest_body, route == nullptr ? 0 : route->max_body_bytes);
        if (!authenticator.shows_nothing(head)) return most;
        const std::string_view pattern = route == nullptr ? head.path : route->pattern;
        try {
            // Asks nobody, since there is nothing to ask about.
            if (route != nullptr && route->credential == Credential::shared_secret) {
                static_cast<void>(authenticator.authenticate_server(head, pattern));
            } else {
                static_cast<void>(authenticator.authenticate(head, pattern));
            }
        } catch (const base::Error& error) {
            Response response = refuse(head, error, error.detail());
            response.headers.emplace_back("WWW-Authenticate",
                                          authenticator.challenge(head, pattern));
            return response;
        }
        return most;
    }

    Response refusal(const Request& head, const base::Error& error,
                     const std::string& authentication = {}) {
        Operation operation = begin(head);
        const Route* route = route_of(head);
        operation.set_action(route == nullptr ? unknown_action : route->action);
        if (!authentication.empty()) operation.set_fact("authentication", authentication);
        Response response = error_answer(error, operation.request_id(), shape_of(route));
        if (may_record(operation)) {
            // The answer does not wait.
            audit.append(operation, outcome_of(error, response.status), nullptr, false);
        }
        response.headers.emplace_back("X-Request-Id", operation.request_id().to_string());
        metrics.request(operation.action(), response.status,
                        std::chrono::steady_clock::now() - head.received);
        return response;
    }

    // refusal() for callers that can't bear an exception.
    Response refuse(const Request& head, const base::Error& error,
                    const std::string& authentication = {}) noexcept {
        try {
            return refusal(head, error, authentication);
        } catch (const std::exception& trouble) {
            log.error("a refusal could not be recorded", {{"reason", trouble.what()}});
            return error_answer(error, base::Uuid());
        }
    }

    const GateConfig config;
    const RouteTable& routes;
    const Authenticator& authenticator;
    const Authorizer& authorizer;
    AuditLog& audit;
    Metrics& metrics;
    const base::Clock& clock;
    base::Log& log;
    const LogHead log_head;  // may be empty
    const std::string origin;
    std::size_t largest_body = 0;                      // of any route
    std::vector<Action> every_action{unknown_action};  // of any route
    Throttle strangers{stranger_records_per_second, stranger_burst};
    Throttle stranger_lines{stranger_lines_per_second, stranger_lines_at_once};

    GateQueue queue;
    std::vector<std::jthread> workers;
};

Gate::Gate(GateConfig config, const RouteTable& routes, const Authenticator& authenticator,
           const Authorizer& authorizer, AuditLog& audit, Metrics& metrics,
           const base::Clock& clock, base::Log& log, LogHead log_head)
    : state_(std::make_unique<State>(config, routes, authenticator, authorizer, audit, metrics,
                                     clock, log, std::move(log_head))) {}

Gate::~Gate() = default;

std::variant<std::size_t, Response> Gate::admit(const Request& head) { return state_->admit(head); }

std::shared_ptr<const Caller> Gate::recognize(const Request& peer) {
    return state_->recognize(peer);
}

void Gate::handle(Request request, std::function<void(Response)> done) {
    if (state_->enqueue(request, done)) return;
    done(state_->refuse(
        request, {base::ErrorCode::unavailable, "the service is busy or stopping: try again"}));
}

Response Gate::refuse(const Request& head, const base::Error& error) {
    return state_->refuse(head, error);
}

bool Gate::drain(std::chrono::milliseconds bound) { return state_->queue.drain(bound); }

}  // namespace server
