// What the System V subjects of hostile_bytes_test share: identifiers, names, and how a process comes to open anew.
#pragma once
#include <cstdio>
#include "memory/object_layout.hpp"
#include "proof/hostile_bytes.hpp"
#include "proof/hostile_bytes_stage.hpp"

namespace muster::test::hostile {

class SysvSubject : public Subject {
public:
    static constexpr key_t kKey = 0x51ab;

    void begin(Met met) override {
        Progress own;
        Journal nobody(own);
        if (met == Met::known) look(nobody);
    }
    // A process forgets an object that it finds removed, and opens the identifier anew.
    void before_late(Journal& journal) override {
        const auto at = offsetof(memory::ObjectHeader, removed);
        const auto before = files[0]->get<std::uint32_t>(at);
        files[0]->put(at, std::uint32_t{1});
        look(journal);
        files[0]->put(at, before);
    }
    // The least call that opens the object.
    virtual void look(Journal& journal) = 0;
    int id() const { return id_; }

protected:
    SysvSubject(std::string name, const std::string& domain, std::string kind, bool companion)
        : Subject(std::move(name)), domain_(domain), kind_(std::move(kind)), companion_(companion) {}

    // `make` returns the identifier; runs in a process of its own.
    template <class Make>
    void stage(Make make) {
        Shared<int> id;
        require(Controls::in_a_child([&] { return (*id = make()) < 0 ? 1 : 0; }), name().c_str());
        id_ = *id;
    }
    void open_files() {
        files.push_back(std::make_unique<ImageFile>(path("")));
        if (companion_) files.push_back(std::make_unique<ImageFile>(path(".data")));
    }
    // Around calls that may take names away.
    void keep_names() const {
        for (const auto& file : files) file->keep();
    }
    void names_again() const {
        files[0]->name_again(path(""));
        files[0]->name_again(key_path());
        if (companion_) files[1]->name_again(path(".data"));
        for (const auto& file : files) file->forget_kept(), file->restore();  // a removal empties files
    }
    std::string key_path() const {
        char key[32];
        std::snprintf(key, sizeof key, "-%08x", static_cast<unsigned>(kKey));
        return domain_ + "/key/" + kind_ + key;
    }
    std::string path(const char* suffix) const { return domain_ + "/sysv/" + kind_ + "-" + std::to_string(id_ % 32768) + suffix; }

    std::string domain_, kind_;
    bool companion_;
    int id_ = -1;
};

}  // namespace muster::test::hostile
