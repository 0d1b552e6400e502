#include "kms/witness/events.h"

#include <string_view>

#include "base/table.h"
#include "kms/witness/kept_notes.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

// A note stays as it was signed.
std::string fit_to_be_told(std::string_view text) {
    text = text.substr(0, max_told_bytes);
    std::string out;
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        out += base::printable(text.substr(0, end));
        if (end == std::string_view::npos) break;
        out += '\n';
        text.remove_prefix(end + 1);
    }
    return out;
}

}  // namespace

void report_conflict(const LogConflict& conflict, const KeptNotes& kept, WitnessEvents& events) {
    const LogConflict told{conflict.reason, base::printable(conflict.origin),
                           fit_to_be_told(conflict.kept), fit_to_be_told(conflict.seen)};
    events.contradicted(told);
    try {
        kept.write_conflict(told);
        events.conflict_kept(told);
    } catch (const Error& error) {
        events.conflict_not_kept(error.what());
    }
}

std::string why_unproven(const Error& error) {
    std::string why = error.what();
    if (error.code() == ErrorCode::permission_denied) {
        why += "; the key service's policy must allow this caller witness_audit on audit:kmsd";
    }
    return why;
}

}  // namespace kms
