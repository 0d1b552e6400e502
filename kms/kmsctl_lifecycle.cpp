// key rotate, enable, disable, schedule-deletion, cancel-deletion, mark-compromised.
#include <CLI/CLI.hpp>
#include <optional>

#include "kms/kmsctl.h"

namespace kms {
namespace {

constexpr int default_deletion_days = 30;

struct OrderOptions {
    std::string key;
    std::optional<std::uint32_t> if_primary_version;
    int days = default_deletion_days;
    bool yes = false;
};

// An order on one key. `warning` is for what can't be taken back: it is asked about first.
struct Order {
    const char* word;  // the command, and the last segment of the path
    const char* help;
    const char* warning;  // null: nothing is asked
};

constexpr Order rotate{"rotate", "Make a new version the primary one; older ones still unwrap",
                       nullptr};
constexpr Order enable{"enable", "Enable a disabled key", nullptr};
constexpr Order disable{"disable", "Disable a key: it does nothing until it is enabled", nullptr};
constexpr Order schedule_deletion{
    "schedule-deletion", "Take a key out of use and destroy it after some days",
    "When its time comes the key is destroyed for good, and with it everything that was encrypted "
    "under it. Until then cancel-deletion keeps it."};
constexpr Order cancel_deletion{
    "cancel-deletion", "Keep a key that was to be destroyed; it is disabled then", nullptr};
constexpr Order mark_compromised{
    "mark-compromised", "Say that others may know a key: nothing new is made under it",
    "This is never undone. What was made under the key opens with the right use_compromised_key "
    "only."};

base::WipedString order_body(const OrderOptions& options, const Order& order) {
    base::JsonWriter body;
    body.begin_object();
    if (&order == &schedule_deletion) body.field("days", std::int64_t{options.days});
    if (options.if_primary_version) body.field("if_primary_version", *options.if_primary_version);
    body.end_object();
    return body.take();
}

int give_order(const Tool& tool, const OrderOptions& options, const Order& order) {
    require_key_name(options.key);
    if (order.warning != nullptr) {
        require_confirmation(options.yes, options.key + ": " + order.warning, options.key);
    }
    show_key(tool, tool.client().call("POST", key_path(options.key) + "/" + order.word,
                                      order_body(options, order), ordered_once()));
    return 0;
}

}  // namespace

void add_lifecycle_commands(CLI::App& key_family, Tool& tool) {
    for (const Order* order :
         {&rotate, &enable, &disable, &schedule_deletion, &cancel_deletion, &mark_compromised}) {
        auto options = std::make_shared<OrderOptions>();
        CLI::App* command = key_family.add_subcommand(order->word, order->help);
        command->add_option("KEY", options->key, "Key id, or alias/NAME")->required();
        if (order == &rotate) {
            command
                ->add_option("--if-primary-version", options->if_primary_version,
                             "Only if this is the primary version still")
                ->check(CLI::PositiveNumber)
                ->type_name("N");
        }
        if (order == &schedule_deletion) {
            command->add_option("--days", options->days, "After how many, 7 to 30")
                ->check(CLI::Range(7, 30))
                ->type_name("N")
                ->capture_default_str();
        }
        if (order->warning != nullptr) command->add_flag("--yes", options->yes, "Don't ask");
        command->callback([&tool, options, order] {
            tool.command = [&tool, options, order] { return give_order(tool, *options, *order); };
        });
    }
}

}  // namespace kms
