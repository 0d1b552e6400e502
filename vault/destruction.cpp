#include "vault/destruction.h"

#include "base/json.h"

namespace vault {

std::uint64_t Destruction::versions() const {
    std::uint64_t sum = 0;
    for (const DoomedCredential& one : credentials) sum += one.versions;
    return sum;
}

std::string destruction_text(const Destruction& destruction) {
    base::JsonWriter out;
    out.begin_object().field("strongroom", "destruction").field("version", std::uint32_t{1});
    out.field("id", destruction.id.to_string()).field("owner", destruction.owner);
    out.name("credentials").begin_array();
    for (const DoomedCredential& one : destruction.credentials) {
        out.begin_object().field("name", one.name).field("versions", one.versions).end_object();
    }
    out.end_array();
    out.field("ordered_by", destruction.ordered_by);
    out.field("at", base::to_rfc3339(destruction.at));
    if (const auto& erasure = destruction.erasure) {
        out.name("erasure").begin_object().field("id", erasure->id.to_string());
        out.field("part", erasure->part).field("credentials", erasure->credentials);
        out.field("versions", erasure->versions).field("complete", erasure->complete);
        out.end_object();
    }
    out.end_object();
    return std::string(std::string_view(out.text()));
}

}  // namespace vault
