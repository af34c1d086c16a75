#!/usr/bin/env bash
# Proves: tools/tidy finds each offence it promises to find, names file and line, exits 1 for it, and is silent about
# code that only looks like one (comments, strings, qualified calls, members).
set -u
tidy=$(cd "$(dirname "$0")/../.." && pwd)/tools/tidy
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

fresh() {  # an innocent tree
    rm -rf "$work/tree"
    mkdir -p "$work/tree"/{src/{platform,memory,sync,objects},doors/{capi,cpp,cli},include/muster,tests,docs}
    cat >"$work/tree/src/sync/lock.cpp" <<'CODE'
#include "memory/word.hpp"
#include <cerrno>
// mmap( in a comment, /* and ::open( in another */
/* getpid()
   fork() */
const char* text = "munmap(";
void f(Map& map) { platform::mmap(1); map.munmap(); open(2); lock->fcntl(); char c = '"'; ours::close(3); }
// SYNC lock.word (release half). Pairs with g().
// SYNC lock.word (acquire half). Pairs with f().
void g() { MUSTER_CRASH_POINT("lock.taken"); }
CODE
    echo 'const char* rows[] = {"lock.taken"};' >"$work/tree/tests/lock_crash_test.cpp"
    printf '/* x;\n y */\n{\n global:\n  mq_open;\n  mq_close;\n local: *;\n};\n' >"$work/tree/doors/capi/libmuster_posix.map"
}
offence() {  # offence "what it should say" FILE LINE_TO_ADD
    fresh
    [ -z "${3:-}" ] || printf '%s\n' "$3" >>"$work/tree/$2"
    local said
    if said=$("$tidy" --root "$work/tree" ${4:+"${@:4}"}); then
        printf 'FAIL not found: %s\n' "$1"; failed=1
    elif ! grep -qF -- "$1" <<<"$said" || ! grep -qF -- "$2" <<<"$said"; then
        printf 'FAIL wanted "%s" about %s, got:\n%s\n' "$1" "$2" "$said"; failed=1
    elif [ "$(wc -l <<<"$said")" != 2 ]; then
        printf 'FAIL more than one offence for "%s":\n%s\n' "$1" "$said"; failed=1
    fi
}

fresh
"$tidy" --root "$work/tree" || { echo "FAIL the innocent tree is blamed"; failed=1; }

offence 'upward include of objects in sync' src/sync/a.hpp '#include "objects/queue.hpp"'
offence 'includes a door' src/objects/a.hpp '#include <muster/domain.hpp>'
offence 'one door includes another' doors/capi/a.cpp '#include "doors/cpp/queue.hpp"'
offence 'the C door includes the C++ door' doors/capi/a.cpp '#include <muster/message_queue.hpp>'
offence 'it has the public headers only' doors/cli/a.cpp '#include "objects/domain.hpp"'
offence 'a public header includes' include/muster/a.hpp '#include "platform/file.hpp"'
offence 'climbs' src/memory/a.hpp '#include "../platform/file.hpp"'
offence '::open() outside src/platform' src/objects/a.cpp 'int fd = ::open("x", 0);'
offence 'mmap() outside src/platform' src/memory/a.cpp 'auto p = mmap (nullptr, 1);'
offence 'syscall() outside src/platform' src/sync/a.cpp 'long r = syscall(1);'
offence 'pthread_mutex_lock() outside' src/sync/a.cpp 'if (x || pthread_mutex_lock(&m)) return;'
offence 'stands here only' src/objects/a.cpp '// SYNC queue.inbox (release half).'
offence 'names the crash point "queue.send"' src/objects/a.cpp 'MUSTER_CRASH_POINT("queue.send");'
offence 'string literal' src/objects/a.cpp 'MUSTER_CRASH_POINT(name);'
offence 'no patterns' doors/capi/libmuster_posix.map '{ global: mq_*; };'
offence 'listed twice' doors/capi/libmuster_posix.map '{ global: mq_open; };'
offence 'left to do' docs/a.md "TO""DO: more"
offence 'left to do' src/sync/a.hpp "// FIX""ME later"
fresh
offence 'second room' tests/long_test.cpp "$(yes 'int x;' | head -n 801)"

# The exported names, with a library made for the purpose.
if command -v cc >/dev/null; then
    cat >"$work/x.c" <<'CODE'
int mq_open(void) { return 0; }
int mq_close(void) { return 0; }
__attribute__((visibility("hidden"))) int inner(void) { return 0; }
int mq_send(void) { return inner(); }
CODE
    printf '{ global: mq_open; mq_close; local: *; };\n' >"$work/good.map"
    cc -fPIC -c "$work/x.c" -o "$work/x.o"
    cc -shared "$work/x.o" -o "$work/all.so"
    cc -shared "$work/x.o" -o "$work/good.so" -Wl,--version-script="$work/good.map"
    printf '{ global: mq_open; local: *; };\n' >"$work/few.map"
    cc -shared "$work/x.o" -o "$work/few.so" -Wl,--version-script="$work/few.map"
    fresh
    "$tidy" --root "$work/tree" --library "$work/good.so" || { echo "FAIL the good library is blamed"; failed=1; }
    offence 'mq_send, which is not listed' doors/capi/libmuster_posix.map '' --library "$work/all.so"
    offence 'mq_close is listed, but' doors/capi/libmuster_posix.map '' --library "$work/few.so"
    offence 'not listed: mq_send' doors/capi/libmuster_posix.map '' --library "$work/good.so" --objects "$work/x.o"
fi
[ $failed = 0 ] && echo "tidy finds what it promises"
exit $failed
