// The small rules of the gate that need nothing of its state: how an operation begins, what a
// failure is called in the record, which bodies pass. Private to server/gate*.cpp.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "server/audit.h"
#include "server/operation.h"
#include "server/request.h"
#include "server/route.h"
#include "server/throttle.h"

namespace server {

// Records and answers that strangers (peers without a verified certificate) can cause: above this
// they are counted and only the count is recorded, with the next that is.
inline constexpr double stranger_records_per_second = 50;
inline constexpr double stranger_burst = 200;
// Lines of the log that they can cause, by requests that fail of our trouble.
inline constexpr double stranger_lines_per_second = 1;
inline constexpr double stranger_lines_at_once = 20;

Outcome outcome_of(const base::Error& error, unsigned status);

// Trouble of ours, not the caller's fault.
bool is_our_trouble(const base::Error& error);

// Throws payload_too_large where the body is over the route's limit, unsupported_media_type where
// it does not say that it is JSON.
void check_body(const Request& request, const Route& route);

// Throws unavailable where a request has waited longer than `longest` for a worker.
void check_wait(std::chrono::steady_clock::time_point queued, std::chrono::milliseconds longest);

// A fresh operation of `caller`, in the trace that the request names or in one of its own. Throws
// unavailable when the system has no randomness.
Operation begin_operation(const Request& request, base::Time now,
                          std::shared_ptr<const Caller> caller);

// In a worker's thread: signals are for the program's main thread, and a write to a peer that is
// gone must not raise SIGPIPE.
void hold_back_signals();

// Wipes it.
void drop_body(Response& response);

// What is left of an answer that must not leave, where there is no memory for another.
void forget_answer(Response& response) noexcept;

// Operators need to see what is our trouble; what is the caller's stands in the audit log. Lines
// that strangers cause pass `stranger_lines`.
void report(const Operation& operation, const base::Error& error, Throttle& stranger_lines,
            base::Log& log);

base::Error stopping_error();
base::Error internal_error(const std::string& detail);

}  // namespace server
