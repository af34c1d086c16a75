#!/usr/bin/env bash
# Proves: fakeroot, which asks its daemon about every file through two message queues and a semaphore with undo, keeps owners and
# modes over hundreds of processes, of which many ask at a time. Each of them has a second preloaded library beside Muster's;
# the daemon closes all descriptors it finds when it starts, and removes its queues in a signal handler.
. "$(dirname "$0")/client_common.sh"
need fakeroot-sysv fakeroot
need dpkg-deb dpkg

counted() { sort | uniq -c | awk '{ printf "%s %s;", $1, $2 }'; }
owners() { tar tvf - --numeric-owner | awk '{ print $2 }' | counted; }

client() {
    local i
    cd "$work" || exit 1
    mkdir -p p/DEBIAN p/usr/bin p/var/lib/x
    printf 'Package: demo\nVersion: 1.0\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: demo\n' >p/DEBIAN/control
    cp /bin/true p/usr/bin/t
    for i in $(seq 40); do echo "$i" >"p/var/lib/x/$i"; done
    timeout 60 fakeroot-sysv -s db sh -c 'chown -R 0:0 p; chown 33:33 p/var/lib/x/*; chown 0:4 p/usr/bin/t; chmod 4755 p/usr/bin/t
        mknod p/var/lib/x/null c 1 3; dpkg-deb -b p demo.deb >/dev/null'
    expect "exit status" $? 0
    expect "what was saved, loaded again" \
        "$(timeout 60 fakeroot-sysv -i db stat -c '%u:%g %a %F' p/usr/bin/t p/var/lib/x/null p/var/lib/x/7 | tr '\n' ';')" \
        "0:4 4755 regular file;0:0 644 character special file;33:33 644 regular file;"
    expect "owners in the package" "$(dpkg-deb --fsys-tarfile demo.deb | owners)" "7 0/0;1 0/4;40 33/33;"
    # shellcheck disable=SC2016
    expect "eight that ask at a time" "$(timeout 60 fakeroot-sysv sh -c '
        for k in 1 2 3 4 5 6 7 8; do
            (for i in 1 2 3 4 5 6 7 8 9 10; do touch f$k.$i; chown $k:$i f$k.$i; done) &
        done
        wait
        stat -c "%u.%g %n" f*.* | sed s/f// | awk "\$1 == \$2" | wc -l')" 80
    expect "owners in an archive" "$(timeout 60 fakeroot-sysv sh -c 'chown -R 7:8 p; tar cf - p' | owners)" "50 7/8;"
    # The daemon is told to end, not waited for.
    wait_until nothing_left
    expect "objects left behind" "$(objects_left)" 0
}
nothing_left() { [ "$(objects_left)" = 0 ]; }
run_on_both client msg sem
