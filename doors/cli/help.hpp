// How --help looks: positionals by what they stand for, in the usage line as well as in the list.
#pragma once
#include <CLI/CLI.hpp>
#include <string>

namespace muster::cli {

class HelpFormatter : public CLI::Formatter {
    static bool many(const CLI::Option* option) { return option->get_expected_max() >= CLI::detail::expected_max_vector_size; }

    std::string make_option_name(const CLI::Option* option, bool is_positional) const override {
        return is_positional ? option->get_type_name() : CLI::Formatter::make_option_name(option, false);
    }
    std::string make_option_opts(const CLI::Option* option) const override {
        return option->get_positional() || option->get_type_size() == 0 ? "" : " " + option->get_type_name();
    }
    std::string make_option_usage(const CLI::Option* option) const override {
        const std::string name = option->get_type_name() + (many(option) ? "..." : "");
        if (name.find(' ') != name.npos) return option->get_type_name();  // says itself what may be left out
        return option->get_required() ? name : "[" + name + "]";
    }
    std::string make_usage(const CLI::App* app, std::string) const override {
        std::string name = app->get_name();
        for (const CLI::App* up = app->get_parent(); up != nullptr; up = up->get_parent()) name = up->get_name() + " " + name;
        return CLI::Formatter::make_usage(app, name);
    }
    std::string make_description(const CLI::App* app) const override { return app->get_description() + ".\n\n"; }
    std::string make_footer(const CLI::App* app) const override { return app->get_footer() + "\n"; }
};

}  // namespace muster::cli
