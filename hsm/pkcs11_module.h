// A PKCS#11 library in this process: loaded, initialised, finalised. Nothing here knows tokens or
// keys.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "hsm/pkcs11_api.h"

namespace hsm {

// An initialised module. One per library and process; whoever uses it holds it by shared_ptr.
// Thread rule: calls through functions() from any thread; reinitialise() with no other call under
// way.
class Module {
public:
    // Loads the library. `init_string` goes into C_Initialize's pReserved (NSS); empty means none.
    // Throws failed_precondition: no such file, not a PKCS#11 library, already initialised by
    // someone else, its own configuration wrong.
    static std::shared_ptr<Module> load(const std::filesystem::path& library,
                                        std::string init_string);

    // Over a given function table, which must outlive the module: the seam where tests put faults
    // in.
    Module(CK_FUNCTION_LIST_PTR functions, std::string init_string);
    ~Module();
    Module(const Module&) = delete;
    Module& operator=(const Module&) = delete;

    const CK_FUNCTION_LIST& functions() const noexcept { return *functions_; }
    const CK_FUNCTION_LIST* operator->() const noexcept { return functions_; }

    // Counts initialisations. A handle is worth nothing in any epoch but its own.
    std::uint64_t epoch() const noexcept { return epoch_.load(); }

    // C_Finalize and C_Initialize; a failing C_Finalize is passed over, since a dead module may
    // well do so. Throws what C_Initialize answers; the next call tries again.
    void reinitialise();

    std::string manufacturer() const { return manufacturer_; }
    std::string description() const { return description_; }

private:
    void initialise();

    CK_FUNCTION_LIST_PTR functions_;
    std::string init_string_;
    std::atomic<std::uint64_t> epoch_{0};
    bool initialised_ = false;
    std::string manufacturer_;
    std::string description_;
};

// The slots that hold a token, initialised or not. Throws Pkcs11Error, also for a number of slots
// that no module has.
std::vector<CK_SLOT_ID> slots_with_tokens(const Module& module);

}  // namespace hsm
