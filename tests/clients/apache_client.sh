#!/usr/bin/env bash
# Proves: Apache with its mutexes (who accepts, who writes the cache of TLS sessions) as semaphore sets with undo, made by root
# and handed to the user of its workers with IPC_SET. Processes and threads take turns; a graceful restart and a stop remove the
# sets under those that wait for them; and when workers are killed with -9, among them the one that accepts, another takes over.
. "$(dirname "$0")/client_common.sh"
need_root "Apache's workers give up root's rights"
need apache2 apache2-bin
need ab apache2-utils
need openssl openssl
need ps procps
modules=/usr/lib/apache2/modules

server() { timeout 60 apache2 -f "$work/httpd.conf" -k "$1"; }
# Requests done and failed, of so many.
asked() { timeout 60 ab -q -r -n "$1" -c "$2" "$3" 2>/dev/null | awk '/^Complete|^Failed/ { printf "%s%s", sep, $3; sep = " " }'; }
workers() { pgrep -P "$(cat "$work/logs/pid")"; }
stopped() { ! [ -e "$work/logs/pid" ]; }

one_module() {  # one_module prefork|worker
    local module=$1 http https round worker before
    http=$(free_port)
    https=$(free_port $((http + 1)))
    rm -rf "$work/logs"
    mkdir "$work/logs"
    cat >"$work/httpd.conf" <<CONF
ServerRoot $work
ServerName localhost
Listen 127.0.0.1:$http
Listen 127.0.0.1:$https
PidFile $work/logs/pid
ErrorLog $work/logs/error.log
User www-data
Group www-data
Mutex sysvsem default
LoadModule mpm_${module}_module $modules/mod_mpm_$module.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule socache_shmcb_module $modules/mod_socache_shmcb.so
LoadModule ssl_module $modules/mod_ssl.so
SSLSessionCache shmcb:$work/logs/ssl(512000)
DocumentRoot $work/htdocs
StartServers 4
<VirtualHost 127.0.0.1:$https>
SSLEngine on
SSLCertificateFile $work/certificate
SSLCertificateKeyFile $work/key
</VirtualHost>
CONF
    server start
    expect "$module: start" $? 0
    wait_until test -s "$work/logs/pid" || { cat "$work/logs/error.log"; exit 1; }
    daemons=("$(cat "$work/logs/pid")")
    expect "$module: http" "$(asked 4000 8 "http://127.0.0.1:$http/page")" "4000 0"
    expect "$module: https" "$(asked 300 4 "https://127.0.0.1:$https/page")" "300 0"
    server graceful
    expect "$module: after a graceful restart" "$(asked 1000 8 "http://127.0.0.1:$http/page")" "1000 0"
    # Nobody asks: one of them has the mutex and waits for a connection, the others wait for the mutex.
    for round in 1 2 3; do
        before=$(workers)
        expect "$module: workers to kill, $round" "$(at_least "$(wc -w <<<"$before")" 1)" yes
        for worker in $before; do kill -9 "$worker" 2>/dev/null; done
        for worker in $before; do wait_until dead "$worker"; done
        expect "$module: after they were killed, $round" "$(asked 500 8 "http://127.0.0.1:$http/page")" "500 0"
    done
    server stop
    wait_until stopped
    wait_until dead "${daemons[0]}" && daemons=()
    expect "$module: complaints about mutexes" "$(grep -ciE 'mutex|semop|semget|AH0014[34]|emerg' "$work/logs/error.log")" 0
    [ $failed = 0 ] || cat "$work/logs/error.log"
}

client() {
    local module
    mkdir "$work/htdocs"
    head -c 20000 /dev/urandom | base64 >"$work/htdocs/page"
    openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$work/key" -out "$work/certificate" -days 30 2>/dev/null
    for module in prefork worker; do one_module $module; done
    expect "objects left behind" "$(objects_left)" 0
}
run_on_both client sem
