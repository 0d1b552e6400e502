// What answers of the key service mean: data keys, results, errors. Knows no HTTP but the status.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "kms/client/client.h"

namespace kms {

// {"error":{"code","message","request_id"}} as an Error: its code by the word, or by the status
// when the word or the whole body is none that we know. The request id goes into the detail;
// nothing else of the body does.
base::Error to_error(const Answer& answer, const std::string& service);

// The parsed body of a 2xx, the Error of anything else thrown. An empty body is null. Throws
// internal when the body is no JSON.
base::JsonValue parse_answer(const Answer& answer, const std::string& service);

// Of a data-keys answer. Throws internal unless it holds `count` of them, with plaintexts as asked.
std::vector<DataKey> read_data_keys(const base::JsonValue& answer, std::size_t count,
                                    bool with_plaintext, const std::string& service);
// Of an unwrap or decrypt answer. Throws internal when it is none.
base::SecretBytes read_plaintext(const base::JsonValue& answer, const std::string& service);
// Of an answer with `{"<field>": base64, "key_id", "key_version"}`. Throws internal when it is
// none.
Enveloped read_enveloped(const base::JsonValue& answer, std::string_view field,
                         const std::string& service);
// Of a batch. Throws internal unless the answer holds `count` results.
std::vector<UnwrapResult> read_unwrap_results(const base::JsonValue& answer, std::size_t count,
                                              const std::string& service);
// With the commitment of each.
std::vector<RewrapResult> read_committed_results(const base::JsonValue& answer, std::size_t count,
                                                 const std::string& service);
std::vector<RewrapResult> read_rewrap_results(const base::JsonValue& answer, std::size_t count,
                                              const std::string& service);

}  // namespace kms
