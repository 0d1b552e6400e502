// The known-answer round trip of every mechanism that a Token needs, before it serves anybody.
#pragma once

#include "hsm/pkcs11_connection.h"

namespace hsm {

// Throws failed_precondition naming the mechanism that is missing or answers wrongly.
void self_test(const Module& module, CK_SLOT_ID slot, Connection& connection);

}  // namespace hsm
