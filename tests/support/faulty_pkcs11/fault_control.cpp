#include "tests/support/faulty_pkcs11/fault_control.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <ctime>
#include <fstream>
#include <stdexcept>

namespace tests {
namespace {

constexpr std::string_view library_name = "faulty_pkcs11.so";

// The folders that the ledger needs, made before it.
std::filesystem::path set_up_folder(const std::filesystem::path& folder,
                                    std::string_view wrapped_module) {
    auto library = folder / library_name;
    std::filesystem::copy_file(FAULTY_PKCS11_MODULE, library,
                               std::filesystem::copy_options::overwrite_existing);
    const std::filesystem::path control = library.string() + ".control";
    std::filesystem::create_directories(control);
    std::ofstream(control / "module") << wrapped_module << '\n';
    return library;
}

}  // namespace

FaultControl::FaultControl(const std::filesystem::path& folder, std::string_view wrapped_module)
    : library_(set_up_folder(folder, wrapped_module)), ledger_(control_folder() / "ledger") {
    clear();
}

void FaultControl::set(std::string_view rules) const {
    static_cast<void>(parse_rules(rules));
    const auto fresh = control_folder() / "rules.new";
    std::ofstream(fresh) << rules;
    // The system's own stamp is too coarse to tell two writes from each other.
    std::array<timespec, 2> now{};
    ::clock_gettime(CLOCK_REALTIME, &now[0]);
    now[1] = now[0];
    if (::chmod(fresh.c_str(), 0644) != 0 ||
        ::utimensat(AT_FDCWD, fresh.c_str(), now.data(), 0) != 0)
        throw std::runtime_error("can't write " + fresh.string());
    std::filesystem::rename(fresh, control_folder() / "rules");
}

void FaultControl::forget_counts() const {
    for (Ledger::OfFunction& counts : ledger_->functions) {
        counts.calls = 0;
        counts.struck = 0;
        counts.failed = 0;
    }
    ledger_->most_sessions = 0;
}

}  // namespace tests
