// An audit log that must not be used, for whoever asks before work begins: it can be written as
// before, so what was begun all the same stands in it.
#pragma once

#include "base/error.h"
#include "server/audit.h"

namespace tests {

// `log` is closed while this lives.
class ClosedLog final : public server::AuditFollower {
public:
    explicit ClosedLog(server::AuditLog& log) : log_(log) { log_.follow(this); }
    ~ClosedLog() override { log_.follow(nullptr); }
    ClosedLog(const ClosedLog&) = delete;
    ClosedLog& operator=(const ClosedLog&) = delete;

    void durable(std::uint64_t /*sequence*/, const std::string& /*hash*/) override {}
    void check() const override {
        throw base::Error(base::ErrorCode::unavailable, "the audit log can't be written",
                          "the test says so");
    }

private:
    server::AuditLog& log_;
};

}  // namespace tests
