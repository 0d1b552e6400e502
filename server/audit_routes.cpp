#include "server/audit_routes.h"

#include <charconv>

#include "base/encoding.h"
#include "base/error.h"
#include "base/json.h"
#include "server/answer.h"
#include "server/audit_proof.h"
#include "server/audit_query.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;

Response plain_answer(const std::string& text) {
    Response response;
    response.content_type = "text/plain; charset=utf-8";
    response.body = text;
    return response;
}

Response note_answer(const std::string& note) {
    if (note.empty()) {
        throw Error(ErrorCode::not_found, "the audit log has no checkpoint yet");
    }
    return plain_answer(note);
}

std::uint64_t number_of(const std::string& name, const std::string& text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
        throw Error(ErrorCode::invalid_argument, "\"" + name + "\" must be a number");
    }
    return value;
}

void write_proof(base::JsonWriter& body, const MerkleProof& proof, const std::string& checkpoint) {
    body.name("proof").begin_array();
    for (const MerkleHash& hash : proof) body.base64(hash);
    body.end_array().field("checkpoint", checkpoint);
}

Response proof_answer(const AuditSealer& sealer, const Request& request) {
    const auto parameters = request.query_parameters();
    const auto only = parameters.begin();
    if (parameters.size() != 1 || (only->first != "record" && only->first != "size")) {
        throw Error(ErrorCode::invalid_argument,
                    "the query must be record=<sequence number> or size=<number of records>");
    }
    const std::uint64_t number = number_of(only->first, only->second);
    base::JsonWriter body;
    body.begin_object();
    if (only->first == "record") {
        const RecordProof proof = sealer.prove(number);
        body.field("index", proof.index).name("leaf").base64(proof.leaf);
        write_proof(body, proof.path, proof.checkpoint);
    } else {
        std::string checkpoint;
        const MerkleProof proof = sealer.extends(number, checkpoint);
        write_proof(body, proof, checkpoint);
    }
    body.end_object();
    return json_answer(std::move(body));
}

// One answer for a record of somebody else, one that is not there, and one that no checkpoint
// covers yet: what others do is nothing to learn here.
Response receipt_answer(const AuditSealer& sealer, const Operation& operation,
                        const Request& request) {
    const auto parameters = request.query_parameters();
    if (parameters.size() != 1 || parameters.begin()->first != "index") {
        throw Error(ErrorCode::invalid_argument, "the query must be index=<leaf index>");
    }
    const std::uint64_t index = number_of("index", parameters.begin()->second);
    try {
        RecordEvidence evidence = sealer.evidence(index);
        const auto row = read_audit_row(evidence.record);
        if (row && row->caller == operation.caller().id) {
            return plain_answer(evidence_text(evidence));
        }
    } catch (const Error& error) {
        if (error.code() != ErrorCode::not_found) throw;
    }
    throw Error(ErrorCode::not_found,
                "no record of this caller has this index under a checkpoint, or not yet");
}

}  // namespace

std::vector<Route> audit_routes(const AuditSealer& sealer, const Authorizer& authorizer,
                                std::string daemon) {
    Resource resource;
    resource.kind = audit_kind;
    resource.id = std::move(daemon);
    const auto allow = [&authorizer, resource](Operation& operation) {
        static_cast<void>(authorizer.authorize(operation, witness_audit, resource));
    };
    std::vector<Route> rows;
    rows.push_back({Method::GET, "/v1/audit/checkpoint", witness_audit, Access::observed, 0,
                    "The latest signed checkpoint of the audit log (C2SP tlog-checkpoint)",
                    [allow, &sealer](Operation& operation, const Request& request) {
                        refuse_query(request);
                        allow(operation);
                        return note_answer(sealer.checkpoint());
                    }});
    rows.push_back({Method::GET, "/v1/audit/proof", witness_audit, Access::observed, 0,
                    "The proof that a record is in the audit log, or that the log only grew",
                    [allow, &sealer](Operation& operation, const Request& request) {
                        allow(operation);
                        return proof_answer(sealer, request);
                    }});
    rows.push_back({Method::GET, "/v1/audit/receipt", witness_audit, Access::observed, 0,
                    "The caller's own record with the proof that it is in the audit log",
                    [allow, &sealer](Operation& operation, const Request& request) {
                        allow(operation);
                        return receipt_answer(sealer, operation, request);
                    }});
    return rows;
}

}  // namespace server
