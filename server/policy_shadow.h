// A second policy that is asked beside the one in force, so that people see what a change would do
// before they make it. It has no effect on any answer.
#pragma once

#include <memory>
#include <string>

#include "base/log.h"
#include "server/metrics.h"
#include "server/policy.h"
#include "server/throttle.h"

namespace server {

// Counts every decision on which the two differ ("shadow_decisions_differ") and logs some of them:
// callers cause these lines, so their rate is bounded and what was left out is counted in the next.
// Thread-safe. `metrics` and `log` may be null and must outlive it.
class ShadowReport {
public:
    ShadowReport(Metrics* metrics, base::Log* log);

    // `decision` is what the policy in force said.
    void compare(const PolicyQuestion& question, const Decision& decision, const Policy& shadow);
    // The shadow policy could not be asked, since what it goes by was not to be had: counted
    // ("shadow_not_asked") and logged as above. `reason` is the error's text.
    void could_not_ask(const PolicyQuestion& question, std::string reason);

private:
    Metrics* metrics_;
    base::Log* log_;
    Throttle lines_;
};

}  // namespace server
