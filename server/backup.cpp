#include "server/backup.h"

#include "base/json.h"
#include "server/answer.h"
#include "server/database.h"

namespace server {
namespace {

// A file name: the daemon and the moment, so that names sort by age.
std::string backup_name(const std::string& daemon, base::Time now) {
    std::string name = daemon + "-" + base::to_rfc3339(now) + ".db";
    std::erase(name, ':');
    return name;
}

}  // namespace

std::vector<Route> backup_routes(Database& database, const Authorizer& authorizer,
                                 const base::Clock& clock, Action back_up,
                                 const std::string& daemon, OrdersOnce* orders) {
    Resource resource;
    resource.kind = service_kind;
    resource.id = daemon;
    const auto make = [&database, &clock, daemon](Operation& operation) {
        const DatabaseBackup made = database.back_up(backup_name(daemon, clock.now()));
        const std::string file = made.file.filename().string();
        operation.set_fact("file", file);
        operation.set_fact("sha256", made.sha256);
        base::JsonWriter body;
        body.begin_object().field("file", file).field("bytes", made.bytes);
        body.field("sha256", made.sha256).end_object();
        Response response = json_answer(std::move(body));
        response.status = 201;
        return response;
    };
    const auto handle = [&authorizer, back_up, resource, make, orders](Operation& operation,
                                                                       const Request& request) {
        refuse_query(request);
        static_cast<void>(authorizer.authorize(operation, back_up, resource));
        return do_once(orders, operation, request, [&](const OrdersOnce::Order&) {
            operation.record_intent();
            return OrdersOnce::Outcome{make(operation)};
        });
    };
    return {changing({Method::POST, "/v1/backups", back_up, Access::authenticated, 0,
                      "Write a copy of the embedded database into the configured folder", handle})};
}

}  // namespace server
