#!/usr/bin/env bash
# Proves: PostgreSQL keeps all its memory in System V segments: the main one, mapped by every forked server process, and those
# that parallel workers attach. Transactions of four clients add up; after a server process is killed with -9 the others end,
# new segments are made, and nothing committed is lost. A server started anew sees whether anybody of the last one still has
# its segment (the count of attachments), and removes it if not.
. "$(dirname "$0")/client_common.sh"
bin=$(find /usr/lib/postgresql/*/bin -maxdepth 0 2>/dev/null | sort -V | tail -n 1)
PATH=$PATH:$bin
need initdb postgresql-15
need pgbench postgresql-15
need ps procps
[ "$(id -u)" != 0 ] || need setpriv util-linux

run() { as postgres env LC_ALL=C "$@"; }
ask() { run psql -h "$work" -Atqc "$1" postgres 2>&1; }
answers() { [ "$(ask 'select 1')" = 1 ]; }
sleeping() { pid=$(ask "select pid from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'"); [[ $pid =~ ^[0-9]+$ ]]; }
# A child of a shell of ours, which takes notice of its end at once.
start() {
    run postgres -D "$data" >>"$work/log" 2>&1 &
    server=$!
    wait_until answers || { echo "FAIL no server"; cat "$work/log"; exit 1; }
    daemons=("$(head -n 1 "$data/postmaster.pid")")
}
began_anew() { grep -q 'all server processes terminated; reinitializing' "$work/log" && answers; }

client() {
    local data=$work/data pid history server children clients=()
    cd "$work" || exit 1
    [ "$(id -u)" != 0 ] || chown postgres "$work"
    run initdb -D "$data" -A trust -N >"$work/init.log" 2>&1 || { cat "$work/init.log"; exit 1; }
    run tee -a "$data/postgresql.conf" >"$work/settings" <<SETTINGS
shared_memory_type = sysv
dynamic_shared_memory_type = sysv
listen_addresses = ''
unix_socket_directories = '$work'
fsync = off
max_parallel_workers_per_gather = 2
min_parallel_table_scan_size = 0
parallel_setup_cost = 0
parallel_tuple_cost = 0
SETTINGS
    start
    run pgbench -h "$work" -i -s 2 -q postgres >/dev/null 2>&1
    run pgbench -h "$work" -c 4 -j 2 -t 500 -n postgres >"$work/transactions" 2>&1
    note "$(grep tps "$work/transactions")"
    expect "transactions" "$(grep -o 'processed: .*' "$work/transactions")" "processed: 2000/2000"
    expect "history" "$(ask 'select count(*) from pgbench_history')" 2000
    expect "the balances agree" "$(ask 'select (select sum(abalance) from pgbench_accounts) = (select sum(tbalance) from pgbench_tellers)')" t
    expect "parallel workers" "$(ask 'explain (analyze, costs off, timing off, summary off) select sum(abalance) from pgbench_accounts' |
        grep -o 'Workers Launched: .*')" "Workers Launched: 2"

    run psql -h "$work" -qc 'select pg_sleep(60)' postgres >/dev/null 2>&1 &
    clients+=($!)
    wait_until sleeping || { echo "FAIL no sleeping server process"; cat "$work/log"; exit 1; }
    run timeout 60 pgbench -h "$work" -c 4 -j 2 -t 100000 -n postgres >/dev/null 2>&1 &
    clients+=($!)
    wait_until grows
    history=$(ask 'select count(*) from pgbench_history')
    kill -9 "$pid"
    wait_until began_anew
    expect "answers after a server process was killed" "$(ask 'select 1')" 1
    wait "${clients[@]}"  # they have lost their server
    expect "no transaction lost" "$(at_least "$(ask 'select count(*) from pgbench_history')" "$history")" yes
    expect "the balances agree then" "$(ask 'select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)')" t

    # The server is killed, and one of its processes, stopped, still has the segment: a second server has to see that.
    run psql -h "$work" -qc 'select pg_sleep(60)' postgres >/dev/null 2>&1 &
    clients+=($!)
    wait_until sleeping || { echo "FAIL no sleeping server process"; cat "$work/log"; exit 1; }
    kill -STOP "$pid"
    children=$(pgrep -P "${daemons[0]}")
    kill -9 "${daemons[0]}"
    wait "$server"
    daemons=()
    run timeout 60 postgres -D "$data" >"$work/second" 2>&1
    expect "a second server beside a process of the first" "$?, $(grep -o 'pre-existing shared memory block' "$work/second")" \
        "1, pre-existing shared memory block"
    kill -9 "$pid"
    # The others of the first server end by themselves.
    for pid in $children; do wait_until dead "$pid"; done
    start
    expect "a server after them" "$(ask 'select 1')" 1
    expect "no transaction lost then" "$(at_least "$(ask 'select count(*) from pgbench_history')" "$history")" yes
    run pg_ctl -D "$data" -w -m fast stop >/dev/null
    expect "stopped" $? 0
    wait "$server"
    daemons=()
    expect "objects left behind" "$(objects_left)" 0
    [ $failed = 0 ] || cat "$work/log"
}
grows() { [ "$(ask 'select count(*) from pgbench_history')" -gt 2100 ]; }
run_on_both client shm
